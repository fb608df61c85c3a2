// What a browser's recorder writes is a stream: its head does not say how long it will be, so players show no length and
// cannot jump. Here the head gets a place for the length, and a place for a table of where pictures begin, and both are
// filled in at the end. (RFC 9559, Matroska; only as much of it as our own recorder writes.)

type Bytes = Uint8Array<ArrayBuffer>;

const idSegment = 0x18538067;
const idInfo = 0x1549a966;
const idCluster = 0x1f43b675;
const idScale = 0x2ad7b1;
const idDuration = 0x4489;
/** Longest head that is looked at: what browsers write has some hundred bytes. */
const maxHead = 64 * 1024;

interface Element {
  id: number;
  /** Where it begins, its content begins, and ends. */
  at: number;
  content: number;
  end: number;
  /** Bytes that its size takes, and whether it says that nobody knows it. */
  sizeBytes: number;
  unknown: boolean;
}

export type Head =
  | { is: 'short' } // more of it has to come
  | { is: 'strange' } // not what we know: it is left as it is
  | { is: 'whole'; bytes: Bytes; durationAt: number; ticksPerMs: number };

/** Takes the first bytes of a recording and gives them back with a place for the length. */
export function readHead(bytes: Bytes): Head {
  const top = element(bytes, 0);
  if (!top) return bytes.length > maxHead ? { is: 'strange' } : { is: 'short' };
  const segment = element(bytes, top.end);
  if (!segment) return bytes.length > maxHead ? { is: 'strange' } : { is: 'short' };
  // A segment of a known size would have to be made longer, too; a stream has none.
  if (segment.id !== idSegment || !segment.unknown) return { is: 'strange' };
  for (let at = segment.content; ; ) {
    const e = element(bytes, at);
    if (!e || (e.id !== idCluster && e.end > bytes.length)) return bytes.length > maxHead ? { is: 'strange' } : { is: 'short' };
    if (e.id === idCluster) return { is: 'strange' };
    if (e.id === idInfo) return withDuration(bytes, e);
    at = e.end;
  }
}

function withDuration(bytes: Bytes, info: Element): Head {
  let scale = 1_000_000; // nanoseconds in a tick
  for (let at = info.content; at < info.end; ) {
    const e = element(bytes, at);
    if (!e || e.end > info.end) return { is: 'strange' };
    if (e.id === idScale) scale = Number(unsigned(bytes, e.content, e.end));
    // One browser leaves the place itself.
    if (e.id === idDuration && e.end - e.content === 8) return { is: 'whole', bytes, durationAt: e.content, ticksPerMs: 1_000_000 / scale };
    if (e.id === idDuration) return { is: 'strange' };
    at = e.end;
  }
  if (scale < 1) return { is: 'strange' };
  const added = new Uint8Array([0x44, 0x89, 0x88, 0, 0, 0, 0, 0, 0, 0, 0]);
  const size = vint(info.end - info.content + added.length);
  const out = new Uint8Array(bytes.length + added.length + size.length - info.sizeBytes);
  const sizeAt = info.content - info.sizeBytes;
  let at = 0;
  for (const piece of [bytes.subarray(0, sizeAt), size, bytes.subarray(info.content, info.end), added, bytes.subarray(info.end)]) {
    out.set(piece, at);
    at += piece.length;
  }
  return { is: 'whole', bytes: out, durationAt: sizeAt + size.length + (info.end - info.content) + 3, ticksPerMs: 1_000_000 / scale };
}

/** The eight bytes that go to the place of the length. */
export function durationBytes(ms: number, ticksPerMs: number): Bytes {
  const out = new Uint8Array(8);
  new DataView(out.buffer).setFloat64(0, ms * ticksPerMs);
  return out;
}

function element(bytes: Bytes, at: number): Element | null {
  const idBytes = lengthOf(bytes[at], 4);
  if (idBytes === 0 || at + idBytes >= bytes.length) return null;
  const sizeAt = at + idBytes;
  const sizeBytes = lengthOf(bytes[sizeAt], 8);
  if (sizeBytes === 0 || sizeAt + sizeBytes > bytes.length) return null;
  const id = Number(unsigned(bytes, at, sizeAt));
  const mask = (1n << BigInt(7 * sizeBytes)) - 1n;
  const size = unsigned(bytes, sizeAt, sizeAt + sizeBytes) & mask;
  const content = sizeAt + sizeBytes;
  const unknown = size === mask;
  const end = unknown ? Number.POSITIVE_INFINITY : content + Number(size);
  return { id, at, content, end, sizeBytes, unknown };
}

/** How many bytes a number of variable length takes, from its first one; 0: it is none. */
function lengthOf(first: number | undefined, most: number): number {
  if (!first) return 0;
  const n = Math.clz32(first) - 23;
  return n <= most ? n : 0;
}

function unsigned(bytes: Bytes, from: number, to: number): bigint {
  let n = 0n;
  for (let i = from; i < to; i++) n = (n << 8n) | BigInt(bytes[i] ?? 0);
  return n;
}

/** A size in eight bytes, which is long enough for all and allowed for each. */
function vint(n: number): Bytes {
  const out = new Uint8Array(8);
  new DataView(out.buffer).setBigUint64(0, (1n << 56n) | BigInt(n));
  return out;
}
