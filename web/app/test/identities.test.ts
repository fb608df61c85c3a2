import { beforeEach, expect, test, vi } from 'vitest';
import { another, become, first, here, identities, most } from '../src/identities.ts';
import { defaults, loadPrefs, savePrefs } from '../src/prefs.ts';

class Memory {
  private readonly map = new Map<string, string>();
  getItem = (key: string) => this.map.get(key) ?? null;
  setItem = (key: string, value: string) => void this.map.set(key, value);
}

beforeEach(() => {
  vi.stubGlobal('localStorage', new Memory());
  vi.stubGlobal('sessionStorage', new Memory());
  vi.stubGlobal('navigator', { languages: ['de-DE'] });
});

test('a browser begins with one identity, and a tab with the first', () => {
  expect(identities()).toEqual([first]);
  expect(here()).toBe(first);
});

test('another one is made until there are enough', () => {
  const names = [first];
  for (let name = another(); name !== null; name = another()) names.push(name);
  expect(names).toHaveLength(most);
  expect(new Set(names).size).toBe(most);
  expect(identities()).toEqual(names);
});

test('a tab becomes one that there is, and never one that somebody wrote there', () => {
  const name = another() ?? '';
  become(name);
  expect(here()).toBe(name);
  for (const odd of ['trunkline-9', '../trunkline', '']) {
    become(odd);
    expect(here(), odd).toBe(first);
  }
  for (const count of ['1e9', '-1', 'NaN', '2.5', 'many']) {
    localStorage.setItem('trunkline.identities', count);
    expect(identities(), count).toEqual([first]);
  }
});

test('a new identity looks like the first, and has a name and a phrase of its own', () => {
  savePrefs({ ...defaults(['de']), name: 'Alice', theme: 'dark', backedUp: true });
  become(another() ?? '');
  expect(loadPrefs()).toMatchObject({ name: '', theme: 'dark', backedUp: false });
  savePrefs({ ...loadPrefs(), name: 'Bob' });
  expect(loadPrefs(first).name).toBe('Alice');
  expect(loadPrefs().name).toBe('Bob');
});
