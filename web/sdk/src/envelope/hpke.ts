// HPKE (RFC 9180), base mode, with the two KEMs that Trunkline uses: DHKEM(X25519, HKDF-SHA256) 0x0020
// and X-Wing 0x647a, both with HKDF-SHA256 and ChaCha20-Poly1305. Every key is used for one message or
// one export, so there is no sequence number.

import { chacha20poly1305 } from "@noble/ciphers/chacha.js";
import { expand, extract } from "@noble/hashes/hkdf.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { concat, random, u16, utf8, type Bytes } from "../bytes.ts";
import { refuse } from "../errors.ts";
import { checkX25519 } from "../identity/key.ts";
import { x25519 } from "../identity/x25519.ts";
import { decapsulate, encapsulate, publicKeyOf } from "./xwing.ts";

export const xwingPublicSize = 1216;
export const xwingEncSize = 1120;
const mlkemPublicSize = 1184;
const mlkemCiphertextSize = 1088;

const version = utf8("HPKE-v1");

function labeledExtract(suite: Uint8Array, salt: Uint8Array | undefined, label: string, ikm: Uint8Array): Uint8Array {
  return extract(sha256, concat(version, suite, utf8(label), ikm), salt);
}

function labeledExpand(suite: Uint8Array, prk: Uint8Array, label: string, info: Uint8Array, n: number): Bytes {
  return expand(sha256, prk, concat(u16(n), version, suite, utf8(label), info), n) as Bytes;
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
  seal(plain: Uint8Array, aad: Uint8Array): Bytes {
    return chacha20poly1305(this.#key, this.#nonce, aad).encrypt(plain) as Bytes;
  }

  open(box: Uint8Array, aad: Uint8Array): Bytes {
    return openBox(this.#key, this.#nonce, box, aad);
  }

  export(label: Uint8Array, n: number): Bytes {
    return labeledExpand(this.#suite, this.#exporter, "sec", label, n);
  }
}

/** Opens a ChaCha20-Poly1305 box, or says that it does not open. */
export function openBox(key: Uint8Array, nonce: Uint8Array, box: Uint8Array, aad: Uint8Array): Bytes {
  try {
    return chacha20poly1305(key, nonce, aad).decrypt(box) as Bytes;
  } catch (err) {
    throw refuse("decrypt", "does not decrypt", err);
  }
}

export function sealBox(key: Uint8Array, nonce: Uint8Array, plain: Uint8Array, aad: Uint8Array): Bytes {
  return chacha20poly1305(key, nonce, aad).encrypt(plain) as Bytes;
}

const kemX25519 = 0x0020;
const kemXWing = 0x647a;

function x25519Shared(dh: Uint8Array, enc: Uint8Array, recipient: Uint8Array): Bytes {
  const suite = concat(utf8("KEM"), u16(kemX25519));
  return labeledExpand(suite, labeledExtract(suite, undefined, "eae_prk", dh), "shared_secret", concat(enc, recipient), 32);
}

function diffieHellman(secret: Uint8Array, pub: Uint8Array): Uint8Array {
  // Low order and encodings that are none are refused here as on receipt.
  checkX25519(pub);
  return x25519.scalarMult(secret, pub);
}

/** The secret that two X25519 keys share, for other uses than HPKE. */
export function x25519SharedSecret(secret: Uint8Array, pub: Uint8Array): Bytes {
  return diffieHellman(secret, pub) as Bytes;
}

export function x25519Public(secret: Uint8Array): Bytes {
  return x25519.scalarMultBase(secret) as Bytes;
}

export function senderX25519(to: Uint8Array, info: Uint8Array): { enc: Bytes; context: Context } {
  const secret = random(32);
  const enc = x25519Public(secret);
  return { enc, context: new Context(kemX25519, x25519Shared(diffieHellman(secret, to), enc, to), info) };
}

export function recipientX25519(enc: Uint8Array, secret: Uint8Array, info: Uint8Array): Context {
  try {
    return new Context(kemX25519, x25519Shared(diffieHellman(secret, enc), enc, x25519Public(secret)), info);
  } catch (err) {
    throw refuse("decrypt", "does not decrypt", err);
  }
}

/** Public key of the X-Wing key with this seed of 32 bytes. */
export function xwingPublic(seed: Uint8Array): Bytes {
  return publicKeyOf(seed);
}

export function senderXWing(to: Uint8Array, info: Uint8Array): { enc: Bytes; context: Context } {
  checkXWing(to);
  const { enc, shared } = encapsulate(to);
  return { enc, context: new Context(kemXWing, shared, info) };
}

export function recipientXWing(enc: Uint8Array, seed: Uint8Array, info: Uint8Array): Context {
  try {
    return new Context(kemXWing, decapsulate(enc, seed), info);
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
