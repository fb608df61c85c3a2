// One join of a room, from the node's answer to the end of the link (docs/spec/rooms.md, sections 3, 6 and 7): who is in
// as the node says, who of them has shown the link, and what the pairs say to each other. All of it happens in one order.

import { equal, hex, random, unhex, type Bytes } from "../bytes.ts";
import type { Session } from "../envelope/session.ts";
import { isFrameSize } from "../envelope/session.ts";
import { refuse, TrunklineError } from "../errors.ts";
import { SeedSigner, type Signer } from "../identity/key.ts";
import { RoomEventKind, signGate, signHolder, signSteward, type RoomEvent, type RoomNodeKind } from "../link/roomframes.ts";
import type { Wire } from "../link/wire.ts";
import { checkKnown, dialRoom, keptRoom, passOf, remember, type Attendee } from "./attendee.ts";
import { maxSeats, mayEnter, openCard, type Card } from "./card.ts";
import { Chair, Removed } from "./chair.ts";
import { Joining, openJoin, welcome, type Join, type MemberId } from "./join.ts";
import { Keys } from "./keys.ts";
import { marshalRoomMessage, parseRoomMessage, type RoomMessage, type RoomMessageInit } from "./message.ts";
import type { KeyCaller } from "./ring.ts";
import { bans, Rosters, seatOf, type Seat } from "./roster.ts";
import { RoomKeys, type RoomLink } from "./secret.ts";
import { Serial } from "./serial.ts";
import type { Telling } from "./telling.ts";
import type { RoomRefusal } from "./types.ts";

/** How long who was there when we came has to show itself before we take the chair. */
const settleMs = 3_000;
/** More of the node's frames than this at once end the link: what was missed cannot be had again. */
const maxWaiting = 8_192;

/** Somebody else. */
export interface Member extends MemberId {
  /** Until it is welcomed. */
  join: Join | undefined;
  session: Session | undefined;
  /** It gets our keys, and is connected with. */
  in: boolean;
  /** Keys that were sent and not answered. */
  gave: number;
  /** It holds our newest key. */
  held: boolean;
  /** The last key that it was told, and the last roster. */
  told: Telling | undefined;
  roster: Telling | undefined;
}

/** Somebody in the lobby; id is undefined until it has said who it is. */
export interface Waiter { readonly index: number; id: MemberId | undefined }

/** What a stay tells its room. Everything is called in its order. */
export interface StayOwner {
  readonly attendee: Attendee;
  readonly keys: KeyCaller;
  link(): RoomLink;
  newestSerial(): number;
  changed(): void;
  admitted(): void;
  carded(c: Card): void;
  came(m: Member): void;
  went(m: Member, code: string): void;
  waits(w: Waiter): void;
  /** What whoever comes is told before our key; undefined: nothing. */
  greeting(): RoomMessageInit | undefined;
  said(m: Member, msg: RoomMessage): Promise<void> | void;
  legEvent(k: Extract<RoomNodeKind, { readonly case: "roomLeg" }>["value"]): void;
  linkReplaced(secret: Bytes): Promise<void>;
  rekeyed(): void;
  alarm(): void;
  /** It is over. code: the node's word; otherwise why is an error. */
  over(why: TrunklineError, code: RoomRefusal | undefined): void;
}

export class Stay {
  readonly o: StayOwner;
  readonly serial: Serial;
  readonly members = new Map<number, Member>();
  readonly waiting = new Map<number, Waiter>();
  /** Out of the lobby, by us. */
  readonly approved = new Map<number, Seat>();
  readonly chair: Chair;
  readonly keys: Keys;
  wire!: Wire;
  card!: Card;
  roomKeys!: RoomKeys;
  rosters!: Rosters;
  own!: MemberId;
  steward: Signer | undefined;
  stewardSeed: Bytes | undefined;
  lobby = false;
  /** We know who else is here, and may take the chair. */
  settled = false;
  #waited = false; // who was there had time to tell us the roster
  seats = 0;
  expiresMs = 0;
  sfu = false;
  readonly #joinId = random(16);
  #joining: Joining | undefined;
  readonly #present = new Set<number>();
  readonly #before = new Set<number>(); // who was in when we came: they welcome us, and whoever comes later is welcomed by us
  readonly #unknown = new Set<number>(); // of those, who has not shown itself
  readonly #joins = new Set<string>();
  readonly #used = new Set<number>();
  readonly #handles = new Map<string, Member>();
  #frames: RoomNodeKind[] = [];
  #joined = false;
  #ended: { readonly why: TrunklineError; readonly code: RoomRefusal | undefined } | undefined;

  private constructor(o: StayOwner) {
    this.o = o;
    this.serial = new Serial((ms, f) => o.attendee.timers.after(ms, f), (err) => this.#fail(err));
    this.chair = new Chair(this);
    this.keys = new Keys(this);
  }

  get now(): number { return this.o.attendee.now(); }
  get room(): Bytes { return this.o.link().room; }
  /**
   * Somebody who was there before us may hold a roster, and has not told it yet. One that we sign without it would
   * contradict it, if both are a chair's first.
   */
  get awaitsRoster(): boolean {
    return !this.#waited && this.rosters.current === undefined && [...this.members.values()].some((m) => m.session !== undefined && this.#before.has(m.index));
  }
  /** How many are in, ourselves among them, by the node's word, until all of them are known; 0 after that. */
  get expected(): number { return this.settled || this.lobby ? 0 : this.#present.size + 1; }

  /** Takes a seat at the node and opens the card. */
  static async enter(o: StayOwner, signal?: AbortSignal): Promise<Stay> {
    const s = new Stay(o);
    const l = o.link();
    s.roomKeys = await RoomKeys.of(l.secret);
    const seed = keptRoom(o.attendee, l.room)?.steward ?? "";
    if (seed !== "") await s.useSteward(unhex(seed));
    s.wire = await dialRoom(o.attendee, l.base, { onRoom: (k) => s.#take(k), onEnd: (why) => s.#end(why, undefined), signal });
    try {
      await s.#join(signal);
      return s;
    } catch (err) {
      s.wire.close();
      await s.serial.close();
      throw err;
    }
  }

  async useSteward(seed: Bytes): Promise<void> {
    this.steward = await SeedSigner.from(seed);
    this.stewardSeed = seed;
  }

  async #join(signal: AbortSignal | undefined): Promise<void> {
    const { room } = this;
    const { cert, name } = this.o.attendee.self;
    const ask = {
      room, joinId: this.#joinId, gateSignature: await signGate(this.roomKeys.gate, this.wire, room, this.#joinId),
      ...(this.steward === undefined ? {} : { stewardSignature: await signSteward(this.steward, this.wire, room, this.#joinId) }),
    };
    const join = (more: { readonly pass?: Bytes; readonly passSignature?: Bytes }) => this.wire.call({ case: "roomJoin", value: { ...ask, ...more } }, "roomJoined", signal);
    const got = await join({}).catch(async (err: unknown) => {
      // Without it the node of the room learns nothing of where we are at home, and ours not that we come.
      if (!(err instanceof TrunklineError) || (err.nodeCode !== "pass" && err.nodeCode !== "policy")) throw err;
      const key = await SeedSigner.generate();
      const pass = await passOf(this.o.attendee, this.wire.node, key.publicKey, signal).catch((why: unknown) => {
        // It stays shut for the reason that the room's node gave; beside it, that ours does not give its word.
        throw why instanceof TrunklineError && why.code === "refused" ? new TrunklineError("refused", err.message, { nodeCode: err.nodeCode!, cause: why }) : why;
      });
      if (pass === undefined) throw err;
      return join({ pass, passSignature: await signHolder(key, this.wire, room, this.#joinId) });
    });
    if (got.index === 0) throw refuse("malformed", "the node gave no seat");
    const card = await openCard(this.roomKeys, room, got.card);
    if (card.serial < this.o.newestSerial()) throw refuse("rollback", "the node has an older card of the room than it had");
    // Nobody there would say a word to us.
    if (card.entry === "members" && !mayEnter(card, cert.root)) throw refuse("not_listed", "this room is for those whom its maker has listed");
    this.card = card;
    this.rosters = new Rosters(card);
    this.lobby = got.waiting;
    this.seats = got.seats;
    this.expiresMs = Number(got.expires) * 1000;
    this.sfu = got.sfu;
    this.own = { index: got.index, cert, joinHash: new Uint8Array(32), name };
    this.#found(got.present);
    await this.keys.begin(got.index);
    await remember(this.o.attendee, room, (r) => {
      const l = this.o.link();
      r.base = l.base;
      r.secret = hex(l.secret);
      r.card = hex(card.signed);
      r.title = card.title;
      r.entry = card.entry;
      r.expiresMs = this.expiresMs;
    });
    if (!this.lobby) this.#inside();
    await this.#announce();
  }

  /** What the node said meanwhile happens now, and from here on as it comes. */
  begin(): void {
    this.#joined = true;
    for (const f of this.#frames.splice(0)) this.#later(f);
    this.serial.later(settleMs, async () => {
      this.settled = this.#waited = true;
      await this.chair.sign();
      this.o.changed();
    });
    if (this.#ended !== undefined) this.#over();
  }

  #take(k: RoomNodeKind): void {
    if (this.#joined) return this.#later(k);
    if (this.#frames.push(k) > maxWaiting) this.wire.close(refuse("full", "more frames of a room than can wait"));
  }

  #later(k: RoomNodeKind): void { this.serial.do(() => this.#handle(k)); }

  #found(present: readonly number[]): void {
    for (const i of present) for (const set of [this.#present, this.#before, this.#unknown]) set.add(i);
  }

  #inside(): void {
    this.lobby = false;
    if (this.#unknown.size === 0) this.settled = true;
  }

  /** Shows the others, or in the lobby the stewards, who we are. */
  async #announce(): Promise<void> {
    this.#joining?.close();
    this.#joining = await Joining.create(this.o.attendee.self, this.roomKeys, this.room, this.#joinId, this.own.index, this.now);
    this.own = this.#joining.own;
    this.#post(0, this.#joining.payload);
  }

  #post(to: number, payload: Bytes): void { this.wire.send({ case: "roomSend", value: { to, payload } }); }

  /** Seals a message for one member. That the other side has gone meanwhile is no error. */
  async say(m: Member, msg: RoomMessageInit): Promise<void> {
    const s = m.session;
    if (s === undefined || this.members.get(m.index) !== m) return;
    const frame = await s.seal(marshalRoomMessage(msg));
    if (this.wire.ended === undefined) this.#post(m.index, frame);
  }

  /** The same for all who are in. */
  async sayAll(msg: RoomMessageInit): Promise<void> {
    for (const m of this.sorted()) if (m.in) await this.say(m, msg);
  }

  sorted(): Member[] { return [...this.members.values()].sort((a, b) => a.index - b.index); }

  async #handle(k: RoomNodeKind): Promise<void> {
    if (k.case === "roomLeg") return this.o.legEvent(k.value);
    if (k.case === "roomEvent") await this.#event(k.value);
  }

  async #event(e: RoomEvent): Promise<void> {
    const i = e.index;
    switch (e.kind) {
      case RoomEventKind.joined:
        this.#present.add(i);
        this.waiting.delete(i);
        return this.o.changed();
      case RoomEventKind.left: return this.#left(i, e.code);
      case RoomEventKind.waiting:
        this.waiting.set(i, { index: i, id: undefined });
        return;
      case RoomEventKind.admitted:
        if (!this.lobby) return;
        this.#found(e.present);
        this.#inside();
        this.o.admitted();
        return this.#announce();
      case RoomEventKind.closed: return this.#end(refuse("closed", "the room, or this place in it, is over"), e.code as RoomRefusal);
      case RoomEventKind.frame: return this.#frame(i, e.payload);
    }
  }

  /** A payload of another seat. One that cannot be used is dropped without an answer. */
  async #frame(from: number, payload: Bytes): Promise<void> {
    if (!isFrameSize(payload.length) || this.#joining === undefined) return;
    const h = payload.subarray(0, 8);
    try {
      if (equal(h, this.roomKeys.door)) return await this.#sawJoin(from, payload);
      if (equal(h, this.#joining.handle)) return await this.#welcomed(from, payload);
      const m = this.#handles.get(hex(h));
      if (m?.index !== from || m.session === undefined) return;
      const msg = parseRoomMessage(await m.session.open(payload));
      if (this.members.get(from) === m) await this.#message(m, msg);
    } catch (err) {
      if (err instanceof Removed) return this.#end(err, "removed");
      if (!(err instanceof TrunklineError) || err === this.#ended?.why || this.wire.ended !== undefined) throw err;
    }
  }

  /** Takes somebody's JOIN. */
  async #sawJoin(from: number, payload: Bytes): Promise<void> {
    if (this.lobby) return;
    const j = await openJoin(this.roomKeys, this.room, payload, this.now);
    if (j.index !== from || from === this.own.index || j.cert.deviceId.equals(this.own.cert.deviceId)) return;
    this.#mayBeHere(j);
    const w = this.waiting.get(from);
    if (w !== undefined) {
      if (w.id === undefined) {
        w.id = j;
        this.o.waits(w);
      }
      return;
    }
    // Of two who came at once each may see the other's JOIN: the one who was in first welcomes.
    const id = hex(j.id);
    if (!this.#present.has(from) || this.#before.has(from) || this.#used.has(from) || this.#joins.has(id) || this.members.size >= maxSeats) return;
    this.#used.add(from);
    this.#joins.add(id);
    this.members.set(from, { index: from, cert: j.cert, joinHash: j.joinHash, name: j.name, join: j, session: undefined, in: false, gave: 0, held: false, told: undefined, roster: undefined });
    await this.changed();
  }

  /** Asked of everybody before anything else: it was not sent away, and its device is one that its identity is known to have. */
  #mayBeHere(m: MemberId): void {
    if (bans(this.rosters.current, m.cert.root)) throw refuse("policy", "it was sent away from this room");
    checkKnown(this.o.attendee, m.cert);
  }

  /** Takes the answer of somebody who was there. */
  async #welcomed(from: number, payload: Bytes): Promise<void> {
    const { member, session } = await this.#joining!.finish(payload, this.now);
    try {
      if (member.index !== from || !this.#present.has(from) || !this.#before.has(from) || this.#used.has(from)) throw refuse("malformed", "a welcome of nobody who was there");
      this.#mayBeHere(member);
    } catch (err) {
      session.close();
      throw err;
    }
    this.#used.add(from);
    const m: Member = { ...member, join: undefined, session: undefined, in: false, gave: 0, held: false, told: undefined, roster: undefined };
    this.members.set(from, m);
    this.#adopt(m, session);
    await this.changed();
  }

  #adopt(m: Member, session: Session): void {
    m.session = session;
    for (const h of session.handles()) this.#handles.set(h, m);
    this.#unknown.delete(m.index);
    if (this.#unknown.size === 0) this.settled = true;
  }

  /** Somebody came or went, or a roster did: the chair signs, and whoever may be brought in is. */
  async changed(): Promise<void> {
    await this.chair.sign();
    await this.review();
    this.o.changed();
  }

  /** Brings those in who may be and are not yet, and ends those who may not be any more. */
  async review(): Promise<void> {
    const came: Member[] = [];
    let gone = false;
    for (const m of this.sorted()) {
      const admitted = this.rosters.admits(m);
      if (m.in && !admitted) {
        await this.#drop(m, "removed");
        gone = true;
      } else if (admitted && !m.in) {
        if (m.session === undefined) await this.#welcome(m);
        came.push(m);
      }
    }
    if (gone) await this.keys.rekey();
    if (came.length === 0) return;
    for (const m of came) {
      m.in = true;
      await this.chair.greet(m);
      const greeting = this.o.greeting();
      if (greeting !== undefined) await this.say(m, greeting);
    }
    await this.keys.give(came);
    for (const m of came) this.o.came(m);
  }

  async #welcome(m: Member): Promise<void> {
    const { payload, session } = await welcome(m.join!, this.o.attendee.self, this.roomKeys, this.room, this.own, this.now);
    m.join = undefined;
    this.#adopt(m, session);
    this.#post(m.index, payload);
  }

  /** The node's word that a seat is free. */
  async #left(i: number, code: string): Promise<void> {
    this.#present.delete(i);
    this.waiting.delete(i);
    this.approved.delete(i);
    this.#unknown.delete(i);
    if (this.#unknown.size === 0 && !this.lobby) this.settled = true;
    const m = this.members.get(i);
    if (m === undefined) {
      await this.chair.sign();
      return this.o.changed();
    }
    const was = m.in;
    await this.#drop(m, code);
    if (was) await this.keys.rekey();
    await this.changed();
  }

  /** Ends everything with a member. */
  async #drop(m: Member, code: string): Promise<void> {
    this.members.delete(m.index);
    for (const h of m.session?.handles() ?? []) this.#handles.delete(h);
    m.session?.close();
    if (m.in) this.o.went(m, code);
    await this.o.keys({ do: "drop", of: m.index });
  }

  async #message(m: Member, msg: RoomMessage): Promise<void> {
    switch (msg.case) {
      case "key": return this.keys.got(m, msg.value);
      case "keyHeld": return this.keys.isHeld(m, msg.value.generation);
      case "roster": return this.chair.got(m, msg.value.signed);
      case "rosterWanted":
        m.roster = undefined; // it says itself that the last one did not come
        return this.chair.giveRoster(m);
      case "newLink": return this.chair.newLink(m, msg.value.secret);
      case "card": return this.chair.gotCard(msg.value.signed);
      case "stewardship": return this.chair.stewardship(m, msg.value.seed);
      case "need": return this.o.said(m, msg); // it comes before its sender's key
      default: if (m.in) await this.o.said(m, msg);
    }
  }

  /** Another secret for the same room. */
  async useLink(secret: Bytes): Promise<void> {
    this.roomKeys = await RoomKeys.of(secret);
    await this.o.linkReplaced(secret);
    await remember(this.o.attendee, this.room, (r) => { r.secret = hex(secret); });
  }

  /** Another card of the same room. */
  async useCard(card: Card): Promise<void> {
    this.card = card;
    this.rosters.useCard(card);
    this.expiresMs = card.expires * 1000;
    this.o.carded(card);
    await remember(this.o.attendee, this.room, (r) => {
      r.card = hex(card.signed);
      r.expiresMs = this.expiresMs;
    });
    await this.changed();
  }

  /** How a roster names the seats: ourselves, and whoever may be in. */
  roster(): Seat[] {
    const out = [seatOf(this.own)];
    for (const m of this.members.values()) {
      const a = this.approved.get(m.index);
      if ((a !== undefined && a.root.equals(m.cert.root) && a.device.equals(m.cert.deviceId)) || this.rosters.admits(m)) out.push(seatOf(m));
    }
    return out.sort((a, b) => a.index - b.index);
  }

  // ---- The end ----

  #fail(err: unknown): void {
    this.#end(err instanceof TrunklineError ? err : refuse("closed", "a room could not go on", err), undefined);
    this.wire.close();
  }

  #end(why: TrunklineError, code: RoomRefusal | undefined): void {
    if (this.#ended !== undefined) return;
    if (code === undefined && this.#joined) {
      // What the node said last explains more than the closed connection.
      this.serial.ask(async () => undefined).catch(() => undefined).finally(() => {
        this.#ended ??= { why, code };
        this.#over();
      });
      return;
    }
    this.#ended = { why, code };
    if (this.#joined) this.#over();
  }

  #overTold = false;
  #over(): void {
    if (this.#overTold || this.serial.closed) return;
    this.#overTold = true;
    this.o.over(this.#ended!.why, this.#ended!.code);
  }

  /** Ends it: goodbye says so to the node, whose seat goes with the link in any case. */
  async close(goodbye: boolean): Promise<void> {
    this.#overTold = true;
    if (goodbye && this.wire.ended === undefined) {
      try {
        this.wire.send({ case: "roomLeave", value: {} });
      } catch (err) {
        if (!(err instanceof TrunklineError)) throw err;
      }
    }
    await this.serial.close();
    for (const m of this.members.values()) m.session?.close();
    this.members.clear();
    this.#handles.clear();
    this.#joining?.close();
    await this.o.keys({ do: "end" });
    this.wire.close();
  }
}
