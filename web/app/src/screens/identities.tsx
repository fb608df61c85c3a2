import { Avatar, Icon } from '@trunkline/ui';
import { useApp, useT } from '../app.ts';
import type { Identity } from '../state.ts';

/** The other identities of this browser, and one more: what makes this tab somebody else's. */
export function Identities(props: { others: Identity[]; main?: boolean }) {
  const app = useApp();
  const t = useT();
  const become = (name: string | null) => {
    if (!app.engine.rest.tabs.become(name)) app.store.dispatch({ type: 'toast', text: t('identitiesEnough') });
  };
  return (
    <div class="stack">
      {props.others.map((other) => (
        <button key={other.name} type="button" class="button wide" onClick={() => become(other.name)}>
          <Avatar name={other.person || t('you')} seed={other.name} />
          {other.person ? t('identityOpen', { name: other.person }) : t('identityUnnamed')}
        </button>
      ))}
      <button type="button" class={props.main && props.others.length === 0 ? 'button main wide' : 'button wide'} onClick={() => become(null)}>
        <Icon name="add" />
        {t('identityNew')}
      </button>
    </div>
  );
}
