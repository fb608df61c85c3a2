import { Icon, type IconName } from '@trunkline/ui';
import type { ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { linkTo, useApp, useT, useView } from '../app.ts';
import type { Key } from '../i18n.ts';
import type { Route } from '../route.ts';
import type { Contact, Trust } from '../state.ts';

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

/** A name, or the beginning of the id where there is none. */
export function nameOf(contact: { name: string; id: string }): string {
  return contact.name || `${contact.id.slice(0, 9)}…${contact.id.slice(-4)}`;
}

export function useContact(id: string): Contact | undefined {
  return useView((s) => s.contacts.get(id));
}
