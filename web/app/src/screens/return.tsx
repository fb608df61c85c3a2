import { Field, once } from '@trunkline/ui';
import { useEffect, useState } from 'preact/hooks';
import { useApp, useT } from '../app.ts';
import { Copy, problemKey, QR } from './pieces.tsx';

/** Somebody comes back with the words of the phrase. */
export function Recover(props: { onBack: () => void }) {
  const app = useApp();
  const t = useT();
  const [words, setWords] = useState('');
  const [problem, setProblem] = useState<string>();
  const recover = once(
    async (phrase: string) => {
      const bad = await app.engine.rest.newcomer.recover(phrase);
      setProblem(bad === null ? undefined : bad.word ? t('problemWord', { word: bad.word }) : t(problemKey(bad.problem)));
      if (bad === null) props.onBack();
    },
    () => setProblem(t('problemOther')),
  );
  return (
    <form
      class="stack wide"
      onSubmit={(e) => {
        e.preventDefault();
        recover(words);
      }}
    >
      <Field label={t('recoverLabel')} hint={t('recoverHint')} value={words} onInput={setWords} problem={problem} multiline attributes={{ autocomplete: 'off', spellcheck: false, autocapitalize: 'none' }} />
      <button type="submit" class="button main wide">
        {t('recoverDo')}
      </button>
      <button type="button" class="button plain wide" onClick={props.onBack}>
        {t('back')}
      </button>
    </form>
  );
}

/** This browser becomes a device of an identity that lives elsewhere: two texts are carried. */
export function JoinDevice() {
  const app = useApp();
  const t = useT();
  const [request, setRequest] = useState('');
  const [approval, setApproval] = useState('');
  const [problem, setProblem] = useState<string>();
  useEffect(() => {
    app.engine.rest.devices.request().then(setRequest, () => setProblem(t('problemStorage')));
  }, []);
  const join = once(
    async () => {
      const found = await app.engine.rest.devices.join(approval);
      setProblem(found === null ? undefined : t(found === 'address' ? 'deviceApprovalWrong' : problemKey(found)));
    },
    () => setProblem(t('problemOther')),
  );
  return (
    <form
      class="stack wide"
      onSubmit={(e) => {
        e.preventDefault();
        join();
      }}
    >
      <h2>{t('joinDevice1')}</h2>
      <p class="muted">{t('joinDeviceText')}</p>
      {request && (
        <>
          <div class="row centre">
            <QR text={request} label={t('deviceRequest')} />
          </div>
          <code>{request}</code>
          <div>
            <Copy text={request} label={t('copyRequest')} />
          </div>
        </>
      )}
      <h2>{t('joinDevice2')}</h2>
      <Field label={t('deviceApproval')} value={approval} onInput={setApproval} problem={problem} multiline attributes={{ autocomplete: 'off', spellcheck: false, autocapitalize: 'none' }} />
      <button type="submit" class="button main wide" disabled={!request || approval.trim() === ''}>
        {t('joinDeviceDo')}
      </button>
      <button type="button" class="button plain wide" onClick={() => location.reload()}>
        {t('cancel')}
      </button>
    </form>
  );
}
