import { Avatar, Icon } from '@trunkline/ui';
import { linkTo, useApp, useT, useView } from '../app.ts';
import { sendable } from '../reduce.ts';
import { listed } from '../lists.ts';
import { FileInput, useSendFiles } from './fileinput.tsx';
import { nameOf, Screen } from './parts.tsx';

function SendInput(props: { contact: string }) {
  const app = useApp();
  const send = useSendFiles(props.contact);
  return <FileInput multiple onChosen={(chosen) => send(chosen, () => app.go({ screen: 'contact', id: props.contact, tab: 'chat' }))} />;
}

/** A file first, or a person first: here it is the person. */
export function SendFile() {
  const app = useApp();
  const t = useT();
  const contacts = useView((s) => s.contacts);
  const chats = useView((s) => s.chats);
  const known = listed(contacts, chats).people.filter((c) => sendable(c) === 'yes');
  return (
    <Screen title={t('sendFile')} narrow>
      <section class="card">
        <p class="muted">{t(known.length > 0 ? 'sendText' : 'sendNobody')}</p>
        {known.length > 0 ? (
          <ul class="plain-list">
            {known.map((contact) => (
              <li key={contact.id}>
                <label class="person file-to">
                  <Avatar name={nameOf(contact)} seed={contact.id} />
                  <span class="grow cut">{nameOf(contact)}</span>
                  <Icon name="attach" />
                  <span class="hidden-text">{t('sendTo', { name: nameOf(contact) })}</span>
                  <SendInput contact={contact.id} />
                </label>
              </li>
            ))}
          </ul>
        ) : (
          <div class="row wrap">
            <a class="button main" {...linkTo(app, { screen: 'call', address: '', name: '', invite: '' })}>
              <Icon name="link" />
              {t('newCall')}
            </a>
            <a class="button" {...linkTo(app, { screen: 'add', address: '' })}>
              <Icon name="add" />
              {t('addTitle')}
            </a>
          </div>
        )}
      </section>
    </Screen>
  );
}
