// Who comes into a room shows itself once, to everybody who is there, and each of them answers with a welcome that only
// the one who comes can read and that makes the two a session (docs/spec/rooms.md, section 6):
//
//   door 8 || box around MAC 32 || signed JOIN                                                               4,096
//   handle 8 || encapsulation 1,120 || HPKE Seal(length 4 || MAC 32 || signed WELCOME || zeros) || tag 16    4,096

import { concat, copy, equal, hex, random, type Bytes } from "../bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { encode } from "../canon.ts";
import { checkXWing, checkXWingEnc, recipientXWing, senderXWing, xwingEncSize, xwingPublic } from "../envelope/hpke.ts";
import { Role, Session, sessionKeys } from "../envelope/session.ts";
import { pad, unpad } from "../envelope/types.ts";
import { refuse } from "../errors.ts";
import { certValidAt, type DeviceCert } from "../identity/device.ts";
import { hash, signObject, type Signer } from "../identity/key.ts";
import { context } from "../labels.ts";
import { checkLine, maxName, maxSeats, maxUnix, openByDevice } from "./card.ts";
import { boxSize, seatTag, type RoomKeys } from "./secret.ts";
import { JoinMessage, WelcomeMessage } from "./wire.ts";

const maxJoin = 2048;
const maxWelcome = 1024;
const handleSize = 8;
const welcomePlain = boxSize - handleSize - xwingEncSize - 16;
const joinLifeMs = 60_000;
const maxJoinLifeMs = 600_000;
const clockAheadMs = 300_000;
const clockPastMs = 120_000;
/** Bounds the work that a node can cause with made-up welcomes. */
const welcomeTries = 4 * maxSeats;

/** One device in a room, for one join. */
export interface MemberId {
  readonly index: number;
  readonly cert: DeviceCert;
  readonly joinHash: Bytes;
  /** What it calls itself: no proof of anything. */
  readonly name: string;
}

/** What a device says of itself in a room. */
export interface Self { readonly device: Signer; readonly cert: DeviceCert; readonly name: string }

export interface Join extends MemberId {
  readonly id: Bytes;
  readonly ephemeral: Bytes;
  readonly handle: Bytes;
}

/** An own join whose welcomes are awaited. It holds the ephemeral secret until it is closed. */
export class Joining {
  /** The announcement. */
  readonly payload: Bytes;
  readonly own: MemberId;
  /** What every welcome to this join begins with. */
  readonly handle: Bytes;
  readonly #room: Bytes;
  readonly #keys: RoomKeys;
  #seed: Bytes | undefined;
  #tries = 0;
  readonly #seen = new Set<string>(); // encapsulations that made a session
  readonly #from = new Set<number>();

  private constructor(payload: Bytes, own: MemberId, handle: Bytes, room: Bytes, keys: RoomKeys, seed: Bytes) {
    this.payload = payload;
    this.own = own;
    this.handle = handle;
    this.#room = room;
    this.#keys = keys;
    this.#seed = seed;
  }

  /** Makes the announcement of a device at the index that the node has given it. */
  static async create(
    self: Self, keys: RoomKeys, room: Bytes, id: Bytes, index: number, nowMs: number,
    drawn: { readonly seed?: Bytes; readonly handle?: Bytes; readonly salt?: Bytes } = {},
  ): Promise<Joining> {
    const seed = drawn.seed ?? random(32);
    const handle = drawn.handle ?? random(handleSize);
    const signed = await signObject(self.device, "join", encode(JoinMessage, {
      version: 1, room, cert: self.cert.signed, ephemeral: await xwingPublic(seed), joinId: id, index, expires: BigInt(nowMs + joinLifeMs), handle, name: self.name,
    }));
    await parseJoin(signed, room, nowMs);
    const payload = concat(keys.door, await keys.seal(room, "room-announce", keys.withMac(signed), boxSize - handleSize, drawn.salt));
    return new Joining(payload, { index, cert: self.cert, joinHash: sha256(signed) as Bytes, name: self.name }, handle, room, keys, copy(seed));
  }

  /**
   * Opens a welcome and makes the session with whoever sent it. Each member welcomes once: the keys of a session exist
   * once, so no counter of it is ever used twice.
   */
  async finish(payload: Uint8Array, nowMs: number): Promise<{ readonly member: MemberId; readonly session: Session }> {
    if (this.#seed === undefined) throw refuse("closed", "nobody waits for this welcome");
    if (payload.length !== boxSize || !equal(payload.subarray(0, handleSize), this.handle)) throw refuse("malformed", "welcome");
    const enc = payload.slice(handleSize, handleSize + xwingEncSize);
    const encHash = sha256(enc) as Bytes;
    if (this.#seen.has(hex(encHash))) throw refuse("replay", "a welcome again");
    if (++this.#tries > welcomeTries) {
      this.close();
      throw refuse("closed", "too many welcomes");
    }
    await checkXWingEnc(enc);
    const ctx = await recipientXWing(enc, this.#seed, pairInfo(this.own.joinHash));
    const content = unpad(await ctx.open(payload.subarray(handleSize + xwingEncSize), this.#room));
    const signed = this.#keys.checkMac(content);
    const w = await parseWelcome(signed, this.#room, nowMs);
    if (!equal(w.answers, this.own.joinHash) || !equal(w.encHash, encHash)) throw refuse("malformed", "welcome to another join");
    if (w.index === this.own.index || equal(w.joinHash, this.own.joinHash)) throw refuse("malformed", "welcome of oneself");
    // Another one may have opened while this one was waited for.
    if (this.#from.has(w.index) || this.#seen.has(hex(encHash))) throw refuse("replay", "a second welcome of one member");
    this.#seen.add(hex(encHash));
    this.#from.add(w.index);
    const secret = await ctx.export(context("room-pair-secret"), 32);
    const member: MemberId = { index: w.index, cert: w.cert, joinHash: w.joinHash, name: w.name };
    return { member, session: pairSession(Role.initiator, secret, this.#room, this.own.joinHash, sha256(signed) as Bytes, this.own, member) };
  }

  /** Drops the ephemeral secret: no further session comes of this join. */
  close(): void {
    this.#seed?.fill(0);
    this.#seed = undefined;
  }

  toJSON(): string { return "[redacted]"; }
}

/** Binds the encapsulation to the signed JOIN. */
function pairInfo(joinHash: Uint8Array): Bytes { return concat(context("room-pair"), joinHash); }

/** Erases secret. */
function pairSession(role: Role, secret: Bytes, room: Bytes, join: Bytes, welcome: Bytes, own: MemberId, peer: MemberId): Session {
  const th = hash("room-transcript", room, join, welcome);
  const s = new Session({
    role, keys: sessionKeys(secret, th), ownTag: seatTag(room, own.index), peerTag: seatTag(room, peer.index), reply: undefined,
    id: th.slice(0, 16), peer: peer.cert.root, peerDevice: peer.cert.deviceId,
  });
  secret.fill(0);
  return s;
}

/**
 * Opens an announcement. That its index is the one it came from, and that neither the index nor the join was seen
 * before, is for the caller to check.
 */
export async function openJoin(k: RoomKeys, room: Bytes, payload: Uint8Array, nowMs: number): Promise<Join> {
  if (payload.length !== boxSize || !equal(payload.subarray(0, handleSize), k.door)) throw refuse("malformed", "announcement");
  return parseJoin(k.checkMac(await k.open(room, "room-announce", payload.subarray(handleSize))), room, nowMs);
}

export async function parseJoin(signed: Uint8Array, room: Bytes, nowMs: number): Promise<Join> {
  const { message: m, cert } = await openByDevice(signed, maxJoin, "join", JoinMessage, (x) => x.cert);
  if (m.version !== 1 || m.joinId.length !== 16 || m.handle.length !== handleSize) throw refuse("malformed", "JOIN");
  if (!equal(m.room, room)) throw refuse("malformed", "JOIN of another room");
  await checkXWing(m.ephemeral);
  checkPresent(cert, m, nowMs);
  return { index: m.index, cert, joinHash: sha256(signed) as Bytes, name: m.name, id: m.joinId, ephemeral: m.ephemeral, handle: m.handle };
}

/** What a JOIN and a WELCOME have in common. */
function checkPresent(cert: DeviceCert, m: { readonly index: number; readonly expires: bigint; readonly name: string }, nowMs: number): void {
  if (m.index === 0 || m.index > 65_535 || m.expires > BigInt(maxUnix) * 1000n) throw refuse("malformed", "index or time");
  const end = Number(m.expires);
  if (nowMs > end + clockPastMs || end > nowMs + maxJoinLifeMs + clockAheadMs) throw refuse("time", "out of its time");
  certValidAt(cert, nowMs);
  checkLine(m.name, maxName);
}

/** Answers a JOIN: a payload for whoever joined, and the session with it. A JOIN is welcomed once. */
export async function welcome(j: Join, self: Self, keys: RoomKeys, room: Bytes, own: MemberId, nowMs: number): Promise<{ readonly payload: Bytes; readonly session: Session }> {
  const { enc, context: ctx } = await senderXWing(j.ephemeral, pairInfo(j.joinHash));
  const signed = await signObject(self.device, "welcome", encode(WelcomeMessage, {
    version: 1, room, cert: self.cert.signed, answers: j.joinHash, encHash: sha256(enc), joinHash: own.joinHash, index: own.index,
    expires: BigInt(nowMs + joinLifeMs), name: self.name,
  }));
  await parseWelcome(signed, room, nowMs);
  const box = await ctx.seal(pad(welcomePlain, keys.withMac(signed)), room);
  const secret = await ctx.export(context("room-pair-secret"), 32);
  return { payload: concat(j.handle, enc, box), session: pairSession(Role.responder, secret, room, j.joinHash, sha256(signed) as Bytes, own, j) };
}

async function parseWelcome(signed: Uint8Array, room: Bytes, nowMs: number): Promise<MemberId & { readonly answers: Bytes; readonly encHash: Bytes }> {
  const { message: m, cert } = await openByDevice(signed, maxWelcome, "welcome", WelcomeMessage, (x) => x.cert);
  if (m.version !== 1 || m.answers.length !== 32 || m.encHash.length !== 32 || m.joinHash.length !== 32) throw refuse("malformed", "WELCOME");
  if (!equal(m.room, room)) throw refuse("malformed", "WELCOME of another room");
  checkPresent(cert, m, nowMs);
  return { index: m.index, cert, joinHash: m.joinHash, name: m.name, answers: m.answers, encHash: m.encHash };
}
