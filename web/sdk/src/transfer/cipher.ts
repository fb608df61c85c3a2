// What chunks are sealed with (docs/spec/files.md, section 4): ChaCha20-Poly1305 of the platform where it has one, which
// is several times faster and runs beside the thread that asks, else in script, which is fetched when it is needed.

import type { Bytes } from "../bytes.ts";
import { copy } from "../bytes.ts";

/** One key with its associated data. The input is read before a call returns, and what it gives shares memory with nothing. */
export interface Cipher {
  seal(nonce: Bytes, plain: Bytes): Promise<Bytes>;
  /** Rejects what was not sealed so. */
  open(nonce: Bytes, sealed: Bytes): Promise<Bytes>;
}

const name = "ChaCha20-Poly1305";

export async function cipherOf(key: Uint8Array, additionalData: Bytes): Promise<Cipher> {
  const subtle = globalThis.crypto?.subtle as SubtleCrypto | undefined; // absent where the page came without TLS
  let native: CryptoKey | undefined;
  try {
    native = await subtle?.importKey("raw-secret" as "raw", copy(key), name, false, ["encrypt", "decrypt"]);
  } catch {
    native = undefined; // a platform without it says so by any of three errors
  }
  if (subtle === undefined || native === undefined) return inScript(key, additionalData);
  const usable = native;
  return {
    seal: async (iv, plain) => new Uint8Array(await subtle.encrypt({ name, iv, additionalData } as AesGcmParams, usable, plain)),
    open: async (iv, sealed) => new Uint8Array(await subtle.decrypt({ name, iv, additionalData } as AesGcmParams, usable, sealed)),
  };
}

async function inScript(key: Uint8Array, additionalData: Bytes): Promise<Cipher> {
  const { chacha20poly1305 } = await import("@noble/ciphers/chacha.js");
  const own = copy(key);
  // It is several times slower where its input does not begin at a multiple of four bytes.
  const aligned = (b: Bytes) => (b.byteOffset % 4 === 0 ? b : copy(b));
  return {
    seal: async (nonce, plain) => chacha20poly1305(own, nonce, additionalData).encrypt(aligned(plain)) as Bytes,
    open: async (nonce, sealed) => chacha20poly1305(own, nonce, additionalData).decrypt(aligned(sealed)) as Bytes,
  };
}
