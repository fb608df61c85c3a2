import { expect, test } from 'vitest';
import { commands, defaultKeys, keyOf, parseKeys } from '../src/call/keys.ts';
import { commandOf } from '../src/call/keyuse.ts';
import { rebind } from '../src/call/rebind.ts';

const press = (key: string, more: Partial<Record<'ctrlKey' | 'metaKey' | 'altKey' | 'repeat', boolean>> = {}) => ({ key, ctrlKey: false, metaKey: false, altKey: false, repeat: false, ...more });

test('a letter by itself is a command, in either case, and nothing with another key held', () => {
  expect(commandOf(press('m'), defaultKeys)).toBe('microphone');
  expect(commandOf(press('M'), defaultKeys)).toBe('microphone');
  expect(commandOf(press('?'), defaultKeys)).toBe('keys');
  expect(commandOf(press('x'), defaultKeys)).toBe(null);
  for (const held of ['ctrlKey', 'metaKey', 'altKey'] as const) expect(commandOf(press('m', { [held]: true }), defaultKeys)).toBe(null);
});

test('a held key says once what it wants, except the one that is held to talk', () => {
  expect(commandOf(press('m', { repeat: true }), defaultKeys)).toBe(null);
  expect(commandOf(press(' ', { repeat: true }), defaultKeys)).toBe('talk');
});

test('keys with a name of more than a sign stand for nothing', () => {
  for (const name of ['Tab', 'Escape', 'Enter', 'F1', 'ArrowUp', 'Dead', '', '\u0000']) expect(keyOf(press(name)), name).toBe(null);
  expect(keyOf(press('Ö'))).toBe('ö');
});

test('a key is given to one command only, and whoever has it is named', () => {
  expect(rebind(defaultKeys, 'hand', 'm')).toEqual({ taken: 'microphone' });
  const changed = rebind(defaultKeys, 'hand', 'x');
  expect(changed).toEqual({ keys: { ...defaultKeys, hand: 'x' } });
  expect('keys' in changed && commandOf(press('x'), changed.keys)).toBe('hand');
  expect('keys' in changed && commandOf(press('h'), changed.keys)).toBe(null);
  // Its own key again is no conflict.
  expect(rebind(defaultKeys, 'hand', 'h')).toEqual({ keys: defaultKeys });
});

test('stored keys come back, and what does not fit is the usual ones', () => {
  const own = { ...defaultKeys, talk: 't' };
  expect(parseKeys(JSON.parse(JSON.stringify(own)))).toEqual(own);
  for (const odd of [undefined, null, 1, 'm', [], {}, { ...defaultKeys, talk: 'm' }, { ...defaultKeys, talk: 'Tab' }, { ...defaultKeys, talk: 'M' }, { ...defaultKeys, talk: 7 }]) {
    expect(parseKeys(odd)).toEqual(defaultKeys);
  }
  expect(new Set(commands.map((c) => defaultKeys[c])).size).toBe(commands.length);
});
