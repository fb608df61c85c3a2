import { Avatar, Dialog, Icon, MenuButton, once, Tabs } from '@trunkline/ui';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { useApp, useT, useView } from '../app.ts';
import type { Key } from '../i18n.ts';
import { lazy } from '../lazy.tsx';
import { dropped } from '../files/choose.ts';
import { sendable } from '../reduce.ts';
import type { ContactTab } from '../route.ts';
import type { Contact, Fate, Note, Transfer } from '../state.ts';
import { FileInput, useSendFiles } from './fileinput.tsx';
import { nameOf, Notice, Screen, TrustMark, useContact } from './parts.tsx';
import { problemKey } from './pieces.tsx';

const Details = lazy(() => import('./details.tsx').then((m) => m.Details));
const FileBubble = lazy(() => import('./transfer.tsx').then((m) => m.FileBubble));
const Verify = lazy(() => import('./verify.tsx').then((m) => m.Verify));

/** Longest note in bytes of UTF-8, of the specification. */
const maxNote = 16_384;

export function Person(props: { id: string; tab: ContactTab }) {
  const app = useApp();
  const t = useT();
  const contact = useContact(props.id);
  const [asking, setAsking] = useState<'block' | 'delete' | null>(null);
  useEffect(() => {
    if (contact) app.engine.rest.chats.open(props.id);
  }, [props.id, contact === undefined]);
  if (!contact) {
    return (
      <Screen title={t('noContact')}>
        <p>{t('noContactText')}</p>
      </Screen>
    );
  }
  const name = nameOf(contact);
  const act = once(
    async (what: 'accept' | 'decline' | 'block') => {
      const problem = await app.engine.rest.people[what](contact.id);
      if (problem) app.store.dispatch({ type: 'toast', text: t(problemKey(problem)) });
      else if (what === 'decline') app.go({ screen: 'home' });
    },
    () => app.store.dispatch({ type: 'toast', text: t('problemOther') }),
  );
  const block = () => setAsking('block');
  const deleteHistory = once(
    async () => {
      const problem = await app.engine.rest.chats.delete(contact.id);
      app.store.dispatch({ type: 'toast', text: problem ? t(problemKey(problem)) : t('historyDeleted') });
    },
    () => app.store.dispatch({ type: 'toast', text: t('problemOther') }),
  );
  const dialog = asking === 'delete' ? (
    <Dialog title={t('deleteHistoryTitle', { name })} closeLabel={t('close')} onClose={() => setAsking(null)} alert>
      <p>{t('deleteHistoryText', { name })}</p>
      <div class="actions">
        <button type="button" class="button" onClick={() => setAsking(null)}>
          {t('cancel')}
        </button>
        <button
          type="button"
          class="button danger"
          onClick={() => {
            setAsking(null);
            deleteHistory();
          }}
        >
          {t('deleteHistory')}
        </button>
      </div>
    </Dialog>
  ) : asking === 'block' && (
    <Dialog title={t('blockTitle', { name })} closeLabel={t('close')} onClose={() => setAsking(null)} alert>
      <p>{t('blockText', { name })}</p>
      <div class="actions">
        <button type="button" class="button" onClick={() => setAsking(null)}>
          {t('cancel')}
        </button>
        <button
          type="button"
          class="button danger"
          onClick={() => {
            setAsking(null);
            act('block');
          }}
        >
          {t('block')}
        </button>
      </div>
    </Dialog>
  );

  if (contact.standing === 'asks') {
    return (
      <Screen title={t('knockTitle', { name })} narrow>
        <div class="card">
          <div class="row">
            <Avatar name={name} seed={contact.id} large />
            <div class="grow">
              <h2>{name}</h2>
              <code>{contact.address || contact.id}</code>
            </div>
          </div>
          {contact.knock && <blockquote>{contact.knock}</blockquote>}
          <p class="muted">{t('knockText')}</p>
          <div class="row wrap">
            <button type="button" class="button main" onClick={() => act('accept')}>
              <Icon name="check" />
              {t('accept')}
            </button>
            <button type="button" class="button" onClick={() => act('decline')}>
              {t('decline')}
            </button>
            <button type="button" class="button plain" onClick={block}>
              {t('block')}
            </button>
          </div>
        </div>
        {dialog}
      </Screen>
    );
  }

  const tabs = [
    { key: 'chat', label: t('chat'), body: () => <ChatPane contact={contact} /> },
    { key: 'verify', label: t('verify'), body: () => <Verify contact={contact} /> },
    { key: 'details', label: t('details'), body: () => <Details contact={contact} onBlock={block} onUnblock={() => act('accept')} /> },
  ];
  return (
    <Screen
      title={name}
      head={
        <>
          <TrustMark trust={contact.trust} words />
          {sendable(contact) === 'yes' && (
            <>
              <button type="button" class="button plain only-icon" aria-label={t('callPersonVoice', { name })} onClick={() => app.engine.call?.prepare(contact.id, false)}>
                <Icon name="phone" />
              </button>
              <button type="button" class="button plain only-icon" aria-label={t('callPersonVideo', { name })} onClick={() => app.engine.call?.prepare(contact.id, true)}>
                <Icon name="video" />
              </button>
            </>
          )}
          <MenuButton
            label={t('moreAbout', { name })}
            items={[
              { label: t('verify'), icon: <Icon name="shield" />, run: () => app.go({ screen: 'contact', id: contact.id, tab: 'verify' }) },
              { label: t('deleteHistory'), icon: <Icon name="close" />, danger: true, run: () => setAsking('delete') },
              contact.standing === 'blocked'
                ? { label: t('unblock'), icon: <Icon name="check" />, run: () => act('accept') }
                : { label: t('block'), icon: <Icon name="close" />, danger: true, run: block },
            ]}
          >
            <Icon name="more" />
          </MenuButton>
        </>
      }
    >
      <Tabs label={name} tabs={tabs} active={props.tab} onChange={(key) => app.go({ screen: 'contact', id: contact.id, tab: key as ContactTab })} />
      {dialog}
    </Screen>
  );
}

export function ChatPane(props: { contact: Contact }) {
  const app = useApp();
  const t = useT();
  const { contact } = props;
  const chat = useView((s) => s.chats.get(contact.id));
  const notes = chat?.notes ?? [];
  const transfers = useView((s) => s.transfers);
  const end = useRef<HTMLDivElement>(null);
  const [over, setOver] = useState(false);
  const rows: ({ at: number; note: Note } | { at: number; file: Transfer })[] = notes.map((note) => ({ at: note.created, note }));
  for (const file of transfers.values()) if (file.contact === contact.id) rows.push({ at: file.created, file });
  rows.sort((a, b) => a.at - b.at);
  const count = rows.length;
  const newest = rows.at(-1)?.at;
  useLayoutEffect(() => {
    // Not when earlier ones came in above.
    end.current?.scrollIntoView({ block: 'end' });
  }, [newest]);
  useEffect(() => {
    app.engine.rest.chats.open(contact.id);
  }, [count]);
  // In a call that cards made it goes over the call, whatever the nodes know of each other.
  const inCall = useView((s) => s.met === contact.id);
  const may = inCall ? 'yes' : sendable(contact);
  const send = useSendFiles(contact.id);
  let day = '';
  return (
    <div
      class={over ? 'chat over' : 'chat'}
      onDragOver={(e) => {
        if (may !== 'yes' || !e.dataTransfer?.types.includes('Files')) return;
        e.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(e) => {
        e.preventDefault();
        setOver(false);
        if (may === 'yes' && e.dataTransfer) send(dropped(e.dataTransfer));
      }}
    >
      <div class="notes" role="log" aria-label={t('chatWith', { name: nameOf(contact) })} tabIndex={0}>
        {chat?.more && (
          <button type="button" class="button plain earlier" onClick={() => app.engine.rest.chats.earlier(contact.id)}>
            {t('earlierNotes')}
          </button>
        )}
        {count === 0 && may === 'yes' && (
          <p class="muted small chat-start">
            <Icon name="lock" /> {t('chatStart', { name: nameOf(contact) })}
          </p>
        )}
        {rows.map((row) => {
          const date = new Date(row.at).toLocaleDateString(t.locale, { weekday: 'long', day: 'numeric', month: 'long' });
          const heading = date === day ? null : <div class="day small muted">{date}</div>;
          day = date;
          return (
            <div key={'note' in row ? row.note.id : row.file.id} class="note-row">
              {heading}
              {'note' in row ? <Bubble note={row.note} /> : <FileBubble transfer={row.file} name={nameOf(contact)} />}
            </div>
          );
        })}
        <div ref={end} />
      </div>
      {may === 'yes' ? <Composer contact={contact} draft={chat?.draft ?? ''} /> : <Held contact={contact} why={may} />}
    </div>
  );
}

const fates: Record<Fate, { key: Key; icon: 'clock' | 'check' | 'checks' | 'alert' }> = {
  queued: { key: 'fateQueued', icon: 'clock' },
  accepted: { key: 'fateAccepted', icon: 'clock' },
  stored: { key: 'fateStored', icon: 'check' },
  delivered: { key: 'fateDelivered', icon: 'check' },
  read: { key: 'fateRead', icon: 'checks' },
  expired: { key: 'fateExpired', icon: 'alert' },
  refused: { key: 'fateRefused', icon: 'alert' },
};

function Bubble(props: { note: Note }) {
  const t = useT();
  const { note } = props;
  const time = new Date(note.created).toLocaleTimeString(t.locale, { hour: '2-digit', minute: '2-digit' });
  const fate = fates[note.fate];
  return (
    <div class={note.out ? 'bubble mine' : 'bubble'}>
      <span class="hidden-text">{note.out ? t('you') : t('them')}: </span>
      <div class="text" dir="auto">
        {note.text}
      </div>
      <div class="meta small">
        <time dateTime={new Date(note.created).toISOString()}>{time}</time>
        {note.out && (
          <span class={`row fate ${note.fate}`} title={t(fate.key)}>
            <Icon name={fate.icon} />
            <span class={note.fate === 'expired' || note.fate === 'refused' ? '' : 'hidden-text'}>{t(fate.key)}</span>
          </span>
        )}
      </div>
    </div>
  );
}

function Composer(props: { contact: Contact; draft: string }) {
  const app = useApp();
  const t = useT();
  const { contact, draft } = props;
  const sendFiles = useSendFiles(contact.id);
  const area = useRef<HTMLTextAreaElement>(null);
  useLayoutEffect(() => {
    const a = area.current;
    if (!a) return;
    a.style.height = 'auto';
    a.style.height = `${Math.min(a.scrollHeight + 2, 160)}px`;
  }, [draft]);
  const tooLong = new TextEncoder().encode(draft).length > maxNote;
  const send = once(
    async () => {
      const text = draft.trim();
      if (!text || tooLong) return;
      app.store.dispatch({ type: 'draft', id: contact.id, text: '' });
      const problem = await app.engine.rest.chats.send(contact.id, text);
      if (problem) {
        app.store.dispatch({ type: 'draft', id: contact.id, text });
        app.store.dispatch({ type: 'toast', text: t(problemKey(problem)) });
      }
    },
    () => {
      app.store.dispatch({ type: 'draft', id: contact.id, text: draft });
      app.store.dispatch({ type: 'toast', text: t('problemOther') });
    },
  );
  return (
    <form
      class="composer"
      onSubmit={(e) => {
        e.preventDefault();
        send();
      }}
    >
      <label class="button plain only-icon attach" title={t('sendFile')}>
        <Icon name="attach" />
        <span class="hidden-text">{t('sendFile')}</span>
        <FileInput multiple onChosen={sendFiles} />
      </label>
      <textarea
        ref={area}
        class="input"
        rows={1}
        dir="auto"
        placeholder={t('writeTo', { name: nameOf(contact) })}
        aria-label={t('writeTo', { name: nameOf(contact) })}
        aria-invalid={tooLong}
        value={draft}
        onInput={(e) => app.store.dispatch({ type: 'draft', id: contact.id, text: e.currentTarget.value })}
        onKeyDown={(e) => {
          if (e.key !== 'Enter' || e.shiftKey || e.isComposing) return;
          e.preventDefault();
          send();
        }}
      />
      <button type="submit" class="button main only-icon" aria-label={t('send')} disabled={!draft.trim() || tooLong}>
        <Icon name="send" />
      </button>
      {tooLong && (
        <div class="problem" role="alert">
          {t('problemTooLong')}
        </div>
      )}
    </form>
  );
}

function Held(props: { contact: Contact; why: Exclude<ReturnType<typeof sendable>, 'yes'> }) {
  const app = useApp();
  const t = useT();
  const name = nameOf(props.contact);
  if (props.why === 'changed') {
    return (
      <div class="held">
        <Notice kind="danger">
          <p class="strong">{t('changedTitle', { name })}</p>
          <p>{t('changedText')}</p>
          <div>
            <button type="button" class="button" onClick={() => app.go({ screen: 'contact', id: props.contact.id, tab: 'verify' })}>
              {t('changedCompare')}
            </button>
          </div>
        </Notice>
      </div>
    );
  }
  const text: Record<Exclude<typeof props.why, 'changed'>, Key> = { blocked: 'heldBlocked', asked: 'heldAsked', asks: 'heldAsks', known: 'heldKnown' };
  return (
    <div class="held">
      <Notice icon="info">
        <p>{t(text[props.why], { name })}</p>
        {props.why === 'known' && (
          <div>
            <button type="button" class="button" onClick={() => app.go({ screen: 'add', address: props.contact.address })}>
              {t('ask')}
            </button>
          </div>
        )}
      </Notice>
    </div>
  );
}
