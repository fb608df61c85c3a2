// The session of two cards (docs/spec/cards.md, section 5): bound to both at once, and mixed with an X-Wing exchange
// before anything else is said.

import { concat, copy, equal, random, type Bytes } from "../bytes.ts";
import { decode, encode, type Init, type Of } from "../canon.ts";
import { hkdf, hmac, sha256 } from "../crypto/hash.ts";
import { refuse } from "../errors.ts";
import { hash } from "../identity/key.ts";
import { context } from "../labels.ts";
import { CardKind, type Card } from "./card.ts";
import { checkXWing, checkXWingEnc, recipientXWing, senderXWing, x25519Public, x25519SharedSecret, xwingEncSize, xwingPublic, xwingPublicSize, type Context } from "./hpke.ts";
import { isFrameSize, Role, Session, sessionKeys, type SessionKeys } from "./session.ts";
import { CardMessageMessage } from "./wire.ts";

export const maxCardMessage = 16384 + 16;

/** What two cards agree on. The key secret is the X25519 secret of the own card's ephemeral key. */
export class Meeting {
  readonly role: Role;
  readonly peer: Card;
  readonly #th: Bytes;
  readonly #secret: Bytes;
  readonly #binding: Bytes;
  #seed: Bytes | undefined; // initiator, from initiate to finish
  #stage: "fresh" | "asked" | "over" = "fresh";

  private constructor(role: Role, peer: Card, th: Bytes, secret: Bytes) {
    this.role = role;
    this.peer = peer;
    this.#secret = secret;
    this.#th = th;
    this.#binding = hkdf(secret, th, context("card-binding"), 32);
  }

  static async of(role: Role, secret: Uint8Array, offer: Card, answer: Card): Promise<Meeting> {
    if (offer.kind !== CardKind.offer || answer.kind !== CardKind.answer) throw refuse("card_order", "a meeting is of an offer and an answer");
    if (answer.offer === undefined || !equal(answer.offer, offer.hash)) throw refuse("card_foreign", "the answer is to another card");
    const mine = role === Role.initiator ? offer : answer;
    if (!equal(await x25519Public(secret), mine.ephemeral)) throw refuse("card_malformed", "not the key of the own card");
    const peer = role === Role.initiator ? answer : offer;
    return new Meeting(role, peer, hash("card-transcript", offer.hash, answer.hash), await x25519SharedSecret(secret, peer.ephemeral));
  }

  get transcript(): Bytes { return copy(this.#th); }

  #mac(role: Role, own: Uint8Array, peer: Uint8Array): Bytes {
    return hmac(this.#binding, concat(new Uint8Array([role]), own, peer, this.#th));
  }

  /** The first message on the data channel, over the certificates that are really in use. */
  binding(own: Uint8Array, peer: Uint8Array): Bytes { return this.#mac(this.role, own, peer); }

  checkBinding(mac: Uint8Array, own: Uint8Array, peer: Uint8Array): void {
    if (!equal(mac, this.#mac(this.role === Role.initiator ? Role.responder : Role.initiator, peer, own))) throw refuse("binding", "channel binding does not verify");
  }

  #advance(role: Role, from: "fresh" | "asked", to: "asked" | "over"): void {
    if (this.role !== role || this.#stage !== from) throw refuse("binding", "step of a card session out of turn");
    this.#stage = to;
  }

  /** The offerer's step, once the other side's binding has verified: its X-Wing key. */
  async initiate(seed: Uint8Array = random(32)): Promise<Bytes> {
    this.#advance(Role.initiator, "fresh", "asked");
    this.#seed = copy(seed);
    return xwingPublic(this.#seed);
  }

  /** The answerer's step: takes the key, gives the encapsulation to it and the session. */
  async respond(key: Uint8Array): Promise<{ readonly enc: Bytes; readonly session: Session }> {
    this.#advance(Role.responder, "fresh", "over");
    checkXWing(key);
    const { enc, context: c } = await senderXWing(key, concat(context("card-session"), this.#th));
    return { enc, session: this.#session(c, key, enc) };
  }

  /** The offerer's last step: takes the encapsulation, gives the session. */
  async finish(enc: Uint8Array): Promise<Session> {
    this.#advance(Role.initiator, "asked", "over");
    checkXWingEnc(enc);
    const seed = this.#seed!;
    const c = await recipientXWing(enc, seed, concat(context("card-session"), this.#th));
    const session = this.#session(c, await xwingPublic(seed), enc);
    seed.fill(0);
    return session;
  }

  #session(c: Context, key: Uint8Array, enc: Uint8Array): Session {
    const keys = cardKeys(this.#secret, c.export(context("card-secret"), 32), this.#th, key, enc);
    this.#secret.fill(0);
    // There is no mailbox on either side, and so no route tag: frames go over the channel.
    const none = new Uint8Array(16);
    return new Session({
      role: this.role, keys, ownTag: none, reply: undefined, id: copy(this.#th.subarray(0, 16)),
      peer: this.peer.cert.root, peerDevice: this.peer.cert.deviceId,
    });
  }

  toJSON(): string { return "[redacted]"; }
}

/** Mixes both secrets, so that breaking either of them is not enough. */
export function cardKeys(weak: Uint8Array, strong: Uint8Array, th0: Uint8Array, key: Uint8Array, enc: Uint8Array): SessionKeys {
  const th = hash("card-upgrade", th0, sha256(key), sha256(enc));
  return sessionKeys(hkdf(concat(weak, strong), th, context("card-secret"), 32), th);
}

export type CardMessage = NonNullable<Of<typeof CardMessageMessage>["kind"]>;
export type CardMessageInit = NonNullable<Init<typeof CardMessageMessage>["kind"]>;

function check(m: CardMessageInit): void {
  const size = (b: Uint8Array | undefined) => b?.length ?? 0;
  const good = m.case === "binding" || m.case === "upgraded" ? size(m.value.mac) === 32
    : m.case === "key" ? size(m.value.value) === xwingPublicSize
    : m.case === "encapsulation" ? size(m.value.value) === xwingEncSize
    : isFrameSize(size(m.value.frame));
  if (!good) throw refuse("malformed", "card message");
}

export function marshalCardMessage(kind: CardMessageInit): Bytes {
  check(kind);
  return encode(CardMessageMessage, { kind });
}

/** Reads a message of a card's data channel. Whether it is its turn is for the caller. */
export function parseCardMessage(b: Uint8Array): CardMessage {
  const { kind } = decode(CardMessageMessage, b, maxCardMessage);
  if (kind === undefined) throw refuse("malformed", "card message says nothing");
  check(kind);
  return kind;
}
