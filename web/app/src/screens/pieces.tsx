// Parts of screens that are not on the way into a call.

import { Avatar, Icon } from '@trunkline/ui';
import { useEffect, useState } from 'preact/hooks';
import { useApp, useT } from '../app.ts';
import type { Key } from '../i18n.ts';
import { lazy } from '../lazy.tsx';
import type { Contact, Problem } from '../state.ts';
import { nameOf, TrustMark } from './parts.tsx';

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
