import { Field, Icon, once } from '@trunkline/ui';
import { useState } from 'preact/hooks';
import { linkTo, useApp, useT, useView } from '../app.ts';
import { lazy } from '../lazy.tsx';
import { isInvite } from '../links.ts';
import { Identities } from './identities.tsx';
import type { Strange } from '../state.ts';
import { Notice } from './parts.tsx';
import { Copy, problemKey } from './pieces.tsx';

const Recover = lazy(() => import('./return.tsx').then((m) => m.Recover));
const JoinDevice = lazy(() => import('./return.tsx').then((m) => m.JoinDevice));

/** Everything before there is a mailbox. With an invitation in the link nobody sees more of it
 * than a moment's line. */
export function Welcome() {
  const app = useApp();
  const t = useT();
  const me = useView((s) => s.me);
  const route = useView((s) => s.route);
  return (
    <main class="welcome" id="main">
      <div class="welcome-card">
        <img src="/icon.svg" width="64" height="64" alt="" />
        <h1>Trunkline</h1>
        <p class="muted">{t('welcomeText')}</p>
        {me.is === 'opening' && (
          <p class="row" role="status">
            <span class="spinner" />
            {t('opening')}
          </p>
        )}
        {me.is === 'elsewhere' && (
          <Notice>
            <p>{t('elsewhere')}</p>
            <button type="button" class="button wide" onClick={() => app.engine.rest.tabs.takeOver()}>
              {t('useHere')}
            </button>
            <p>{t('elsewhereOther')}</p>
            <Identities others={me.others} main />
          </Notice>
        )}
        {me.is === 'broken' && (
          <Notice kind="danger">
            <p>{t(problemKey(me.problem))}</p>
            <div>
              <button type="button" class="button" onClick={() => location.reload()}>
                {t('retry')}
              </button>
            </div>
          </Notice>
        )}
        {me.is === 'unregistered' && me.lost && (
          <Notice kind="warn">
            <p class="strong">{t('lostTitle')}</p>
            <p>{t('lostText')}</p>
            <div>
              <button type="button" class="button" onClick={() => app.engine.rest.newcomer.beginAnew()}>
                {t('lostAnew')}
              </button>
            </div>
          </Notice>
        )}
        {me.is === 'unregistered' && me.strange && <StrangeNode node={me.strange} />}
        {me.is === 'unregistered' && !me.registering && (route.screen === 'call' || route.screen === 'add') && (
          <Notice>
            <p>{t(route.screen === 'call' ? 'welcomeCall' : 'welcomeAdd')}</p>
            <div>
              <Copy text={location.href} label={t('copyLink')} />
            </div>
          </Notice>
        )}
        {me.is === 'unregistered' && !me.strange && (me.registering ? <p class="row" role="status"><span class="spinner" />{t('registering')}</p> : <Invite problem={me.problem === null ? null : t(problemKey(me.problem))} />)}
        <nav class="row wrap welcome-links" aria-label={t('more')}>
          <a {...linkTo(app, { screen: 'settings' })}>{t('settings')}</a>
          <a {...linkTo(app, { screen: 'about' })}>{t('aboutTitle')}</a>
        </nav>
      </div>
    </main>
  );
}

/** Reached by number in a local network, for example: the node proved its key, and the person says whether it is theirs. */
function StrangeNode(props: { node: Strange }) {
  const app = useApp();
  const t = useT();
  const [differs, setDiffers] = useState(false);
  const { node, domain } = props.node;
  if (differs) {
    return (
      <Notice kind="danger">
        <p role="alert">{t('nodeDiffers')}</p>
      </Notice>
    );
  }
  return (
    <section class="card">
      <h2>{t('nodeConfirmTitle')}</h2>
      <p>{t('nodeConfirmText', { host: location.host, domain })}</p>
      <code data-testid="node">{node.match(/.{1,4}/g)?.join(' ')}</code>
      <div class="row wrap">
        <button type="button" class="button main" onClick={() => app.engine.rest.newcomer.confirmNode()}>
          <Icon name="verified" />
          {t('nodeConfirm')}
        </button>
        <button type="button" class="button" onClick={() => setDiffers(true)}>
          {t('theyDiffer')}
        </button>
      </div>
    </section>
  );
}

function Invite(props: { problem: string | null }) {
  const app = useApp();
  const t = useT();
  const [text, setText] = useState('');
  const [problem, setProblem] = useState(props.problem ?? undefined);
  const [recovering, setRecovering] = useState(false);
  const [joining, setJoining] = useState(false);
  const register = once(
    (invite: string) => app.engine.rest.newcomer.register(invite),
    () => setProblem(t('problemOther')),
  );
  if (recovering) return <Recover onBack={() => setRecovering(false)} />;
  if (joining) return <JoinDevice />;
  return (
    <form
      class="stack wide"
      onSubmit={(e) => {
        e.preventDefault();
        if (!isInvite(text)) setProblem(t('problemInviteForm'));
        else register(text.trim());
      }}
    >
      <Field label={t('inviteLabel')} hint={t('inviteHint')} value={text} onInput={setText} problem={problem} attributes={{ autocomplete: 'off', spellcheck: false, inputMode: 'url' }} />
      <button type="submit" class="button main wide">
        {t('join')}
      </button>
      <button type="button" class="button plain wide" onClick={() => setRecovering(true)}>
        <Icon name="key" />
        {t('recover')}
      </button>
      <button type="button" class="button plain wide" onClick={() => setJoining(true)}>
        <Icon name="device" />
        {t('joinDevice')}
      </button>
    </form>
  );
}
