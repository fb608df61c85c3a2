// Ed25519 and X25519 keys, and the door through which every public key enters
// (docs/spec/identity.md, section 5).

import { concat, copy, equal, hex, random, type Bytes } from "../bytes.ts";
import { isX25519, keyFault } from "../crypto/edwards.ts";
import { sha256 } from "../crypto/hash.ts";
import { primitive } from "../crypto/index.ts";
import { refuse } from "../errors.ts";
import { context, type Context } from "../labels.ts";
import { encodeBase58, encodeFingerprint, encodeId } from "./text.ts";

// Keys that passed. The check costs two milliseconds here, and the same contact's keys come with
// every message. Two generations, because strangers choose what enters.
const perGeneration = 4096;
let young = new Set<string>();
let old = new Set<string>();

function remember(key: string): void {
  if (young.size >= perGeneration) {
    old = young;
    young = new Set();
  }
  young.add(key);
}

function known(key: string): boolean {
  if (young.has(key)) return true;
  if (!old.has(key)) return false;
  remember(key);
  return true;
}

/**
 * A public key that passed the key check. It prints as the first group of its fingerprint, because logs
 * must not hold identities; id() and fingerprint() give the full texts.
 */
export class PublicKey {
  readonly #bytes: Bytes;
  readonly #hex: string;

  private constructor(b: Bytes, h: string) {
    this.#bytes = b;
    this.#hex = h;
  }

  /** Checks 32 bytes that came in, whatever they came in. */
  static check(b: Uint8Array): PublicKey {
    if (b.length !== 32) throw refuse("key", `key of ${b.length} bytes`);
    const h = hex(b);
    if (!known(h)) {
      const fault = keyFault(b);
      if (fault !== undefined) throw refuse("key", fault);
      remember(h);
    }
    return new PublicKey(copy(b), h);
  }

  get bytes(): Bytes { return copy(this.#bytes); }
  /** For use as the key of a map. */
  get hex(): string { return this.#hex; }
  equals(other: PublicKey | undefined): boolean { return other !== undefined && this.#hex === other.#hex; }

  /** "tl1…", 62 characters. */
  id(): string { return encodeId(this.#bytes); }
  fingerprint(): string { return encodeFingerprint(hash("fingerprint", this.#bytes).subarray(0, 20)); }
  peerId(): PeerId { return PeerId.of(this); }

  toString(): string { return this.fingerprint().slice(0, 4); }
  toJSON(): string { return this.toString(); }
}

const peerPrefix = new Uint8Array([0x00, 0x24, 0x08, 0x01, 0x12, 0x20]);

/** A libp2p peer id of an Ed25519 key. */
export class PeerId {
  readonly key: PublicKey;
  readonly #bytes: Bytes;

  private constructor(key: PublicKey) {
    this.key = key;
    this.#bytes = concat(peerPrefix, key.bytes);
  }

  static of(key: PublicKey): PeerId { return new PeerId(key); }

  /** Reads the 38 bytes and checks the key in them. */
  static fromBytes(b: Uint8Array): PeerId {
    if (b.length !== 38 || !equal(b.subarray(0, 6), peerPrefix)) throw refuse("key", "peer id: not that of an Ed25519 key");
    return new PeerId(PublicKey.check(b.subarray(6)));
  }

  get bytes(): Bytes { return copy(this.#bytes); }
  get hex(): string { return this.key.hex; }
  equals(other: PeerId | undefined): boolean { return other !== undefined && this.key.equals(other.key); }
  /** The text, "12D3KooW…". A node's name is public, so it prints in full. */
  toString(): string { return encodeBase58(this.#bytes); }
  toJSON(): string { return this.toString(); }
}

/** Names a device and its mailbox. Prints shortened. */
export class DeviceId {
  readonly #bytes: Bytes;
  readonly hex: string;

  private constructor(b: Bytes) {
    this.#bytes = b;
    this.hex = hex(b);
  }

  static of(device: PublicKey): DeviceId { return new DeviceId(hash("deviceid", device.bytes).slice(0, 16)); }

  static fromBytes(b: Uint8Array): DeviceId {
    if (b.length !== 16) throw refuse("malformed", `device id of ${b.length} bytes`);
    return new DeviceId(copy(b));
  }

  get bytes(): Bytes { return copy(this.#bytes); }
  equals(other: DeviceId | undefined): boolean { return other !== undefined && this.hex === other.hex; }
  toString(): string { return this.hex.slice(0, 4); }
  toJSON(): string { return this.toString(); }
}

/** SHA-256(context string || parts). */
export function hash(c: Context, ...parts: readonly Uint8Array[]): Bytes {
  return sha256(concat(context(c), ...parts));
}

/**
 * Verifies in the cofactorless equation, with S below the group order and R compared as bytes, as every
 * implementation of Trunkline does.
 */
export async function verify(key: PublicKey, c: Context, msg: Uint8Array, signature: Uint8Array): Promise<boolean> {
  return verifyBytes(key, concat(context(c), msg), signature);
}

/** Like verify, over bytes without a context string: for test vectors of others. */
export async function verifyBytes(key: PublicKey, b: Uint8Array, signature: Uint8Array): Promise<boolean> {
  return signature.length === 64 && (await primitive("ed25519")).verify(key.bytes, b, signature);
}

/** Like verify, but throws. Without the await nothing was verified. */
export async function mustVerify(key: PublicKey, c: Context, msg: Uint8Array, signature: Uint8Array): Promise<void> {
  if (!await verify(key, c, msg, signature)) throw refuse("signature", "signature does not verify");
}

/** Splits a signed object, signature || message, after checking its length. */
export function splitSigned(signed: Uint8Array, max: number): { signature: Uint8Array; message: Uint8Array } {
  if (signed.length <= 64 || signed.length > max) {
    throw refuse("malformed", `signed object of ${signed.length} bytes, at most ${max}`);
  }
  return { signature: signed.subarray(0, 64), message: signed.subarray(64) };
}

/** Signs with a key that may be out of reach of this code, as WebCrypto's are: hence the promise. */
export interface Signer {
  readonly publicKey: PublicKey;
  /** The Ed25519 signature over the bytes as they are. */
  signRaw(b: Uint8Array): Promise<Uint8Array>;
}

export async function sign(by: Signer, c: Context, msg: Uint8Array): Promise<Bytes> {
  return copy(await by.signRaw(concat(context(c), msg)));
}

/** signature || message. */
export async function signObject(by: Signer, c: Context, msg: Uint8Array): Promise<Bytes> {
  return concat(await sign(by, c, msg), msg);
}

/** A key whose seed is in memory. */
export class SeedSigner implements Signer {
  readonly publicKey: PublicKey;
  readonly #seed: Bytes;

  private constructor(seed: Bytes, publicKey: PublicKey) {
    this.#seed = seed;
    this.publicKey = publicKey;
  }

  static async from(seed: Uint8Array): Promise<SeedSigner> {
    if (seed.length !== 32) throw refuse("key", `seed of ${seed.length} bytes`);
    const own = copy(seed);
    return new SeedSigner(own, PublicKey.check(await (await primitive("ed25519")).publicKey(own)));
  }

  static generate(): Promise<SeedSigner> { return SeedSigner.from(random(32)); }

  async signRaw(b: Uint8Array): Promise<Uint8Array> { return (await primitive("ed25519")).sign(this.#seed, b); }

  /** The secret. Keep it wrapped or nowhere. */
  seed(): Bytes { return copy(this.#seed); }

  toJSON(): string { return "[redacted]"; }
}

/** Refuses an X25519 public key that is not canonical or of low order. */
export function checkX25519(b: Uint8Array): void {
  if (b.length !== 32) throw refuse("key", `X25519: ${b.length} bytes`);
  if (!isX25519(b)) throw refuse("key", "X25519: low order, or not the canonical encoding");
}
