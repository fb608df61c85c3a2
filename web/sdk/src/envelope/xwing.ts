// X-Wing (draft-connolly-cfrg-xwing-kem): ML-KEM-768 and X25519 in one KEM.

import { concat, random, utf8, type Bytes } from "../bytes.ts";
import { sha3, shake256 } from "../crypto/hash.ts";
import { primitive } from "../crypto/index.ts";

const mlkemPublicSize = 1184;
const mlkemCiphertextSize = 1088;
const label = utf8("\\.//^\\");

function expand(seed: Uint8Array): { mlkem: Uint8Array; secret: Uint8Array } {
  const b = shake256(seed, 96);
  return { mlkem: b.slice(0, 64), secret: b.slice(64) };
}

function combine(mlkemShared: Uint8Array, shared: Uint8Array, enc: Uint8Array, pub: Uint8Array): Bytes {
  return sha3(concat(mlkemShared, shared, enc, pub, label));
}

/** Public key of the key with this seed of 32 bytes. */
export async function publicKeyOf(seed: Uint8Array): Promise<Bytes> {
  const { mlkem, secret } = expand(seed);
  return concat(await (await primitive("mlkem")).publicKey(mlkem), await (await primitive("x25519")).publicKey(secret));
}

/** To a public key of 1216 bytes that was checked. */
export async function encapsulate(to: Uint8Array): Promise<{ enc: Bytes; shared: Bytes }> {
  const m = await (await primitive("mlkem")).encapsulate(to.slice(0, mlkemPublicSize));
  const pub = to.slice(mlkemPublicSize);
  const secret = random(32);
  const x25519 = await primitive("x25519");
  const enc = await x25519.publicKey(secret);
  return { enc: concat(m.enc, enc), shared: combine(m.shared, await x25519.shared(secret, pub), enc, pub) };
}

/** Throws for a length or an X25519 part that is none. */
export async function decapsulate(enc: Uint8Array, seed: Uint8Array): Promise<Bytes> {
  const { mlkem, secret } = expand(seed);
  const part = enc.slice(mlkemCiphertextSize);
  const x25519 = await primitive("x25519");
  const shared = await (await primitive("mlkem")).decapsulate(mlkem, enc.slice(0, mlkemCiphertextSize));
  return combine(shared, await x25519.shared(secret, part), part, await x25519.publicKey(secret));
}
