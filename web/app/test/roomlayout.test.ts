import { describe, expect, test } from 'vitest';
import { bringForward, fit, keepOrder, layOut, type Tile, type Wish } from '../src/rooms/layout.ts';

const people = (n: number): Tile[] => Array.from({ length: n }, (_, i) => ({ key: `p${i}`, screen: false, me: i === 0 }));
const screen = (i: number): Tile => ({ key: `s${i}`, screen: true, me: false });
const desktop = { width: 1240, height: 640 };
const phone = { width: 374, height: 620 };
const wish = (tiles: readonly Tile[], more: Partial<Wish> = {}): Wish => ({ tiles, ...desktop, grid: true, pinned: null, speaker: null, page: 0, ...more });

/** What lies outside of the stage or over something else; the one in the corner does that on purpose. */
function faults(w: Wish): string[] {
  const { placed, kind } = layOut(w);
  const out: string[] = [];
  for (const [i, a] of placed.entries()) {
    if (!(a.width > 0 && a.height > 0 && a.x > -0.01 && a.y > -0.01 && a.x + a.width < w.width + 0.01 && a.y + a.height < w.height + 0.01)) out.push(`${a.key} is outside`);
    if (kind === 'corner') continue;
    for (const b of placed.slice(i + 1)) {
      if (a.x + a.width > b.x + 0.01 && b.x + b.width > a.x + 0.01 && a.y + a.height > b.y + 0.01 && b.y + b.height > a.y + 0.01) out.push(`${a.key} lies over ${b.key}`);
    }
  }
  return out;
}

test('for one to fifty people, with and without screens, in every arrangement and size, tiles fit and do not overlap', () => {
  const found: string[] = [];
  for (let n = 1; n <= 50; n++) {
    for (const size of [desktop, phone, { width: 620, height: 300 }, { width: 200, height: 200 }]) {
      for (const screens of [0, 1, 3]) {
        const tiles = [...people(n), ...Array.from({ length: screens }, (_, i) => screen(i))];
        for (const grid of [true, false]) for (const pinned of [null, 'p0']) found.push(...faults(wish(tiles, { ...size, grid, pinned, speaker: 'p1' })));
      }
    }
  }
  expect(found).toEqual([]);
});

test('every person is on exactly one page', () => {
  for (const n of [7, 26, 50]) {
    for (const grid of [true, false]) {
      for (const size of [desktop, phone]) {
        const base = wish(people(n), { ...size, grid, speaker: 'p3' });
        const { pages } = layOut(base);
        const seen = Array.from({ length: pages }, (_, page) => layOut({ ...base, page }).placed.filter((p) => grid || !p.large).map((p) => p.key)).flat();
        const expected = people(n).map((t) => t.key).filter((k) => grid || k !== 'p3');
        expect(seen.sort()).toEqual(expected.sort());
      }
    }
  }
});

describe('what is large', () => {
  const large = (w: Wish) => layOut(w).placed.filter((p) => p.large).map((p) => p.key);
  test('is nobody where all are alike', () => {
    expect(layOut(wish(people(5)))).toMatchObject({ kind: 'grid', page: 0, pages: 1 });
    expect(large(wish(people(5)))).toEqual([]);
  });
  test('is who speaks, and before anybody did the first other one', () => {
    expect(large(wish(people(5), { grid: false, speaker: 'p4' }))).toEqual(['p4']);
    expect(large(wish(people(5), { grid: false }))).toEqual(['p1']);
    expect(large(wish(people(5), { grid: false, speaker: 'p9' }))).toEqual(['p1']);
  });
  test('is the newest screen before who speaks, also where all were alike', () => {
    const w = wish([...people(5), screen(2), screen(4)], { speaker: 'p1' });
    expect(large(w)).toEqual(['s4']);
    expect(layOut(w).kind).toBe('screen');
    // A screen that is not the large one stands in the strip.
    expect(layOut(w).placed.map((p) => p.key)).toContain('s2');
  });
  test('is the pinned one before all, until it goes', () => {
    const w = wish([...people(5), screen(2)], { pinned: 'p2', speaker: 'p1' });
    expect(large(w)).toEqual(['p2']);
    expect(layOut(w).kind).toBe('pinned');
    expect(large({ ...w, tiles: w.tiles.filter((t) => t.key !== 'p2') })).toEqual(['s2']);
  });
  test('fills the stage between two, with oneself in the corner', () => {
    const { kind, placed } = layOut(wish(people(2), { grid: false }));
    expect(kind).toBe('corner');
    expect(placed[0]).toMatchObject({ key: 'p1', ...desktop, x: 0, y: 0 });
    expect(placed[1]!.key).toBe('p0');
    expect(placed[1]!.width).toBeLessThan(desktop.width / 4);
  });
});

test('the strip stands beside on a desk, and below on a phone', () => {
  const beside = layOut(wish(people(4), { grid: false }));
  expect(beside.placed[0]!.height).toBe(desktop.height);
  expect(beside.placed[1]!.x).toBeGreaterThan(beside.placed[0]!.width);
  const below = layOut(wish(people(4), { ...phone, grid: false }));
  expect(below.placed[0]!.width).toBe(phone.width);
  expect(below.placed[1]!.y).toBeGreaterThan(below.placed[0]!.height);
  // Of three the two others are both seen: one of them is oneself.
  expect(layOut(wish(people(3), { ...phone, grid: false })).pages).toBe(1);
});

test('the grid takes as many columns as make faces largest', () => {
  expect(fit(1, 1600, 900)).toEqual({ columns: 1, width: 1600, height: 900 });
  expect(fit(4, 1600, 900).columns).toBe(2);
  expect(fit(9, 1600, 900).columns).toBe(3);
  expect(fit(3, 400, 900).columns).toBe(1);
  // A face is not smaller than one can read: the rest is on further pages.
  for (const size of [desktop, phone]) {
    const layout = layOut(wish(people(50), size));
    expect(layout.pages).toBeGreaterThan(1);
    for (const p of layout.placed) expect(p.width).toBeGreaterThanOrEqual(140);
  }
  expect(layOut(wish(people(50), { page: 99 })).page).toBe(layOut(wish(people(50))).pages - 1);
});

test('whoever speaks on a later page comes forward in the place of the quietest', () => {
  const order = ['a', 'b', 'c', 'd', 'e'];
  const spoke = new Map([['a', 50], ['b', 10], ['c', 40]]);
  expect(bringForward(order, 3, 'e', spoke)).toEqual(['a', 'e', 'c', 'd', 'b']);
  expect(bringForward(order, 3, 'c', spoke)).toBe(order);
  expect(bringForward(order, 3, null, spoke)).toBe(order);
  expect(bringForward(order, 3, 'x', spoke)).toBe(order);
});

test('who goes leaves no gap, who comes stands last, and nobody else moves', () => {
  const order = ['a', 'b', 'c'];
  expect(keepOrder(order, ['c', 'a', 'b'])).toBe(order);
  expect(keepOrder(order, ['d', 'c', 'a'])).toEqual(['a', 'c', 'd']);
  expect(keepOrder([], ['a', 'b'])).toEqual(['a', 'b']);
});
