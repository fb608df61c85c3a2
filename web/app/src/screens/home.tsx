import { linkTo, useApp, useT, useView } from '../app.ts';
import { contactLink } from '../links.ts';
import { Notice } from './parts.tsx';
import { Copy, QR } from './pieces.tsx';

/** What is there when nobody is chosen: how others reach me. On a phone it stands below the
 * contacts. */
export function Home(props: { embedded?: boolean }) {
  const app = useApp();
  const t = useT();
  const me = useView((s) => s.me);
  const backedUp = useView((s) => s.prefs.backedUp);
  const anybody = useView((s) => [...s.contacts.values()].some((c) => c.standing === 'accepted'));
  if (me.is !== 'ready') return null;
  const link = contactLink(location.origin, me.self.contact, me.self.invite);
  const content = (
    <>
      {anybody && !backedUp && (
        <Notice kind="warn" icon="info">
          <p>{t('backupOffer')}</p>
          <div>
            <a class="button" {...linkTo(app, { screen: 'phrase' })}>
              {t('backupNow')}
            </a>
          </div>
        </Notice>
      )}
      <section class="card share">
        <QR text={link} label={t('qrOwn')} />
        <div class="stack grow">
          <h2>{t('shareTitle')}</h2>
          <p class="muted">{t('shareText')}</p>
          <code>{me.self.address}</code>
          <div class="row wrap">
            <Copy text={link} label={t('copyLink')} main />
            <Copy text={me.self.address} label={t('copyAddress')} />
            {'share' in navigator && (
              <button type="button" class="button" onClick={() => void navigator.share({ url: link }).catch(() => undefined)}>
                {t('share')}
              </button>
            )}
          </div>
        </div>
      </section>
    </>
  );
  if (props.embedded) return <div class="stack">{content}</div>;
  return (
    <main class="screen" id="main">
      <div class="screen-body middle">
        <h1 class="hidden-text">Trunkline</h1>
        {content}
      </div>
    </main>
  );
}
