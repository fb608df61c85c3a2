// SHA-256 with HMAC and HKDF, and as much of SHA-3 as X-Wing needs. They are synchronous, which WebCrypto's are not, and
// small: a library's, with its streams and its other sizes, is a tenth of what a page loads before a call. All that is
// hashed here is short; what is long (files) goes to the platform. The tests hold them against noble's.

import { concat, readU32, u32, u64, type Bytes } from "../bytes.ts";

const primes: number[] = [];
for (let n = 2; primes.length < 64; n++) if (primes.every((p) => n % p !== 0)) primes.push(n);
/** The first 32 bits behind the point: 20 more stand behind them in a double. */
const fraction = (x: number) => (x - Math.floor(x)) * 2 ** 32 | 0;
const roundConstants = primes.map((p) => fraction(Math.cbrt(p)));
const start = primes.slice(0, 8).map((p) => fraction(Math.sqrt(p)));

/** FIPS 180-4. */
export function sha256(b: Uint8Array): Bytes {
  const padded = concat(b, new Uint8Array([0x80]), new Uint8Array((119 - b.length % 64) % 64), u64(b.length * 8));
  const h = new Int32Array(start);
  const w = new Int32Array(64);
  const right = (x: number, n: number) => x >>> n | x << 32 - n;
  for (let at = 0; at < padded.length; at += 64) {
    let [A, B, C, D, E, F, G, H] = h as unknown as [number, number, number, number, number, number, number, number];
    for (let i = 0; i < 64; i++) {
      if (i < 16) {
        w[i] = readU32(padded, at + 4 * i);
      } else {
        const [x, y] = [w[i - 15]!, w[i - 2]!];
        w[i] = w[i - 16]! + (right(x, 7) ^ right(x, 18) ^ x >>> 3) + w[i - 7]! + (right(y, 17) ^ right(y, 19) ^ y >>> 10);
      }
      const t = H + (right(E, 6) ^ right(E, 11) ^ right(E, 25)) + (E & F ^ ~E & G) + roundConstants[i]! + w[i]!;
      const u = (right(A, 2) ^ right(A, 13) ^ right(A, 22)) + (A & B ^ A & C ^ B & C);
      [H, G, F, E, D, C, B, A] = [G, F, E, D + t | 0, C, B, A, t + u | 0];
    }
    [A, B, C, D, E, F, G, H].forEach((x, i) => { h[i]! += x; });
  }
  w.fill(0);
  padded.fill(0);
  return concat(...Array.from(h, (x) => u32(x >>> 0)));
}

/** RFC 2104. */
export function hmac(key: Uint8Array, b: Uint8Array): Bytes {
  const block = new Uint8Array(64);
  block.set(key.length > 64 ? sha256(key) : key);
  return sha256(concat(block.map((x) => x ^ 0x5c), sha256(concat(block.map((x) => x ^ 0x36), b))));
}

/** RFC 5869, 2.2. */
export function extract(key: Uint8Array, salt: Uint8Array = new Uint8Array(0)): Bytes { return hmac(salt, key); }

/** RFC 5869, 2.3. */
export function expand(prk: Uint8Array, info: Uint8Array, n: number): Bytes {
  let [out, last]: Bytes[] = [new Uint8Array(0), new Uint8Array(0)];
  for (let i = 1; out!.length < n; i++) out = concat(out!, last = hmac(prk, concat(last!, info, new Uint8Array([i]))));
  return out!.slice(0, n);
}

export function hkdf(key: Uint8Array, salt: Uint8Array | undefined, info: Uint8Array, n: number): Bytes {
  return expand(extract(key, salt), info, n);
}

type Lane = [low: number, high: number];

function left([low, high]: Lane, n: number): Lane {
  if (n >= 32) [low, high, n] = [high, low, n - 32];
  return n === 0 ? [low, high] : [low << n | high >>> 32 - n, high << n | low >>> 32 - n];
}

/** Keccak-f[1600] (FIPS 202, 3.2 and 3.3); lane x + 5y. */
function permute(s: Lane[]): void {
  const xor = (i: number, [low, high]: Lane) => { s[i] = [s[i]![0] ^ low, s[i]![1] ^ high]; };
  let lfsr = 1;
  for (let round = 0; round < 24; round++) {
    const sums = [0, 1, 2, 3, 4].map((x): Lane => [0, 5, 10, 15, 20].reduce<Lane>(([low, high], y) => [low ^ s[x + y]![0], high ^ s[x + y]![1]], [0, 0]));
    for (let i = 0; i < 25; i++) {
      xor(i, sums[(i + 4) % 5]!);
      xor(i, left(sums[(i + 1) % 5]!, 1));
    }
    let [x, y, moving] = [1, 0, s[1]!];
    for (let t = 0; t < 24; t++) {
      [x, y] = [y, (2 * x + 3 * y) % 5];
      [moving, s[x + 5 * y]] = [s[x + 5 * y]!, left(moving, (t + 1) * (t + 2) / 2 % 64)];
    }
    for (let row = 0; row < 25; row += 5) {
      const old = s.slice(row, row + 5);
      for (let i = 0; i < 5; i++) {
        const [next, after] = [old[(i + 1) % 5]!, old[(i + 2) % 5]!];
        xor(row + i, [~next[0] & after[0], ~next[1] & after[1]]);
      }
    }
    for (let j = 0; j < 7; j++) {
      const bit = 2 ** j - 1;
      if (lfsr & 1) xor(0, bit < 32 ? [1 << bit, 0] : [0, 1 << bit - 32]);
      lfsr = lfsr << 1 ^ (lfsr >> 7) * 0x171;
    }
  }
}

const rate = 136; // of SHA3-256 and of SHAKE256

function sponge(b: Uint8Array, domain: number, n: number): Bytes {
  const padded = concat(b, new Uint8Array(rate - b.length % rate));
  padded[b.length] = domain;
  padded[padded.length - 1]! |= 0x80;
  const s = Array.from({ length: 25 }, (): Lane => [0, 0]);
  const view = new DataView(padded.buffer);
  for (let at = 0; at < padded.length; at += rate) {
    for (let i = 0; i < rate / 8; i++) s[i] = [s[i]![0] ^ view.getUint32(at + 8 * i, true), s[i]![1] ^ view.getUint32(at + 8 * i + 4, true)];
    permute(s);
  }
  const out = new DataView(new ArrayBuffer(rate));
  for (let i = 0; i < rate / 8; i++) s[i]!.forEach((half, j) => out.setUint32(8 * i + 4 * j, half, true));
  padded.fill(0);
  return new Uint8Array(out.buffer, 0, n).slice();
}

/** SHA3-256 (FIPS 202). */
export function sha3(b: Uint8Array): Bytes { return sponge(b, 0x06, 32); }

/** SHAKE256, of which no more than its first block is ever wanted: 136 bytes. */
export function shake256(b: Uint8Array, n: number): Bytes { return sponge(b, 0x1f, n); }
