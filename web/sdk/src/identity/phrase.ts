// From a phrase to keys (docs/spec/identity.md, section 4).

import { generateMnemonic as draw, mnemonicToEntropy } from "@scure/bip39";
import { wordlist } from "@scure/bip39/wordlists/english.js";
import { hmac } from "@noble/hashes/hmac.js";
import { pbkdf2 } from "@noble/hashes/pbkdf2.js";
import { sha512 } from "@noble/hashes/sha2.js";
import { concat, u32, utf8, type Bytes } from "../bytes.ts";
import { refuse, WordError } from "../errors.ts";
import { SeedSigner } from "./key.ts";

const maxText = 1024; // bytes before normalisation; 24 words have at most 215
const hardened = 0x80000000;
const purpose = 0x74726e6b; // "trnk": a number of our own, so that a wallet's phrase gives an unrelated key

/** Draws a new phrase of 12 or 24 words. */
export function generatePhrase(words: 12 | 24 = 24): string {
  return draw(wordlist, words === 12 ? 128 : 256);
}

/** The one form of a phrase that derivation uses. Throws WordError for a word outside the list. */
export function normalizePhrase(s: string): string {
  if (utf8(s).length > maxText) throw refuse("phrase", `phrase of more than ${maxText} bytes`);
  // Before NFKD turns it into a plain one: such text was copied from a formatted page, and another
  // reader may take the space for a part of a word.
  if (/[^\P{White_Space}\x00-\x7f]/u.test(s)) {
    throw refuse("phrase", "phrase has a space that is not plain: type the words with ordinary spaces");
  }
  const words = s.normalize("NFKD").replace(/[A-Z]/g, (c) => c.toLowerCase()).split(/[ \t\r\n]+/).filter((w) => w !== "");
  if (words.length !== 12 && words.length !== 24) throw refuse("phrase", `phrase of ${words.length} words: 12 or 24`);
  words.forEach((w, i) => {
    if (!wordlist.includes(w)) throw new WordError(i + 1, w);
  });
  const phrase = words.join(" ");
  try {
    mnemonicToEntropy(phrase, wordlist).fill(0);
  } catch (err) {
    throw refuse("phrase", "the words are known but do not belong together: check their order and spelling", err);
  }
  return phrase;
}

function seedOf(phrase: string, passphrase: string): Uint8Array {
  if (utf8(passphrase).length > maxText) throw refuse("phrase", `passphrase of more than ${maxText} bytes`);
  return pbkdf2(sha512, utf8(phrase), concat(utf8("mnemonic"), utf8(passphrase.normalize("NFKD"))), { c: 2048, dkLen: 64 });
}

interface Node { readonly key: Uint8Array; readonly chain: Uint8Array }

function split(key: Uint8Array, data: Uint8Array): Node {
  const sum = hmac(sha512, key, data);
  return { key: sum.slice(0, 32), chain: sum.slice(32) };
}

/** SLIP-0010 for Ed25519: a path such as m/0'/1'. A step without hardening is an error. */
export function derivePath(seed: Uint8Array, path: string): { key: Bytes; chain: Bytes } {
  const steps = path.split("/");
  if (steps.shift() !== "m") throw refuse("phrase", "a derivation path begins with m");
  let n = split(utf8("ed25519 seed"), seed);
  for (const s of steps) {
    const index = /^(0|[1-9][0-9]{0,9})'$/.exec(s)?.[1];
    if (index === undefined || Number(index) >= hardened) throw refuse("phrase", "ed25519 derivation has hardened steps only");
    n = split(n.chain, concat(new Uint8Array([0]), n.key, u32((Number(index) | hardened) >>> 0)));
  }
  return { key: n.key as Bytes, chain: n.chain as Bytes };
}

function derive(phrase: string, passphrase: string, account: number, role: 0 | 1 | 2): Bytes {
  const normal = normalizePhrase(phrase);
  if (!Number.isInteger(account) || account < 0 || account >= hardened) throw refuse("phrase", "account out of range");
  return derivePath(seedOf(normal, passphrase), `m/${purpose}'/1'/${account}'/${role}'`).key;
}

/** The root key of an account. It signs certificates and device lists and nothing else. */
export async function deriveRoot(phrase: string, passphrase = "", account = 0): Promise<SeedSigner> {
  return SeedSigner.from(derive(phrase, passphrase, account, 0));
}

/** Seed of the age hybrid identity that opens the owner's backups. */
export function deriveBackupSeed(phrase: string, passphrase = "", account = 0): Bytes {
  return derive(phrase, passphrase, account, 1);
}

/** Symmetric key of the owner's self-storage. */
export function deriveStorageKey(phrase: string, passphrase = "", account = 0): Bytes {
  return derive(phrase, passphrase, account, 2);
}

/** The 64-byte BIP39 seed of a phrase, for the vectors. */
export function bip39Seed(phrase: string, passphrase = ""): Bytes {
  return seedOf(normalizePhrase(phrase), passphrase) as Bytes;
}
