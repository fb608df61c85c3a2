// The signed message inside (docs/spec/envelope.md, section 5).

import { concat, empty, random, type Bytes } from "../bytes.ts";
import { decode, encode } from "../canon.ts";
import { refuse } from "../errors.ts";
import type { DeviceCert, DeviceList } from "../identity/device.ts";
import { sign, type DeviceId, type PublicKey, type Signer } from "../identity/key.ts";
import { suite } from "../identity/times.ts";
import { grantFrom, grantInit, isRingAnswer, marshalBody, Type, type Body, type Grant } from "./bodies.ts";
import { InnerMessage } from "./wire.ts";

export const ageOverhead = 1659;
export const maxSigned = 65536 - ageOverhead - 4;
const maxBody = 24 << 10;

// Clocks differ. Without this grace a phone two minutes fast would lose every call.
const maxAheadMs = 5 * 60_000;
const maxLateMs = 2 * 60_000;
// Keeps every time inside what Go's clock subtracts without overflow.
const maxMillis = 9_000_000_000_000n;

/** How far apart the times of a message may be. */
export function maxLifetimeMs(t: number): number {
  return ofCall(t) ? 60_000 : 7 * 86_400_000;
}

function namesCall(t: number): boolean {
  return t === Type.ring || isRingAnswer(t);
}

function ofCall(t: number): boolean {
  return namesCall(t) || t === Type.cancel;
}

/** What a sender says; sealing fills in the rest. */
export interface Draft {
  readonly body: Body;
  /** Drawn if absent. A NOTE that is sealed again keeps it. */
  readonly id?: Uint8Array;
  readonly createdMs: number;
  readonly expiresMs: number;
  readonly sessionId?: Uint8Array;
  readonly grant?: Grant | undefined;
  /** Our own newest list, and the recipient's that we go by. */
  readonly ownList: DeviceList;
  readonly theirList?: DeviceList | undefined;
}

export interface Recipient {
  readonly root: PublicKey;
  readonly device: DeviceId;
  readonly prekeyId?: Uint8Array;
  readonly tag: Uint8Array;
}

/** Signs a message. It checks what a recipient will check, so that a mistake ends here. */
export async function signMessage(device: Signer, cert: DeviceCert, to: Recipient, d: Draft): Promise<{ signed: Bytes; id: Bytes }> {
  if (!cert.device.equals(device.publicKey)) throw refuse("malformed", "certificate of another device");
  const type = d.body.type;
  const life = d.expiresMs - d.createdMs;
  if (life <= 0 || life > maxLifetimeMs(type)) throw refuse("malformed", "lifetime of the message");
  const named = d.sessionId !== undefined;
  if (named ? !ofCall(type) : namesCall(type)) throw refuse("malformed", "a session id belongs to the messages of a call, and to no other");
  const body = marshalBody(d.body);
  checkGrant(type, d.grant);
  const id = new Uint8Array(d.id ?? random(16));
  const message = encode(InnerMessage, {
    version: 1, type, senderRoot: cert.root.bytes, senderCert: cert.signed, recipientRoot: to.root.bytes,
    recipientDevice: to.device.bytes, prekeyId: to.prekeyId ?? empty, routeTag: to.tag, messageId: id,
    created: BigInt(d.createdMs), expires: BigInt(d.expiresMs), sessionId: d.sessionId ?? empty, body, suite,
    ownEpoch: BigInt(d.ownList.epoch), believedEpoch: BigInt(d.theirList?.epoch ?? 0),
    believedHash: d.theirList?.hash.subarray(0, 8) ?? empty,
    grant: d.grant === undefined ? undefined : grantInit(d.grant),
  });
  return { signed: concat(await sign(device, "inner", message), message), id };
}

/** The two types that exist to carry a grant need one. */
export function checkGrant(type: number, g: Grant | undefined): void {
  if ((type === Type.knockAccept || type === Type.tokenUpdate) && g === undefined) throw refuse("malformed", "no grant");
}

/** A message whose form was checked, and nothing else of it. */
export interface Inner {
  readonly type: number;
  readonly senderRoot: Bytes;
  readonly senderCert: Bytes;
  readonly recipientRoot: Bytes;
  readonly recipientDevice: Bytes;
  readonly prekeyId: Bytes;
  readonly routeTag: Bytes;
  readonly id: Bytes;
  readonly createdMs: number;
  readonly expiresMs: number;
  readonly sessionId: Bytes;
  readonly body: Bytes;
  readonly ownEpoch: bigint;
  readonly believedEpoch: bigint;
  readonly believedHash: Bytes;
  readonly grant: Grant | undefined;
}

export function parseInner(message: Uint8Array): Inner {
  const m = decode(InnerMessage, message, maxSigned);
  const answer = isRingAnswer(m.type);
  const ok = m.version === 1 && m.suite === suite && m.senderRoot.length === 32
    && m.senderCert.length > 64 && m.senderCert.length <= 256
    && m.recipientRoot.length === 32 && m.recipientDevice.length === 16
    && m.prekeyId.length === (answer ? 0 : 16) && m.routeTag.length === 16 && m.messageId.length === 16
    && (m.sessionId.length === 16 ? ofCall(m.type) : m.sessionId.length === 0 && !namesCall(m.type))
    && m.created <= maxMillis && m.expires <= maxMillis && m.ownEpoch > 0n
    && m.believedHash.length === (m.believedEpoch === 0n ? 0 : 8) && m.body.length <= maxBody;
  if (!ok) throw refuse("malformed", "message");
  return {
    type: m.type, senderRoot: m.senderRoot, senderCert: m.senderCert, recipientRoot: m.recipientRoot,
    recipientDevice: m.recipientDevice, prekeyId: m.prekeyId, routeTag: m.routeTag, id: m.messageId,
    createdMs: Number(m.created), expiresMs: Number(m.expires), sessionId: m.sessionId, body: m.body, ownEpoch: m.ownEpoch,
    believedEpoch: m.believedEpoch, believedHash: m.believedHash, grant: m.grant === undefined ? undefined : grantFrom(m.grant),
  };
}

/** Step 9 of opening. */
export function checkTimes(m: { readonly type: number; readonly createdMs: number; readonly expiresMs: number }, nowMs: number): void {
  const life = m.expiresMs - m.createdMs;
  if (life <= 0 || life > maxLifetimeMs(m.type)) throw refuse("time", "lifetime of the message");
  if (m.createdMs > nowMs + maxAheadMs) throw refuse("time", "message from the future");
  if (m.expiresMs < nowMs - maxLateMs) throw refuse("time", "message past its end");
}
