// Meeting without a node (docs/spec/cards.md): an offer, its answer, and a call.
//
//   const offer = await cards.offerCard({ media: 2 });      const card = cards.read(text);
//   // give offer.text to the other side                    const answer = await cards.answerCard(card);
//   const call = await offer.accept(offer.read(text));      const call = await answer.call();

import { checkAbort, unlessAborted, type Abortable } from "../abort.ts";
import { equal, hex, random, utf8, type Bytes } from "../bytes.ts";
import { CardKind, cardLifetime, cardLink, checkCard, maxCardLifetime, parseCard, parseCardText, signCard, type Card } from "../envelope/card.ts";
import { marshalCardMessage, Meeting, parseCardMessage, type CardMessage, type CardMessageInit } from "../envelope/cardsession.ts";
import { x25519Public } from "../envelope/hpke.ts";
import { Role, type Session } from "../envelope/session.ts";
import { refuse, TrunklineError } from "../errors.ts";
import type { DeviceCert } from "../identity/device.ts";
import { signDeviceCert } from "../identity/signing.ts";
import type { Client } from "../client/client.ts";
import { listOf } from "../client/records.ts";
import type { Call } from "./call.ts";
import type { Calls } from "./calls.ts";
import { cardCandidates, cardDescription, cardLines, type CardPeer, type CardPeerFactory } from "./cardpeer.ts";
import { bindingMs } from "./control.ts";
import type { IceServer, Media } from "./peer.ts";
import { parseSdp } from "./sdp.ts";

/** How a card is made. */
export interface CardOptions extends Abortable {
  /** Of an offer: 0 files only, 1 sound, 2 sound and picture (where it is absent). */
  readonly media?: Media;
  /** Only the addresses of the own node's relay stand in the card: that node has to be there. */
  readonly relayOnly?: boolean;
  /** What this person calls itself, at most 64 bytes of UTF-8. */
  readonly name?: string;
  /** How long the card is good, in seconds: 600, and 1,800 at most. */
  readonly life?: number;
}

const certLife = 90 * 86_400;
const againMs = 5_000;
const maxQueue = 64;

interface CardRecord { readonly untilMs: number }

/** Makes and takes the cards of a client. */
export class Cards {
  readonly #c: Client;
  readonly #calls: Calls;
  readonly #make: CardPeerFactory;

  constructor(c: Client, calls: Calls, peer: CardPeerFactory) {
    this.#c = c;
    this.#calls = calls;
    this.#make = peer;
  }

  /**
   * Reads an offer that somebody pasted, scanned or opened, and says whose it is. Nothing is sent or written.
   *
   * @throws TrunklineError card_malformed, card_version, card_tampered, card_own, card_order (it is an answer),
   *   card_not_yet, card_expired, card_device, card_replayed (it was answered here), policy (blocked), key_alarm
   */
  async read(text: string): Promise<Card> {
    const card = await this.#read(text, CardKind.offer);
    if (this.#used(card)) throw refuse("card_replayed", "this offer was answered here before");
    return card;
  }

  async #read(text: string, kind: CardKind, offer?: Card): Promise<Card> {
    const card = await parseCard(parseCardText(text));
    const k = this.#c.contactRecord(card.cert.root);
    checkCard(card, { kind, nowMs: this.#c.now(), own: this.#c.deviceId, pinned: k === undefined ? undefined : listOf(k.list), offer });
    if (k !== undefined && k.evidence.length > 0) throw refuse("key_alarm", "the devices of this contact contradict what was seen before");
    if (k?.state === "blocked") throw refuse("policy", "this contact is blocked");
    return card;
  }

  #key(c: Card): string { return `card/${c.cert.deviceId.hex}/${hex(c.id)}`; }

  #used(c: Card): boolean { return this.#c.records.get<CardRecord>(this.#key(c)) !== undefined; }

  /** Written before anything is done with it, as for every message. */
  async #use(c: Card): Promise<void> {
    const { records } = this.#c;
    for (const [key, r] of [...records.list<CardRecord>("card/")]) if (this.#c.now() >= r.untilMs) records.delete(`card/${key}`);
    if (this.#used(c)) throw refuse("card_replayed", "this offer was answered here before");
    records.set(this.#key(c), { untilMs: (c.expires + 600) * 1000 } satisfies CardRecord);
    await records.commit();
  }

  /**
   * Makes an offer. It is alive until it expires, is accepted or closed, and in this page only.
   *
   * @throws TrunklineError unreachable (relayOnly and no node; no address at all), aborted
   */
  async offerCard(o: CardOptions = {}): Promise<OpenOffer> {
    const own = await this.#own(o, undefined);
    return new OpenOffer(own, (text) => this.#read(text, CardKind.answer, own.card));
  }

  /**
   * Answers an offer that read gave, once its person was shown and a human said yes. An offer is answered once.
   *
   * @throws TrunklineError card_replayed, card_expired, unreachable, storage, aborted
   */
  async answerCard(offer: Card, o: CardOptions = {}): Promise<OpenAnswer> {
    checkAbort(o.signal);
    const again = await this.#read(cardLink("", offer.signed), CardKind.offer);
    await this.#use(again);
    return new OpenAnswer(await this.#own(o, again), again);
  }

  async #own(o: CardOptions, offer: Card | undefined): Promise<OwnCard> {
    const life = o.life ?? cardLifetime;
    if (!Number.isInteger(life) || life < 1 || life > maxCardLifetime) throw refuse("card_malformed", `a card lives for ${maxCardLifetime} seconds at most`);
    checkAbort(o.signal);
    const relayOnly = o.relayOnly ?? false;
    const relay = await this.#relay(o.signal);
    if (relayOnly && relay.servers.length === 0) throw refuse("unreachable", "relay only was asked for, and there is no node that lends its relay");
    const secret = random(32);
    const channel = new Channel(this.#make, relayOnly, relay);
    try {
      const sdp = await unlessAborted(channel.peer.local(offer === undefined ? undefined : cardDescription(offer, relayOnly)), o.signal);
      const { fingerprint, ufrag, pwd } = parseSdp(utf8(sdp));
      const candidates = cardCandidates(sdp, relayOnly);
      if (candidates.length === 0) throw refuse("unreachable", "this device has no address that a card could name");
      const card = await signCard(this.#c.device, {
        kind: offer === undefined ? CardKind.offer : CardKind.answer, cert: await this.#cert(), nowMs: this.#c.now(), life, ephemeral: await x25519Public(secret),
        ufrag, pwd, fingerprint, candidates, relayOnly, name: o.name ?? "", home: this.#c.registered ? this.#c.homeOf() : undefined,
        ...(offer === undefined ? { media: o.media ?? 2 } : { offer: offer.hash }),
      });
      checkAbort(o.signal);
      return new OwnCard(this.#c, this.#calls, channel, secret, card);
    } catch (err) {
      channel.close();
      throw err instanceof TrunklineError ? err : refuse("unreachable", "no card could be made", err);
    }
  }

  /** This device's certificate; the root key makes one where no node knows the device yet. */
  async #cert(): Promise<DeviceCert> {
    if (this.#c.ownList() !== undefined) return this.#c.ownCert();
    const now = Math.floor(this.#c.now() / 1000);
    return signDeviceCert(await this.#c.root(), { device: this.#c.device.publicKey, epoch: 1, notBefore: now, notAfter: now + certLife });
  }

  /** A node's relay helps where there is one at this moment; without it the card has the own addresses alone. */
  async #relay(signal: AbortSignal | undefined): Promise<Relay> {
    const w = this.#c.link.wire;
    if (w === undefined) return { servers: [], release: () => undefined };
    try {
      const t = await unlessAborted(w.call({ case: "turn", value: { purpose: "call" } }, "turn"), signal);
      return {
        servers: t.urls.map((urls) => ({ urls, username: t.username, credential: t.credential })),
        release: () => this.#c.background("give the relay back", async () => this.#c.link.wire?.send({ case: "turnRelease", value: { handle: t.handle } })),
      };
    } catch (err) {
      checkAbort(signal);
      if (!(err instanceof TrunklineError)) throw err;
      return { servers: [], release: () => undefined };
    }
  }
}

interface Relay { readonly servers: readonly IceServer[]; readonly release: () => void }

/** The channel of a card: messages one after the other, then frames. */
class Channel {
  readonly peer: CardPeer;
  /** Frames of the session, once there is one. */
  onFrame: (frame: Bytes) => void = () => undefined;
  onEnded: (why: TrunklineError) => void = () => undefined;
  readonly #queue: Uint8Array[] = [];
  readonly #release: () => void;
  #waiting: { resolve: (b: Uint8Array) => void; reject: (why: TrunklineError) => void } | undefined;
  #open!: () => void;
  readonly opened = new Promise<void>((resolve) => { this.#open = resolve; });
  #met = false;
  #why: TrunklineError | undefined;

  constructor(make: CardPeerFactory, relayOnly: boolean, relay: Relay) {
    this.#release = relay.release;
    this.peer = make({
      relayOnly, servers: relay.servers, onOpen: () => this.#open(), onEnded: (why) => this.end(why),
      onMessage: (b) => {
        if (this.#why !== undefined) return;
        if (this.#met) return this.#frame(b);
        if (this.#waiting !== undefined) {
          const { resolve } = this.#waiting;
          this.#waiting = undefined;
          return resolve(b);
        }
        if (this.#queue.length >= maxQueue) return this.end(refuse("full", "too many messages at once"));
        this.#queue.push(new Uint8Array(b));
      },
    });
  }

  #frame(b: Uint8Array): void {
    let m: CardMessage;
    try {
      m = parseCardMessage(b);
      if (m.case !== "frame") throw refuse("binding", "a step of the meeting after its end");
    } catch (err) {
      if (!(err instanceof TrunklineError)) throw err;
      return this.end(err);
    }
    this.onFrame(m.value.frame);
  }

  /** From here on frames come. Those that came with the last step are not lost. */
  met(onFrame: (frame: Bytes) => void): void {
    this.onFrame = onFrame;
    this.#met = true;
    for (const b of this.#queue.splice(0)) this.#frame(b);
  }

  say(m: CardMessageInit): void {
    try {
      this.peer.send(marshalCardMessage(m));
    } catch (err) {
      throw err instanceof TrunklineError ? err : refuse("unreachable", "the other side has gone", err);
    }
  }

  /** The next message. One that does not parse is no step of anything. */
  async hear(): Promise<CardMessage> {
    if (this.#why !== undefined) throw this.#why;
    const b = this.#queue.shift() ?? await new Promise<Uint8Array>((resolve, reject) => { this.#waiting = { resolve, reject }; });
    try {
      return parseCardMessage(b);
    } catch (err) {
      throw refuse("binding", "something else came before the channel binding", err);
    }
  }

  end(why: TrunklineError): void {
    if (this.#why !== undefined) return;
    this.#why = why;
    this.peer.close();
    this.#release();
    this.#waiting?.reject(why);
    this.#waiting = undefined;
    this.onEnded(why);
  }

  close(): void { this.end(refuse("closed", "the card was given up")); }

  get why(): TrunklineError | undefined { return this.#why; }
}

/** A card of this side that is alive. */
class OwnCard {
  readonly card: Card;
  readonly #c: Client;
  readonly #calls: Calls;
  readonly channel: Channel;
  readonly #secret: Bytes;

  constructor(c: Client, calls: Calls, channel: Channel, secret: Bytes, card: Card) {
    this.#c = c;
    this.#calls = calls;
    this.channel = channel;
    this.#secret = secret;
    this.card = card;
  }

  get leftMs(): number { return Math.max(this.card.expires * 1000 - this.#c.now(), 0); }

  /** Waits for the other side and begins the call. */
  async meet(offer: Card, answer: Card, signal: AbortSignal | undefined): Promise<Call> {
    const { channel } = this;
    const cancels: (() => void)[] = [];
    const late = new Promise<never>((_, reject) => {
      cancels.push(this.#c.timers.after(this.leftMs, () => reject(refuse("card_expired", "nobody came before the card expired"))));
      channel.onEnded = reject;
      if (channel.why !== undefined) reject(channel.why);
    });
    late.catch(() => undefined); // it may come when nobody waits any more
    const role = this.card === offer ? Role.initiator : Role.responder;
    const lines = cardLines(role === Role.initiator ? answer : offer, this.card.relayOnly);
    const again = () => {
      channel.peer.again(lines);
      cancels.push(this.#c.timers.after(againMs, again));
    };
    cancels.push(this.#c.timers.after(againMs, again));
    try {
      const m = await Meeting.of(role, this.#secret, offer, answer);
      await unlessAborted(Promise.race([channel.opened, late]), signal);
      const bound = new Promise<never>((_, reject) => {
        cancels.push(this.#c.timers.after(bindingMs, () => reject(refuse("binding", "the channel binding did not come"))));
      });
      bound.catch(() => undefined);
      const session = await unlessAborted(Promise.race([this.#prove(m), late, bound]), signal);
      return this.#begin(session, m.peer, offer.media);
    } catch (err) {
      const why = err instanceof TrunklineError ? err : refuse("unreachable", "the meeting failed", err);
      channel.end(why);
      throw why;
    } finally {
      for (const cancel of cancels) cancel();
      this.#secret.fill(0);
    }
  }

  /** The binding of the cards, the X-Wing exchange, the binding of the session (cards.md, section 5). */
  async #prove(m: Meeting): Promise<Session> {
    const { channel } = this;
    const [own, peer] = [this.card.fingerprint, m.peer.fingerprint];
    if (!equal(await channel.peer.peerFingerprint(), peer)) throw refuse("key_alarm", "the certificate is not the one of the card");
    const mac = m.binding(own, peer);
    channel.say({ case: "binding", value: { mac } });
    const first = await channel.hear();
    if (first.case !== "binding") throw refuse("binding", "something else came before the channel binding");
    if (equal(first.value.mac, mac)) throw refuse("binding", "our own channel binding came back");
    m.checkBinding(first.value.mac, own, peer);
    const session = await this.#upgrade(m);
    try {
      channel.say({ case: "upgraded", value: { mac: session.binding(own, peer) } });
      const last = await channel.hear();
      if (last.case !== "upgraded") throw refuse("binding", "something else came before the second channel binding");
      session.checkBinding(last.value.mac, own, peer);
      return session;
    } catch (err) {
      session.close();
      throw err;
    }
  }

  async #upgrade(m: Meeting): Promise<Session> {
    const { channel } = this;
    if (m.role === Role.initiator) {
      channel.say({ case: "key", value: { value: await m.initiate() } });
      const answer = await channel.hear();
      if (answer.case !== "encapsulation") throw refuse("binding", "something else came in place of the exchange");
      return m.finish(answer.value.value);
    }
    const key = await channel.hear();
    if (key.case !== "key") throw refuse("binding", "something else came in place of the exchange");
    const { enc, session } = await m.respond(key.value.value);
    channel.say({ case: "encapsulation", value: { value: enc } });
    return session;
  }

  #begin(session: Session, peer: Card, media: Media): Call {
    const { channel } = this;
    this.#c.met(peer.cert.root, peer.name, peer.home);
    const call = this.#calls.meet(session, {
      media, relayOnly: this.card.relayOnly,
      carrier: {
        send: (frame) => { if (channel.why === undefined) channel.say({ case: "frame", value: { frame } }); },
        close: () => channel.close(),
      },
    });
    // A call that stands needs the channel for nothing but a new path.
    channel.onEnded = (why) => { if (!call.bound) call.happen({ type: "failed" }, { why }); };
    channel.met((frame) => call.onFrame(frame));
    return call;
  }

  close(): void { this.channel.close(); }
}

/** An own offer that waits for its answer. */
export class OpenOffer {
  readonly card: Card;
  readonly #own: OwnCard;
  readonly #read: (text: string) => Promise<Card>;
  #taken: Bytes | undefined;
  #closed = false;

  constructor(own: OwnCard, read: (text: string) => Promise<Card>) {
    this.#own = own;
    this.card = own.card;
    this.#read = read;
  }

  /** The link to give to the other side: to the app at this origin, or to the installed app. */
  link(origin = ""): string { return cardLink(origin, this.card.signed); }

  /**
   * Reads an answer and says whose it is. Nothing is sent.
   *
   * @throws TrunklineError as {@link Cards.read}; card_order (it is an offer), card_foreign (it is for another offer, or
   *   for this one before a reload), card_replayed (this answer was taken), card_second (another one was)
   */
  async read(text: string): Promise<Card> {
    const answer = await this.#read(text);
    this.#mayTake(answer);
    return answer;
  }

  #mayTake(answer: Card): void {
    if (this.#own.leftMs === 0) throw refuse("card_expired", "the offer has expired");
    if (this.#taken !== undefined) throw equal(this.#taken, answer.hash) ? refuse("card_replayed", "this answer was taken before") : refuse("card_second", "another answer was taken before");
    if (this.#closed) throw refuse("card_foreign", "this offer was given up");
  }

  /**
   * Meets whose answer this is, once its person was shown and a human said yes. The offer is used up by it.
   *
   * @throws TrunklineError as read; key_alarm or binding (somebody stands between), unreachable, card_expired, aborted
   */
  async accept(answer: Card, o: Abortable = {}): Promise<Call> {
    checkAbort(o.signal);
    const again = await this.read(cardLink("", answer.signed));
    this.#mayTake(again); // another one may have been taken while this one was read
    this.#taken = again.hash;
    try {
      await this.#own.channel.peer.accept(cardDescription(again, this.card.relayOnly));
    } catch (err) {
      this.#own.close();
      throw refuse("unreachable", "the meeting failed", err);
    }
    return this.#own.meet(this.card, again, o.signal);
  }

  /** Gives up an offer that was not accepted; afterwards it takes no answer. */
  close(): void {
    this.#closed = true;
    if (this.#taken === undefined) this.#own.close();
  }
}

/** An own answer on its way to whoever offered. */
export class OpenAnswer {
  readonly card: Card;
  readonly offer: Card;
  readonly #own: OwnCard;
  #asked = false;

  constructor(own: OwnCard, offer: Card) {
    this.#own = own;
    this.card = own.card;
    this.offer = offer;
  }

  link(origin = ""): string { return cardLink(origin, this.card.signed); }

  /**
   * Waits until the other side has taken the answer. Called once.
   *
   * @throws TrunklineError card_expired (nobody came), key_alarm or binding (somebody stands between), unreachable, aborted
   */
  async call(o: Abortable = {}): Promise<Call> {
    if (this.#asked) throw refuse("closed", "an answer leads to one call");
    this.#asked = true;
    return this.#own.meet(this.offer, this.card, o.signal);
  }

  close(): void { this.#own.close(); }
}
