// Where the tiles of a meeting stand. Pure: a size and a list in, rectangles out, for 2 to 50 people and their screens.

export interface Tile {
  key: string;
  screen: boolean;
  /** The person's own camera: it moves into the corner where there is one other tile. */
  me: boolean;
}

export interface Wish {
  tiles: readonly Tile[];
  width: number;
  height: number;
  /** All tiles alike, where nothing is pinned and no screen is shared. */
  grid: boolean;
  pinned: string | null;
  /** Who is large where one tile is: whoever speaks. */
  speaker: string | null;
  page: number;
}

export interface Placed {
  key: string;
  x: number;
  y: number;
  width: number;
  height: number;
  large: boolean;
}

export interface Layout {
  kind: 'grid' | 'speaker' | 'pinned' | 'screen' | 'corner';
  placed: Placed[];
  page: number;
  pages: number;
}

const gap = 8;
const shape = 16 / 9;
const widest = 2;
/** A face that is smaller says nothing; on a phone two of them stand side by side. */
const smallest = (width: number) => (width < 600 ? 140 : 200);
const mostOnPage = 25;

export function layOut(wish: Wish): Layout {
  const { tiles, width, height } = wish;
  const large = largeOf(wish);
  if (tiles.length === 0 || width < 1 || height < 1) return { kind: 'grid', placed: [], page: 0, pages: 1 };
  const only = tiles.length === 1 ? tiles[0] : undefined;
  if (only) return { kind: large?.kind ?? 'grid', placed: [{ key: only.key, x: 0, y: 0, width, height, large: true }], page: 0, pages: 1 };
  if (!large) return grid(wish);
  // Other screens before faces: somebody shows them to be seen.
  const others = tiles.filter((t) => t.key !== large.key).sort((a, b) => Number(b.screen) - Number(a.screen));
  const [other] = others;
  if (other && others.length === 1 && (other.me || tiles.find((t) => t.key === large.key)?.me) && large.kind === 'speaker') return corner(wish, large.key, other.key);
  return strip(wish, large.key, large.kind, others);
}

/** Which tile is large: the pinned one, else a screen, else who speaks. */
function largeOf({ tiles, pinned, grid: alike, speaker }: Wish): { key: string; kind: Layout['kind'] } | null {
  if (pinned !== null && tiles.some((t) => t.key === pinned)) return { key: pinned, kind: 'pinned' };
  // The newest screen: whoever begins to share has something to show.
  const screen = tiles.findLast((t) => t.screen);
  if (screen) return { key: screen.key, kind: 'screen' };
  if (alike) return null;
  const spoken = tiles.find((t) => t.key === speaker) ?? tiles.find((t) => !t.me) ?? tiles[0];
  return spoken ? { key: spoken.key, kind: 'speaker' } : null;
}

/** How many columns make the tiles largest, and how large they are then: from a square to twice as wide as high, so
 * that faces fill the stage of a phone as well. */
export function fit(count: number, width: number, height: number): { columns: number; width: number; height: number } {
  let best = { columns: 1, width: 0, height: 0 };
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const cellWidth = (width - gap * (columns - 1)) / columns;
    const cellHeight = (height - gap * (rows - 1)) / rows;
    const tile = { columns, width: Math.min(cellWidth, cellHeight * widest), height: Math.min(cellHeight, cellWidth) };
    if (cellWidth > 0 && cellHeight > 0 && tile.width * tile.height > best.width * best.height) best = tile;
  }
  return best;
}

/** How many tiles a page of the grid takes without one that is too small. */
function onPage(count: number, width: number, height: number): number {
  let most = Math.min(count, mostOnPage);
  while (most > 1 && fit(most, width, height).width < Math.min(smallest(width), width)) most--;
  return most;
}

function grid(wish: Wish): Layout {
  const { tiles, width, height } = wish;
  const most = onPage(tiles.length, width, height);
  const pages = Math.ceil(tiles.length / most);
  const page = Math.min(Math.max(0, wish.page), pages - 1);
  const shown = tiles.slice(page * most, (page + 1) * most);
  // The last page has tiles as large as the others: nothing jumps when pages are turned.
  const size = fit(pages > 1 ? most : shown.length, width, height);
  const rows = Math.ceil((pages > 1 ? most : shown.length) / size.columns);
  const { width: tileWidth, height: tileHeight } = size;
  const top = (height - rows * tileHeight - gap * (rows - 1)) / 2;
  const placed = shown.map((t, i) => {
    const row = Math.floor(i / size.columns);
    const inRow = Math.min(size.columns, shown.length - row * size.columns);
    const left = (width - inRow * tileWidth - gap * (inRow - 1)) / 2;
    return { key: t.key, x: left + (i % size.columns) * (tileWidth + gap), y: top + row * (tileHeight + gap), width: tileWidth, height: tileHeight, large: false };
  });
  return { kind: 'grid', placed, page, pages };
}

function corner({ width, height }: Wish, large: string, small: string): Layout {
  const w = Math.min(Math.max(112, width * 0.2), 240);
  const h = (w * 3) / 4;
  return {
    kind: 'corner',
    placed: [
      { key: large, x: 0, y: 0, width, height, large: true },
      { key: small, x: width - w - 2 * gap, y: height - h - 2 * gap, width: w, height: h, large: false },
    ],
    page: 0,
    pages: 1,
  };
}

/** One is large; the others stand beside it, or below it where the place is higher than wide. */
function strip(wish: Wish, large: string, kind: Layout['kind'], others: readonly Tile[]): Layout {
  const { width, height } = wish;
  const below = height > width;
  const side = below ? Math.min(120, height * 0.22) : Math.min(Math.max(128, width * 0.18), 240);
  const along = below ? width : height;
  // On a phone two stand side by side: one of them would be oneself.
  const one = below ? Math.min(side * shape, Math.max(side, (along - gap) / 2)) : side / shape;
  const most = Math.max(1, Math.floor((along + gap) / (one + gap)));
  const pages = Math.ceil(others.length / most);
  const page = Math.min(Math.max(0, wish.page), pages - 1);
  const shown = others.slice(page * most, (page + 1) * most);
  const begin = (along - shown.length * one - gap * (shown.length - 1)) / 2;
  const small = shown.map((t, i) => {
    const at = begin + i * (one + gap);
    return below
      ? { key: t.key, x: at, y: height - side, width: one, height: side, large: false }
      : { key: t.key, x: width - side, y: at, width: side, height: one, large: false };
  });
  const first = below ? { key: large, x: 0, y: 0, width, height: height - side - gap, large: true } : { key: large, x: 0, y: 0, width: width - side - gap, height, large: true };
  return { kind, placed: [first, ...small], page, pages };
}

/** Brings whoever begins to speak onto the first page, in the place of the one there who has been silent for longest;
 * everybody else stays where they are. */
export function bringForward(order: readonly string[], first: number, speaker: string | null, spoke: ReadonlyMap<string, number>): readonly string[] {
  const at = speaker === null ? -1 : order.indexOf(speaker);
  if (speaker === null || at < first || first < 1) return order;
  let quiet = 0;
  for (let i = 1; i < first; i++) if ((spoke.get(order[i] ?? '') ?? -1) <= (spoke.get(order[quiet] ?? '') ?? -1)) quiet = i;
  const next = [...order];
  next[at] = next[quiet] ?? speaker;
  next[quiet] = speaker;
  return next;
}

/** The order of before, without who went and with who came behind it. */
export function keepOrder(order: readonly string[], present: readonly string[]): readonly string[] {
  const here = new Set(present);
  const kept = order.filter((k) => here.has(k));
  const known = new Set(kept);
  const next = [...kept, ...present.filter((k) => !known.has(k))];
  return next.length === order.length && next.every((k, i) => k === order[i]) ? order : next;
}
