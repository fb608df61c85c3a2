// What a person chose about the look of the app, in this browser. Nothing here is a secret.

import { defaultKeys, type Keys, parseKeys } from './call/keys.ts';
import { first, here } from './identities.ts';

export const languages = ['en', 'de', 'qps'] as const;
export type Language = (typeof languages)[number];
export const themes = ['system', 'light', 'dark'] as const;
export type Theme = (typeof themes)[number];

export interface Prefs {
  language: Language;
  theme: Theme;
  /** My own name, told to people I knock at. */
  name: string;
  /** Only the relay's address is shown to the other side of a call. */
  hideAddress: boolean;
  /** Whether the noise of the room is taken out of the own voice. */
  noiseGate: boolean;
  /** Whether single keys do something. */
  singleKeys: boolean;
  keys: Keys;
  /** The words of the phrase were written down and three of them confirmed. */
  backedUp: boolean;
}

const keyOf = (identity: string) => (identity === first ? 'trunkline.prefs' : `trunkline.prefs.${identity}`);

export function defaults(system: readonly string[]): Prefs {
  const german = system[0]?.toLowerCase().startsWith('de') ?? false;
  return { language: german ? 'de' : 'en', theme: 'system', name: '', hideAddress: false, noiseGate: false, singleKeys: true, keys: defaultKeys, backedUp: false };
}

/** Reads preferences; what is missing or wrong is the default. */
export function parsePrefs(text: string | null, system: readonly string[]): Prefs {
  const prefs = defaults(system);
  if (!text || text.length > 4096) return prefs;
  let stored: unknown;
  try {
    stored = JSON.parse(text);
  } catch {
    return prefs;
  }
  if (typeof stored !== 'object' || stored === null) return prefs;
  const s = stored as Record<string, unknown>;
  return {
    language: languages.find((l) => l === s['language']) ?? prefs.language,
    theme: themes.find((t) => t === s['theme']) ?? prefs.theme,
    name: typeof s['name'] === 'string' ? s['name'].slice(0, 64) : prefs.name,
    hideAddress: typeof s['hideAddress'] === 'boolean' ? s['hideAddress'] : prefs.hideAddress,
    noiseGate: typeof s['noiseGate'] === 'boolean' ? s['noiseGate'] : prefs.noiseGate,
    singleKeys: typeof s['singleKeys'] === 'boolean' ? s['singleKeys'] : prefs.singleKeys,
    keys: parseKeys(s['keys']),
    backedUp: typeof s['backedUp'] === 'boolean' ? s['backedUp'] : prefs.backedUp,
  };
}

/** Those of an identity. A new one looks like the first, and has a name and a phrase of its own. */
export function loadPrefs(identity = here()): Prefs {
  const own = localStorage.getItem(keyOf(identity));
  if (own !== null) return parsePrefs(own, navigator.languages);
  return { ...parsePrefs(localStorage.getItem(keyOf(first)), navigator.languages), name: '', backedUp: false };
}

export function savePrefs(prefs: Prefs): void {
  localStorage.setItem(keyOf(here()), JSON.stringify(prefs));
}

/** Puts language, direction and theme onto the document. */
export function apply(prefs: Prefs, systemDark: boolean): void {
  const root = document.documentElement;
  root.lang = prefs.language === 'qps' ? 'en' : prefs.language;
  root.dir = prefs.language === 'qps' ? 'rtl' : 'ltr';
  root.dataset['theme'] = prefs.theme === 'system' ? (systemDark ? 'dark' : 'light') : prefs.theme;
}
