// The number that two people compare (docs/spec/identity.md, section 7). Most pages never show one, so that this module
// and SHA-512 are fetched by those that do.

import { concat } from "../bytes.ts";
import { sha512 } from "../crypto/sha512.ts";
import { context } from "../labels.ts";
import type { PublicKey } from "./key.ts";

const rounds = 5200;

function safetyHalf(key: PublicKey): string {
  const k = key.bytes;
  let state: Uint8Array = concat(context("safety"), k);
  for (let i = 0; i < rounds; i++) state = sha512(concat(state, k));
  const groups: string[] = [];
  for (let i = 0; i < 6; i++) {
    let v = 0;
    for (let j = 0; j < 5; j++) v = v * 256 + state[5 * i + j]!;
    groups.push(String(v % 100_000).padStart(5, "0"));
  }
  return groups.join(" ");
}

/** The 60 digits that two people compare; the same on both sides. It costs milliseconds on purpose. */
export function safetyNumber(a: PublicKey, b: PublicKey): string {
  return [safetyHalf(a), safetyHalf(b)].sort().join(" ");
}
