import { Toasts } from '@trunkline/ui';
import { CallLayer } from '../call/layer.tsx';
import { useApp, useMedia, useT, useView } from '../app.ts';
import { lazy } from '../lazy.tsx';
import type { Route } from '../route.ts';
import { Guest, guestId } from './guest.tsx';
import { Opening } from './opening.tsx';

// What nobody needs on the way from a link into a call is fetched when it is opened.
const Side = lazy(() => import('./side.tsx').then((m) => m.Side), 'side');
const Other = lazy<{ route: Route }>(() => import('./other.tsx').then((m) => m.Other));
const Welcome = lazy(() => import('./welcome.tsx').then((m) => m.Welcome));
const BundleNotice = lazy(() => import('./update.tsx').then((m) => m.BundleNotice));
const RoomAbove = lazy(() => import('../rooms/room.tsx').then((m) => m.withTexts(m.RoomAbove)));

export function Shell() {
  const app = useApp();
  const t = useT();
  const me = useView((s) => s.me);
  const route = useView((s) => s.route);
  const toasts = useView((s) => s.toasts);
  const meeting = useView((s) => s.room !== null);
  const phone = useMedia('(max-width: 767px)');
  const atHome = route.screen === 'home' || route.screen === 'invite' || route.screen === 'unknown';
  // A guest of a meeting needs no account.
  const visitor = route.screen === 'room' && route.link !== '' && (me.is === 'unregistered' || me.is === 'elsewhere');
  const free = route.screen === 'about' || route.screen === 'settings' || visitor;
  // Whoever opened a link came for one thing. Once the two know each other and no call is on, the people are there, too.
  const guest = useView((s) => s.route.screen === 'call' && s.route.address !== '' && (s.call !== null || s.contacts.get(guestId(s.route.address))?.standing !== 'accepted'));
  const offered = useView((s) => s.bundle?.offered !== undefined && s.bundle.offered !== '' && s.bundle.offered !== s.bundlePutOff);
  return (
    <>
      <a class="skip button main" href="#main">
        {t('skip')}
      </a>
      {offered && <BundleNotice />}
      {me.is === 'ready' && !guest ? (
        <div class={phone ? 'shell phone' : 'shell'}>
          {(!phone || atHome) && <Side phone={phone} />}
          {(!phone || !atHome) && <Pane route={route} />}
        </div>
      ) : free || (me.is === 'ready' && guest) ? (
        <div class={phone ? 'shell alone phone' : 'shell alone'}>
          <Pane route={route} />
        </div>
      ) : me.is === 'opening' || (me.is === 'unregistered' && me.registering && !me.strange && !me.lost) ? (
        <Opening registering={me.is !== 'opening'} />
      ) : (
        <Welcome />
      )}
      <CallLayer />
      {meeting && <RoomAbove />}
      <Toasts label={t('messages')} toasts={toasts} dismissLabel={t('dismiss')} onDismiss={(id) => app.store.dispatch({ type: 'dismiss', id })} />
    </>
  );
}

function Pane(props: { route: Route }) {
  const { route } = props;
  return route.screen === 'call' && route.address ? <Guest key={route.address} route={route} /> : <Other route={route} />;
}
