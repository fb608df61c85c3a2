// Byte strings: the few operations that everything else needs.

import { refuse } from "./errors.ts";

export type Bytes = Uint8Array<ArrayBuffer>;

export const empty: Bytes = new Uint8Array(0);

export function concat(...parts: readonly Uint8Array[]): Bytes {
  let n = 0;
  for (const p of parts) n += p.length;
  const out = new Uint8Array(n);
  n = 0;
  for (const p of parts) {
    out.set(p, n);
    n += p.length;
  }
  return out;
}

/** A copy that shares memory with nothing. */
export function copy(b: Uint8Array): Bytes {
  return new Uint8Array(b);
}

/** Compares without telling by time where the first difference is; the lengths are public. */
export function equal(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  let d = 0;
  for (let i = 0; i < a.length; i++) d |= a[i]! ^ b[i]!;
  return d === 0;
}

export function isZero(b: Uint8Array): boolean {
  let d = 0;
  for (let i = 0; i < b.length; i++) d |= b[i]!;
  return d === 0;
}

const digits = "0123456789abcdef";

export function hex(b: Uint8Array): string {
  let s = "";
  for (const x of b) s += digits[x >> 4]! + digits[x & 15]!;
  return s;
}

/** Reads lower-case hexadecimal digits and nothing else. */
export function unhex(s: string): Bytes {
  if (s.length % 2 !== 0 || !/^[0-9a-f]*$/.test(s)) throw refuse("malformed", "not lower-case hexadecimal digits");
  const out = new Uint8Array(s.length / 2);
  for (let i = 0; i < out.length; i++) out[i] = parseInt(s.slice(2 * i, 2 * i + 2), 16);
  return out;
}

const encoder = new TextEncoder();
// ignoreBOM keeps a byte order mark in the text: without it two inputs would give one string.
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** UTF-8 of s. A lone surrogate has no UTF-8 and is refused. */
export function utf8(s: string): Bytes {
  if (/\p{Surrogate}/u.test(s)) throw refuse("malformed", "text is not Unicode");
  return encoder.encode(s) as Bytes;
}

/** Reads UTF-8 strictly. */
export function text(b: Uint8Array): string {
  try {
    return decoder.decode(b);
  } catch {
    throw refuse("malformed", "text is not UTF-8");
  }
}

export function random(n: number): Bytes {
  return crypto.getRandomValues(new Uint8Array(n));
}

/** Big-endian integers, as everywhere outside protobuf. */
export function u16(n: number): Bytes {
  return new Uint8Array([n >>> 8, n]);
}

export function u32(n: number): Bytes {
  const b = new Uint8Array(4);
  new DataView(b.buffer).setUint32(0, n);
  return b;
}

export function u64(n: bigint | number): Bytes {
  const b = new Uint8Array(8);
  new DataView(b.buffer).setBigUint64(0, BigInt(n));
  return b;
}

export function readU32(b: Uint8Array, at = 0): number {
  return new DataView(b.buffer, b.byteOffset, b.byteLength).getUint32(at);
}

export function readU64(b: Uint8Array, at = 0): bigint {
  return new DataView(b.buffer, b.byteOffset, b.byteLength).getBigUint64(at);
}
