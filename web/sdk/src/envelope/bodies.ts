// What messages say (docs/spec/envelope.md, sections 6 and 7, and session.md, sections 1 to 3).

import { isZero, utf8, type Bytes } from "../bytes.ts";
import { decode, encode, type Fields, type Init, type Of, type Schema } from "../canon.ts";
import { refuse } from "../errors.ts";
import { maxDevices, maxList, type Home } from "../identity/device.ts";
import { DeviceId, PeerId, PublicKey } from "../identity/key.ts";
import { checkDomain } from "../identity/text.ts";
import { checkXWing } from "./hpke.ts";
import {
  CancelMessage, ContactSyncMessage, GrantMessage, KnockMessage, ListUpdateMessage, NoteMessage, ReadMessage, ReplyAddressMessage,
  RingAnswerMessage, RingMessage,
} from "./wire.ts";

export const Type = {
  knock: 1, knockAccept: 2, note: 3, read: 4, ring: 5, accept: 6, decline: 7, busy: 8, cancel: 9, listUpdate: 10, tokenUpdate: 11,
  contactSync: 12, compared: 13,
} as const;
export type Type = (typeof Type)[keyof typeof Type];

export function isRingAnswer(t: number): t is 6 | 7 | 8 {
  return t === Type.accept || t === Type.decline || t === Type.busy;
}

export const Reason = { ended: 1, answeredElsewhere: 2, declined: 3, busy: 4, timeout: 5, failed: 6, alarm: 7 } as const;
export type Reason = (typeof Reason)[keyof typeof Reason];

/** What is said of a ring. An alarm needs a session, which a ring has not. */
export function isReason(n: number): n is Reason {
  return n >= 1 && n <= 6;
}

/** What the reason of a goodbye means here: one of a later version says no more than that something failed. */
export function byeReason(n: number): Reason {
  return n === Reason.alarm || isReason(n) ? n : Reason.failed;
}

export const maxKnockText = 512;
export const maxName = 64;
export const maxNoteText = 16384;
export const maxReadIds = 64;
const maxBody = 24 << 10;

/** Leave to deliver to one mailbox without knocking. */
export interface Grant {
  readonly home: Home;
  readonly tag: Bytes;
  readonly token: Bytes;
  readonly tokenEpoch: bigint;
  readonly device: DeviceId;
}

/** Where answers and frames of one call go. */
export interface ReplyAddress {
  readonly home: Home;
  readonly tag: Bytes;
  readonly token: Bytes;
  /** Of the ring answer; absent in an ACCEPT. */
  readonly handle?: Bytes;
}

export type Body =
  | { readonly type: typeof Type.knock | typeof Type.knockAccept; readonly text: string; readonly name: string; readonly home: Home }
  | { readonly type: typeof Type.note; readonly text: string; readonly replyTo?: Bytes }
  | { readonly type: typeof Type.read; readonly ids: readonly Bytes[] }
  | { readonly type: typeof Type.ring; readonly ephemeral: Bytes; readonly media: 0 | 1 | 2; readonly reply: ReplyAddress; readonly collapse: Bytes }
  | { readonly type: typeof Type.accept; readonly ringHash: Bytes; readonly encHash: Bytes; readonly reply: ReplyAddress }
  | { readonly type: typeof Type.decline | typeof Type.busy; readonly ringHash: Bytes; readonly encHash: Bytes; readonly reason: Reason }
  | { readonly type: typeof Type.cancel; readonly ringHash: Bytes; readonly reason: Reason }
  | { readonly type: typeof Type.listUpdate; readonly list: Bytes }
  | { readonly type: typeof Type.tokenUpdate | typeof Type.compared }
  | {
    readonly type: typeof Type.contactSync; readonly root: PublicKey; readonly home: Home; readonly state: "accepted" | "blocked";
    readonly name: string; readonly grants: readonly Grant[];
  };
/** The body of a type, or of one of several. */
export type BodyOf<T extends Type> = Body extends infer B ? (B extends { readonly type: infer K } ? (T extends K ? B : never) : never) : never;

function bad(what: string) {
  return refuse("malformed", what);
}

/** Text within its limit, without NUL. What is shown of it is the page's to clean. */
export function checkText(what: string, s: string, max: number): void {
  const n = utf8(s).length;
  if (n > max) throw refuse("too_large", `${what} of ${n} bytes, at most ${max}`);
  if (s.includes("\0")) throw bad(`NUL in ${what}`);
}

export function checkName(s: string): void {
  checkText("name", s, maxName);
  if (/\p{Cc}/u.test(s)) throw bad("control character in name");
}

function home(peerId: Uint8Array, domain: string): Home {
  const id = PeerId.fromBytes(peerId);
  checkDomain(domain);
  return { peerId: id, domain };
}

export function grantInit(g: Grant): Init<typeof GrantMessage> {
  return {
    peerId: g.home.peerId.bytes, domain: g.home.domain, routeTag: g.tag, token: g.token, tokenEpoch: g.tokenEpoch,
    device: g.device.bytes,
  };
}

export function grantFrom(m: Of<typeof GrantMessage>): Grant {
  const h = home(m.peerId, m.domain);
  if (m.routeTag.length !== 16 || m.token.length !== 16 || m.device.length !== 16) throw bad("grant");
  if (isZero(m.token)) throw bad("grant of the knock token");
  return { home: h, tag: m.routeTag, token: m.token, tokenEpoch: m.tokenEpoch, device: DeviceId.fromBytes(m.device) };
}

function replyInit(r: ReplyAddress): Init<typeof ReplyAddressMessage> {
  return {
    peerId: r.home.peerId.bytes, domain: r.home.domain, routeTag: r.tag, token: r.token,
    ...(r.handle === undefined ? {} : { handle: r.handle }),
  };
}

function replyFrom(m: Of<typeof ReplyAddressMessage>, withHandle: boolean): ReplyAddress {
  const h = home(m.peerId, m.domain);
  if (m.routeTag.length !== 16 || m.token.length !== 16 || m.handle.length !== (withHandle ? 8 : 0)) throw bad("reply address");
  // Frames are of the live class, which needs a token.
  if (isZero(m.token)) throw bad("reply address without token");
  return { home: h, tag: m.routeTag, token: m.token, ...(withHandle ? { handle: m.handle } : {}) };
}

/** Writes a body canonically. It checks what a reader checks, so that a mistake ends here. */
export function marshalBody(b: Body): Bytes {
  const out = write(b);
  if (out.length > maxBody) throw refuse("too_large", "body");
  parseBody(b.type, out);
  return out;
}

function write(b: Body): Bytes {
  switch (b.type) {
    case Type.knock: case Type.knockAccept:
      return encode(KnockMessage, { text: b.text, name: b.name, domain: b.home.domain, peerId: b.home.peerId.bytes });
    case Type.note:
      return encode(NoteMessage, { text: b.text, ...(b.replyTo === undefined ? {} : { replyTo: b.replyTo }) });
    case Type.read:
      return encode(ReadMessage, { messageIds: b.ids });
    case Type.ring:
      return encode(RingMessage, { ephemeral: b.ephemeral, media: b.media, reply: replyInit(b.reply), collapseKey: b.collapse });
    case Type.accept:
      return encode(RingAnswerMessage, { ringHash: b.ringHash, encHash: b.encHash, reply: replyInit(b.reply) });
    case Type.decline: case Type.busy:
      return encode(RingAnswerMessage, { ringHash: b.ringHash, encHash: b.encHash, reason: b.reason });
    case Type.cancel:
      return encode(CancelMessage, { ringHash: b.ringHash, reason: b.reason });
    case Type.listUpdate:
      return encode(ListUpdateMessage, { list: b.list });
    case Type.tokenUpdate: case Type.compared:
      return new Uint8Array(0);
    case Type.contactSync:
      return encode(ContactSyncMessage, {
        rootKey: b.root.bytes, domain: b.home.domain, peerId: b.home.peerId.bytes, state: b.state === "accepted" ? 1 : 2, name: b.name,
        grants: b.grants.map(grantInit),
      });
  }
}

function read<F extends Fields>(s: Schema<F>, b: Uint8Array): Of<Schema<F>> {
  return decode(s, b, maxBody) as Of<Schema<F>>;
}

/** Reads the body of a message of the type. */
export function parseBody(type: number, b: Uint8Array): Body {
  switch (type) {
    case Type.knock: case Type.knockAccept: {
      const m = read(KnockMessage, b);
      const h = home(m.peerId, m.domain);
      checkText("knock", m.text, maxKnockText);
      checkName(m.name);
      return { type, text: m.text, name: m.name, home: h };
    }
    case Type.note: {
      const m = read(NoteMessage, b);
      if (m.replyTo.length !== 0 && m.replyTo.length !== 16) throw bad("reply to something that is no message id");
      checkText("note", m.text, maxNoteText);
      return { type, text: m.text, ...(m.replyTo.length === 0 ? {} : { replyTo: m.replyTo }) };
    }
    case Type.read: {
      const { messageIds: ids } = read(ReadMessage, b);
      if (ids.length === 0 || ids.length > maxReadIds || ids.some((id) => id.length !== 16)) throw bad("read");
      return { type, ids };
    }
    case Type.ring: {
      const m = read(RingMessage, b);
      if (m.media !== 0 && m.media !== 1 && m.media !== 2) throw bad(`media ${m.media}`);
      if (m.reply === undefined || m.collapseKey.length !== 16) throw bad("ring");
      const reply = replyFrom(m.reply, true);
      checkXWing(m.ephemeral);
      return { type, ephemeral: m.ephemeral, media: m.media, reply, collapse: m.collapseKey };
    }
    case Type.accept: case Type.decline: case Type.busy: {
      const m = read(RingAnswerMessage, b);
      if (m.ringHash.length !== 32 || m.encHash.length !== 32) throw bad("ring answer");
      const { ringHash, encHash } = m;
      if (type === Type.accept) {
        if (m.reason !== 0 || m.reply === undefined) throw bad("ring answer");
        return { type, ringHash, encHash, reply: replyFrom(m.reply, false) };
      }
      if (!isReason(m.reason) || m.reply !== undefined) throw bad("ring answer");
      return { type, ringHash, encHash, reason: m.reason };
    }
    case Type.cancel: {
      const m = read(CancelMessage, b);
      if (m.ringHash.length !== 32 || !isReason(m.reason)) throw bad("cancel");
      return { type, ringHash: m.ringHash, reason: m.reason };
    }
    case Type.listUpdate: {
      const { list } = read(ListUpdateMessage, b);
      if (list.length <= 64 || list.length > maxList) throw bad("list update");
      return { type, list };
    }
    case Type.tokenUpdate: case Type.compared:
      if (b.length !== 0) throw bad("a body where there is none");
      return { type };
    case Type.contactSync: {
      const m = read(ContactSyncMessage, b);
      const root = PublicKey.check(m.rootKey);
      const h = home(m.peerId, m.domain);
      if (m.state !== 1 && m.state !== 2) throw bad(`contact state ${m.state}`);
      if (m.grants.length > maxDevices) throw refuse("too_large", "too many grants");
      checkName(m.name);
      return { type, root, home: h, state: m.state === 1 ? "accepted" : "blocked", name: m.name, grants: m.grants.map(grantFrom) };
    }
  }
  throw bad(`message type ${type}`);
}
