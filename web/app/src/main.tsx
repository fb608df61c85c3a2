import '@trunkline/ui/tokens.css';
import '@trunkline/ui/parts.css';
import './app.css';
import './call/call.css';
import './rooms/room.css';
import { render } from 'preact';
import { type App, AppContext } from './app.ts';
import { fetched } from './fetched.ts';
import { translator } from './i18n.ts';
import { Live } from './live.ts';
import { apply, loadPrefs } from './prefs.ts';
import { reduce } from './reduce.ts';
import { parseRoute, type Route, routeText } from './route.ts';
import { Shell } from './screens/shell.tsx';
import type { Action, State } from './state.ts';
import { Store } from './store.ts';

async function main(): Promise<void> {
  const prefs = loadPrefs();
  const dark = matchMedia('(prefers-color-scheme: dark)');
  apply(prefs, dark.matches);
  const initial: State = {
    t: await translator(prefs.language),
    prefs,
    route: parseRoute(location),
    me: { is: 'opening' },
    link: { is: 'down' },
    contacts: new Map(),
    chats: new Map(),
    transfers: new Map(),
    call: null,
    room: null,
    card: { is: 'none' },
    met: '',
    bundle: null,
    bundlePutOff: '',
    phrase: { is: 'hidden' },
    toasts: [],
    version: __VERSION__,
  };
  const store = new Store<State, Action>(initial, reduce);
  const engine = new Live(store, dark);
  dark.addEventListener('change', () => apply(store.state.prefs, dark.matches));

  const go = (route: Route) => {
    const text = routeText(route);
    if (text !== location.pathname + location.hash) history.pushState(null, '', text);
    store.dispatch({ type: 'route', route });
  };
  const moved = () => store.dispatch({ type: 'route', route: parseRoute(location) });
  addEventListener('popstate', moved);
  addEventListener('hashchange', () => {
    moved();
    engine.routed();
  });

  const app: App = { store, engine, go };
  const root = document.getElementById('app');
  if (!root) throw new Error('the page has no place for the app');
  render(
    <AppContext.Provider value={app}>
      <Shell />
    </AppContext.Provider>,
    root,
  );
  engine.start();
  // The worker comes last: it fetches the bundle once more, and nobody waits for it.
  await engine.idle();
  await (await fetched(import('./bundle.ts'))).registerWorker();
  await engine.lookForBundle();
}

declare const __VERSION__: string;

void main();
