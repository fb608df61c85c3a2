// The stream of a file and its chunks (docs/spec/files.md, sections 1, 3 and 4).

import { hkdf } from "@noble/hashes/hkdf.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { concat, copy, equal, isZero, readU64, u32, u64, utf8, type Bytes } from "../bytes.ts";
import { refuse } from "../errors.ts";
import { openBox, sealBox } from "../envelope/hpke.ts";
import { Role } from "../envelope/session.ts";
import { hash } from "../identity/key.ts";
import { context } from "../labels.ts";

export const unitSize = 1 << 20;
const hashSize = 32;
export const chunkSize = (unitSize + hashSize) / 18; // 58,256
const chunkHeader = 25;
export const maxChunk = chunkHeader + chunkSize + 16; // 58,297
export const maxFile = 2 ** 40;

/** SHA-256 over the SHA-256 of every unit. */
export function rootOf(unitHashes: readonly Uint8Array[]): Bytes {
  return sha256(concat(...unitHashes)) as Bytes;
}

export function fileIdOf(name: string, size: number, root: Uint8Array): Bytes {
  const n = utf8(name);
  return hash("file-id", root, u64(size), u32(n.length), n).slice(0, 16);
}

/** The size rounded up as Padmé does. */
export function padme(size: number): number {
  if (size < 2) return size;
  const s = BigInt(size);
  const e = BigInt(s.toString(2).length - 1);
  const bits = BigInt(e.toString(2).length);
  const mask = (1n << e - bits) - 1n;
  return Number(s + mask & ~mask);
}

export function unitsIn(size: number): number {
  return Math.ceil(size / unitSize);
}

/** The arithmetic of one file's stream. */
export class Layout {
  readonly size: number;
  readonly units: number;
  readonly zeros: number;
  readonly length: number;

  constructor(size: number) {
    const padded = padme(size);
    this.size = size;
    this.units = unitsIn(size);
    this.length = padded + hashSize * (unitsIn(padded) + 1);
    this.zeros = this.length - size - hashSize * (this.units + 1);
  }

  unitLength(unit: number): number {
    return Math.min(unitSize, this.size - unit * unitSize);
  }

  /** Plaintext length of a chunk, and whether it is the last; 0 if there is no such chunk. */
  chunkAt(index: number): { length: number; last: boolean } {
    const rest = this.length - index * chunkSize;
    return rest <= 0 ? { length: 0, last: false } : { length: Math.min(rest, chunkSize), last: rest <= chunkSize };
  }

  /** The chunk that an attempt begins with which has the units before unit, and how much of it is left out. */
  start(unit: number): { index: number; skip: number } {
    const at = Math.min(unit * unitSize, this.size) + hashSize * unit;
    return { index: Math.floor(at / chunkSize), skip: at % chunkSize };
  }
}

/** Seals or opens the chunks of one attempt in one direction. */
export class ChunkBox {
  readonly #key: Bytes;
  readonly #attempt: Bytes;
  readonly #aad: Bytes;

  /** sender is the role, in the session, of the side that sends the file. */
  constructor(fileKey: Uint8Array, sender: Role, fileId: Uint8Array, attempt: Uint8Array, size: number) {
    const label = context(sender === Role.initiator ? "file-i2r" : "file-r2i");
    this.#key = hkdf(sha256, fileKey, concat(fileId, attempt), label, 32) as Bytes;
    this.#attempt = copy(attempt);
    this.#aad = concat(fileId, u64(size));
  }

  seal(index: number, last: boolean, plain: Uint8Array): Bytes {
    const place = concat(u64(index), new Uint8Array([last ? 1 : 0]));
    return concat(this.#attempt, place, sealBox(this.#key, concat(new Uint8Array(3), place), plain, this.#aad));
  }

  open(c: Chunk): Bytes {
    return openBox(this.#key, concat(new Uint8Array(3), u64(c.index), new Uint8Array([c.last ? 1 : 0])), c.sealed, this.#aad);
  }

  toJSON(): string { return "[redacted]"; }
}

export interface Chunk {
  readonly attempt: Bytes;
  readonly index: bigint;
  readonly last: boolean;
  readonly sealed: Uint8Array;
}

export function parseChunk(message: Uint8Array): Chunk {
  if (message.length <= chunkHeader + 16 || message.length > maxChunk) throw refuse("malformed", `chunk of ${message.length} bytes`);
  const flag = message[24]!;
  if (flag > 1) throw refuse("malformed", "chunk flag");
  return { attempt: message.slice(0, 16), index: readU64(message, 16), last: flag === 1, sealed: message.subarray(chunkHeader) };
}

/**
 * Cuts the stream of one attempt into chunk messages. Push each unit in turn with its hash, then finish; both
 * give the messages that are full by then.
 */
export class Cutter {
  readonly #layout: Layout;
  readonly #box: ChunkBox;
  #index: number;
  #skip: number;
  #wait: Bytes = new Uint8Array(0);

  constructor(layout: Layout, box: ChunkBox, unit: number) {
    this.#layout = layout;
    this.#box = box;
    ({ index: this.#index, skip: this.#skip } = layout.start(unit));
  }

  unit(content: Uint8Array, unitHash: Uint8Array): Bytes[] {
    return this.#write(concat(content, unitHash));
  }

  finish(root: Uint8Array): Bytes[] {
    // The zeros are at most an eighth of the file; they go out in pieces, never as one buffer.
    const out: Bytes[] = [];
    for (let left = this.#layout.zeros; left > 0; left -= unitSize) out.push(...this.#write(new Uint8Array(Math.min(left, unitSize))));
    return [...out, ...this.#write(root)];
  }

  #write(b: Uint8Array): Bytes[] {
    const out: Bytes[] = [];
    let rest = concat(this.#wait, b);
    for (;;) {
      const { length, last } = this.#layout.chunkAt(this.#index);
      const want = length - this.#skip;
      if (length === 0 || rest.length < want) break;
      out.push(this.#box.seal(this.#index, last, rest.subarray(0, want)));
      rest = rest.slice(want);
      this.#skip = 0;
      this.#index++;
    }
    this.#wait = rest;
    return out;
  }
}

/** What came out of a chunk. A unit is handed out only after its hash was checked. */
export type Piece =
  | { readonly kind: "unit"; readonly unit: number; readonly content: Bytes; readonly hash: Bytes }
  | { readonly kind: "end" };

/**
 * Puts the stream of one attempt together again. It knows the only chunk that may come next; anything else, and
 * everything that is not as promised, throws: the attempt is over.
 */
export class Assembler {
  readonly #layout: Layout;
  readonly #box: ChunkBox;
  readonly #root: Bytes;
  readonly #hashes: Bytes[];
  #index: number;
  #skip: number;
  #unit: number;
  #zeros: number;
  #wait: Bytes = new Uint8Array(0);

  /** hashes are those of the units that are there already. */
  constructor(layout: Layout, box: ChunkBox, root: Uint8Array, hashes: readonly Uint8Array[]) {
    this.#layout = layout;
    this.#box = box;
    this.#root = copy(root);
    this.#hashes = hashes.map(copy);
    this.#unit = hashes.length;
    this.#zeros = layout.zeros;
    ({ index: this.#index, skip: this.#skip } = layout.start(hashes.length));
  }

  take(c: Chunk): Piece[] {
    const { length, last } = this.#layout.chunkAt(this.#index);
    if (length === 0 || c.index !== BigInt(this.#index) || c.last !== last || c.sealed.length !== length - this.#skip + 16) {
      throw refuse("malformed", "a chunk that is not the next one");
    }
    this.#wait = concat(this.#wait, this.#box.open(c));
    this.#skip = 0;
    this.#index++;
    const out: Piece[] = [];
    while (this.#unit < this.#layout.units) {
      const n = this.#layout.unitLength(this.#unit);
      if (this.#wait.length < n + hashSize) return out;
      const content = this.#wait.slice(0, n);
      const unitHash = this.#wait.slice(n, n + hashSize);
      if (!equal(sha256(content), unitHash)) throw refuse("malformed", "a unit has another hash");
      this.#wait = this.#wait.slice(n + hashSize);
      this.#hashes.push(unitHash);
      out.push({ kind: "unit", unit: this.#unit++, content, hash: unitHash });
    }
    const zeros = Math.min(this.#zeros, this.#wait.length);
    if (!isZero(this.#wait.subarray(0, zeros))) throw refuse("malformed", "padding that is not zero");
    this.#zeros -= zeros;
    this.#wait = this.#wait.slice(zeros);
    if (!last) return out;
    if (!equal(this.#wait, this.#root) || !equal(rootOf(this.#hashes), this.#root)) throw refuse("malformed", "the root is another one");
    out.push({ kind: "end" });
    return out;
  }
}
