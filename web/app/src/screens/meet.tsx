import { Avatar, Field, Icon, once } from '@trunkline/ui';
import { useState } from 'preact/hooks';
import { useApp, useT, useView } from '../app.ts';
import { listed, sendable } from '../reduce.ts';
import { callLink, type Route } from '../route.ts';
import type { Contact } from '../state.ts';
import { Copy, nameOf, Notice, problemKey, QR, Screen } from './parts.tsx';

/** The way into a call: one's own, to which a link leads, or somebody else's. */
export function Meet(props: { route: Extract<Route, { screen: 'call' }> }) {
  return props.route.address ? <Guest route={props.route} /> : <Host />;
}

/** A name is asked for when it is first needed. */
function YourName() {
  const app = useApp();
  const t = useT();
  const prefs = useView((s) => s.prefs);
  return (
    <Field
      label={t('yourName')}
      hint={t('meetNameHint')}
      value={prefs.name}
      onInput={(name) => app.engine.setPrefs({ ...prefs, name: name.slice(0, 64) })}
      attributes={{ maxLength: 64, autocomplete: 'nickname' }}
    />
  );
}

function useFailed(): (key: Parameters<ReturnType<typeof useT>>[0]) => void {
  const app = useApp();
  const t = useT();
  return (key) => app.store.dispatch({ type: 'toast', text: t(key) });
}

/** Whoever calls hands over a link and lets people in; those who are known are called at once. */
function Host() {
  const app = useApp();
  const t = useT();
  const me = useView((s) => s.me);
  const name = useView((s) => s.prefs.name);
  const contacts = useView((s) => s.contacts);
  const chats = useView((s) => s.chats);
  const failed = useFailed();
  const letIn = once(
    async (contact: Contact) => {
      const problem = await app.engine.accept(contact.id);
      if (problem) return failed(problemKey(problem));
      app.engine.call?.prepare(contact.id, true);
      app.engine.call?.start();
    },
    () => failed('problemOther'),
  );
  const decline = once(
    async (contact: Contact) => {
      const problem = await app.engine.decline(contact.id);
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

/** Somebody's link was opened. Nothing is sent before the press. */
function Guest(props: { route: Extract<Route, { screen: 'call' }> }) {
  const app = useApp();
  const t = useT();
  const { address, name } = props.route;
  const prefs = useView((s) => s.prefs);
  const contacts = useView((s) => s.contacts);
  const [problem, setProblem] = useState<string>();
  const [busy, setBusy] = useState(false);
  const id = address.split('@')[0]?.toLowerCase() ?? '';
  const known = contacts.get(id);
  const shown = known ? nameOf(known) : name || nameOf({ name: '', id });
  const ask = once(
    async () => {
      setProblem(undefined);
      if (known && sendable(known) === 'yes') return app.engine.call?.prepare(known.id, true);
      setBusy(true);
      try {
        const result = await app.engine.knock(address, t('meetKnock'), prefs.name.trim());
        if ('problem' in result) return setProblem(t(problemKey(result.problem)));
        const contact = app.store.state.contacts.get(result.id);
        if (name && contact?.name === '') await app.engine.rename(result.id, name);
        app.engine.call?.wait(result.id);
      } finally {
        setBusy(false);
      }
    },
    () => setProblem(t('problemOther')),
  );
  return (
    <Screen title={t('callPrejoinTitle', { name: shown })} narrow>
      <form
        class="card"
        onSubmit={(e) => {
          e.preventDefault();
          ask();
        }}
      >
        <div class="row">
          <Avatar name={shown} seed={id} large />
          <div class="grow">
            <h2>{shown}</h2>
            <code>{address.split('/')[0]}</code>
          </div>
        </div>
        {known && sendable(known) === 'yes' ? <p class="muted">{t('meetReady', { name: shown })}</p> : <p class="muted">{t('meetGuest', { name: shown })}</p>}
        <YourName />
        {problem && (
          <Notice kind="danger">
            <p role="alert">{problem}</p>
          </Notice>
        )}
        <div>
          <button type="submit" class="button main" disabled={busy}>
            {busy ? <span class="spinner" /> : <Icon name="video" />}
            {t(known && sendable(known) === 'yes' ? 'callStart' : 'meetJoin')}
          </button>
        </div>
      </form>
    </Screen>
  );
}
