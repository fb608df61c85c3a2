// Sizes, classes and padding of what nodes carry.

import { readU32, u32, type Bytes } from "../bytes.ts";
import { refuse } from "../errors.ts";

/** Class of an envelope: how long a node may keep it. */
export const Ttl = { live: 0, ring: 1, day: 2, week: 3 } as const;
export type Ttl = (typeof Ttl)[keyof typeof Ttl];

/** A payload has exactly one of these sizes. */
export const buckets = [1024, 4096, 8192, 16384, 32768, 65536] as const;
export const knockSize = 4096;
export const maxEnvelope = 65536 + 256;

export function isBucket(size: number): boolean {
  return buckets.some((b) => b === size);
}

export function isTtl(n: number): n is Ttl {
  return Number.isInteger(n) && n >= 0 && n <= 3;
}

/** length 4 || body || zeros, of the given size. */
export function pad(size: number, body: Uint8Array): Bytes {
  if (body.length > size - 4) throw refuse("too_large", `${body.length} bytes do not fit a block of ${size}`);
  const block = new Uint8Array(size);
  block.set(u32(body.length));
  block.set(body, 4);
  return block;
}

/** The inverse of pad, which takes nothing that pad would not have written. */
export function unpad(block: Uint8Array): Uint8Array {
  if (block.length < 4) throw refuse("malformed", "padding");
  const n = readU32(block);
  if (n > block.length - 4) throw refuse("malformed", "padding");
  for (let i = 4 + n; i < block.length; i++) {
    if (block[i] !== 0) throw refuse("malformed", "padding");
  }
  return block.subarray(4, 4 + n);
}
