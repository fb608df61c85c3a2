import { Icon, once } from '@trunkline/ui';
import { useEffect, useState } from 'preact/hooks';
import { useApp, useT, useView } from '../app.ts';
import type { Contact } from '../state.ts';
import { nameOf, Notice, TrustMark } from './parts.tsx';
import { problemKey, QR, Scanner } from './pieces.tsx';

/** Comparing: sixty digits for the voice, a code for the camera. */
export function Verify(props: { contact: Contact }) {
  const app = useApp();
  const t = useT();
  const { contact } = props;
  const mine = useView((s) => s.prefs.name) || t('you');
  const [digits, setDigits] = useState('');
  const [scanning, setScanning] = useState(false);
  const [mismatch, setMismatch] = useState(false);
  const name = nameOf(contact);
  useEffect(() => {
    let gone = false;
    app.engine.rest.people.safetyNumber(contact.id).then(
      (text) => {
        if (!gone) setDigits(text);
      },
      () => {
        if (!gone) app.store.dispatch({ type: 'toast', text: t('problemOther') });
      },
    );
    return () => {
      gone = true;
    };
  }, [contact.id]);
  const decide = once(
    async (what: 'confirm' | 'scanned' | 'resolve') => {
      const problem = what === 'confirm' ? await app.engine.rest.people.confirm(contact.id, digits) : await app.engine.rest.people[what](contact.id);
      if (problem) app.store.dispatch({ type: 'toast', text: t(problemKey(problem)) });
    },
    () => app.store.dispatch({ type: 'toast', text: t('problemOther') }),
  );
  const scanned = (text: string): boolean => {
    const match = app.engine.rest.people.matchScan(contact.id, text);
    if (match === 'other') return false;
    setScanning(false);
    setMismatch(match !== 'same');
    if (match === 'same') decide('scanned');
    return true;
  };
  return (
    <div class="stack padded">
      {contact.trust.is === 'changed' && (
        <Notice kind="danger">
          <p class="strong">{t('changedTitle', { name })}</p>
          <p>{t('changedExplain', { name })}</p>
          <div>
            <button type="button" class="button" onClick={() => decide('resolve')}>
              {t('changedResolve')}
            </button>
          </div>
        </Notice>
      )}
      {mismatch && (
        <Notice kind="danger">
          <p class="strong">{t('scanMismatchTitle')}</p>
          <p>{t('scanMismatch', { name })}</p>
        </Notice>
      )}
      <Asked contact={contact} digits={digits} onYes={() => decide('confirm')} onNo={() => setMismatch(true)} />
      <section class="card">
        <div class="row apart wrap">
          <h2>{t('verifyTitle', { me: mine, name })}</h2>
          <TrustMark trust={contact.trust} words />
        </div>
        <p class="muted">{t('verifyText', { name })}</p>
        {digits ? (
          <ol class="digits" aria-label={t('safetyNumber')}>
            {digits.split(' ').map((group, i) => (
              <li key={`${i}-${group}`}>{group}</li>
            ))}
          </ol>
        ) : (
          <p class="row" role="status">
            <span class="spinner" />
            {t('computing')}
          </p>
        )}
        <div class="row wrap">
          <button type="button" class="button main" disabled={!digits || contact.trust.is !== 'unverified'} onClick={() => decide('confirm')}>
            <Icon name="verified" />
            {contact.trust.is === 'verified' ? t('trustVerified') : t('theyMatch')}
          </button>
          <button type="button" class="button" onClick={() => setMismatch(true)}>
            {t('theyDiffer')}
          </button>
        </div>
      </section>
      <section class="card share">
        <QR text={app.engine.rest.people.verifyText(contact.id)} label={t('qrVerify', { name })} />
        <div class="stack grow">
          <h2>{t('inTheSameRoom')}</h2>
          <p class="muted">{t('scanText', { name })}</p>
          {scanning ? (
            <Scanner onText={scanned} onClose={() => setScanning(false)} />
          ) : (
            <div>
              <button type="button" class="button" onClick={() => setScanning(true)}>
                <Icon name="scan" />
                {t('scan')}
              </button>
            </div>
          )}
        </div>
      </section>
    </div>
  );
}

/** For how long after it was said the two are taken to be still together. */
const togetherMs = 10 * 60_000;

/** The other side read our code. That it says so proves nothing, so the person looks at the other
 * screen; with their yes both are verified after one scan. */
function Asked(props: { contact: Contact; digits: string; onYes: () => void; onNo: () => void }) {
  const t = useT();
  const { contact } = props;
  const [answered, setAnswered] = useState<number | null>(null);
  const name = nameOf(contact);
  if (contact.compared === null || contact.compared === answered || contact.trust.is !== 'unverified' || Date.now() - contact.compared > togetherMs) return null;
  const answer = (then: () => void) => () => {
    setAnswered(contact.compared);
    then();
  };
  return (
    <section class="card" role="status">
      <h2>{t('comparedTitle', { name })}</h2>
      <p>{t('comparedText', { name })}</p>
      <div class="row wrap">
        <button type="button" class="button main" disabled={!props.digits} onClick={answer(props.onYes)}>
          <Icon name="verified" />
          {t('comparedYes')}
        </button>
        <button type="button" class="button" onClick={answer(props.onNo)}>
          {t('comparedNo')}
        </button>
      </div>
    </section>
  );
}
