import { fetched } from './fetched.ts';
import { translator } from './i18n.ts';
import { apply, type Prefs, savePrefs } from './prefs.ts';
import type { Action, State } from './state.ts';
import type { Store } from './store.ts';
import type { TakeResult } from './sw/protocol.ts';

/** What the engine does without an identity: preferences, and the bundle that runs here. */
export class Base {
  readonly store: Store<State, Action>;
  private readonly dark: MediaQueryList;

  constructor(store: Store<State, Action>, dark: MediaQueryList) {
    this.store = store;
    this.dark = dark;
  }

  setPrefs(prefs: Prefs): void {
    const before = this.store.state.prefs;
    savePrefs(prefs);
    apply(prefs, this.dark.matches);
    this.store.dispatch({ type: 'prefs', prefs });
    if (prefs.language !== before.language) {
      void translator(prefs.language).then(async (t) => {
        await t.rest();
        // A second choice may have overtaken this one.
        if (this.store.state.prefs.language === prefs.language) this.store.dispatch({ type: 'language', t });
      });
    }
  }

  async lookForBundle(): Promise<void> {
    this.store.dispatch({ type: 'bundle', bundle: await (await fetched(import('./bundle.ts'))).bundleState() });
  }

  async takeBundle(digest: string): Promise<TakeResult> {
    return (await fetched(import('./bundle.ts'))).takeBundle(digest);
  }
}
