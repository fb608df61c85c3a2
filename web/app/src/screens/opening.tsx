import { useT } from '../app.ts';

/** A moment's line, while an identity is opened or gets its mailbox. */
export function Opening(props: { registering: boolean }) {
  const t = useT();
  return (
    <main class="welcome" id="main">
      <div class="welcome-card">
        <img src="/icon.svg" width="64" height="64" alt="" />
        <h1>Trunkline</h1>
        <p class="muted">{t('welcomeText')}</p>
        <p class="row" role="status">
          <span class="spinner" />
          {t(props.registering ? 'registering' : 'opening')}
        </p>
      </div>
    </main>
  );
}
