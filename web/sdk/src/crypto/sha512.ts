// SHA-512 (FIPS 180-4), for whoever hashes thousands of times in a row or has to have the answer at once: a safety number,
// and the signatures of the fallback. What is secret of a phrase goes to the platform (identity/phrase.ts). The tests hold
// it against noble's.

import { concat, readU32, u64, type Bytes } from "../bytes.ts";

/**
 * The first 64 bits behind the point of the square or cube root of each of the first n primes. A word is two of an array
 * here, the higher half first: integers of 64 bits are slow where a browser has them at all.
 */
function fractions(n: number, degree: bigint): Uint32Array {
  const primes: number[] = [];
  for (let p = 2; primes.length < n; p++) if (primes.every((q) => p % q !== 0)) primes.push(p);
  return Uint32Array.from(primes.flatMap((p) => {
    const power = BigInt(p) << 64n * degree;
    let root = 1n << 68n; // above every one of them, so that Newton's steps go down to the end
    for (let next = root - 1n; next < root; next = ((degree - 1n) * root + power / root ** (degree - 1n)) / degree) root = next;
    return [Number(root >> 32n & 0xffffffffn), Number(root & 0xffffffffn)];
  }));
}

let constants: { readonly round: Uint32Array; readonly start: Uint32Array } | undefined;

export function sha512(b: Uint8Array): Bytes {
  const { round, start } = constants ??= { round: fractions(80, 3n), start: fractions(8, 2n) };
  const padded = concat(b, new Uint8Array([0x80]), new Uint8Array(8 + (239 - b.length % 128) % 128), u64(b.length * 8));
  const sum = start.slice();
  const v = new Uint32Array(16);
  const w = new Uint32Array(160);
  // The higher half of a word turned to the right; of the halves the other way round it is the lower one.
  const turned = (high: number, low: number, n: number) => n < 32 ? high >>> n | low << 32 - n : low >>> n - 32 | high << 64 - n;
  const carry = (low: number) => Math.floor(low / 2 ** 32);
  for (let at = 0; at < padded.length; at += 128) {
    v.set(sum);
    for (let i = 0; i < 80; i++) {
      const k = 2 * i;
      if (i < 16) {
        w[k] = readU32(padded, at + 8 * i);
        w[k + 1] = readU32(padded, at + 8 * i + 4);
      } else {
        const [xh, xl, yh, yl] = [w[k - 30]!, w[k - 29]!, w[k - 4]!, w[k - 3]!];
        const low = w[k - 31]! + w[k - 13]! + ((turned(xl, xh, 1) ^ turned(xl, xh, 8) ^ (xl >>> 7 | xh << 25)) >>> 0)
          + ((turned(yl, yh, 19) ^ turned(yl, yh, 61) ^ (yl >>> 6 | yh << 26)) >>> 0);
        w[k] = w[k - 32]! + w[k - 14]! + (turned(xh, xl, 1) ^ turned(xh, xl, 8) ^ xh >>> 7)
          + (turned(yh, yl, 19) ^ turned(yh, yl, 61) ^ yh >>> 6) + carry(low);
        w[k + 1] = low;
      }
      // Instead of every variable moving on by a place, the places turn.
      const place = (n: number) => 2 * (n - i & 7);
      const [a, b, c, d, e, f, g, h] = [place(0), place(1), place(2), place(3), place(4), place(5), place(6), place(7)];
      const [eh, el, ah, al] = [v[e]!, v[e + 1]!, v[a]!, v[a + 1]!];
      const low = v[h + 1]! + ((turned(el, eh, 14) ^ turned(el, eh, 18) ^ turned(el, eh, 41)) >>> 0)
        + ((el & v[f + 1]! ^ ~el & v[g + 1]!) >>> 0) + round[k + 1]! + w[k + 1]!;
      const high = v[h]! + (turned(eh, el, 14) ^ turned(eh, el, 18) ^ turned(eh, el, 41)) + (eh & v[f]! ^ ~eh & v[g]!) + round[k]! + w[k]! + carry(low);
      const under = v[d + 1]! + (low >>> 0);
      v[d] = v[d]! + high + carry(under);
      v[d + 1] = under;
      const over = (low >>> 0) + ((turned(al, ah, 28) ^ turned(al, ah, 34) ^ turned(al, ah, 39)) >>> 0)
        + ((al & v[b + 1]! ^ al & v[c + 1]! ^ v[b + 1]! & v[c + 1]!) >>> 0);
      v[h] = high + (turned(ah, al, 28) ^ turned(ah, al, 34) ^ turned(ah, al, 39)) + (ah & v[b]! ^ ah & v[c]! ^ v[b]! & v[c]!) + carry(over);
      v[h + 1] = over;
    }
    for (let i = 0; i < 16; i += 2) {
      const low = sum[i + 1]! + v[i + 1]!;
      sum[i] = sum[i]! + v[i]! + carry(low);
      sum[i + 1] = low;
    }
  }
  for (const secret of [padded, v, w]) secret.fill(0);
  const out = new DataView(new ArrayBuffer(64));
  sum.forEach((x, i) => out.setUint32(4 * i, x));
  return new Uint8Array(out.buffer);
}
