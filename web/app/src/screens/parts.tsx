import { Avatar, Icon, type IconName } from '@trunkline/ui';
import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { linkTo, useApp, useT, useView } from '../app.ts';
import type { Key } from '../i18n.ts';
import { lazy } from '../lazy.tsx';
import type { Route } from '../route.ts';
import type { Contact, Problem, Trust } from '../state.ts';

/** A screen of the main pane: a heading that takes the focus when the screen comes, and a way
 * back on a phone. */
export function Screen(props: { title: string; back?: Route; children: ComponentChildren; head?: ComponentChildren; narrow?: boolean }) {
  const app = useApp();
  const t = useT();
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = `${props.title} · Trunkline`;
  }, [props.title]);
  useEffect(() => {
    if (!document.querySelector('dialog[open]')) heading.current?.focus();
  }, []);
  return (
    <main class={props.narrow ? 'screen narrow' : 'screen'} id="main">
      <header class="screen-head">
        <a class="button plain only-icon back" aria-label={t('back')} {...linkTo(app, props.back ?? { screen: 'home' })}>
          <Icon name="back" />
        </a>
        <h1 ref={heading} tabIndex={-1} class="grow">
          {props.title}
        </h1>
        {props.head}
      </header>
      <div class="screen-body">{props.children}</div>
    </main>
  );
}

export function Notice(props: { kind?: 'warn' | 'danger'; children: ComponentChildren; icon?: IconName }) {
  return (
    <div class={`notice ${props.kind ?? ''}`}>
      <Icon name={props.icon ?? (props.kind ? 'alert' : 'info')} />
      <div class="stack tight grow">{props.children}</div>
    </div>
  );
}

export const QR = lazy(() => import('./qr.tsx').then((m) => m.QR), 'qr');
export const Scanner = lazy(() => import('./scan.tsx').then((m) => m.Scanner));

export function Copy(props: { text: string; label: string; main?: boolean }) {
  const app = useApp();
  const t = useT();
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return;
    const timer = setTimeout(() => setCopied(false), 3000);
    return () => clearTimeout(timer);
  }, [copied]);
  return (
    <button
      type="button"
      class={props.main ? 'button main' : 'button'}
      onClick={() => {
        navigator.clipboard.writeText(props.text).then(
          () => setCopied(true),
          () => app.store.dispatch({ type: 'toast', text: t('copyFailed') }),
        );
      }}
    >
      <Icon name={copied ? 'check' : 'copy'} />
      {props.label}
      <span class="hidden-text" role="status">
        {copied ? t('copied') : ''}
      </span>
    </button>
  );
}

const problems: Record<Problem, Key> = {
  address: 'problemAddress',
  'own-address': 'problemOwnAddress',
  invite: 'problemInvite',
  closed: 'problemClosed',
  'not-found': 'problemNotFound',
  unreachable: 'problemUnreachable',
  refused: 'problemRefused',
  alarm: 'problemAlarm',
  verification: 'problemVerification',
  'not-accepted': 'problemNotAccepted',
  'too-long': 'problemTooLong',
  limited: 'problemLimited',
  storage: 'problemStorage',
  full: 'problemFull',
  phrase: 'problemPhrase',
  camera: 'problemCamera',
  other: 'problemOther',
};

export function problemKey(problem: Problem): Key {
  return problems[problem];
}

/** Grey, verified, CHANGED: in words and in a shape, never by colour alone. */
export function TrustMark(props: { trust: Trust; words?: boolean }) {
  const t = useT();
  const words: Record<Trust['is'], Key> = { unverified: 'trustUnverified', verified: 'trustVerified', changed: 'trustChanged' };
  const text = t(words[props.trust.is]);
  const icon = { unverified: 'shield', verified: 'verified', changed: 'alert' } as const;
  return (
    <span class={`trust ${props.trust.is}`} title={text}>
      <Icon name={icon[props.trust.is]} />
      {props.words ? text : <span class="hidden-text">{text}</span>}
    </span>
  );
}

export function ContactLine(props: { contact: Contact }) {
  const shown = nameOf(props.contact);
  return (
    <span class="row grow">
      <Avatar name={shown} seed={props.contact.id} />
      <span class="grow cut">{shown}</span>
      <TrustMark trust={props.contact.trust} />
    </span>
  );
}

/** A name, or the beginning of the id where there is none. */
export function nameOf(contact: { name: string; id: string }): string {
  return contact.name || `${contact.id.slice(0, 9)}…${contact.id.slice(-4)}`;
}

export function useContact(id: string): Contact | undefined {
  return useView((s) => s.contacts.get(id));
}
