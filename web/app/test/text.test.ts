import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import de from '../src/locales/de.json' with { type: 'json' };
import en from '../src/locales/en.json' with { type: 'json' };
import { wordsOnTheWay } from '../build/texts.ts';
import roomsDe from '../src/rooms/locales/room-de.json' with { type: 'json' };
import roomsEn from '../src/rooms/locales/room-en.json' with { type: 'json' };
import { format, type Key, translator } from '../src/i18n.ts';
import { pseudo } from '../src/pseudo.ts';
import { defaults, parsePrefs } from '../src/prefs.ts';

const names = (text: string) => (text.match(/\{\w+\}/g) ?? []).filter((n, i, all) => all.indexOf(n) === i).sort();

test('both languages say the same things with the same names in them', () => {
  expect(Object.keys(de).sort()).toEqual(Object.keys(en).sort());
  for (const key of Object.keys(en) as Key[]) {
    expect(de[key].trim(), key).not.toBe('');
    expect(names(de[key]), key).toEqual(names(en[key]));
    expect(de[key].split('|').length, key).toBe(en[key].split('|').length);
  }
});

test('the words of meetings are complete in both languages, and each is shown somewhere', () => {
  expect(Object.keys(roomsDe).sort()).toEqual(Object.keys(roomsEn).sort());
  for (const key of Object.keys(roomsEn) as (keyof typeof roomsEn)[]) {
    expect(roomsDe[key].trim(), key).not.toBe('');
    expect(names(roomsDe[key]), key).toEqual(names(roomsEn[key]));
    expect(roomsDe[key].split('|').length, key).toBe(roomsEn[key].split('|').length);
    // The German app says Sie.
    expect(roomsDe[key], key).not.toMatch(/\b(du|dich|dir|dein\w*)\b/i);
  }
  const dir = path.join(import.meta.dirname, '..', 'src', 'rooms');
  const text = readdirSync(dir).filter((n) => /\.tsx?$/.test(n)).map((n) => readFileSync(path.join(dir, n), 'utf8')).join('\n');
  expect(Object.keys(roomsEn).filter((key) => !text.includes(`'${key}'`))).toEqual([]);
});

test('no message is left that nothing shows', () => {
  const source: string[] = [];
  for (const dir of ['src', 'src/screens', 'src/call', 'src/cards']) {
    const full = path.join(import.meta.dirname, '..', dir);
    for (const name of readdirSync(full)) if (/\.tsx?$/.test(name)) source.push(readFileSync(path.join(full, name), 'utf8'));
  }
  const text = source.join('\n');
  expect(Object.keys(en).filter((key) => !text.includes(`'${key}'`))).toEqual([]);
});

test('the texts on the way into a call come first, the others when they are asked for, and none is in neither', async () => {
  const words = wordsOnTheWay();
  for (const language of ['en', 'de'] as const) {
    const t = await translator(language);
    const first = Object.keys(en).filter((key) => t(key as Key) !== '');
    expect(first).toEqual(Object.keys(en).filter((key) => words.has(key)));
    expect(first).toEqual(expect.arrayContaining(['callHangup', 'meetJoin', 'opening', 'problemUnreachable']));
    expect(first).not.toContain('phraseTitle');
    await t.rest();
    expect(Object.keys(en).filter((key) => t(key as Key) === '')).toEqual([]);
  }
});

test('plurals and names are put in', async () => {
  const t = await translator('en');
  await t.rest();
  expect(t('deviceCount', { count: 1 })).toBe('1 device');
  expect(t('deviceCount', { count: 3 })).toBe('3 devices');
  expect(t('writeTo', { name: 'Bo{b}' })).toBe('Write to Bo{b}');
  expect(format('{a}{b}', { a: 1 }, new Intl.PluralRules('en'))).toBe('1{b}');
});

test('the pseudo-language keeps names and plurals', () => {
  for (const text of Object.values(en)) {
    expect(names(pseudo(text))).toEqual(names(text));
    expect(pseudo(text).split('|').length).toBe(text.split('|').length);
    expect(pseudo(text).length).toBeGreaterThan(text.length);
  }
});

test('preferences that are damaged are the default', () => {
  const good = defaults(['en']);
  for (const bad of [null, '', '{', '[]', 'null', '3', '{"language":"xx","theme":5,"name":7}', `{"name":"${'a'.repeat(5000)}"}`]) expect(parsePrefs(bad, ['en'])).toEqual(good);
  expect(parsePrefs('{"theme":"dark","language":"de","name":"Ada"}', ['en'])).toEqual({ ...good, theme: 'dark', language: 'de', name: 'Ada' });
  expect(defaults(['de-AT']).language).toBe('de');
});
