import first from 'texts/names/first';
import type en from './locales/en.json';
import type { Language } from './prefs.ts';

export type Key = keyof typeof en;
export type Messages = Record<Key, string>;
export type Params = Record<string, string | number>;

/** A message with {names} in it. Plurals are two messages behind "|": one and many, chosen by
 * {count}; both of our languages need no more. */
export function format(message: string, params: Params | undefined, plural: Intl.PluralRules): string {
  let text = message;
  if (text.includes('|') && params && typeof params['count'] === 'number') {
    const [one = '', many = one] = text.split('|');
    text = plural.select(params['count']) === 'one' ? one : many;
  }
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => {
    const value = params?.[name];
    return value === undefined ? whole : String(value);
  });
}

export interface Translator {
  (key: Key, params?: Params): string;
  /** Brings the texts that nobody needs on the way into a call: what is fetched later waits for them (lazy.tsx). */
  readonly rest: () => Promise<void>;
  readonly language: Language;
  readonly locale: string;
}

export async function translator(language: Language): Promise<Translator> {
  const messages: Partial<Messages> = {};
  const change = language === 'qps' ? (await import('./pseudo.ts')).pseudo : (text: string) => text;
  const add = (names: string[], texts: string[]) => {
    for (const [i, text] of texts.entries()) messages[names[i] as Key] = change(text);
  };
  add(first, (language === 'de' ? await import('texts/de/first') : await import('texts/en/first')).default);
  let rest: Promise<void> | undefined;
  const base = language === 'qps' ? 'en' : language;
  // The region is the browser's, for times and dates as the person knows them.
  const locale = globalThis.navigator?.languages?.find((l) => l.toLowerCase().startsWith(base)) ?? base;
  const plural = new Intl.PluralRules(locale);
  return Object.assign((key: Key, params?: Params) => format(messages[key] ?? '', params, plural), {
    language,
    locale,
    rest: () =>
      (rest ??= Promise.all([import('texts/names/rest'), language === 'de' ? import('texts/de/rest') : import('texts/en/rest')]).then(([names, texts]) => add(names.default, texts.default))),
  });
}
