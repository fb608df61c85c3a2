import { Icon, once } from '@trunkline/ui';
import { useT, useApp, useView } from '../app.ts';
import { Notice, Screen } from './parts.tsx';
import { Copy } from './pieces.tsx';

export function About() {
  const app = useApp();
  const t = useT();
  const bundle = useView((s) => s.bundle);
  const version = useView((s) => s.version);
  const look = once(
    () => app.engine.lookForBundle(),
    () => app.store.dispatch({ type: 'toast', text: t('problemUnreachable') }),
  );
  const command = `trunkline verify web ${location.origin}`;
  return (
    <Screen title={t('aboutTitle')} narrow>
      <section class="card">
        <div class="row">
          <img src="/icon.svg" width="48" height="48" alt="" />
          <div>
            <h2>Trunkline</h2>
            <p class="muted">{t('version', { version })}</p>
          </div>
        </div>
        <p>{t('aboutText')}</p>
      </section>
      <section class="card">
        <h2>{t('digestTitle')}</h2>
        <p class="muted">{t('digestText')}</p>
        {bundle ? <code data-testid="digest">{`sha256:${bundle.pinned}`}</code> : <span class="spinner" />}
        <p class="muted">{t('digestHow')}</p>
        <code>{command}</code>
        <div class="row wrap">
          {bundle && <Copy text={`sha256:${bundle.pinned}`} label={t('copyDigest')} />}
          <Copy text={command} label={t('copyCommand')} />
          <button type="button" class="button" onClick={look}>
            <Icon name="clock" />
            {t('lookForUpdate')}
          </button>
        </div>
        {bundle?.offered && <Notice kind="warn">{t('updateOffered')}</Notice>}
      </section>
    </Screen>
  );
}
