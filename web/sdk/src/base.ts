// Bytes as text. One text for each byte string: a reader refuses bits that are left over.

import { refuse } from "./errors.ts";
import type { Bytes } from "./bytes.ts";

const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const bech = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const btc = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/** Cuts groups of bits anew. Padding to a whole group is of zeros and less than a group; the reader insists on it. */
function regroup(from: number, to: number, data: Iterable<number>, reading: boolean): number[] {
  const out: number[] = [];
  let [v, bits] = [0, 0];
  for (const d of data) {
    v = (v << from | d) & 0xffff;
    for (bits += from; bits >= to;) out.push(v >> (bits -= to) & (1 << to) - 1);
  }
  const rest = v & (1 << bits) - 1;
  if (!reading && bits > 0) out.push(rest << to - bits);
  if (reading && (bits >= from || rest !== 0)) throw refuse("malformed", "bits are left over");
  return out;
}

function digitsOf(s: string, alphabet: string): number[] {
  return Array.from(s, (c) => {
    const d = alphabet.indexOf(c);
    if (d < 0) throw refuse("malformed", "a character that does not belong");
    return d;
  });
}

interface Base { encode(b: Uint8Array): string; decode(s: string): Bytes }

/** RFC 4648, without padding. */
function base(bits: number, alphabet: string): Base {
  return {
    encode: (b) => regroup(8, bits, b, false).map((d) => alphabet[d]).join(""),
    decode: (s) => new Uint8Array(regroup(bits, 8, digitsOf(s, alphabet), true)),
  };
}

const base64Letters = letters + letters.toLowerCase() + "0123456789";
export const base32 = /* @__PURE__ */ base(5, letters + "234567");
export const base64 = /* @__PURE__ */ base(6, base64Letters + "+/");
export const base64url = /* @__PURE__ */ base(6, base64Letters + "-_");

/** Zero bytes in front become ones; the rest is a number. */
export const base58: Base = {
  encode(b) {
    let v = 0n;
    for (const x of b) v = v << 8n | BigInt(x);
    let s = "";
    for (; v > 0n; v /= 58n) s = btc[Number(v % 58n)]! + s;
    for (let i = 0; b[i] === 0; i++) s = btc[0]! + s;
    return s;
  },
  decode(s) {
    let v = 0n;
    for (const d of digitsOf(s, btc)) v = v * 58n + BigInt(d);
    const out: number[] = [];
    for (; v > 0n; v >>= 8n) out.unshift(Number(v & 255n));
    for (let i = 0; s[i] === btc[0]; i++) out.unshift(0);
    return new Uint8Array(out);
  },
};

const generator = [0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3];

function checksum(prefix: string, words: readonly number[]): number {
  const codes = Array.from(prefix, (c) => c.charCodeAt(0));
  let chk = 1;
  for (const v of [...codes.map((c) => c >> 5), 0, ...codes.map((c) => c & 31), ...words]) {
    const top = chk >>> 25;
    chk = (chk & 0x1ffffff) << 5 ^ v;
    generator.forEach((g, i) => { if (top >> i & 1) chk ^= g; });
  }
  return chk;
}

const bech32mConstant = 0x2bc830a3;

/** BIP 350. */
export function encodeBech32m(prefix: string, b: Uint8Array): string {
  const words = regroup(8, 5, b, false);
  const sum = checksum(prefix, [...words, 0, 0, 0, 0, 0, 0]) ^ bech32mConstant;
  return `${prefix}1${[...words, ...[25, 20, 15, 10, 5, 0].map((n) => sum >> n & 31)].map((d) => bech[d]).join("")}`;
}

export function decodeBech32m(prefix: string, s: string): Bytes {
  // All in one case, either of them.
  const lower = s.toLowerCase();
  if (lower !== s && s.toUpperCase() !== s) throw refuse("malformed", "letters of both cases");
  if (!lower.startsWith(`${prefix}1`)) throw refuse("malformed", "another prefix");
  const words = digitsOf(lower.slice(prefix.length + 1), bech);
  if (words.length < 6 || checksum(prefix, words) !== bech32mConstant) throw refuse("malformed", "checksum");
  return new Uint8Array(regroup(5, 8, words.slice(0, -6), true));
}
