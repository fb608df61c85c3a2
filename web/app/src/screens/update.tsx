import { once } from '@trunkline/ui';
import { useState } from 'preact/hooks';
import { useApp, useT, useView } from '../app.ts';
import { Notice } from './parts.tsx';

/** The node serves another app than the one that runs here. It runs only after a yes. */
export function BundleNotice() {
  const app = useApp();
  const t = useT();
  const bundle = useView((s) => s.bundle);
  const putOff = useView((s) => s.bundlePutOff);
  const [busy, setBusy] = useState(false);
  const take = once(
    async (digest: string) => {
      setBusy(true);
      try {
        const result = await app.engine.takeBundle(digest);
        if (result.ok) location.reload();
        else app.store.dispatch({ type: 'toast', text: t(result.why === 'corrupt' ? 'updateCorrupt' : result.why === 'changed' ? 'updateChanged' : 'problemUnreachable') });
      } finally {
        setBusy(false);
      }
    },
    () => app.store.dispatch({ type: 'toast', text: t('problemOther') }),
  );
  if (!bundle?.offered || bundle.offered === putOff) return null;
  return (
    <section class="update" aria-label={t('updateTitle')}>
      <Notice kind="warn" icon="shield">
        <p class="strong">{t('updateTitle')}</p>
        <p>{t('updateText')}</p>
        <code>{`sha256:${bundle.offered}`}</code>
        <div class="row wrap">
          <button type="button" class="button" disabled={busy} onClick={() => take(bundle.offered)}>
            {busy && <span class="spinner" />}
            {t('updateRun')}
          </button>
          <button type="button" class="button" onClick={() => app.store.dispatch({ type: 'bundle-later' })}>
            {t('updateLater')}
          </button>
        </div>
      </Notice>
    </section>
  );
}
