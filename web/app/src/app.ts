import { createContext } from 'preact';
import { useContext, useEffect, useState } from 'preact/hooks';
import type { Engine } from './engine.ts';
import type { Translator } from './i18n.ts';
import { type Route, routeText } from './route.ts';
import type { Action, State } from './state.ts';
import { type Store, useSelected } from './store.ts';

/** What every screen works with: the state, what can be done, and where to go. */
export interface App {
  store: Store<State, Action>;
  engine: Engine;
  go: (route: Route) => void;
}

export const AppContext = createContext<App | null>(null);

export function useApp(): App {
  const app = useContext(AppContext);
  if (!app) throw new Error('a screen outside of the app');
  return app;
}

export function useView<T>(select: (state: State) => T): T {
  return useSelected(useApp().store, select);
}

export function useT(): Translator {
  return useView((s) => s.t);
}

/** A link that moves inside the app. It is a real link, so that it can be opened elsewhere. */
export function linkTo(app: App, route: Route): { href: string; onClick: (e: MouseEvent) => void } {
  return {
    href: routeText(route),
    onClick: (e) => {
      if (e.button !== 0 || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey) return;
      e.preventDefault();
      app.go(route);
    },
  };
}

/** Whether a media query holds, and again when that changes. */
export function useMedia(query: string): boolean {
  const [holds, setHolds] = useState(() => matchMedia(query).matches);
  useEffect(() => {
    const list = matchMedia(query);
    const changed = () => setHolds(list.matches);
    changed();
    list.addEventListener('change', changed);
    return () => list.removeEventListener('change', changed);
  }, [query]);
  return holds;
}
