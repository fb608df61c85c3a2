// The connection with one other member in a mesh (docs/spec/rooms.md, section 10): that of a call, whose binding and
// messages are the pair's session's. It is made again as long as the member is here: a handshake can take too long, and a
// path can end.

import { equal, type Bytes } from "../bytes.ts";
import { Reason } from "../envelope/bodies.ts";
import { Role, type Session } from "../envelope/session.ts";
import { marshalSessionMessage, parseSessionMessage, SessionType, type SessionMessage } from "../envelope/sessionmessage.ts";
import { isAlarm, refuse, toldOfAlarm, TrunklineError } from "../errors.ts";
import type { Wire } from "../link/wire.ts";
import { Connection, type Lender } from "../call/connection.ts";
import type { CallMedia } from "../call/media.ts";
import type { PeerFactory } from "../call/peer.ts";
import { Shown } from "../call/shown.ts";
import type { Route } from "../call/route.ts";
import { Serial } from "./serial.ts";

const pauseMs = 1_000;
const connectMs = 30_000;
const lookEveryMs = 2_000;
/** So many connections may have a picture of which packets come and no frame: a path that bad is not made better by another one. */
const mostDeaf = 2;

export interface PairOwner {
  readonly session: Session;
  /** Where the other side offers, it is told that there is to be a connection. */
  readonly asks: boolean;
  readonly relayOnly: boolean;
  readonly peer: PeerFactory;
  now(): number;
  after(ms: number, f: () => void): () => void;
  wire(): Wire | undefined;
  /** The own node, whose relay is used where the room's node gives none; undefined: there is none. */
  readonly home: Lender | undefined;
  /** A message of the pair's connection on its way to the member. */
  say(message: Bytes): Promise<void>;
  /** Media can flow, or not any more. */
  onBound(media: CallMedia | undefined): void;
  changed(): void;
  /** Somebody stands between the two, or a browser showed what was not opened, here or by the other side's word: nothing is tried again. */
  alarm(why: TrunklineError): void;
}

/** One connection, from its making to its end. heard: the other side has said anything of it. opened: this side has what it needs. */
interface Attempt { readonly connection: Connection; readonly shown: Shown; readonly serial: Serial; heard: boolean; opened: boolean; described: boolean; offer: Bytes | undefined; ended: boolean }

export class Pair {
  readonly #o: PairOwner;
  #now: Attempt | undefined;
  #pending: SessionMessage | undefined;
  #early: SessionMessage[] = [];
  #cancelAgain: () => void = () => undefined;
  #failingMs: number | undefined;
  #unanswered = false; // the other side has no media, as far as is known
  #past = false; // a browser showed once what was not opened
  #deaf = 0; // connections with a picture that came and was not opened
  #closed = false;

  constructor(o: PairOwner) {
    this.#o = o;
    // Who answers has nothing to do before there is an offer: from a member without media none ever comes.
    if (o.session.role === Role.initiator) this.#begin();
    else if (o.asks) this.#say({ type: SessionType.restart, generation: 0 });
  }

  get bound(): boolean { return this.#now?.connection.bound ?? false; }
  get media(): CallMedia | undefined { return this.#now?.connection.media; }
  get route(): Route | undefined { return this.#now?.shown.route; }
  get broken(): boolean { return this.#now?.connection.brokenSinceMs !== undefined; }
  /** Since when the two should be connected and are not; undefined while they are, and while the other side says nothing. */
  get failingSinceMs(): number | undefined { return this.bound ? this.#now!.connection.brokenSinceMs : this.#failingMs; }
  stats(): Promise<RTCStatsReport | undefined> { return this.#now?.connection.stats() ?? Promise.resolve(undefined); }

  #say(m: SessionMessage): void { void this.#o.say(marshalSessionMessage(m)).catch(() => undefined); } // the link has ended, and the stay with it

  #begin(): void {
    const o = this.#o;
    const { session } = o;
    const fail = (why: TrunklineError) => this.#failed(attempt, why);
    const serial = new Serial(o.after, (err) => fail(err instanceof TrunklineError ? err : refuse("unreachable", "a connection of the mesh could not go on", err)));
    const order = { do: (work: () => Promise<void>) => serial.do(work), after: (ms: number, f: () => void) => void serial.later(ms, f), later: (ms: number, work: () => Promise<void>) => void serial.later(ms, work) };
    const shown = new Shown((m) => attempt.connection.sendControl(m), () => o.now());
    shown.onChange = () => o.changed();
    const look = async () => {
      const report = await attempt.connection.stats();
      if (report !== undefined && !attempt.ended) shown.look(report, attempt.connection.bound);
    };
    const peer: PeerFactory = (p) => o.peer({
      ...p, lateKeys: true,
      onBypassed: (_, found) => {
        if (found === "past" && this.#past) return fail(refuse("key_alarm", "frames were shown without being opened"));
        if (found === "past") this.#past = true;
        else if (++this.#deaf > mostDeaf) return;
        // In a fresh connection it is shown again once it has been opened.
        fail(refuse("unreachable", "a stream came that was not opened"));
      },
    });
    const connection = new Connection(peer, {
      client: {
        now: () => o.now(),
        background: (_, work) => void work().catch((err: unknown) => { if (!(err instanceof TrunklineError)) fail(refuse("unreachable", "a connection of the mesh", err)); }),
        wire: async () => {
          const w = o.wire();
          if (w === undefined) throw refuse("unreachable", "the room's node cannot be reached at the moment");
          return w;
        },
        link: { get wire() { return o.wire(); } },
      },
      home: o.home, order, session, media: 2, relayOnly: o.relayOnly, byCards: false, renews: false,
      post: { send: (m) => o.say(marshalSessionMessage(m)) },
      phase: () => (attempt.ended ? "ended" : attempt.connection.bound ? "live" : "connecting"),
      bound: async () => {
        this.#failingMs = undefined;
        attempt.connection.media?.bound();
        o.onBound(attempt.connection.media);
        const again = () => serial.later(lookEveryMs, async () => {
          await look();
          again();
        });
        again();
      },
      control: async (m) => {
        // What is said here of a call of two has no meaning; the way that packets take has.
        if (m.case === "leg") shown.take(m);
        if (m.case === "bye") fail(refuse("unreachable", "the other side ended the connection"));
      },
      file: () => undefined, failed: fail, gone: fail, path: () => o.changed(), look,
    });
    const attempt: Attempt = { connection, shown, serial, heard: false, opened: false, described: false, offer: undefined, ended: false };
    this.#now = attempt;
    serial.do(async () => {
      await connection.open();
      attempt.opened = true;
      if (session.role === Role.initiator) await o.say(marshalSessionMessage(await connection.offer()));
      const first = this.#pending;
      this.#pending = undefined;
      for (const m of [...(first === undefined ? [] : [first]), ...this.#early.splice(0)]) await this.#negotiate(attempt, m);
    });
    serial.later(connectMs, () => {
      if (!connection.bound) fail(refuse("unreachable", "a member of the room could not be connected with"));
    });
  }

  /** Takes one message of the other side. */
  heard(raw: Bytes): void {
    if (this.#closed) return;
    const m = parseSessionMessage(raw);
    const a = this.#now;
    if (m.type === SessionType.bye && m.reason === Reason.alarm) {
      if (a !== undefined) this.#end(a);
      return this.#alarm(toldOfAlarm());
    }
    if (a === undefined) {
      const offers = m.type === SessionType.offer && m.generation === 0;
      // Between two attempts: whoever was faster has begun the next one. What came before its offer was of the last one.
      if (offers) this.#early = [];
      if (this.#early.length < 128) this.#early.push(m);
      if (offers) this.#again();
      else if (this.#unanswered) this.revive();
      return;
    }
    a.heard = true;
    if (m.type === SessionType.bye) {
      if (this.#o.session.role === Role.initiator && a.described) this.#failed(a, refuse("unreachable", "the other side connects anew"));
      return;
    }
    if (m.type === SessionType.offer && m.generation === 0 && a.offer !== undefined && !equal(a.offer, m.sdp)) {
      this.#pending = m;
      this.#end(a);
      this.#again();
      return;
    }
    a.serial.do(() => this.#negotiate(a, m));
  }

  async #negotiate(a: Attempt, m: SessionMessage): Promise<void> {
    if (m.type === SessionType.offer && m.generation === 0) a.offer ??= m.sdp;
    await a.connection.negotiate(m);
    if (m.type !== SessionType.offer && m.type !== SessionType.answer) return;
    a.described = true;
    if (!a.connection.bound) this.#failingMs ??= this.#o.now();
  }

  #failed(a: Attempt, why: TrunklineError): void {
    if (a.ended || this.#closed) return;
    if (a.connection.bound) this.#failingMs = a.connection.brokenSinceMs;
    // Whoever hides its address and has no relay gets no further than here.
    else if (this.#o.relayOnly && !a.opened) this.#failingMs ??= this.#o.now();
    this.#end(a);
    if (isAlarm(why)) {
      this.#say({ type: SessionType.bye, reason: Reason.alarm, generation: 0 });
      return this.#alarm(why);
    }
    if (this.#o.session.role === Role.responder) {
      this.#say({ type: SessionType.bye, reason: Reason.failed, generation: 0 });
      return;
    }
    // Who has said nothing to an offer has no media, or will say so.
    this.#unanswered = a.opened && !a.heard;
    if (!this.#unanswered) this.#cancelAgain = this.#o.after(pauseMs, () => this.#again());
  }

  #alarm(why: TrunklineError): void {
    this.#closed = true;
    this.#o.alarm(why);
  }

  /** The other side has media after all: what it did not answer is offered again. */
  revive(): void {
    if (!this.#unanswered || this.#closed) return;
    this.#unanswered = false;
    this.#early = [];
    this.#again();
  }

  #again(): void {
    this.#cancelAgain();
    if (!this.#closed && this.#now === undefined) this.#begin();
  }

  #end(a: Attempt): void {
    if (a.ended) return;
    a.ended = true;
    const was = a.connection.bound;
    this.#now = undefined;
    a.connection.close();
    void a.serial.close();
    if (was) this.#o.onBound(undefined);
    this.#o.changed();
  }

  close(): void {
    this.#closed = true;
    this.#cancelAgain();
    if (this.#now !== undefined) this.#end(this.#now);
  }
}

/** Whether a message begins a connection, or asks for one. */
export function beginsAnew(raw: Bytes): boolean {
  const m = parseSessionMessage(raw);
  return (m.type === SessionType.offer || m.type === SessionType.restart) && m.generation === 0;
}
