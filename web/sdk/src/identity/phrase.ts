// From a phrase to keys (docs/spec/identity.md, section 4).

import { wordlist } from "@scure/bip39/wordlists/english.js";
import { concat, copy, random, u32, utf8, type Bytes } from "../bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { refuse, WordError } from "../errors.ts";
import { SeedSigner } from "./key.ts";

const maxText = 1024; // bytes before normalisation; 24 words have at most 215
const hardened = 0x80000000;
const purpose = 0x74726e6b; // "trnk": a number of our own, so that a wallet's phrase gives an unrelated key

/** Draws a new phrase of 12 or 24 words. */
export function generatePhrase(words: 12 | 24 = 24): string {
  const entropy = random(words / 3 * 4);
  const phrase = wordsOf(entropy);
  entropy.fill(0);
  return phrase;
}

/** BIP39: eleven bits are a word, and a thirty-third of them is a checksum, which every eighth or fourth word ends with. */
function wordsOf(entropy: Uint8Array): string {
  const drawn = concat(entropy, sha256(entropy));
  const words = Array.from({ length: entropy.length / 4 * 3 }, (_, i) => {
    const at = 11 * i;
    const three = drawn[at >> 3]! << 16 | drawn[(at >> 3) + 1]! << 8 | drawn[(at >> 3) + 2]!;
    return wordlist[three >> 13 - at % 8 & 2047]!;
  });
  drawn.fill(0);
  return words.join(" ");
}

/** What the words were drawn from, without its checksum. */
function entropyOf(words: readonly string[]): Uint8Array {
  const entropy = new Uint8Array(words.length / 3 * 4);
  words.forEach((word, i) => {
    const at = 11 * i;
    const three = wordlist.indexOf(word) << 13 - at % 8;
    [three >> 16, three >> 8, three].forEach((byte, k) => { entropy[(at >> 3) + k]! |= byte; }); // nothing is kept behind its end
  });
  return entropy;
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
  const entropy = entropyOf(words);
  const same = wordsOf(entropy) === phrase;
  entropy.fill(0);
  if (!same) throw refuse("phrase", "the words are known but do not belong together: check their order and spelling");
  return phrase;
}

async function seedOf(phrase: string, passphrase: string): Promise<Bytes> {
  if (utf8(passphrase).length > maxText) throw refuse("phrase", `passphrase of more than ${maxText} bytes`);
  const salt = concat(utf8("mnemonic"), utf8(passphrase.normalize("NFKD")));
  const words = await crypto.subtle.importKey("raw", utf8(phrase), "PBKDF2", false, ["deriveBits"]);
  return new Uint8Array(await crypto.subtle.deriveBits({ name: "PBKDF2", hash: "SHA-512", salt, iterations: 2048 }, words, 512));
}

interface Node { readonly key: Bytes; readonly chain: Bytes }

async function split(key: Uint8Array, data: Bytes): Promise<Node> {
  const mac = await crypto.subtle.importKey("raw", copy(key), { name: "HMAC", hash: "SHA-512" }, false, ["sign"]);
  const sum = new Uint8Array(await crypto.subtle.sign("HMAC", mac, data));
  return { key: sum.slice(0, 32), chain: sum.slice(32) };
}

/** SLIP-0010 for Ed25519: a path such as m/0'/1'. A step without hardening is an error. */
export async function derivePath(seed: Uint8Array, path: string): Promise<{ key: Bytes; chain: Bytes }> {
  const steps = path.split("/");
  if (steps.shift() !== "m") throw refuse("phrase", "a derivation path begins with m");
  let n = await split(utf8("ed25519 seed"), copy(seed));
  for (const s of steps) {
    const index = /^(0|[1-9][0-9]{0,9})'$/.exec(s)?.[1];
    if (index === undefined || Number(index) >= hardened) throw refuse("phrase", "ed25519 derivation has hardened steps only");
    n = await split(n.chain, concat(new Uint8Array([0]), n.key, u32((Number(index) | hardened) >>> 0)));
  }
  return n;
}

async function derive(phrase: string, passphrase: string, account: number, role: 0 | 1 | 2): Promise<Bytes> {
  const normal = normalizePhrase(phrase);
  if (!Number.isInteger(account) || account < 0 || account >= hardened) throw refuse("phrase", "account out of range");
  return (await derivePath(await seedOf(normal, passphrase), `m/${purpose}'/1'/${account}'/${role}'`)).key;
}

/** The root key of an account. It signs certificates and device lists and nothing else. */
export async function deriveRoot(phrase: string, passphrase = "", account = 0): Promise<SeedSigner> {
  return SeedSigner.from(await derive(phrase, passphrase, account, 0));
}

/** Seed of the age hybrid identity that opens the owner's backups. */
export async function deriveBackupSeed(phrase: string, passphrase = "", account = 0): Promise<Bytes> {
  return derive(phrase, passphrase, account, 1);
}

/** Symmetric key of the owner's self-storage. */
export async function deriveStorageKey(phrase: string, passphrase = "", account = 0): Promise<Bytes> {
  return derive(phrase, passphrase, account, 2);
}

/** The 64-byte BIP39 seed of a phrase, for the vectors. */
export async function bip39Seed(phrase: string, passphrase = ""): Promise<Bytes> {
  return seedOf(normalizePhrase(phrase), passphrase);
}
