// age (age-encryption.org/v1) as far as it is spoken here: one recipient, of the hybrid kind, and one chunk. What is
// written opens in every age, and of what age writes exactly this form is opened (docs/spec/envelope.md, section 5).
//
//   age-encryption.org/v1
//   -> mlkem768x25519 <enc 1,120, base64>
//   <the sealed file key, base64>
//   --- <MAC, base64>
//   nonce 16 || ChaCha20-Poly1305 of the plaintext

import { base64 } from "../base.ts";
import { concat, equal, random, utf8, type Bytes } from "../bytes.ts";
import { hkdf, hmac } from "../crypto/hash.ts";
import { isCode, refuse } from "../errors.ts";
import { openBox, recipientXWing, sealBox, senderXWing, xwingEncSize } from "./hpke.ts";

const kind = "mlkem768x25519";
const info = utf8(`age-encryption.org/${kind}`);
export const intro = utf8("age-encryption.org/v1\n");
const none = new Uint8Array(0);

const encLength = Math.ceil(xwingEncSize * 8 / 6);
const form = new RegExp(`^age-encryption\\.org/v1\\n-> ${kind} ([A-Za-z0-9+/]{${encLength}})\\n([A-Za-z0-9+/]{43})\\n---$`);
const macLength = " ".length + 43 + "\n".length;
const maxOtherHead = 8192; // of a file in another form, to say what is wrong with it
const headLength = intro.length + `-> ${kind} \n---`.length + encLength + 43 + 1;

function macOf(fileKey: Uint8Array, head: Uint8Array): Bytes {
  return hmac(hkdf(fileKey, none, utf8("header"), 32), head);
}

function payloadKey(fileKey: Uint8Array, nonce: Uint8Array): Bytes {
  return hkdf(fileKey, nonce, utf8("payload"), 32);
}

/** The nonce of the only chunk: number 0, and the last. */
const onlyChunk = concat(new Uint8Array(11), new Uint8Array([1]));

export async function sealAge(recipient: Uint8Array, plain: Uint8Array): Promise<Bytes> {
  const fileKey = random(16);
  const { enc, context } = await senderXWing(recipient, info);
  const head = concat(intro, utf8(`-> ${kind} ${base64.encode(enc)}\n${base64.encode(await context.seal(fileKey, none))}\n---`));
  const nonce = random(16);
  return concat(head, utf8(` ${base64.encode(macOf(fileKey, head))}\n`), nonce, await sealBox(payloadKey(fileKey, nonce), onlyChunk, plain, none));
}

/** Opens a file for the seed of an X-Wing key. Throws recipients for a file in another form, decrypt where it does not open. */
export async function openAge(seed: Uint8Array, file: Uint8Array): Promise<Bytes> {
  const head = file.subarray(0, headLength);
  const found = form.exec(String.fromCharCode(...head));
  if (found === null) {
    const hybrid = String.fromCharCode(...file.subarray(0, maxOtherHead)).includes(`\n-> ${kind} `);
    throw hybrid ? refuse("recipients", "not sealed to exactly one hybrid recipient") : refuse("decrypt", "does not decrypt");
  }
  const mac = String.fromCharCode(...file.subarray(headLength, headLength + macLength));
  if (!/^ [A-Za-z0-9+/]{43}\n$/.test(mac)) throw refuse("decrypt", "does not decrypt");
  let fileKey: Bytes;
  try {
    fileKey = await (await recipientXWing(base64.decode(found[1]!), seed, info)).open(base64.decode(found[2]!), none);
    if (!equal(base64.decode(mac.slice(1, -1)), macOf(fileKey, head))) throw refuse("decrypt", "another header");
  } catch (err) {
    throw isCode(err, "decrypt") ? err : refuse("decrypt", "does not decrypt", err);
  }
  const rest = file.subarray(headLength + macLength);
  return openBox(payloadKey(fileKey, rest.subarray(0, 16)), onlyChunk, rest.subarray(16), none);
}
