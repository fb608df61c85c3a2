import { describe, expect, test } from 'vitest';
import { defaults } from '../src/prefs.ts';
import { advances, reduce, sendable } from '../src/reduce.ts';
import { listed, unread } from '../src/lists.ts';
import type { Action, Contact, Fate, Note, State } from '../src/state.ts';
import { Store } from '../src/store.ts';
import { translator } from '../src/i18n.ts';

const base: State = {
  t: await translator('en'),
  prefs: defaults(['en']),
  route: { screen: 'home' },
  me: { is: 'opening' },
  link: { is: 'down' },
  contacts: new Map(),
  chats: new Map(),
  transfers: new Map(),
  call: null, room: null,
  card: { is: 'none' },
  met: '',
  bundle: null,
  bundlePutOff: '',
  phrase: { is: 'hidden' },
  toasts: [],
  version: 'test',
};

const note = (id: string, created: number, more: Partial<Note> = {}): Note => ({ id, out: false, text: id, created, fate: 'delivered', unread: false, ...more });
const contact = (id: string, more: Partial<Contact> = {}): Contact => ({
  id, address: '', name: id, standing: 'accepted', trust: { is: 'unverified' }, compared: null, devicesChanged: false, devices: 1, knock: '', ...more,
});
const all = (actions: Action[], from = base) => actions.reduce(reduce, from);

describe('notes', () => {
  test('stand in the order of their time, whatever order they come in', () => {
    const s = all([
      { type: 'note', id: 'a', note: note('3', 3) },
      { type: 'note', id: 'a', note: note('1', 1) },
      { type: 'note', id: 'a', note: note('2', 2) },
    ]);
    expect(s.chats.get('a')?.notes.map((n) => n.id)).toEqual(['1', '2', '3']);
  });

  test('that come twice stand once', () => {
    const s = all([
      { type: 'note', id: 'a', note: note('1', 1) },
      { type: 'note', id: 'a', note: note('1', 1) },
    ]);
    expect(s.chats.get('a')?.notes).toHaveLength(1);
  });

  test('keep the draft that is being written', () => {
    const s = all([
      { type: 'draft', id: 'a', text: 'half a' },
      { type: 'note', id: 'a', note: note('1', 1, { unread: true }) },
      { type: 'notes', id: 'a', notes: [note('1', 1)], more: false },
    ]);
    expect(s.chats.get('a')?.draft).toBe('half a');
  });

  test('keep a fate that became known while they were read', () => {
    const s = all([
      { type: 'note', id: 'a', note: note('1', 1, { out: true, fate: 'accepted' }) },
      { type: 'fate', id: 'a', note: '1', fate: 'read' },
      { type: 'notes', id: 'a', notes: [note('1', 1, { out: true, fate: 'accepted' }), note('2', 2)], more: true },
    ]);
    expect(s.chats.get('a')?.notes.map((n) => n.fate)).toEqual(['read', note('2', 2).fate]);
    expect(s.chats.get('a')?.more).toBe(true);
  });

  test('are unread until they are seen', () => {
    let s = all([{ type: 'note', id: 'a', note: note('1', 1, { unread: true }) }]);
    expect(unread(s.chats.get('a'))).toBe(1);
    s = reduce(s, { type: 'seen', id: 'a' });
    expect(unread(s.chats.get('a'))).toBe(0);
    expect(reduce(s, { type: 'seen', id: 'a' })).toBe(s);
  });
});

describe('a fate', () => {
  const order: Fate[] = ['queued', 'accepted', 'stored', 'delivered', 'read'];
  test('goes forward only', () => {
    for (const [i, from] of order.entries()) for (const [j, to] of order.entries()) expect(advances(from, to), `${from} to ${to}`).toBe(j > i);
  });
  test('that is an end is overruled by a receipt and by nothing else', () => {
    for (const end of ['expired', 'refused'] as const) {
      expect(advances('stored', end)).toBe(true);
      expect(advances('read', end)).toBe(false);
      expect(advances('delivered', end)).toBe(false);
      expect(advances(end, 'read')).toBe(true);
      expect(advances(end, 'stored')).toBe(false);
    }
  });
  test('of a note that is not there changes nothing but the reference to it', () => {
    const s = all([{ type: 'note', id: 'a', note: note('1', 1, { out: true, fate: 'queued' }) }, { type: 'fate', id: 'a', note: '1', fate: 'read' }, { type: 'fate', id: 'a', note: '1', fate: 'stored' }]);
    expect(s.chats.get('a')?.notes[0]?.fate).toBe('read');
  });
});

test('nothing is sent to somebody whose keys changed, nor before both said yes', () => {
  expect(sendable(contact('a'))).toBe('yes');
  expect(sendable(contact('a', { trust: { is: 'verified' } }))).toBe('yes');
  expect(sendable(contact('a', { trust: { is: 'changed' } }))).toBe('changed');
  for (const standing of ['known', 'asked', 'asks', 'blocked'] as const) expect(sendable(contact('a', { standing }))).toBe(standing);
});

test('whoever waits for an answer stands first, and the newest word above older ones', () => {
  const s = all([
    { type: 'contacts', contacts: [contact('a'), contact('b'), contact('c', { standing: 'asks' }), contact('d', { standing: 'blocked' })] },
    { type: 'note', id: 'b', note: note('1', 1) },
  ]);
  const { asks, people, blocked } = listed(s.contacts, s.chats);
  expect([asks, people, blocked].map((list) => list.map((c) => c.id))).toEqual([['c'], ['b', 'a'], ['d']]);
});

test('the words of a phrase do not outlast their screen', () => {
  const shown = all([{ type: 'route', route: { screen: 'phrase' } }, { type: 'phrase', phrase: { is: 'shown', words: ['abandon'] } }]);
  expect(shown.phrase.is).toBe('shown');
  expect(reduce(shown, { type: 'route', route: { screen: 'home' } }).phrase).toEqual({ is: 'hidden' });
});

test('a bundle that was put off is asked about again when another one comes', () => {
  let s = all([{ type: 'bundle', bundle: { pinned: 'a', offered: 'b' } }, { type: 'bundle-later' }]);
  expect(s.bundlePutOff).toBe('b');
  s = reduce(s, { type: 'bundle', bundle: { pinned: 'a', offered: 'c' } });
  expect(s.bundlePutOff === s.bundle?.offered).toBe(false);
});

test('toasts are few, and one text stands once', () => {
  const s = all(['a', 'b', 'b', 'c'].map((text) => ({ type: 'toast', text })));
  expect(s.toasts.map((t) => t.text)).toEqual(['b', 'c']);
  expect(new Set(s.toasts.map((t) => t.id)).size).toBe(2);
});

test('a store tells its listeners of changes and of nothing else', () => {
  const store = new Store<State, Action>(base, reduce);
  let heard = 0;
  const stop = store.subscribe(() => heard++);
  store.dispatch({ type: 'toast', text: 'a' });
  store.dispatch({ type: 'seen', id: 'nobody' });
  expect(heard).toBe(1);
  stop();
  store.dispatch({ type: 'toast', text: 'b' });
  expect(heard).toBe(1);
});
