// Oblivious queries (docs/spec/envelope.md, section 13). A query travels like a hop: the own node sees the
// destination node and one size.

import { concat, empty, random, type Bytes } from "../bytes.ts";
import { decode, encode, type Init, type Of } from "../canon.ts";
import { hkdf, sha256 } from "../crypto/hash.ts";
import { refuse } from "../errors.ts";
import { maxList } from "../identity/device.ts";
import { PeerId, PublicKey } from "../identity/key.ts";
import { context } from "../labels.ts";
import { version } from "./envelope.ts";
import { openBox, recipientX25519, sealBox, senderX25519 } from "./hpke.ts";
import { maxBundle } from "./prekey.ts";
import { pad, unpad } from "./types.ts";
import { AnswerMessage, QueryMessage } from "./wire.ts";

export const querySize = 560;
const queryPlain = 512;

export const Operation = { lookup: 1, lookupName: 2, descriptor: 3, outcome: 4 } as const;
export const AnswerStatus = { found: 1, absent: 2, limited: 3, unsupported: 4 } as const;
export const Fate = { delivered: 1, stored: 2, expired: 3, refused: 4 } as const;
export type Answer = Of<typeof AnswerMessage>;

function checkArgument(operation: number, argument: Uint8Array): void {
  switch (operation) {
    case Operation.lookup: PublicKey.check(argument); return;
    case Operation.lookupName: if (argument.length > 0 && argument.length <= 64) return; break;
    case Operation.descriptor: if (argument.length === 0) return; break;
    case Operation.outcome: if (argument.length === 16) return; break;
  }
  throw refuse("malformed", "query: operation or argument");
}

function answerSize(operation: number): number {
  return operation === Operation.lookup ? 16384 : 4096;
}

function aad(destination: PeerId): Bytes {
  return concat(new Uint8Array([version]), destination.bytes);
}

/** What the asking client keeps until the answer comes. */
export interface PendingQuery {
  readonly box: Bytes;
  /** Opens the answer. What it carries is still only what the node chose to say. */
  open(box: Uint8Array): Promise<Answer>;
}

export async function sealQuery(routingKey: Uint8Array, destination: PeerId, operation: number, argument: Uint8Array = empty): Promise<PendingQuery> {
  checkArgument(operation, argument);
  const responseKey = random(32);
  const plain = pad(queryPlain, encode(QueryMessage, { operation, responseKey, argument }));
  const { enc, context: c } = await senderX25519(routingKey, context("query"));
  const box = concat(enc, await c.seal(plain, aad(destination)));
  return { box, open: (answer) => openAnswer(operation, responseKey, sha256(box), answer) };
}

/** Opens a query as its node does. */
export async function openQuery(box: Uint8Array, self: PeerId, routingSecret: Uint8Array): Promise<{ operation: number; argument: Bytes; responseKey: Bytes; hash: Bytes }> {
  if (box.length !== querySize) throw refuse("size", "query of another size");
  const plain = await (await recipientX25519(box.subarray(0, 32), routingSecret, context("query"))).open(box.subarray(32), aad(self));
  const m = decode(QueryMessage, unpad(plain), queryPlain);
  if (m.responseKey.length !== 32) throw refuse("malformed", "query: response key");
  checkArgument(m.operation, m.argument);
  return { operation: m.operation, argument: m.argument, responseKey: m.responseKey, hash: sha256(box) };
}

const zeroNonce = new Uint8Array(12);

// The salt keys each answer freshly, which is why the nonce may be zero.
function answerKey(responseKey: Uint8Array, salt: Uint8Array): Bytes {
  return hkdf(responseKey, salt, context("answer"), 32);
}

export async function sealAnswer(operation: number, responseKey: Uint8Array, queryHash: Uint8Array, salt: Uint8Array, a: Init<typeof AnswerMessage>): Promise<Bytes> {
  const plain = pad(answerSize(operation) - 48, encode(AnswerMessage, a));
  return concat(salt, await sealBox(answerKey(responseKey, salt), zeroNonce, plain, queryHash));
}

export async function openAnswer(operation: number, responseKey: Uint8Array, queryHash: Uint8Array, box: Uint8Array): Promise<Answer> {
  if (box.length !== answerSize(operation)) throw refuse("size", "answer of another size");
  const plain = await openBox(answerKey(responseKey, box.subarray(0, 32)), zeroNonce, box.subarray(32), queryHash);
  const a = decode(AnswerMessage, unpad(plain), 16384);
  const ok = a.status >= 1 && a.status <= 4 && a.list.length <= maxList && a.bundles.length <= 8 && a.descriptor.length <= 512
    && a.logProof.length <= 1024 && a.fate >= 0 && a.fate <= 4 && a.bundles.every((b) => b.length > 64 && b.length <= maxBundle);
  if (!ok) throw refuse("malformed", "answer out of its limits");
  return a;
}
