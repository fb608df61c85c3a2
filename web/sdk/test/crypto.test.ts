// The own implementations against noble's, the fallback against what the platform has, and both against each other.

import { chacha20poly1305 } from "@noble/ciphers/chacha.js";
import { ed25519, x25519 } from "@noble/curves/ed25519.js";
import { expand as nobleExpand, extract as nobleExtract } from "@noble/hashes/hkdf.js";
import { hmac as nobleHmac } from "@noble/hashes/hmac.js";
import { sha256 as nobleSha256, sha512 as nobleSha512 } from "@noble/hashes/sha2.js";
import { sha3_256, shake256 as nobleShake } from "@noble/hashes/sha3.js";
import { base32nopad, base58 as scure58, base64nopad, base64urlnopad, bech32, bech32m } from "@scure/base";
import { Decrypter, Encrypter } from "age-encryption";
import { describe, expect, it } from "vitest";
import { base32, base58, base64, base64url, decodeBech32m, encodeBech32m } from "../src/base.ts";
import { concat, hex, random, utf8, type Bytes } from "../src/bytes.ts";
import { isX25519, keyFault } from "../src/crypto/edwards.ts";
import { expand, extract, hmac, sha256, sha3, shake256 } from "../src/crypto/hash.ts";
import { native, works } from "../src/crypto/native.ts";
import { noble } from "../src/crypto/noble.ts";
import { sha512 } from "../src/crypto/sha512.ts";
import type { Primitives } from "../src/crypto/index.ts";
import { openAge, sealAge } from "../src/envelope/age.ts";
import { xwingPublic } from "../src/envelope/hpke.ts";
import { refusal } from "./vectors.ts";

const bytes = (n: number) => Uint8Array.from({ length: n }, (_, i) => (i * 7 + n) & 255);
const lengths = [...Array(300).keys(), 1000, 4096, 65536];

describe("hashes", () => {
  it("are noble's, for every length around their blocks", () => {
    for (const n of lengths) {
      const b = bytes(n);
      expect([n, hex(sha256(b))]).toEqual([n, hex(nobleSha256(b))]);
      expect([n, hex(sha512(b))]).toEqual([n, hex(nobleSha512(b))]);
      expect([n, hex(sha3(b))]).toEqual([n, hex(sha3_256(b))]);
      expect([n, hex(shake256(b, 96))]).toEqual([n, hex(nobleShake(b, { dkLen: 96 }))]);
      expect([n, hex(hmac(b, bytes(40)))]).toEqual([n, hex(nobleHmac(nobleSha256, b, bytes(40)))]);
    }
    for (const n of [1, 8, 32, 33, 96]) expect(hex(expand(bytes(32), bytes(20), n))).toBe(hex(nobleExpand(nobleSha256, bytes(32), bytes(20), n)));
    for (const salt of [undefined, bytes(0), bytes(32), bytes(100)]) expect(hex(extract(bytes(32), salt))).toBe(hex(nobleExtract(nobleSha256, bytes(32), salt)));
  });
});

describe("texts", () => {
  it("are those of the library, both ways", async () => {
    for (const n of [...Array(70).keys()]) {
      for (const b of [bytes(n), new Uint8Array(n), concat(new Uint8Array(2), bytes(n))]) {
        for (const [own, other] of [[base32, base32nopad], [base64, base64nopad], [base64url, base64urlnopad], [base58, scure58]] as const) {
          expect(own.encode(b)).toBe(other.encode(b));
          expect(hex(own.decode(other.encode(b)))).toBe(hex(b));
        }
        const text = bech32m.encode("tl", bech32m.toWords(b), false);
        expect(encodeBech32m("tl", b)).toBe(text);
        expect(hex(decodeBech32m("tl", text.toUpperCase()))).toBe(hex(b));
        await refusal(() => decodeBech32m("tl", text.replace("1", "2")));
        await refusal(() => decodeBech32m("tl", `T${text.slice(1)}`));
      }
    }
    for (const s of ["A", "AAA", "AB", "AAB", "A=", "a!"]) await refusal(() => base32.decode(s));
    for (const s of ["A", "AAAAA", "AB", "AAB", "AA==", "A-"]) await refusal(() => base64.decode(s));
    for (const s of ["0", "l", " "]) await refusal(() => base58.decode(s));
  });
});

describe("points", () => {
  it("of the prime-order group are keys, and with a part of small order they are none", () => {
    const torsion = ed25519.Point.fromHex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05");
    let p = ed25519.Point.BASE;
    for (let i = 0; i < 12; i++) {
      expect(keyFault(p.toBytes())).toBeUndefined();
      for (let k = 1n; k < 8n; k++) expect(keyFault(p.add(torsion.multiplyUnsafe(k)).toBytes())).toBe("small-order part");
      p = p.double().add(ed25519.Point.BASE);
    }
    for (let k = 1n; k < 8n; k++) expect(keyFault(torsion.multiplyUnsafe(k).toBytes())).toBe("small-order part");
    expect(keyFault(ed25519.Point.ZERO.toBytes())).toBe("small order");
  });

  it("are decoded where noble decodes them strictly", () => {
    for (let i = 0; i < 60; i++) {
      const b = random(32);
      let there = true;
      try {
        ed25519.Point.fromBytes(b, false);
      } catch {
        there = false;
      }
      expect([hex(b), keyFault(b) === "not a point in its canonical encoding"]).toEqual([hex(b), !there]);
    }
  });

  it("of low order are no X25519 keys", () => {
    const zero = (b: Uint8Array) => {
      try {
        return x25519.scalarMult(new Uint8Array(32).fill(0x40), b).every((x) => x === 0);
      } catch {
        return true;
      }
    };
    const p = 2n ** 255n - 19n;
    const le = (v: bigint) => Uint8Array.from({ length: 32 }, (_, i) => Number(v >> BigInt(8 * i) & 255n));
    const low = [0n, 1n, p - 1n, 325606250916557431795983626356110631294008115727848805560023387167927233504n, 39382357235489614581723060781553021112529911719440698176882885853963445705823n];
    for (const u of low) expect([u, zero(le(u)), isX25519(le(u))]).toEqual([u, true, false]);
    for (const u of [p, p + 1n, 2n ** 255n - 1n, 2n ** 255n + 9n]) expect(isX25519(le(u))).toBe(false);
    for (const u of [2n, 9n, p - 2n]) expect([u, zero(le(u)), isX25519(le(u))]).toEqual([u, false, true]);
  });
});

describe("primitives", async () => {
  const here = await Promise.all((["ed25519", "x25519"] as const).map(works));
  it("are native here, as far as this test compares them", () => expect(here).toEqual([true, true]));

  it("sign and agree the same way natively and from noble", async () => {
    for (let i = 0; i < 8; i++) {
      const [seed, msg, other] = [random(32), random(i * 40), random(32)];
      for (const [a, b] of [[native, noble], [noble, native]] as const) {
        const key = await a.ed25519.publicKey(seed);
        const signature = await a.ed25519.sign(seed, msg);
        expect(hex(key)).toBe(hex(await b.ed25519.publicKey(seed)));
        expect(await b.ed25519.verify(key, msg, signature)).toBe(true);
        expect(await b.ed25519.verify(key, concat(msg, new Uint8Array(1)), signature)).toBe(false);
        const pub = await b.x25519.publicKey(other);
        expect(hex(await a.x25519.shared(seed, pub))).toBe(hex(await b.x25519.shared(other, await a.x25519.publicKey(seed))));
      }
    }
  });

  it("seal and encapsulate", async () => {
    const p: Primitives = noble;
    const [key, nonce, aad] = [random(32), random(12), random(9)];
    expect(hex(await p.aead.seal(key, nonce, utf8("x"), aad))).toBe(hex(chacha20poly1305(key, nonce, aad).encrypt(utf8("x"))));
    const cipher = await p.aead.cipher(key, aad);
    for (const n of [0, 1, 58_256]) {
      const plain = concat(new Uint8Array(3), bytes(n)).subarray(3); // begins at no multiple of four
      const sealed = await cipher.seal(nonce, plain);
      expect(hex(sealed)).toBe(hex(chacha20poly1305(key, nonce, aad).encrypt(plain)));
      expect(hex(await cipher.open(nonce, sealed))).toBe(hex(plain));
      sealed[n] = sealed[n]! ^ 1;
      await expect(cipher.open(nonce, sealed)).rejects.toThrow();
    }
    const seed = random(64);
    const { enc, shared } = await p.mlkem.encapsulate(await p.mlkem.publicKey(seed));
    expect(hex(await p.mlkem.decapsulate(seed, enc))).toBe(hex(shared));
  });
});

describe("age", () => {
  it("opens what is sealed here, and what it seals is opened here", async () => {
    const seed = random(32);
    const recipient = await xwingPublic(seed);
    for (const n of [0, 1, 2437, 63877]) {
      const plain: Bytes = bytes(n) as Bytes;
      const d = new Decrypter();
      d.addIdentity(bech32.encodeFromBytes("AGE-SECRET-KEY-PQ-", seed).toUpperCase());
      expect(hex(await d.decrypt(await sealAge(recipient, plain)))).toBe(hex(plain));
      const e = new Encrypter();
      e.addRecipient(bech32.encode("age1pq", bech32.toWords(recipient), false));
      expect(hex(await openAge(seed, await e.encrypt(plain)))).toBe(hex(plain));
    }
  });
});
