import { lazy } from '../lazy.tsx';
import type { Route } from '../route.ts';

// Every screen but the one of an opened link: each is fetched when it is shown for the first time.
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
const Settings = lazy(() => import('./settings.tsx').then((m) => m.Settings));

/** The screen of a route. */
export function Other(props: { route: Route }) {
  const { route } = props;
  switch (route.screen) {
    case 'contact':
      return <Person key={route.id} id={route.id} tab={route.tab} />;
    case 'add':
      return <Add key={route.address} address={route.address} />;
    case 'call':
      return <Host />;
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
