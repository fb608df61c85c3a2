import { Field, once } from '@trunkline/ui';
import { useState } from 'preact/hooks';
import { useApp, useT } from '../app.ts';
import type { Contact } from '../state.ts';
import { Notice } from './parts.tsx';
import { Copy, problemKey } from './pieces.tsx';

/** What is known of somebody, and what one calls them. */
export function Details(props: { contact: Contact; onBlock: () => void; onUnblock: () => void }) {
  const app = useApp();
  const t = useT();
  const { contact } = props;
  const [name, setName] = useState(contact.name);
  const rename = once(
    async () => {
      const problem = await app.engine.rest.people.rename(contact.id, name.trim());
      app.store.dispatch({ type: 'toast', text: problem ? t(problemKey(problem)) : t('saved') });
    },
    () => app.store.dispatch({ type: 'toast', text: t('problemOther') }),
  );
  return (
    <div class="stack padded">
      <form
        class="card"
        onSubmit={(e) => {
          e.preventDefault();
          rename();
        }}
      >
        <Field label={t('petname')} hint={t('petnameHint')} value={name} onInput={setName} attributes={{ maxLength: 64, autocomplete: 'off' }} />
        <div>
          <button type="submit" class="button" disabled={name.trim() === contact.name}>
            {t('save')}
          </button>
        </div>
      </form>
      <div class="card">
        <h2>{t('address')}</h2>
        <code>{contact.address || contact.id}</code>
        <div>
          <Copy text={contact.address || contact.id} label={t('copyAddress')} />
        </div>
        <p class="muted">{t('deviceCount', { count: contact.devices })}</p>
        {contact.devicesChanged && <Notice kind="warn">{t('devicesChanged')}</Notice>}
      </div>
      <div>
        {contact.standing === 'blocked' ? (
          <button type="button" class="button" onClick={props.onUnblock}>
            {t('unblock')}
          </button>
        ) : (
          <button type="button" class="button danger" onClick={props.onBlock}>
            {t('block')}
          </button>
        )}
      </div>
    </div>
  );
}
