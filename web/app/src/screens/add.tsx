import { Field, Icon, once } from '@trunkline/ui';
import { useState } from 'preact/hooks';
import { useApp, useT, useView } from '../app.ts';
import { addressOf } from '../route.ts';
import { isInvite } from '../links.ts';
import { Screen } from './parts.tsx';
import { problemKey, Scanner } from './pieces.tsx';

/** Adding somebody: an address, a link or a code. Opening a link fills this in and sends
 * nothing; that takes the person's press. */
export function Add(props: { address: string }) {
  const app = useApp();
  const t = useT();
  const prefs = useView((s) => s.prefs);
  const [address, setAddress] = useState(props.address);
  const [text, setText] = useState('');
  const [name, setName] = useState(prefs.name);
  const [problem, setProblem] = useState<string>();
  const [busy, setBusy] = useState(false);
  const [scanning, setScanning] = useState(false);
  const knock = once(
    async (call: boolean) => {
      const cleaned = addressOf(address);
      if (isInvite(address)) {
        setProblem(t('problemInviteHere'));
        return;
      }
      setProblem(undefined);
      setBusy(true);
      try {
        if (name.trim() !== prefs.name) app.engine.setPrefs({ ...prefs, name: name.trim() });
        const result = await app.engine.rest.people.knock(cleaned, text.trim(), name.trim());
        if ('id' in result) {
          app.go({ screen: 'contact', id: result.id, tab: 'chat' });
          if (!call) return;
          // Who is accepted already is rung; who is asked is waited for.
          if (app.store.state.contacts.get(result.id)?.standing === 'accepted') app.engine.call?.prepare(result.id, true);
          else app.engine.call?.wait(result.id);
        } else setProblem(t(problemKey(result.problem)));
      } finally {
        setBusy(false);
      }
    },
    () => setProblem(t('problemOther')),
  );
  return (
    <Screen title={t('addTitle')} narrow>
      <form
        class="card"
        onSubmit={(e) => {
          e.preventDefault();
          knock(false);
        }}
      >
        <Field
          label={t('addAddress')}
          hint={t('addAddressHint')}
          value={address}
          onInput={setAddress}
          problem={problem}
          attributes={{ autocomplete: 'off', spellcheck: false, autocapitalize: 'none', maxLength: 1000 }}
        />
        {scanning ? (
          <Scanner
            onText={(found) => {
              const cleaned = addressOf(found);
              if (!/^tl1/i.test(cleaned)) return false;
              setAddress(cleaned);
              setScanning(false);
              return true;
            }}
            onClose={() => setScanning(false)}
          />
        ) : (
          <div>
            <button type="button" class="button" onClick={() => setScanning(true)}>
              <Icon name="scan" />
              {t('scan')}
            </button>
          </div>
        )}
        <Field label={t('yourName')} hint={t('yourNameHint')} value={name} onInput={setName} attributes={{ maxLength: 64, autocomplete: 'nickname' }} />
        <Field label={t('knockMessage')} value={text} onInput={setText} multiline attributes={{ maxLength: 400 }} />
        <p class="small muted">{t('knockExplain')}</p>
        <div class="row wrap">
          <button type="submit" class="button main" disabled={busy || address.trim() === ''}>
            {busy ? <span class="spinner" /> : <Icon name="send" />}
            {busy ? t('asking') : t('ask')}
          </button>
          <button type="button" class="button" disabled={busy || address.trim() === ''} onClick={() => knock(true)}>
            <Icon name="video" />
            {t('askAndCall')}
          </button>
        </div>
      </form>
    </Screen>
  );
}
