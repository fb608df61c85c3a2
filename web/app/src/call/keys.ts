// Single keys of a call: which there are, whose they are, and how a person changes them.

import type { Translator } from '../i18n.ts';

export const commands = ['microphone', 'camera', 'screen', 'hand', 'chat', 'talk', 'keys'] as const;
export type Command = (typeof commands)[number];

/** One key for each command. Letters are in lower case. */
export type Keys = Readonly<Record<Command, string>>;

export const defaultKeys: Keys = { microphone: 'm', camera: 'v', screen: 's', hand: 'h', chat: 'c', talk: ' ', keys: '?' };

export type Pressed = Pick<KeyboardEvent, 'key' | 'ctrlKey' | 'metaKey' | 'altKey'>;

/** The key of a press that can stand for a command: a letter, a digit or a sign, by itself. */
export function keyOf(e: Pressed): string | null {
  if (e.ctrlKey || e.metaKey || e.altKey) return null;
  const key = e.key.toLowerCase();
  return [...key].length === 1 && !/\p{Cc}/u.test(key) ? key : null;
}

/** Stored keys; what is missing, no key, or there twice is the default of all. */
export function parseKeys(stored: unknown): Keys {
  if (typeof stored !== 'object' || stored === null) return defaultKeys;
  const keys: Record<string, string> = {};
  for (const c of commands) {
    const key = (stored as Record<string, unknown>)[c];
    if (typeof key !== 'string' || keyOf({ key, ctrlKey: false, metaKey: false, altKey: false }) !== key) return defaultKeys;
    keys[c] = key;
  }
  return new Set(Object.values(keys)).size === commands.length ? (keys as Keys) : defaultKeys;
}

/** A key as it stands on a keyboard. */
export function keyText(t: Translator, key: string): string {
  return key === ' ' ? t('callKeyHold') : key.toUpperCase();
}
