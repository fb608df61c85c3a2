import { Toasts } from '@trunkline/ui';
import { CallLayer } from '../call/layer.tsx';
import { useApp, useMedia, useT, useView } from '../app.ts';
import { lazy } from '../lazy.tsx';
import type { Route } from '../route.ts';
import { Guest, guestId } from './guest.tsx';
import { Opening } from './opening.tsx';

// What nobody needs on the way from a link into a call is fetched when it is opened.
const Side = lazy(() => import('./side.tsx').then((m) => m.Side), 'side');
const Welcome = lazy(() => import('./welcome.tsx').then((m) => m.Welcome));
const BundleNotice = lazy(() => import('./update.tsx').then((m) => m.BundleNotice));
const Add = lazy(() => import('./add.tsx').then((m) => m.Add));
const Person = lazy(() => import('./person.tsx').then((m) => m.Person));
const Home = lazy(() => import('./side.tsx').then((m) => m.Home));
const Host = lazy(() => import('./host.tsx').then((m) => m.Host));
const CardScreen = lazy(() => import('./card.tsx').then((m) => m.CardScreen));
const About = lazy(() => import('./about.tsx').then((m) => m.About));
const Devices = lazy(() => import('./devices.tsx').then((m) => m.Devices));
const Join = lazy(() => import('./join.tsx').then((m) => m.Join));
const MediaScreen = lazy(() => import('./media.tsx').then((m) => m.MediaScreen));
const NodeView = lazy(() => import('./nodeview.tsx').then((m) => m.NodeView));
const PhraseScreen = lazy(() => import('./phrase.tsx').then((m) => m.PhraseScreen));
const SendFile = lazy(() => import('./sendfile.tsx').then((m) => m.SendFile));
const TransfersScreen = lazy(() => import('./transfer.tsx').then((m) => m.TransfersScreen));
const Rooms = lazy<{ route: Extract<Route, { screen: 'room' }> }>(() => import('../rooms/room.tsx').then((m) => m.withTexts(m.Rooms)));
const RoomAbove = lazy(() => import('../rooms/room.tsx').then((m) => m.withTexts(m.RoomAbove)));
const Settings = lazy(() => import('./settings.tsx').then((m) => m.Settings));

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
  switch (route.screen) {
    case 'contact':
      return <Person key={route.id} id={route.id} tab={route.tab} />;
    case 'add':
      return <Add key={route.address} address={route.address} />;
    case 'call':
      return route.address ? <Guest key={route.address} route={route} /> : <Host />;
    case 'room':
      return <Rooms route={route} />;
    case 'join':
      return <Join />;
    case 'card':
      return <CardScreen text={route.text} />;
    case 'send':
      return <SendFile />;
    case 'settings':
      return <Settings />;
    case 'phrase':
      return <PhraseScreen />;
    case 'devices':
      return <Devices />;
    case 'media':
      return <MediaScreen />;
    case 'transfers':
      return <TransfersScreen />;
    case 'node':
      return <NodeView />;
    case 'about':
      return <About />;
    case 'home':
    case 'invite':
    case 'unknown':
      return <Home />;
  }
}

