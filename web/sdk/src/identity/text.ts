// How keys are written (docs/spec/identity.md, section 6), as far as it needs no curve.

import { base32, base58, decodeBech32m, encodeBech32m } from "../base.ts";
import { concat, utf8, type Bytes } from "../bytes.ts";
import { refuse } from "../errors.ts";

const idPrefix = "tl";
const idLength = 62;

export function encodeId(key: Uint8Array): string {
  return encodeBech32m(idPrefix, concat(new Uint8Array([0]), key));
}

/** The 32 bytes of a text id; the caller checks the key. */
export function decodeId(s: string): Bytes {
  if (s.length !== idLength) throw refuse("malformed", `id of ${s.length} characters: an id begins with tl1 and has ${idLength}`);
  let payload: Uint8Array;
  try {
    payload = decodeBech32m(idPrefix, s);
  } catch (err) {
    throw refuse("malformed", "id: checksum or form is wrong; copy it again in full", err);
  }
  if (payload.length !== 33) throw refuse("malformed", "id: its length is wrong");
  if (payload[0] !== 0) throw refuse("malformed", `id: version ${payload[0]} is not known here`);
  return payload.slice(1) as Bytes;
}

export function encodeBase58(b: Uint8Array): string {
  return base58.encode(b);
}

/** The bytes of a peer id's text; the caller checks them. */
export function decodePeerId(s: string): Bytes {
  // 38 bytes that begin 00 24 08 01 12 20 always have 52 characters.
  if (s.length !== 52) throw refuse("malformed", `peer id of ${s.length} characters: it begins with 12D3KooW and has 52`);
  try {
    return base58.decode(s);
  } catch (err) {
    throw refuse("malformed", "peer id: a character is not base58", err);
  }
}

export function encodeFingerprint(b: Uint8Array): string {
  return base32.encode(b).toLowerCase().match(/.{4}/g)!.join("-");
}

/** Accepts a DNS name in its one written form. */
export function checkDomain(s: string): void {
  const n = utf8(s).length;
  if (n === 0 || n > 253) throw refuse("malformed", `domain of ${n} bytes: 1 to 253`);
  if (/[A-Z]/.test(s)) throw refuse("malformed", "domain: write it in lower case");
  for (const label of s.split(".")) {
    if (!/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(label)) {
      throw refuse("malformed", "domain: labels of 1 to 63 letters, digits and inner hyphens, separated by dots");
    }
  }
  if (/^[0-9]+$/.test(s.slice(s.lastIndexOf(".") + 1))) throw refuse("malformed", "an address in numbers is not a domain");
}
