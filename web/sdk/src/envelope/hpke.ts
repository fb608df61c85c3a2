// HPKE (RFC 9180), base mode, with the two KEMs that Trunkline uses: DHKEM(X25519, HKDF-SHA256) 0x0020
// and X-Wing 0x647a, both with HKDF-SHA256 and ChaCha20-Poly1305. Every key is used for one message or
// one export, so there is no sequence number.

import { concat, random, u16, utf8, type Bytes } from "../bytes.ts";
import { expand, extract } from "../crypto/hash.ts";
import { primitive } from "../crypto/index.ts";
import { refuse } from "../errors.ts";
import { checkX25519 } from "../identity/key.ts";
import { decapsulate, encapsulate, publicKeyOf } from "./xwing.ts";

export const xwingPublicSize = 1216;
export const xwingEncSize = 1120;
const mlkemPublicSize = 1184;
const mlkemCiphertextSize = 1088;

const version = utf8("HPKE-v1");

function labeledExtract(suite: Uint8Array, salt: Uint8Array | undefined, label: string, ikm: Uint8Array): Uint8Array {
  return extract(concat(version, suite, utf8(label), ikm), salt);
}

function labeledExpand(suite: Uint8Array, prk: Uint8Array, label: string, info: Uint8Array, n: number): Bytes {
  return expand(prk, concat(u16(n), version, suite, utf8(label), info), n);
}

/** An HPKE context for one message and any number of exports. */
export class Context {
  readonly #suite: Uint8Array;
  readonly #key: Bytes;
  readonly #nonce: Bytes;
  readonly #exporter: Bytes;

  constructor(kem: number, shared: Uint8Array, info: Uint8Array) {
    const suite = concat(utf8("HPKE"), u16(kem), u16(1), u16(3));
    const none = new Uint8Array(0);
    const schedule = concat(
      new Uint8Array([0]), labeledExtract(suite, undefined, "psk_id_hash", none), labeledExtract(suite, undefined, "info_hash", info));
    const secret = labeledExtract(suite, shared, "secret", none);
    this.#suite = suite;
    this.#key = labeledExpand(suite, secret, "key", schedule, 32);
    this.#nonce = labeledExpand(suite, secret, "base_nonce", schedule, 12);
    this.#exporter = labeledExpand(suite, secret, "exp", schedule, 32);
  }

  /** Call it once: a second message would have the same nonce. */
  seal(plain: Uint8Array, aad: Uint8Array): Promise<Bytes> {
    return sealBox(this.#key, this.#nonce, plain, aad);
  }

  open(box: Uint8Array, aad: Uint8Array): Promise<Bytes> {
    return openBox(this.#key, this.#nonce, box, aad);
  }

  export(label: Uint8Array, n: number): Bytes {
    return labeledExpand(this.#suite, this.#exporter, "sec", label, n);
  }
}

/** Opens a ChaCha20-Poly1305 box, or says that it does not open. */
export async function openBox(key: Uint8Array, nonce: Uint8Array, box: Uint8Array, aad: Uint8Array): Promise<Bytes> {
  const aead = await primitive("aead");
  try {
    return await aead.open(key, nonce, box, aad);
  } catch (err) {
    throw refuse("decrypt", "does not decrypt", err);
  }
}

export async function sealBox(key: Uint8Array, nonce: Uint8Array, plain: Uint8Array, aad: Uint8Array): Promise<Bytes> {
  return (await primitive("aead")).seal(key, nonce, plain, aad);
}

const kemX25519 = 0x0020;
const kemXWing = 0x647a;

function x25519Shared(dh: Uint8Array, enc: Uint8Array, recipient: Uint8Array): Bytes {
  const suite = concat(utf8("KEM"), u16(kemX25519));
  return labeledExpand(suite, labeledExtract(suite, undefined, "eae_prk", dh), "shared_secret", concat(enc, recipient), 32);
}

/** The secret that two X25519 keys share. Low order and encodings that are none are refused here as on receipt. */
export async function x25519SharedSecret(secret: Uint8Array, pub: Uint8Array): Promise<Bytes> {
  checkX25519(pub);
  return (await primitive("x25519")).shared(secret, pub);
}

export async function x25519Public(secret: Uint8Array): Promise<Bytes> {
  return (await primitive("x25519")).publicKey(secret);
}

export async function senderX25519(to: Uint8Array, info: Uint8Array): Promise<{ enc: Bytes; context: Context }> {
  const secret = random(32);
  const enc = await x25519Public(secret);
  return { enc, context: new Context(kemX25519, x25519Shared(await x25519SharedSecret(secret, to), enc, to), info) };
}

export async function recipientX25519(enc: Uint8Array, secret: Uint8Array, info: Uint8Array): Promise<Context> {
  try {
    return new Context(kemX25519, x25519Shared(await x25519SharedSecret(secret, enc), enc, await x25519Public(secret)), info);
  } catch (err) {
    throw refuse("decrypt", "does not decrypt", err);
  }
}

/** Public key of the X-Wing key with this seed of 32 bytes. */
export function xwingPublic(seed: Uint8Array): Promise<Bytes> {
  return publicKeyOf(seed);
}

export async function senderXWing(to: Uint8Array, info: Uint8Array): Promise<{ enc: Bytes; context: Context }> {
  checkXWing(to);
  const { enc, shared } = await encapsulate(to);
  return { enc, context: new Context(kemXWing, shared, info) };
}

export async function recipientXWing(enc: Uint8Array, seed: Uint8Array, info: Uint8Array): Promise<Context> {
  try {
    return new Context(kemXWing, await decapsulate(enc, seed), info);
  } catch (err) {
    throw refuse("decrypt", "does not decrypt", err);
  }
}

/** Refuses an X-Wing public key with another length, ML-KEM coefficients out of range or a bad X25519 part. */
export function checkXWing(b: Uint8Array): void {
  if (b.length !== xwingPublicSize) throw refuse("malformed", `X-Wing key of ${b.length} bytes`);
  // 768 coefficients of 12 bits, then the seed of the matrix.
  for (let i = 0; i < mlkemPublicSize - 32; i += 3) {
    const [x, y, z] = [b[i]!, b[i + 1]!, b[i + 2]!];
    if ((x | (y & 15) << 8) >= 3329 || (y >> 4 | z << 4) >= 3329) throw refuse("malformed", "ML-KEM key out of range");
  }
  checkX25519(b.subarray(mlkemPublicSize));
}

/** The same for an encapsulation. Every ML-KEM ciphertext of the right length is valid. */
export function checkXWingEnc(b: Uint8Array): void {
  if (b.length !== xwingEncSize) throw refuse("malformed", `encapsulation of ${b.length} bytes`);
  checkX25519(b.subarray(mlkemCiphertextSize));
}
