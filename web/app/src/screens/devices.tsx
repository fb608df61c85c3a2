import { Dialog, Field, Icon, once } from '@trunkline/ui';
import { useState } from 'preact/hooks';
import { useApp, useT, useView } from '../app.ts';
import type { Device } from '../state.ts';
import { Notice, Screen } from './parts.tsx';
import { Copy, problemKey, Scanner } from './pieces.tsx';

export function Devices() {
  const app = useApp();
  const t = useT();
  const me = useView((s) => s.me);
  const [leaving, setLeaving] = useState<Device | null>(null);
  const revoke = once(
    async (id: string) => {
      const problem = await app.engine.rest.devices.revoke(id);
      app.store.dispatch({ type: 'toast', text: problem ? t(problemKey(problem)) : t('deviceRemoved') });
    },
    () => app.store.dispatch({ type: 'toast', text: t('problemOther') }),
  );
  if (me.is !== 'ready') return null;
  const name = (device: Device) => device.id.slice(0, 8);
  return (
    <Screen title={t('devicesTitle')} narrow>
      <section class="card">
        <p class="muted">{t('devicesText')}</p>
        <ul class="plain-list">
          {me.self.devices.map((device) => (
            <li key={device.id} class="row">
              <Icon name="device" />
              <span class="grow">
                <code>{name(device)}</code> {device.own && <span class="strong">{t('thisDevice')}</span>}
                {device.expires !== null && (
                  <span class="small muted block">{t('deviceUntil', { date: new Date(device.expires).toLocaleDateString(t.locale, { dateStyle: 'medium' }) })}</span>
                )}
              </span>
              {!device.own && (
                <button type="button" class="button" onClick={() => setLeaving(device)}>
                  {t('deviceRemove')}
                </button>
              )}
            </li>
          ))}
        </ul>
      </section>
      <Approve />
      {leaving && (
        <Dialog title={t('deviceRemoveTitle', { name: name(leaving) })} closeLabel={t('close')} onClose={() => setLeaving(null)} alert>
          <p>{t('deviceRemoveText')}</p>
          <div class="actions">
            <button type="button" class="button" onClick={() => setLeaving(null)}>
              {t('cancel')}
            </button>
            <button
              type="button"
              class="button danger"
              onClick={() => {
                revoke(leaving.id);
                setLeaving(null);
              }}
            >
              {t('deviceRemove')}
            </button>
          </div>
        </Dialog>
      )}
    </Screen>
  );
}

/** What a new device shows begins so. */
const requestPrefix = 'tldr1-';

function Approve() {
  const app = useApp();
  const t = useT();
  const [request, setRequest] = useState('');
  const [problem, setProblem] = useState<string>();
  const [approval, setApproval] = useState('');
  const [scanning, setScanning] = useState(false);
  const approve = once(
    async () => {
      const result = await app.engine.rest.devices.approve(request.trim());
      if ('problem' in result) setProblem(t(result.problem === 'address' ? 'deviceRequestWrong' : problemKey(result.problem)));
      else {
        setProblem(undefined);
        setApproval(result.approval);
      }
    },
    () => setProblem(t('problemOther')),
  );
  return (
    <form
      class="card"
      onSubmit={(e) => {
        e.preventDefault();
        approve();
      }}
    >
      <h2>{t('deviceAdd')}</h2>
      <p class="muted">{t('deviceAddText')}</p>
      <Field label={t('deviceRequest')} value={request} onInput={setRequest} problem={problem} attributes={{ autocomplete: 'off', spellcheck: false, autocapitalize: 'none', maxLength: 300 }} />
      {scanning && (
        <Scanner
          onText={(found) => {
            if (!found.startsWith(requestPrefix)) return false;
            setRequest(found);
            setScanning(false);
            return true;
          }}
          onClose={() => setScanning(false)}
        />
      )}
      <Notice kind="warn">{t('deviceAddWarn')}</Notice>
      <div class="row wrap">
        <button type="submit" class="button main" disabled={request.trim() === ''}>
          {t('deviceApprove')}
        </button>
        {!scanning && (
          <button type="button" class="button" onClick={() => setScanning(true)}>
            <Icon name="scan" />
            {t('scan')}
          </button>
        )}
      </div>
      {approval && (
        <div class="stack tight" role="status">
          <p>{t('deviceApproved')}</p>
          <code class="long" tabIndex={0}>{approval}</code>
          <div>
            <Copy text={approval} label={t('deviceCopyApproval')} main />
          </div>
        </div>
      )}
    </form>
  );
}
