// SFrame (RFC 9605) with the one suite AES_256_GCM_SHA512_128, as docs/spec/media.md, section 2, narrows it.
// Whole encoded frames are sealed before they are cut into packets. A counter is never used twice, never is
// more than one key tried on a frame, and never is a plain frame let through.
//
//   clear prefix || SFrame header || ciphertext || tag 16
//
// AES and HKDF are the browser's own, so sealing and opening are asynchronous. One stream's frames are to be passed
// in their order; the replay window is moved after a frame has opened.

import { concat, copy, u64, utf8, type Bytes } from "./bytes.ts";
import { refuse } from "./errors.ts";

export { kidOf } from "./kid.ts";

export type SFrameCodec = "opus" | "vp8" | "vp9";
export const Slot = { microphone: 0, camera: 1, screen: 2, screenAudio: 3 } as const;

const suiteId = 5;
const keySize = 32;
const nonceSize = 12;
const maxCounter = 2 ** 32;
const windowSize = 512;

/** How many bytes of a frame stay readable, from the codec and the first byte alone. */
export function clearPrefix(codec: SFrameCodec, frame: Uint8Array): number {
  const n = codec !== "vp8" ? 0 : frame.length > 0 && (frame[0]! & 1) === 0 ? 10 : 1;
  if (frame.length < n) throw refuse("malformed", "frame is too short for its codec");
  return n;
}

function shortest(v: bigint): Bytes {
  const b = u64(v);
  let at = 0;
  while (at < 7 && b[at] === 0) at++;
  return b.slice(at);
}

/** The header of RFC 9605, 4.3, in its shortest form. */
export function encodeHeader(kid: bigint, ctr: bigint): Bytes {
  const [k, c] = [kid < 8n ? undefined : shortest(kid), ctr < 8n ? undefined : shortest(ctr)];
  const config = (k === undefined ? Number(kid) << 4 : 0x80 | (k.length - 1) << 4) | (c === undefined ? Number(ctr) : 0x08 | (c.length - 1));
  return concat(new Uint8Array([config]), k ?? new Uint8Array(0), c ?? new Uint8Array(0));
}

/** Reads a header and refuses every form but the shortest, so that no second frame can be made of one. */
export function parseHeader(b: Uint8Array): { kid: bigint; ctr: bigint; size: number } {
  if (b.length === 0) throw refuse("malformed", "SFrame header");
  let at = 1;
  const field = (nibble: number): bigint => {
    if ((nibble & 8) === 0) return BigInt(nibble);
    const n = (nibble & 7) + 1;
    if (b.length - at < n) throw refuse("malformed", "SFrame header");
    let v = 0n;
    for (let i = 0; i < n; i++) v = v << 8n | BigInt(b[at + i]!);
    if (v < 8n || shortest(v).length !== n) throw refuse("malformed", "SFrame header is not in its shortest form");
    at += n;
    return v;
  };
  const kid = field(b[0]! >> 4);
  const ctr = field(b[0]! & 15);
  return { kid, ctr, size: at };
}

interface Key { readonly aes: CryptoKey; readonly salt: Bytes }

/** Key and salt of a KID under a base key (RFC 9605, 4.4.2). */
export async function deriveKey(kid: bigint, base: Uint8Array): Promise<{ key: Bytes; salt: Bytes }> {
  const secret = await crypto.subtle.importKey("raw", copy(base), "HKDF", false, ["deriveBits"]);
  const tail = concat(u64(kid), new Uint8Array([0, suiteId]));
  const expand = async (name: string, n: number): Promise<Bytes> => {
    const info = concat(utf8(`SFrame 1.0 Secret ${name} `), tail);
    return new Uint8Array(await crypto.subtle.deriveBits({ name: "HKDF", hash: "SHA-512", salt: new Uint8Array(0), info }, secret, n * 8));
  };
  return { key: await expand("key", keySize), salt: await expand("salt", nonceSize) };
}

async function makeKey(kid: number, base: Uint8Array): Promise<Key> {
  const { key, salt } = await deriveKey(BigInt(kid), base);
  const aes = await crypto.subtle.importKey("raw", key, "AES-GCM", false, ["encrypt", "decrypt"]);
  key.fill(0);
  return { aes, salt };
}

function nonceOf(salt: Bytes, ctr: bigint): Bytes {
  const n = copy(salt);
  const c = u64(ctr);
  for (let i = 0; i < 8; i++) n[nonceSize - 8 + i]! ^= c[i]!;
  return n;
}

/** Seals the frames of one KID. A base key and a KID make one sender in their life. */
export class SFrameSender {
  readonly #kid: number;
  readonly #key: Key;
  #ctr = 0;

  private constructor(kid: number, key: Key) {
    this.#kid = kid;
    this.#key = key;
  }

  static async create(kid: number, base: Uint8Array): Promise<SFrameSender> {
    return new SFrameSender(kid, await makeKey(kid, base));
  }

  async seal(codec: SFrameCodec, frame: Uint8Array): Promise<Bytes> {
    const prefix = frame.slice(0, clearPrefix(codec, frame));
    if (this.#ctr >= maxCounter) throw refuse("exhausted", "SFrame key is used up");
    // Spent before the first wait: two frames at once must not share it.
    const ctr = BigInt(this.#ctr++);
    const header = encodeHeader(BigInt(this.#kid), ctr);
    const box = await crypto.subtle.encrypt(
      { name: "AES-GCM", iv: nonceOf(this.#key.salt, ctr), additionalData: concat(header, prefix), tagLength: 128 },
      this.#key.aes, frame.slice(prefix.length));
    return concat(prefix, header, new Uint8Array(box));
  }

  toJSON(): string { return "[redacted]"; }
}

class Window {
  #next = 0;
  readonly #seen = new Set<number>();

  fresh(ctr: number): boolean {
    return ctr >= this.#next || (this.#next - ctr <= windowSize && !this.#seen.has(ctr));
  }

  mark(ctr: number): void {
    this.#seen.add(ctr);
    if (ctr < this.#next) return;
    if (ctr - this.#next >= windowSize) {
      for (const c of this.#seen) if (c !== ctr) this.#seen.delete(c);
    } else {
      for (let c = this.#next - windowSize; c <= ctr - windowSize; c++) this.#seen.delete(c);
    }
    this.#next = ctr + 1;
  }
}

/** Opens the frames of one stream. It holds a key for each KID that the stream may carry, and no other. */
export class SFrameReceiver {
  readonly #keys = new Map<bigint, { readonly key: Key; readonly window: Window }>();

  async addKey(kid: number, base: Uint8Array): Promise<void> {
    const id = BigInt(kid);
    // Adding it again would forget which counters were seen.
    if (this.#keys.has(id)) throw refuse("malformed", `SFrame key id ${kid} is already in use`);
    this.#keys.set(id, { key: await makeKey(kid, base), window: new Window() });
  }

  removeKey(kid: number): void {
    this.#keys.delete(BigInt(kid));
  }

  /** The frame. An error means: drop it; nothing has changed. */
  async open(codec: SFrameCodec, sealed: Uint8Array): Promise<{ frame: Bytes; kid: number }> {
    const n = clearPrefix(codec, sealed);
    const { kid, ctr, size } = parseHeader(sealed.subarray(n));
    const k = this.#keys.get(kid);
    if (k === undefined) throw refuse("key", "no SFrame key for this key id");
    if (ctr >= BigInt(maxCounter) || !k.window.fresh(Number(ctr))) throw refuse("replay", "SFrame counter seen before or too old");
    const prefix = sealed.slice(0, n);
    let plain: ArrayBuffer;
    try {
      plain = await crypto.subtle.decrypt(
        { name: "AES-GCM", iv: nonceOf(k.key.salt, ctr), additionalData: concat(sealed.subarray(n, n + size), prefix), tagLength: 128 },
        k.key.aes, sealed.slice(n + size));
    } catch (err) {
      throw refuse("decrypt", "frame is not authentic", err);
    }
    // The same frame may have opened while this one was waited for.
    if (!k.window.fresh(Number(ctr))) throw refuse("replay", "SFrame counter seen before or too old");
    k.window.mark(Number(ctr));
    return { frame: concat(prefix, new Uint8Array(plain)), kid: Number(kid) };
  }

  toJSON(): string { return "[redacted]"; }
}
