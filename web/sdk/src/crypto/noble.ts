// What a platform lacks, from noble. Fetched where it is needed and nowhere else.

import { chacha20poly1305 } from "@noble/ciphers/chacha.js";
import { montgomery } from "@noble/curves/abstract/montgomery.js";
import { getPublicKey, hashes, Point, sign } from "@noble/ed25519";
import { ml_kem768 } from "@noble/post-quantum/ml-kem.js";
import { concat, copy, equal, type Bytes } from "../bytes.ts";
import type { Primitives } from "./index.ts";
import { sha512 } from "./sha512.ts";

hashes.sha512 = sha512;

const order = Point.CURVE().n;
const P = Point.CURVE().p;

function littleEndian(b: Uint8Array): bigint {
  let v = 0n;
  for (let i = b.length - 1; i >= 0; i--) v = v << 8n | BigInt(b[i]!);
  return v;
}

/** noble's own verify multiplies by the cofactor in every mode and so accepts more. */
function verify(key: Uint8Array, b: Uint8Array, signature: Uint8Array): boolean {
  const r = signature.subarray(0, 32);
  const s = littleEndian(signature.subarray(32));
  if (s >= order) return false;
  const k = littleEndian(sha512(concat(r, key, b))) % order;
  const sum = Point.BASE.multiplyUnsafe(s).add(Point.fromBytes(key, false).negate().multiplyUnsafe(k));
  return equal(sum.toBytes(), r);
}

// RFC 7748. The curve's own module brings tables, hash-to-curve and the NIST curves' arithmetic along; the ladder is
// all that is needed.
const x25519 = montgomery({
  P,
  type: "x25519",
  adjustScalarBytes: (b: Uint8Array) => {
    b[0]! &= 248;
    b[31] = b[31]! & 127 | 64;
    return b;
  },
  // x^(P-2) by squaring: P-2 is public.
  powPminus2: (x) => {
    let r = 1n;
    for (let e = P - 2n, b = x; e > 0n; e >>= 1n, b = b * b % P) if (e & 1n) r = r * b % P;
    return r;
  },
});

export const noble: Primitives = {
  ed25519: {
    publicKey: async (seed) => getPublicKey(seed) as Bytes,
    sign: async (seed, b) => sign(b, seed) as Bytes,
    verify: async (key, b, signature) => verify(key, b, signature),
  },
  x25519: {
    publicKey: async (secret) => x25519.scalarMultBase(secret) as Bytes,
    shared: async (secret, pub) => x25519.scalarMult(secret, pub) as Bytes,
  },
  mlkem: {
    publicKey: async (seed) => ml_kem768.keygen(seed).publicKey as Bytes,
    encapsulate: async (pub) => {
      const { cipherText, sharedSecret } = ml_kem768.encapsulate(pub);
      return { enc: cipherText as Bytes, shared: sharedSecret as Bytes };
    },
    decapsulate: async (seed, enc) => ml_kem768.decapsulate(enc, ml_kem768.keygen(seed).secretKey) as Bytes,
  },
  aead: {
    cipher: async (key, aad) => {
      const own = copy(key);
      // It is several times slower where its input does not begin at a multiple of four bytes.
      const aligned = (b: Bytes) => (b.byteOffset % 4 === 0 ? b : copy(b));
      return {
        seal: async (nonce, plain) => chacha20poly1305(own, nonce, aad).encrypt(aligned(plain)) as Bytes,
        open: async (nonce, sealed) => chacha20poly1305(own, nonce, aad).decrypt(aligned(sealed)) as Bytes,
      };
    },
    seal: async (key, nonce, plain, aad) => chacha20poly1305(key, nonce, aad).encrypt(plain) as Bytes,
    open: async (key, nonce, box, aad) => chacha20poly1305(key, nonce, aad).decrypt(box) as Bytes,
  },
};
