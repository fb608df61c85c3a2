import { Avatar } from '@trunkline/ui';
import { useEffect, useRef } from 'preact/hooks';
import { useApp, useT, useView } from '../app.ts';
import { nameOf, Notice, TrustMark } from '../screens/parts.tsx';
import type { Contact } from '../state.ts';
import { clock } from './clock.ts';
import { endOf } from './end.ts';
import type { CallEnd, CallView } from './view.ts';

/** How a call ended, and what comes next. */
export function Ended(props: { call: CallView; contact: Contact; stage: CallEnd }) {
  const { call, contact, stage } = props;
  const app = useApp();
  const t = useT();
  const name = nameOf(contact);
  const control = app.engine.call;
  const backedUp = useView((s) => s.prefs.backedUp);
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => heading.current?.focus(), []);
  const end = endOf(stage, call.relayOnly);
  const alarm = end === 'callAlarmTold' || end === 'callAlarmText';
  return (
    <div class="call-waiting">
      <div class="call-who">
        <Avatar name={name} seed={contact.id} large />
        <h1 ref={heading} tabIndex={-1} aria-live="polite">
          {t(alarm ? 'callEndAlarm' : end, { name })}
        </h1>
        <TrustMark trust={contact.trust} words />
        {stage.lasted > 0 && <p class="call-muted">{clock(stage.lasted)}</p>}
        {alarm && <p class="call-alarm">{t(end, { name })}</p>}
      </div>
      {stage.lasted > 0 && !backedUp && (
        <Notice kind="warn" icon="info">
          <p>{t('backupOffer')}</p>
          <div>
            <button
              type="button"
              class="button"
              onClick={() => {
                control?.close();
                app.go({ screen: 'phrase' });
              }}
            >
              {t('backupNow')}
            </button>
          </div>
        </Notice>
      )}
      <div class="call-actions">
        <button type="button" class="button" onClick={() => control?.close()}>
          {t('callBack')}
        </button>
        {alarm ? (
          <button
            type="button"
            class="button main"
            onClick={() => {
              control?.close();
              app.go({ screen: 'contact', id: contact.id, tab: 'verify' });
            }}
          >
            {t('verify')}
          </button>
        ) : call.byCards && contact.standing !== 'accepted' ? (
          <button
            type="button"
            class="button main"
            onClick={() => {
              control?.close();
              app.go({ screen: 'card', text: '' });
            }}
          >
            {t('cardAgain')}
          </button>
        ) : (
          <button type="button" class="button main" onClick={() => control?.prepare(contact.id, call.video)}>
            {t('callAgain')}
          </button>
        )}
      </div>
    </div>
  );
}
