import { Avatar, Field, Icon, once } from '@trunkline/ui';
import { useState } from 'preact/hooks';
import { useApp, useT, useView } from '../app.ts';
import { sendable } from '../reduce.ts';
import type { Route } from '../route.ts';
import { nameOf, Notice, Screen } from './parts.tsx';

/** A name is asked for when it is first needed. */
export function YourName() {
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

/** The id in the address of a link. */
export function guestId(address: string): string {
  return address.split('@')[0]?.toLowerCase() ?? '';
}

/** Somebody's link was opened. Nothing is sent before the press. */
export function Guest(props: { route: Extract<Route, { screen: 'call' }> }) {
  const app = useApp();
  const t = useT();
  const { address, name } = props.route;
  const prefs = useView((s) => s.prefs);
  const contacts = useView((s) => s.contacts);
  const [problem, setProblem] = useState<string>();
  const [busy, setBusy] = useState(false);
  const id = guestId(address);
  const known = contacts.get(id);
  const shown = known ? nameOf(known) : name || nameOf({ name: '', id });
  const ask = once(
    async () => {
      setProblem(undefined);
      if (known && sendable(known) === 'yes') return app.engine.call?.prepare(known.id, true);
      setBusy(true);
      try {
        const { people } = await app.engine.whole();
        const result = await people.knock(address, t('meetKnock'), prefs.name.trim());
        if ('problem' in result) {
          const [{ problemKey }] = await Promise.all([import('./pieces.tsx'), t.rest()]);
          return setProblem(t(problemKey(result.problem)));
        }
        const contact = app.store.state.contacts.get(result.id);
        if (name && contact?.name === '') await people.rename(result.id, name);
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
