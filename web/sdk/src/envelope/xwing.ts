// X-Wing (draft-connolly-cfrg-xwing-kem): ML-KEM-768 and X25519 in one KEM. The library's module of hybrids brings
// the NIST curves along.

import { sha3_256, shake256 } from "@noble/hashes/sha3.js";
import { ml_kem768 } from "@noble/post-quantum/ml-kem.js";
import { concat, random, utf8, type Bytes } from "../bytes.ts";
import { x25519 } from "../identity/x25519.ts";

const mlkemPublicSize = 1184;
const mlkemCiphertextSize = 1088;
const label = utf8("\\.//^\\");

function expand(seed: Uint8Array): { mlkem: { publicKey: Uint8Array; secretKey: Uint8Array }; secret: Uint8Array; pub: Uint8Array } {
  const b = shake256(seed, { dkLen: 96 });
  const secret = b.slice(64);
  return { mlkem: ml_kem768.keygen(b.slice(0, 64)), secret, pub: x25519.scalarMultBase(secret) };
}

function combine(mlkemShared: Uint8Array, shared: Uint8Array, enc: Uint8Array, pub: Uint8Array): Bytes {
  return sha3_256(concat(mlkemShared, shared, enc, pub, label)) as Bytes;
}

/** Public key of the key with this seed of 32 bytes. */
export function publicKeyOf(seed: Uint8Array): Bytes {
  const { mlkem, pub } = expand(seed);
  return concat(mlkem.publicKey, pub);
}

/** To a public key of 1216 bytes that was checked. */
export function encapsulate(to: Uint8Array): { enc: Bytes; shared: Bytes } {
  const m = ml_kem768.encapsulate(to.slice(0, mlkemPublicSize));
  const pub = to.slice(mlkemPublicSize);
  const secret = random(32);
  const enc = x25519.scalarMultBase(secret);
  return { enc: concat(m.cipherText, enc), shared: combine(m.sharedSecret, x25519.scalarMult(secret, pub), enc, pub) };
}

/** Throws for a length or an X25519 part that is none. */
export function decapsulate(enc: Uint8Array, seed: Uint8Array): Bytes {
  const { mlkem, secret, pub } = expand(seed);
  const part = enc.slice(mlkemCiphertextSize);
  return combine(ml_kem768.decapsulate(enc.slice(0, mlkemCiphertextSize), mlkem.secretKey), x25519.scalarMult(secret, part), part, pub);
}
