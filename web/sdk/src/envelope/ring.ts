// Rings and their answers (docs/spec/session.md, sections 1 to 4).

import { concat, copy, empty, equal, hex, random, type Bytes } from "../bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { refuse } from "../errors.ts";
import { admit, listIsStale, sameHome, type DeviceCert, type DeviceList } from "../identity/device.ts";
import type { DeviceId, PublicKey, Signer } from "../identity/key.ts";
import { context } from "../labels.ts";
import { isRingAnswer, parseBody, Reason, Type, type BodyOf, type ReplyAddress } from "./bodies.ts";
import { checkXWingEnc, recipientXWing, senderXWing, xwingEncSize, xwingPublic } from "./hpke.ts";
import { maxLifetimeMs, signMessage } from "./message.ts";
import type { Opened, Opener } from "./open.ts";
import type { Bundle, Route } from "./prekey.ts";
import { sealMessage } from "./seal.ts";
import { Role, Session, sessionKeys, transcript } from "./session.ts";
import { pad, unpad } from "./types.ts";

export const ringAnswerSize = 4096;
const ringAnswerPlain = ringAnswerSize - 8 - xwingEncSize - 16;
// Bounds the work that a node can cause with made-up answers.
const ringTries = 32;

function sessionInfo(ringHash: Uint8Array): Bytes {
  return concat(context("session"), ringHash);
}

export interface RingConfig {
  readonly media: 0 | 1 | 2;
  /** The same for all devices of one call. */
  readonly sessionId: Bytes;
  readonly reply: Omit<ReplyAddress, "handle">;
  readonly nowMs: number;
  readonly ownList: DeviceList;
  readonly theirList?: DeviceList | undefined;
}

/** A ring that waits for its answer. It holds the ephemeral secret until the answer came or it is closed. */
export class RingState {
  readonly payload: Bytes;
  readonly hash: Bytes;
  readonly hint: Bytes;
  readonly collapse: Bytes;
  readonly peer: PublicKey;
  readonly device: DeviceId;
  readonly route: Route;
  readonly sessionId: Bytes;
  readonly expiresMs: number;
  /** Under which the answer arrives. */
  readonly handle: Bytes;
  readonly #reply: ReplyAddress;
  #seed: Bytes | undefined;
  #tries = 0;
  #answered: Bytes | undefined;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(s: {
    payload: Bytes; hash: Bytes; collapse: Bytes; to: Pick<Bundle, "root" | "deviceId" | "prekeyId" | "route">; sessionId: Bytes;
    expiresMs: number; reply: ReplyAddress; seed: Uint8Array;
  }) {
    this.payload = s.payload;
    this.hash = s.hash;
    this.hint = s.to.prekeyId.slice(0, 2);
    this.collapse = s.collapse;
    this.peer = s.to.root;
    this.device = s.to.deviceId;
    this.route = s.to.route;
    this.sessionId = s.sessionId;
    this.expiresMs = s.expiresMs;
    this.handle = s.reply.handle ?? empty;
    this.#reply = s.reply;
    this.#seed = copy(s.seed);
  }

  /** Drops the ephemeral secret. What arrives afterwards is late. */
  close(): void {
    this.#seed?.fill(0);
    this.#seed = undefined;
  }

  /**
   * Opens an answer that arrived under the handle. After an error the ring goes on, because anyone on the way
   * can make up bytes under a handle. The very same bytes again are replay: the callee has not seen our first
   * frame. Any other answer after the first is ring_over.
   */
  finish(payload: Uint8Array, opener: Opener): Promise<Answered> {
    // One after the other: of two answers the first that opens counts.
    const done = this.#turn.then(() => this.#finish(payload, opener));
    this.#turn = done.catch(() => undefined);
    return done;
  }

  async #finish(payload: Uint8Array, opener: Opener): Promise<Answered> {
    if (this.#seed === undefined) {
      if (this.#answered !== undefined && equal(sha256(payload), this.#answered)) throw refuse("replay", "the same answer again");
      throw refuse("ring_over", "ring is over");
    }
    if (payload.length !== ringAnswerSize || !equal(payload.subarray(0, 8), this.handle)) throw refuse("size", "ring answer");
    if (++this.#tries > ringTries) {
      this.close();
      throw refuse("ring_over", "too many wrong answers");
    }
    const enc = payload.subarray(8, 8 + xwingEncSize);
    checkXWingEnc(enc);
    const c = await recipientXWing(enc, this.#seed, sessionInfo(this.hash));
    const signed = unpad(await c.open(payload.subarray(8 + xwingEncSize), this.#reply.tag));
    const { opened, answer } = await this.#check(signed, enc, opener);
    if (this.#seed === undefined) throw refuse("ring_over", "ring is over"); // it was given up while the answer was opened
    let session: Session | undefined;
    if (answer.type === Type.accept) {
      const secret = c.export(context("session-secret"), 32);
      session = new Session({
        role: Role.initiator, keys: sessionKeys(secret, transcript(this.hash, opened.hash)), ownTag: this.#reply.tag,
        reply: answer.reply, id: this.sessionId, peer: this.peer, peerDevice: this.device,
      });
      secret.fill(0);
    }
    this.close();
    this.#answered = sha256(payload);
    return { kind: answer.type, reason: answer.type === Type.accept ? undefined : answer.reason, session, opened };
  }

  async #check(signed: Uint8Array, enc: Uint8Array, opener: Opener): Promise<{ opened: Omit<Opened, "content">; answer: BodyOf<6 | 7 | 8> }> {
    const { opened: o, body } = await opener.openSigned(signed, empty, this.#reply.tag, opener.now);
    if (!o.sender.equals(this.peer) || !o.cert.deviceId.equals(this.device)) throw refuse("answer", "from a device that was not rung");
    if (!isRingAnswer(o.type) || !equal(o.sessionId, this.sessionId)) throw refuse("answer", "answer to another ring");
    if (o.standing !== "accepted" && o.standing !== "own") throw refuse("policy", "the sender may not send this");
    const answer = parseBody(o.type, body) as BodyOf<6 | 7 | 8>;
    if (!equal(answer.ringHash, this.hash) || !equal(answer.encHash, sha256(enc))) throw refuse("answer", "answer to another ring");
    if (answer.type === Type.accept) {
      const list = o.senderList;
      if (list === undefined || o.list === "unknown" || o.list === "ended") throw refuse("unverified", "no session starts without a current list");
      if (!list.homes.some((h) => sameHome(h, answer.reply.home))) throw refuse("unverified", "its frames are wanted at no home of it");
    }
    return { opened: o, answer };
  }

  /** The CANCEL of this ring, sealed to the same device; its hop carries the same collapse key. */
  async sealCancel(device: Signer, cert: DeviceCert, to: Bundle, reason: Reason, c: Pick<RingConfig, "nowMs" | "ownList" | "theirList">): Promise<Bytes> {
    if (!to.deviceId.equals(this.device)) throw refuse("malformed", "cancel for another device");
    const { payload } = await sealMessage(device, cert, to, {
      body: { type: Type.cancel, ringHash: this.hash, reason }, createdMs: c.nowMs, expiresMs: c.nowMs + maxLifetimeMs(Type.cancel),
      sessionId: this.sessionId, ownList: c.ownList, theirList: c.theirList,
    });
    return payload;
  }

  get handleHex(): string { return hex(this.handle); }
  toJSON(): string { return "[redacted]"; }
}

/** The verified answer to a ring. */
export interface Answered {
  readonly kind: 6 | 7 | 8;
  readonly reason: Reason | undefined;
  readonly session: Session | undefined;
  readonly opened: Omit<Opened, "content">;
}

/** Makes a RING for one device, with a fresh ephemeral key. */
export async function newRing(device: Signer, cert: DeviceCert, to: Bundle, c: RingConfig): Promise<RingState> {
  const seed = random(32);
  const reply = { ...c.reply, handle: random(8) };
  const collapse = random(16);
  const expiresMs = c.nowMs + maxLifetimeMs(Type.ring);
  const { payload, signed } = await sealMessage(device, cert, to, {
    body: { type: Type.ring, ephemeral: await xwingPublic(seed), media: c.media, reply, collapse },
    createdMs: c.nowMs, expiresMs, sessionId: c.sessionId, ownList: c.ownList, theirList: c.theirList,
  });
  return new RingState({ payload, hash: sha256(signed), collapse, to, sessionId: c.sessionId, expiresMs, reply, seed });
}

export interface AnswerConfig {
  readonly kind: 6 | 7 | 8;
  /** DECLINE and BUSY; absent: the reason of that name. */
  readonly reason?: Reason;
  /** Where the caller sends its frames: our own mailbox and a token for it. */
  readonly reply: Omit<ReplyAddress, "handle">;
  readonly nowMs: number;
  readonly ownList: DeviceList;
  readonly callerList: DeviceList | undefined;
}

/**
 * Answers a RING that was opened. The payload is sent with the token of the ring's reply address, again and
 * again without change until the first frame arrives. A ring is accepted once: a second call makes other keys.
 */
export async function answerRing(
  device: Signer, cert: DeviceCert, ring: Opened, c: AnswerConfig,
): Promise<{ payload: Bytes; session: Session | undefined }> {
  const body = ring.content;
  if (body.type !== Type.ring) throw refuse("malformed", "no ring to answer");
  if (c.kind === Type.accept) checkCaller(ring, body, c);
  const { enc, context: hpke } = await senderXWing(body.ephemeral, sessionInfo(ring.hash));
  const head = { ringHash: ring.hash, encHash: sha256(enc) };
  const { signed } = await signMessage(device, cert, { root: ring.sender, device: ring.cert.deviceId, tag: body.reply.tag }, {
    body: c.kind === Type.accept
      ? { type: c.kind, ...head, reply: { home: c.reply.home, tag: c.reply.tag, token: c.reply.token } }
      : { type: c.kind, ...head, reason: c.reason ?? (c.kind === Type.busy ? Reason.busy : Reason.declined) },
    createdMs: c.nowMs, expiresMs: c.nowMs + maxLifetimeMs(c.kind), sessionId: ring.sessionId, ownList: c.ownList, theirList: c.callerList,
  });
  const payload = concat(body.reply.handle ?? empty, enc, await hpke.seal(pad(ringAnswerPlain, signed), body.reply.tag));
  if (c.kind !== Type.accept) return { payload, session: undefined };
  const secret = hpke.export(context("session-secret"), 32);
  const session = new Session({
    role: Role.responder, keys: sessionKeys(secret, transcript(ring.hash, sha256(signed))), ownTag: c.reply.tag, reply: body.reply,
    id: ring.sessionId, peer: ring.sender, peerDevice: ring.cert.deviceId,
  });
  secret.fill(0);
  return { payload, session };
}

// No session starts with a device that no current list names, for a ring whose time is over, or towards a
// node that the list does not name.
function checkCaller(ring: Opened, body: BodyOf<typeof Type.ring>, c: AnswerConfig): void {
  if (c.nowMs > ring.expiresMs) throw refuse("time", "ring has ended");
  const list = c.callerList;
  if (list === undefined) throw refuse("unverified", "the caller's device list is missing");
  let current = false;
  try {
    current = admit(list, ring.cert, c.nowMs);
    listIsStale(list, c.nowMs);
  } catch (err) {
    throw refuse("unverified", "the caller's device list does not vouch for it", err);
  }
  if (!current) throw refuse("unverified", "the caller's device is newer than its list");
  if (!list.homes.some((h) => sameHome(h, body.reply.home))) throw refuse("unverified", "the answer is wanted at no home of it");
}
