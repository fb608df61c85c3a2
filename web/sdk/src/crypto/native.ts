// The platform's WebCrypto. Secrets come and go as bytes, because that is how they are kept sealed; each operation
// imports its key, which costs tens of microseconds.

import { concat, copy, type Bytes } from "../bytes.ts";
import type { Cipher, Primitives } from "./index.ts";

// TypeScript's library does not know the newer formats and methods.
interface Subtle {
  importKey(format: string, key: Bytes, algorithm: string | object, extractable: boolean, uses: readonly string[]): Promise<CryptoKey>;
  encapsulateBits(algorithm: string, key: CryptoKey): Promise<{ readonly ciphertext: ArrayBuffer; readonly sharedKey: ArrayBuffer }>;
  decapsulateBits(algorithm: string, key: CryptoKey, ciphertext: Bytes): Promise<ArrayBuffer>;
}

const subtle = (): SubtleCrypto => crypto.subtle;
const newer = (): Subtle => crypto.subtle as unknown as Subtle;
const out = (b: ArrayBuffer): Bytes => new Uint8Array(b);

const ed = "Ed25519";
const x = "X25519";
const kem = "ML-KEM-768";
const aead = "ChaCha20-Poly1305";

/** A secret key of 32 bytes in its PKCS #8 wrapping (RFC 8410): WebCrypto has no shorter form for it. The last byte of the object identifier 1.3.101.n is n. */
function secretKey(algorithm: string, oid: number, secret: Uint8Array, extractable: boolean, use: KeyUsage): Promise<CryptoKey> {
  const head = new Uint8Array([0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, oid, 4, 0x22, 4, 0x20]);
  return subtle().importKey("pkcs8", concat(head, secret), algorithm, extractable, [use]);
}

/** The public half of a secret key, which WebCrypto shows in the JSON form alone. */
async function publicHalf(key: CryptoKey, field: string): Promise<Bytes> {
  const text = (await subtle().exportKey("jwk", key) as unknown as Record<string, string>)[field]!;
  return Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
}

const kemSecret = (seed: Uint8Array, extractable: boolean) => newer().importKey("raw-seed", copy(seed), kem, extractable, ["decapsulateBits"]);

async function cipher(key: Uint8Array, additionalData: Bytes): Promise<Cipher> {
  const usable = await newer().importKey("raw-secret", copy(key), aead, false, ["encrypt", "decrypt"]);
  const box = (iv: Bytes) => ({ name: aead, iv, additionalData });
  return {
    seal: async (nonce, plain) => out(await subtle().encrypt(box(nonce), usable, plain)),
    open: async (nonce, sealed) => out(await subtle().decrypt(box(nonce), usable, sealed)),
  };
}

export const native: Primitives = {
  ed25519: {
    publicKey: async (seed) => publicHalf(await secretKey(ed, 0x70, seed, true, "sign"), "x"),
    sign: async (seed, b) => out(await subtle().sign(ed, await secretKey(ed, 0x70, seed, false, "sign"), copy(b))),
    verify: async (key, b, signature) => subtle().verify(ed, await subtle().importKey("raw", copy(key), ed, false, ["verify"]), copy(signature), copy(b)),
  },
  x25519: {
    publicKey: async (secret) => publicHalf(await secretKey(x, 0x6e, secret, true, "deriveBits"), "x"),
    shared: async (secret, pub) => out(await subtle().deriveBits(
      { name: x, public: await subtle().importKey("raw", copy(pub), x, false, []) }, await secretKey(x, 0x6e, secret, false, "deriveBits"), 256)),
  },
  mlkem: {
    publicKey: async (seed) => publicHalf(await kemSecret(seed, true), "pub"),
    encapsulate: async (pub) => {
      const { ciphertext, sharedKey } = await newer().encapsulateBits(kem, await newer().importKey("raw-public", copy(pub), kem, false, ["encapsulateBits"]));
      return { enc: out(ciphertext), shared: out(sharedKey) };
    },
    decapsulate: async (seed, enc) => out(await newer().decapsulateBits(kem, await kemSecret(seed, false), copy(enc))),
  },
  aead: {
    cipher,
    seal: async (key, nonce, plain, aad) => (await cipher(key, copy(aad))).seal(copy(nonce), copy(plain)),
    open: async (key, nonce, sealed, aad) => (await cipher(key, copy(aad))).open(copy(nonce), copy(sealed)),
  },
};

const tries: { readonly [K in keyof Primitives]: () => Promise<unknown> } = {
  ed25519: () => native.ed25519.publicKey(new Uint8Array(32)),
  x25519: () => native.x25519.publicKey(new Uint8Array(32)),
  mlkem: () => native.mlkem.publicKey(new Uint8Array(64)),
  aead: () => native.aead.seal(new Uint8Array(32), new Uint8Array(12), new Uint8Array(0), new Uint8Array(0)),
};

/** Whether the platform has it. A page that came without TLS has no WebCrypto at all. */
export async function works(name: keyof Primitives): Promise<boolean> {
  try {
    await tries[name]();
    return true;
  } catch {
    return false;
  }
}
