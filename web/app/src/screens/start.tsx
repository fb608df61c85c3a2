import { Avatar, Dialog, Icon, type IconName } from '@trunkline/ui';
import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';
import { linkTo, useApp, useT, useView } from '../app.ts';
import { listed, sendable } from '../reduce.ts';
import type { Contact } from '../state.ts';
import { Copy, nameOf } from './parts.tsx';

/** The three things that people come for. */
export function Start(props: { link: string }) {
  const app = useApp();
  const t = useT();
  const [open, setOpen] = useState<'call' | 'file' | null>(null);
  const close = () => setOpen(null);
  return (
    <div class="start">
      <button type="button" class="start-tile main" onClick={() => setOpen('call')}>
        <Icon name="video" />
        {t('newCall')}
      </button>
      <a class="start-tile" {...linkTo(app, { screen: 'add', address: '' })}>
        <Icon name="scan" />
        {t('joinLink')}
      </a>
      <button type="button" class="start-tile" onClick={() => setOpen('file')}>
        <Icon name="file" />
        {t('sendFile')}
      </button>
      {open === 'call' && (
        <Choose title={t('newCall')} link={props.link} onClose={close}>
          {(contact) => (
            <>
              <Pick icon="phone" label={t('callPersonVoice', { name: nameOf(contact) })} onPick={() => (close(), app.engine.call?.prepare(contact.id, false))} />
              <Pick icon="video" label={t('callPersonVideo', { name: nameOf(contact) })} onPick={() => (close(), app.engine.call?.prepare(contact.id, true))} />
            </>
          )}
        </Choose>
      )}
      {open === 'file' && (
        <Choose title={t('sendFile')} link={props.link} onClose={close}>
          {(contact) => (
            <label class="button plain only-icon attach" title={t('sendFileTo', { name: nameOf(contact) })}>
              <Icon name="attach" />
              <span class="hidden-text">{t('sendFileTo', { name: nameOf(contact) })}</span>
              <input
                type="file"
                multiple
                onChange={(e) => {
                  for (const file of e.currentTarget.files ?? []) app.engine.sendFile(contact.id, file);
                  close();
                  app.go({ screen: 'contact', id: contact.id, tab: 'chat' });
                }}
              />
            </label>
          )}
        </Choose>
      )}
    </div>
  );
}

function Pick(props: { icon: IconName; label: string; onPick: () => void }) {
  return (
    <button type="button" class="button plain only-icon" aria-label={props.label} onClick={props.onPick}>
      <Icon name={props.icon} />
    </button>
  );
}

/** Somebody who is known, or the link for somebody who is not. */
function Choose(props: { title: string; link: string; onClose: () => void; children: (contact: Contact) => ComponentChildren }) {
  const t = useT();
  const contacts = useView((s) => s.contacts);
  const chats = useView((s) => s.chats);
  const people = listed(contacts, chats).people.filter((c) => sendable(c) === 'yes');
  return (
    <Dialog title={props.title} closeLabel={t('close')} onClose={props.onClose}>
      {people.length > 0 && (
        <ul class="choose">
          {people.map((c) => (
            <li key={c.id} class="row">
              <Avatar name={nameOf(c)} seed={c.id} />
              <span class="grow cut">{nameOf(c)}</span>
              {props.children(c)}
            </li>
          ))}
        </ul>
      )}
      {people.length > 0 && <h3>{t('somebodyNew')}</h3>}
      <p class="muted">{t('somebodyNewText')}</p>
      <div>
        <Copy text={props.link} label={t('copyLink')} main />
      </div>
    </Dialog>
  );
}
