import { Avatar, Icon, MenuButton } from '@trunkline/ui';
import { linkTo, useApp, useT, useView } from '../app.ts';
import type { Key } from '../i18n.ts';
import { listed, unread } from '../lists.ts';
import type { Chat, Contact, Link } from '../state.ts';
import { Home } from './home.tsx';
import { nameOf, TrustMark } from './parts.tsx';

export { Home };

/** The list of people. On a phone it is the home screen. */
export function Side(props: { phone: boolean }) {
  const app = useApp();
  const t = useT();
  const me = useView((s) => s.me);
  const link = useView((s) => s.link);
  const prefs = useView((s) => s.prefs);
  const contacts = useView((s) => s.contacts);
  const chats = useView((s) => s.chats);
  const route = useView((s) => s.route);
  if (me.is !== 'ready') return null;
  const { asks, people, blocked } = listed(contacts, chats);
  const current = route.screen === 'contact' ? route.id : '';
  const name = prefs.name || t('you');
  const content = (
    <>
      <div class="me row">
        <Avatar name={name} seed={me.self.id} />
        <div class="grow">
          <div class="cut strong">{name}</div>
          <LinkState link={link} domain={me.self.domain} />
        </div>
        <MenuButton
          label={t('menu')}
          items={[
            { label: t('transfersTitle'), icon: <Icon name="file" />, run: () => app.go({ screen: 'transfers' }) },
            { label: t('settings'), icon: <Icon name="settings" />, run: () => app.go({ screen: 'settings' }) },
            { label: t('mediaTitle'), icon: <Icon name="video" />, run: () => app.go({ screen: 'media' }) },
            { label: t('phraseTitle'), icon: <Icon name="key" />, run: () => app.go({ screen: 'phrase' }) },
            { label: t('devicesTitle'), icon: <Icon name="device" />, run: () => app.go({ screen: 'devices' }) },
            { label: t('nodeTitle'), icon: <Icon name="eye" />, run: () => app.go({ screen: 'node' }) },
            { label: t('aboutTitle'), icon: <Icon name="info" />, run: () => app.go({ screen: 'about' }) },
          ]}
        >
          <Icon name="more" />
        </MenuButton>
      </div>
      <div class="actions">
        <a class="button main" {...linkTo(app, { screen: 'call', address: '', name: '', invite: '' })}>
          <Icon name="video" />
          {t('newCall')}
        </a>
        <a class="button whole" {...linkTo(app, { screen: 'room', link: '' })}>
          <Icon name="people" />
          {t('newMeeting')}
        </a>
        <a class="button" {...linkTo(app, { screen: 'join' })}>
          <Icon name="link" />
          {t('joinCall')}
        </a>
        <a class="button" {...linkTo(app, { screen: 'send' })}>
          <Icon name="attach" />
          {t('sendFile')}
        </a>
        <a class="button plain last" {...linkTo(app, { screen: 'card', text: '' })}>
          <Icon name="people" />
          {t('cardTitle')}
        </a>
      </div>
      <nav class="list" aria-label={t('people')}>
        {asks.length > 0 && <List title={t('requests')} contacts={asks} chats={chats} current={current} />}
        {people.length > 0 && <List title={t('people')} contacts={people} chats={chats} current={current} />}
        {blocked.length > 0 && <List title={t('blocked')} contacts={blocked} chats={chats} current={current} />}
        {contacts.size === 0 && <p class="muted small empty">{t('noContacts')}</p>}
        <a class="button plain wide" {...linkTo(app, { screen: 'add', address: '' })}>
          <Icon name="add" />
          {t('addTitle')}
        </a>
      </nav>
    </>
  );
  if (props.phone) {
    return (
      <main class="side" id="main">
        <h1 class="hidden-text">Trunkline</h1>
        {content}
        <Home embedded />
      </main>
    );
  }
  return (
    <aside class="side" aria-label={t('people')}>
      {content}
    </aside>
  );
}

function LinkState(props: { link: Link; domain: string }) {
  const t = useT();
  const ended: Record<Extract<Link, { is: 'ended' }>['why'], Key> = {
    replaced: 'linkReplaced',
    removed: 'linkRemoved',
    refused: 'linkRefused',
    verification: 'linkVerification',
  };
  const text =
    props.link.is === 'up'
      ? t('linkUp')
      : props.link.is === 'connecting'
        ? t('linkConnecting')
        : props.link.is === 'down'
          ? t('linkDown')
          : t(ended[props.link.why]);
  return (
    <div class="small muted row link-state" role="status">
      <span class={`dot ${props.link.is}`} aria-hidden="true" />
      {props.link.is === 'up' ? (
        <span class="cut">
          <span class="hidden-text">{text} </span>
          <bdi>{props.domain}</bdi>
        </span>
      ) : (
        <span class="cut">{text}</span>
      )}
    </div>
  );
}

function List(props: { title: string; contacts: Contact[]; chats: ReadonlyMap<string, Chat>; current: string }) {
  const app = useApp();
  const t = useT();
  return (
    <section>
      <h2 class="list-title">{props.title}</h2>
      <ul>
        {props.contacts.map((c) => {
          const chat = props.chats.get(c.id);
          const last = chat?.notes.at(-1);
          const waiting = unread(chat);
          return (
            <li key={c.id}>
              <a class="person" aria-current={c.id === props.current ? 'page' : undefined} {...linkTo(app, { screen: 'contact', id: c.id, tab: 'chat' })}>
                <Avatar name={nameOf(c)} seed={c.id} />
                <span class="grow">
                  <span class="row">
                    <span class="cut strong">{nameOf(c)}</span>
                    {c.trust.is !== 'unverified' && <TrustMark trust={c.trust} />}
                  </span>
                  <span class="cut small muted snippet">
                    {c.standing === 'asks'
                      ? c.knock || t('asksShort')
                      : c.standing === 'asked'
                        ? t('askedShort')
                        : last
                          ? <>{last.out && `${t('you')}: `}<bdi>{last.text}</bdi></>
                          : t('noNotes')}
                  </span>
                </span>
                {waiting > 0 && (
                  <span class="badge">
                    {waiting}
                    <span class="hidden-text"> {t('unread')}</span>
                  </span>
                )}
              </a>
            </li>
          );
        })}
      </ul>
    </section>
  );
}

