import { Dialog, Icon, once } from '@trunkline/ui';
import { useState } from 'preact/hooks';
import { useApp, useT, useView } from '../app.ts';
import type { Device } from '../state.ts';
import { problemKey, Screen } from './parts.tsx';

export function Devices() {
  const app = useApp();
  const t = useT();
  const me = useView((s) => s.me);
  const [leaving, setLeaving] = useState<Device | null>(null);
  const revoke = once(
    async (id: string) => {
      const problem = await app.engine.revokeDevice(id);
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
