// The stream of a file and its chunks (docs/spec/files.md, sections 1, 3 and 4).

import { concat, copy, equal, isZero, readU64, u64, type Bytes } from "../bytes.ts";
import { primitive, type Cipher } from "../crypto/index.ts";
import { refuse, TrunklineError } from "../errors.ts";
import { release } from "./release.ts";

export const unitSize = 1 << 20;
export const hashSize = 32;
const tagSize = 16;
export const chunkSize = (unitSize + hashSize) / 18; // 58,256
const chunkHeader = 25;
export const maxChunk = chunkHeader + chunkSize + tagSize; // 58,297
export const maxFile = 2 ** 40;

/** SHA-256 over the SHA-256 of every unit. */
export function rootOf(unitHashes: readonly Uint8Array[]): Promise<Bytes> {
  return digest(concat(...unitHashes));
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

/** What the chunks of one attempt in one direction are sealed with. */
export interface ChunkSecrets {
  readonly key: Uint8Array;
  readonly fileId: Uint8Array;
  readonly attempt: Uint8Array;
  readonly size: number;
}

/** Seals or opens the chunks of one attempt in one direction. */
export class ChunkBox {
  readonly #cipher: Cipher;
  readonly #attempt: Bytes;

  private constructor(cipher: Cipher, attempt: Uint8Array) {
    this.#cipher = cipher;
    this.#attempt = copy(attempt);
  }

  static async make(s: ChunkSecrets): Promise<ChunkBox> {
    return new ChunkBox(await (await primitive("aead")).cipher(s.key, concat(s.fileId, u64(s.size))), s.attempt);
  }

  /** The whole message of a chunk. */
  async seal(index: number, last: boolean, plain: Bytes): Promise<Bytes> {
    const sealed = await this.#cipher.seal(nonceOf(BigInt(index), last), plain);
    const message = new Uint8Array(chunkHeader + sealed.length);
    message.set(this.#attempt);
    new DataView(message.buffer).setBigUint64(16, BigInt(index));
    message[24] = last ? 1 : 0;
    message.set(sealed, chunkHeader);
    release(sealed);
    return message;
  }

  /** What is in a chunk. */
  async open(c: Chunk): Promise<Bytes> {
    try {
      return await this.#cipher.open(nonceOf(c.index, c.last), c.sealed);
    } catch (err) {
      throw refuse("decrypt", "a chunk does not decrypt", err);
    }
  }

  toJSON(): string { return "[redacted]"; }
}

function nonceOf(index: bigint, last: boolean): Bytes {
  return concat(new Uint8Array(3), u64(index), new Uint8Array([last ? 1 : 0]));
}

export interface Chunk {
  readonly attempt: Bytes;
  readonly index: bigint;
  readonly last: boolean;
  readonly sealed: Bytes;
}

export function parseChunk(message: Bytes): Chunk {
  if (message.length <= chunkHeader + tagSize || message.length > maxChunk) throw refuse("malformed", `chunk of ${message.length} bytes`);
  const flag = message[24]!;
  if (flag > 1) throw refuse("malformed", "chunk flag");
  return { attempt: message.slice(0, 16), index: readU64(message, 16), last: flag === 1, sealed: message.subarray(chunkHeader) };
}

/**
 * Cuts the stream of one attempt into chunk messages. Push each unit in turn with its hash, then the zeros and
 * the root; each gives the messages that are full by then. What is pushed has to hold until then. Chunks are sealed one
 * after the other, so that the few buffers which that takes are used again while they are warm.
 */
export class Cutter {
  readonly #layout: Layout;
  readonly #box: ChunkBox;
  readonly #plain = new Uint8Array(chunkSize);
  #filled = 0;
  #index: number;
  #skip: number;

  constructor(layout: Layout, box: ChunkBox, unit: number) {
    this.#layout = layout;
    this.#box = box;
    ({ index: this.#index, skip: this.#skip } = layout.start(unit));
  }

  async unit(content: Bytes, unitHash: Bytes): Promise<Bytes[]> {
    return [...await this.#write(content), ...await this.#write(unitHash)];
  }

  /** What stands behind the units, in pieces: the zeros may be an eighth of the file. */
  async *end(root: Bytes): AsyncGenerator<Bytes[], undefined> {
    const zeros = new Uint8Array(Math.min(this.#layout.zeros, unitSize));
    for (let left = this.#layout.zeros; left > 0; left -= unitSize) yield await this.#write(zeros.subarray(0, left));
    yield await this.#write(root);
  }

  async #write(b: Bytes): Promise<Bytes[]> {
    const out: Bytes[] = [];
    for (let rest = b; rest.length > 0;) {
      const { length, last } = this.#layout.chunkAt(this.#index);
      const want = length - this.#skip;
      const piece = rest.subarray(0, want - this.#filled);
      rest = rest.subarray(piece.length);
      // Most chunks are a piece of their unit, and are sealed from where they lie.
      let plain = piece;
      if (piece.length < want) {
        this.#plain.set(piece, this.#filled);
        this.#filled += piece.length;
        if (this.#filled < want) break;
        plain = this.#plain.subarray(0, want);
      }
      out.push(await this.#box.seal(this.#index, last, plain));
      this.#filled = this.#skip = 0;
      this.#index++;
    }
    return out;
  }
}

/** A unit whose hash was checked. The content holds until the promise of whoever keeps it resolves. */
export interface Unit { readonly unit: number; readonly content: Bytes; readonly hash: Bytes }

/**
 * Puts the stream of one attempt together again. It knows the only chunk that may come next; anything else, and
 * everything that is not as promised, throws: the attempt is over.
 */
export class Assembler {
  readonly #layout: Layout;
  readonly #box: ChunkBox;
  readonly #root: Bytes;
  readonly #hashes: Bytes[];
  readonly #record: Bytes; // the unit under way with its hash; then the root
  #filled = 0;
  #index: number;
  #skip: number;
  #unit: number;
  #zeros: number;

  /** hashes are those of the units that are there already. */
  constructor(layout: Layout, box: ChunkBox, root: Uint8Array, hashes: readonly Uint8Array[]) {
    this.#layout = layout;
    this.#box = box;
    this.#root = copy(root);
    this.#hashes = hashes.map(copy);
    this.#record = new Uint8Array(Math.min(layout.size, unitSize) + hashSize);
    this.#unit = hashes.length;
    this.#zeros = layout.zeros;
    ({ index: this.#index, skip: this.#skip } = layout.start(hashes.length));
  }

  /** Takes the next chunk and hands out what it completes, one after the other. True: the file is whole and right. */
  async take(c: Chunk, keep: (u: Unit) => Promise<void> | void): Promise<boolean> {
    const { length, last } = this.#layout.chunkAt(this.#index);
    if (length === 0 || c.index !== BigInt(this.#index) || c.last !== last || c.sealed.length !== length - this.#skip + tagSize) {
      throw refuse("malformed", "a chunk that is not the next one");
    }
    const plain = await this.#box.open(c);
    this.#skip = 0;
    this.#index++;
    let rest = plain;
    while (rest.length > 0) {
      if (this.#unit < this.#layout.units) {
        const n = this.#layout.unitLength(this.#unit);
        rest = this.#fill(rest, n + hashSize);
        if (this.#filled < n + hashSize) break;
        this.#filled = 0;
        const content = this.#record.subarray(0, n);
        const unitHash = this.#record.slice(n, n + hashSize);
        if (!equal(await digest(content), unitHash)) throw refuse("malformed", "a unit has another hash");
        this.#hashes.push(unitHash);
        await keep({ unit: this.#unit++, content, hash: unitHash });
      } else if (this.#zeros > 0) {
        const zeros = rest.subarray(0, this.#zeros);
        if (!isZero(zeros)) throw refuse("malformed", "padding that is not zero");
        this.#zeros -= zeros.length;
        rest = rest.subarray(zeros.length);
      } else {
        rest = this.#fill(rest, hashSize);
      }
    }
    release(plain);
    if (!last) return false;
    // The layout's arithmetic makes the root the end of the last chunk.
    if (!equal(this.#record.subarray(0, hashSize), this.#root) || !equal(await rootOf(this.#hashes), this.#root)) throw new WrongRoot();
    return true;
  }

  #fill(b: Bytes, want: number): Bytes {
    const piece = b.subarray(0, want - this.#filled);
    this.#record.set(piece, this.#filled);
    this.#filled += piece.length;
    return b.subarray(piece.length);
  }
}

/** Every unit was as promised, but the whole is not what was offered: nothing that came can be trusted. */
export class WrongRoot extends TrunklineError {
  constructor() {
    super("malformed", "the root is another one");
  }
}

/** SHA-256 by the platform: several times faster than a script, and off the thread that asks. */
export async function digest(b: Bytes): Promise<Bytes> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", b));
}
