// Session keys and frames (docs/spec/session.md, sections 4 to 8).

import { concat, copy, equal, hex, random, readU32, readU64, u32, type Bytes } from "../bytes.ts";
import { hkdf, hmac, sha256 } from "../crypto/hash.ts";
import { refuse } from "../errors.ts";
import { hash, type DeviceId, type PublicKey } from "../identity/key.ts";
import { context, type Context } from "../labels.ts";
import type { ReplyAddress } from "./bodies.ts";
import { openBox, sealBox } from "./hpke.ts";
import { pad, unpad } from "./types.ts";

/** Who made the session: the caller is the initiator, whoever offers the SDP. */
export const Role = { initiator: 0, responder: 1 } as const;
export type Role = (typeof Role)[keyof typeof Role];

const frameSizes = [1024, 4096, 8192, 16384] as const;
const frameHeader = 12;
const frameOverhead = frameHeader + 4 + 16;
export const maxFrameBody = 16384 - frameOverhead;
const window = 64n;

export function isFrameSize(n: number): boolean {
  return frameSizes.some((s) => s === n);
}

/** Size of the frame that carries a body of n bytes. */
export function frameSize(n: number): number {
  const size = frameSizes.find((s) => n <= s - frameOverhead);
  if (size === undefined) throw refuse("too_large", "session message");
  return size;
}

function derive(key: Uint8Array, salt: Uint8Array | undefined, c: Context, n: number, extra?: Uint8Array): Bytes {
  return hkdf(key, salt, extra === undefined ? context(c) : concat(context(c), extra), n);
}

/** Binds the keys to both signed messages. */
export function transcript(ringHash: Uint8Array, acceptHash: Uint8Array): Bytes {
  return hash("transcript", ringHash, acceptHash);
}

/** All that a session derives from its secret. */
export interface SessionKeys {
  readonly th: Bytes;
  /** By the role of the sender. */
  readonly frame: readonly [Bytes, Bytes];
  readonly handle: readonly [Bytes, Bytes];
  readonly media: readonly [Bytes, Bytes];
  readonly mediaSecret: Bytes;
  readonly file: Bytes;
  readonly binding: Bytes;
  readonly sas: Bytes;
}

export function sessionKeys(secret: Uint8Array, th: Bytes): SessionKeys {
  const k = (c: Context, n = 32) => derive(secret, th, c, n);
  const mediaSecret = k("media");
  return {
    th, frame: [k("i2r"), k("r2i")], handle: [k("hi", 8), k("hr", 8)], mediaSecret,
    media: [derive(mediaSecret, th, "media-i2r", 32), derive(mediaSecret, th, "media-r2i", 32)],
    file: k("file"), binding: k("channel-binding"), sas: k("sas"),
  };
}

/** Key and handle of a sender after the step. */
export function steppedKeys(k: SessionKeys, sender: Role): { key: Bytes; handle: Bytes } {
  const old = k.frame[sender];
  return sender === Role.initiator
    ? { key: derive(old, k.th, "step-i2r", 32), handle: derive(old, k.th, "step-hi", 8) }
    : { key: derive(old, k.th, "step-r2i", 32), handle: derive(old, k.th, "step-hr", 8) };
}

/** One half of a session: the keys of one sender. */
export class Direction {
  readonly handle: Bytes;
  readonly #key: Bytes;
  readonly #tag: Bytes;
  #next: number; // sender: the next counter; receiver: highest seen + 1
  #seen = 0n; // receiver: bit i is set if counter next-1-i was seen

  constructor(key: Uint8Array, handle: Uint8Array, recipientTag: Uint8Array, next = 0) {
    this.#key = copy(key);
    this.handle = copy(handle);
    this.#tag = copy(recipientTag);
    this.#next = next;
  }

  async seal(body: Uint8Array): Promise<Bytes> {
    const size = frameSize(body.length);
    // The nonce is the counter: a wrap would repeat one. It is spent before the first wait.
    if (this.#next > 0xffffffff) throw refuse("exhausted", "session frame counter exhausted");
    const header = concat(this.handle, u32(this.#next++));
    return concat(header, await sealBox(this.#key, nonce(header), pad(size - frameHeader - 16, body), concat(this.#tag, header)));
  }

  /** A frame that does not verify moves nothing. */
  async open(frame: Uint8Array): Promise<Bytes> {
    const header = frame.subarray(0, frameHeader);
    const counter = readU32(frame, 8);
    this.#fresh(counter);
    const plain = await openBox(this.#key, nonce(header), frame.subarray(frameHeader), concat(this.#tag, header));
    // The same frame may have opened while this one was waited for.
    const back = this.#fresh(counter);
    // Authentic from here on: the counter is used up even if the peer padded it wrongly.
    if (counter < this.#next) {
      this.#seen |= 1n << back;
    } else {
      const shift = BigInt(counter + 1 - this.#next);
      this.#seen = shift >= window ? 1n : (this.#seen << shift | 1n) & (1n << window) - 1n;
      this.#next = counter + 1;
    }
    return copy(unpad(plain));
  }

  /** How far behind the newest a counter is that was not seen yet; throws for one that was. */
  #fresh(counter: number): bigint {
    const back = BigInt(this.#next - 1 - counter);
    if (counter < this.#next && (back >= window || (this.#seen >> back & 1n) === 1n)) throw refuse("replay", "frame seen before");
    return back;
  }
}

function nonce(header: Uint8Array): Bytes {
  return concat(new Uint8Array(8), header.subarray(8, 12));
}

/** The pair of keys that a ring and its answer agreed on, in memory only. */
export class Session {
  readonly role: Role;
  readonly id: Bytes;
  readonly peer: PublicKey;
  readonly peerDevice: DeviceId;
  readonly #reply: ReplyAddress | undefined;
  #keys: SessionKeys | undefined;
  readonly #tags: readonly [Uint8Array, Uint8Array]; // the mailbox that receives, by the role of the sender
  #out: Direction;
  #in: Direction;
  #next: Direction | undefined; // the receiving half after the step: the peer may take it before us
  #old: Direction | undefined; // the one from before the step, for frames on their way
  #stepped = false;

  constructor(c: {
    role: Role; keys: SessionKeys; ownTag: Uint8Array; reply: ReplyAddress | undefined; id: Bytes; peer: PublicKey; peerDevice: DeviceId;
    /** What stands for the other side's mailbox where there is none: a seat of a room. */
    peerTag?: Uint8Array;
  }) {
    this.role = c.role;
    this.id = c.id;
    this.peer = c.peer;
    this.peerDevice = c.peerDevice;
    this.#reply = c.reply;
    this.#keys = c.keys;
    const theirs = c.reply?.tag ?? c.peerTag ?? new Uint8Array(16);
    this.#tags = c.role === Role.initiator ? [theirs, c.ownTag] : [c.ownTag, theirs];
    const half = (sender: Role) => new Direction(c.keys.frame[sender], c.keys.handle[sender], this.#tags[sender]);
    this.#out = half(this.role);
    this.#in = half(this.#peerRole);
    const stepped = steppedKeys(c.keys, this.#peerRole);
    this.#next = new Direction(stepped.key, stepped.handle, this.#tags[this.#peerRole]);
  }

  /** Where frames to the peer go, unless they go over a card's channel. */
  get reply(): ReplyAddress {
    if (this.#reply === undefined) throw refuse("closed", "a card session has no mailbox");
    return this.#reply;
  }

  get #peerRole(): Role { return this.role === Role.initiator ? Role.responder : Role.initiator; }

  #open(): SessionKeys {
    if (this.#keys === undefined) throw refuse("closed", "session closed");
    return this.#keys;
  }

  /** Handles, in hexadecimal, under which frames to this device may now arrive. */
  handles(): string[] {
    if (this.#keys === undefined) return [];
    return [this.#in, this.#next, this.#old].flatMap((d) => (d === undefined ? [] : [hex(d.handle)]));
  }

  async seal(body: Uint8Array): Promise<Bytes> {
    this.#open();
    return this.#out.seal(body);
  }

  /** The body of a frame from the peer. Every error means: drop the frame. */
  async open(frame: Uint8Array): Promise<Bytes> {
    this.#open();
    if (!isFrameSize(frame.length)) throw refuse("size", `frame of ${frame.length} bytes`);
    const h = frame.subarray(0, 8);
    for (const d of [this.#in, this.#next, this.#old]) {
      if (d !== undefined && equal(d.handle, h)) return d.open(frame);
    }
    throw refuse("session", "frame of another session");
  }

  /** Moves both directions one step, once the channel binding has verified. A second call does nothing. */
  step(): void {
    const k = this.#open();
    if (this.#stepped) return;
    this.#stepped = true;
    const out = steppedKeys(k, this.role);
    this.#out = new Direction(out.key, out.handle, this.#tags[this.role]);
    this.#old = this.#in;
    this.#in = this.#next!;
    this.#next = undefined;
    // Nothing is derived from these again.
    for (const b of [...k.frame, ...k.handle]) b.fill(0);
  }

  /** Drops the receiving keys from before the step, two minutes later. */
  forget(): void {
    this.#old = undefined;
  }

  /** Erases all keys. The session can do nothing afterwards. */
  close(): void {
    const k = this.#keys;
    if (k === undefined) return;
    for (const b of [...k.frame, ...k.handle, ...k.media, k.mediaSecret, k.file, k.binding, k.sas, k.th]) b.fill(0);
    this.#keys = undefined;
    this.#next = this.#old = undefined;
    const none = new Direction(new Uint8Array(32), new Uint8Array(8), new Uint8Array(16));
    this.#in = this.#out = none;
  }

  /** SFrame base keys, one per direction. */
  mediaKeys(): { send: Bytes; receive: Bytes } {
    const { media } = this.#open();
    return { send: copy(media[this.role]), receive: copy(media[this.#peerRole]) };
  }

  fileKey(): Bytes { return copy(this.#open().file); }

  /** The first message on the control channel, over the certificates that are really in use. */
  binding(own: Uint8Array, peer: Uint8Array): Bytes {
    return bind(this.#open(), this.role, own, peer);
  }

  /** Verifies what the peer sent in the same place; our own message reflected does not verify. */
  checkBinding(mac: Uint8Array, own: Uint8Array, peer: Uint8Array): void {
    if (!equal(mac, bind(this.#open(), this.#peerRole, peer, own))) throw refuse("binding", "channel binding does not verify");
  }

  /** Begins the exchange of the call code, which a session runs once. */
  callCode(): CallCode {
    return new CallCode(this.role, this.#open().sas);
  }

  toJSON(): string { return "[redacted]"; }
}

export function bind(k: SessionKeys, sender: Role, own: Uint8Array, peer: Uint8Array): Bytes {
  return hmac(k.binding, concat(new Uint8Array([sender]), own, peer, k.th));
}

/** One run of the call code. A step out of order, twice, or with another nonce fails for good: alarm. */
export class CallCode {
  readonly #sas: Bytes;
  readonly #role: Role;
  readonly #own: Bytes;
  #stage = 0;
  #commitment: Bytes | undefined;

  constructor(role: Role, sas: Uint8Array, nonce: Uint8Array = random(32)) {
    this.#role = role;
    this.#sas = copy(sas);
    this.#own = copy(nonce);
  }

  #advance(role: Role, from: number, input?: Uint8Array): void {
    if (this.#role !== role || this.#stage !== from || (input !== undefined && input.length !== 32)) this.#fail();
    this.#stage++;
  }

  #fail(): never {
    this.#stage = -1;
    throw refuse("call_code", "call code does not match its commitment");
  }

  /** The initiator's first message. */
  commit(): Bytes {
    this.#advance(Role.initiator, 0);
    return sha256(this.#own);
  }

  /** Takes the commitment and gives the responder's nonce. */
  answer(commitment: Uint8Array): Bytes {
    this.#advance(Role.responder, 0, commitment);
    this.#commitment = copy(commitment);
    return copy(this.#own);
  }

  /** Takes the responder's nonce and gives the initiator's, and the code to show. */
  reveal(nonce: Uint8Array): { nonce: Bytes; code: string } {
    this.#advance(Role.initiator, 1, nonce);
    return { nonce: copy(this.#own), code: this.#code(this.#own, nonce) };
  }

  /** Takes the initiator's nonce and gives the code to show. */
  finish(nonce: Uint8Array): string {
    this.#advance(Role.responder, 1, nonce);
    if (!equal(sha256(nonce), this.#commitment!)) this.#fail();
    return this.#code(nonce, this.#own);
  }

  #code(a: Uint8Array, b: Uint8Array): string {
    return String(readU64(derive(this.#sas, undefined, "call-code", 8, concat(a, b))) % 1_000_000n).padStart(6, "0");
  }

  toJSON(): string { return "[redacted]"; }
}
