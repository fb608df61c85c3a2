import { Avatar, Icon, once } from '@trunkline/ui';
import { useApp, useT, useView } from '../app.ts';
import { sendable } from '../reduce.ts';
import { listed } from '../lists.ts';
import { callLink } from '../links.ts';
import type { Contact } from '../state.ts';
import { YourName } from './guest.tsx';
import { nameOf, Screen } from './parts.tsx';
import { Copy, problemKey, QR } from './pieces.tsx';

function useFailed(): (key: Parameters<ReturnType<typeof useT>>[0]) => void {
  const app = useApp();
  const t = useT();
  return (key) => app.store.dispatch({ type: 'toast', text: t(key) });
}

/** Whoever calls hands over a link and lets people in; those who are known are called at once. */
export function Host() {
  const app = useApp();
  const t = useT();
  const me = useView((s) => s.me);
  const name = useView((s) => s.prefs.name);
  const contacts = useView((s) => s.contacts);
  const chats = useView((s) => s.chats);
  const failed = useFailed();
  const letIn = once(
    async (contact: Contact) => {
      const problem = await app.engine.rest.people.accept(contact.id);
      if (problem) return failed(problemKey(problem));
      app.engine.call?.prepare(contact.id, true);
      app.engine.call?.start();
    },
    () => failed('problemOther'),
  );
  const decline = once(
    async (contact: Contact) => {
      const problem = await app.engine.rest.people.decline(contact.id);
      if (problem) failed(problemKey(problem));
    },
    () => failed('problemOther'),
  );
  if (me.is !== 'ready') return null;
  const { asks, people } = listed(contacts, chats);
  const known = people.filter((c) => sendable(c) === 'yes');
  const link = callLink(location.origin, { address: me.self.contact, name, invite: me.self.invite });
  return (
    <Screen title={t('newCall')} narrow>
      <div role="status" class="asks">
        {asks.map((contact) => (
          <section key={contact.id} class="card" aria-label={t('meetAsks', { name: nameOf(contact) })}>
            <Avatar name={nameOf(contact)} seed={contact.id} />
            <span class="grow">
              <span class="strong block">{t('meetAsks', { name: nameOf(contact) })}</span>
              {contact.knock && <span class="small muted block">{contact.knock}</span>}
            </span>
            <button type="button" class="button main" onClick={() => letIn(contact)}>
              <Icon name="video" />
              {t('letIn')}
            </button>
            <button type="button" class="button" onClick={() => decline(contact)}>
              {t('decline')}
            </button>
          </section>
        ))}
      </div>
      <section class="card">
        <h2>{t('meetLinkTitle')}</h2>
        <p class="muted">{t('meetLinkText')}</p>
        <YourName />
        <div class="share row wrap">
          <QR text={link} label={t('meetQr')} />
          <div class="stack grow">
            <code class="long" tabIndex={0} aria-label={t('meetLink')}>
              {link}
            </code>
            <div class="row wrap">
              <Copy text={link} label={t('copyLink')} main />
              {'share' in navigator && (
                <button type="button" class="button" onClick={() => void navigator.share({ url: link }).catch(() => undefined)}>
                  {t('share')}
                </button>
              )}
            </div>
            {me.self.invite && <p class="small muted">{t('meetInvite')}</p>}
            {asks.length === 0 && (
              <p class="row muted">
                <span class="spinner" />
                {t('meetWaiting')}
              </p>
            )}
          </div>
        </div>
      </section>
      {known.length > 0 && (
        <section class="card">
          <h2>{t('meetKnown')}</h2>
          <ul class="plain-list">
            {known.map((contact) => (
              <li key={contact.id} class="row">
                <Avatar name={nameOf(contact)} seed={contact.id} />
                <span class="grow cut">{nameOf(contact)}</span>
                <button type="button" class="button only-icon" aria-label={t('callPersonVoice', { name: nameOf(contact) })} onClick={() => app.engine.call?.prepare(contact.id, false)}>
                  <Icon name="phone" />
                </button>
                <button type="button" class="button only-icon" aria-label={t('callPersonVideo', { name: nameOf(contact) })} onClick={() => app.engine.call?.prepare(contact.id, true)}>
                  <Icon name="video" />
                </button>
              </li>
            ))}
          </ul>
        </section>
      )}
    </Screen>
  );
}
