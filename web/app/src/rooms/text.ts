import { useEffect, useReducer } from 'preact/hooks';
import { useView } from '../app.ts';
import { format, type Params } from '../i18n.ts';
import { pseudo } from '../pseudo.ts';
import type { Language } from '../prefs.ts';
import type en from './locales/room-en.json';

// The words of meetings are a file of their own: whoever calls one person does not fetch them.

export type RoomKey = keyof typeof en;
export type RoomTexts = (key: RoomKey, params?: Params) => string;
type Messages = Record<RoomKey, string>;

const known = new Map<Language, Messages>();

// The rules of plurals cost more to make than a tile costs to draw, and every part of every tile asks for its words.
let latest: { messages: Messages; locale: string; texts: RoomTexts } | undefined;

/** Fetches the words of a language. */
export async function loadRoomTexts(language: Language): Promise<void> {
  if (known.has(language)) return;
  const messages: Messages = language === 'de' ? (await import('./locales/room-de.json')).default : (await import('./locales/room-en.json')).default;
  known.set(language, language === 'qps' ? (Object.fromEntries(Object.entries(messages).map(([k, v]) => [k, pseudo(v)])) as Messages) : messages);
}

export function roomTexts(language: Language, locale: string): RoomTexts {
  const messages = known.get(language) ?? [...known.values()][0];
  if (!messages) throw new Error('a meeting without words');
  if (latest?.messages !== messages || latest.locale !== locale) {
    const plural = new Intl.PluralRules(locale);
    latest = { messages, locale, texts: (key, params) => format(messages[key], params, plural) };
  }
  return latest.texts;
}

/** The words of meetings, in the language of the page. */
export function useRoomT(): RoomTexts {
  const { language, locale } = useView((s) => s.t);
  const [, again] = useReducer<number, void>((n) => n + 1, 0);
  useEffect(() => {
    if (known.has(language)) return;
    let gone = false;
    // Offline the words of before stay; the next language that is here takes their place.
    loadRoomTexts(language).then(() => !gone && again(), () => undefined);
    return () => {
      gone = true;
    };
  }, [language]);
  return roomTexts(language, locale);
}
