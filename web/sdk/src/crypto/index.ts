// The one door to public-key cryptography and to ChaCha20-Poly1305. What the platform's WebCrypto has is used there:
// it runs in constant time, faster, and costs a page nothing. What it lacks comes from noble, which is fetched only
// then. Hashes are in hash.ts: they stay synchronous, and WebCrypto's are not.

import type { Bytes } from "../bytes.ts";
import { native, works } from "./native.ts";

export interface Ed25519 {
  publicKey(seed: Uint8Array): Promise<Bytes>;
  sign(seed: Uint8Array, b: Uint8Array): Promise<Bytes>;
  /** In the cofactorless equation, S below the group order, R compared as bytes. The key has passed PublicKey.check. */
  verify(key: Uint8Array, b: Uint8Array, signature: Uint8Array): Promise<boolean>;
}

export interface X25519 {
  publicKey(secret: Uint8Array): Promise<Bytes>;
  /** The other key has passed checkX25519. */
  shared(secret: Uint8Array, pub: Uint8Array): Promise<Bytes>;
}

/** ML-KEM-768. A secret key is its seed of 64 bytes, d || z. */
export interface MlKem {
  publicKey(seed: Uint8Array): Promise<Bytes>;
  encapsulate(pub: Uint8Array): Promise<{ readonly enc: Bytes; readonly shared: Bytes }>;
  decapsulate(seed: Uint8Array, enc: Uint8Array): Promise<Bytes>;
}

/**
 * One key with its associated data, for many messages. The input is read before a call returns, and what it gives shares
 * memory with nothing.
 */
export interface Cipher {
  seal(nonce: Bytes, plain: Bytes): Promise<Bytes>;
  open(nonce: Bytes, sealed: Bytes): Promise<Bytes>;
}

/** ChaCha20-Poly1305. open rejects what is not authentic, with an error of the implementation. */
export interface Aead {
  cipher(key: Uint8Array, aad: Bytes): Promise<Cipher>;
  seal(key: Uint8Array, nonce: Uint8Array, plain: Uint8Array, aad: Uint8Array): Promise<Bytes>;
  open(key: Uint8Array, nonce: Uint8Array, box: Uint8Array, aad: Uint8Array): Promise<Bytes>;
}

export interface Primitives { readonly ed25519: Ed25519; readonly x25519: X25519; readonly mlkem: MlKem; readonly aead: Aead }

type Chosen = { [K in keyof Primitives]?: Promise<Primitives[K]> };
const chosen: Chosen = {};

/** An implementation that works here, found out once and by use: a name or a version says nothing. */
export function primitive<K extends keyof Primitives>(name: K): Promise<Primitives[K]> {
  return (chosen[name] as Promise<Primitives[K]> | undefined) ?? ((chosen[name] as Promise<Primitives[K]>) = choose(name));
}

async function choose<K extends keyof Primitives>(name: K): Promise<Primitives[K]> {
  return await works(name) ? native[name] : (await import("./noble.ts")).noble[name];
}

/** For tests: from here on nothing of WebCrypto's is used. */
export async function onlyFallback(): Promise<void> {
  const { noble } = await import("./noble.ts");
  for (const name of Object.keys(noble) as (keyof Primitives)[]) (chosen as Record<string, Promise<unknown>>)[name] = Promise.resolve(noble[name]);
}
