// The connection with one other member in a mesh (docs/spec/rooms.md, section 10): that of a call, whose binding and
// messages are the pair's session's. It is made again as long as the member is here: a handshake can take too long, and a
// path can end.

import { equal, type Bytes } from "../bytes.ts";
import { Reason } from "../envelope/bodies.ts";
import { Role, type Session } from "../envelope/session.ts";
import { marshalSessionMessage, parseSessionMessage, SessionType, type SessionMessage } from "../envelope/sessionmessage.ts";
import { refuse, TrunklineError } from "../errors.ts";
import type { Wire } from "../link/wire.ts";
import { Connection } from "../call/connection.ts";
import type { CallMedia } from "../call/media.ts";
import type { PeerFactory } from "../call/peer.ts";
import { Shown } from "../call/shown.ts";
import type { Route } from "../call/route.ts";
import { Serial } from "./serial.ts";

const pauseMs = 1_000;
const connectMs = 30_000;
const lookEveryMs = 2_000;

export interface PairOwner {
  readonly session: Session;
  readonly relayOnly: boolean;
  readonly peer: PeerFactory;
  now(): number;
  after(ms: number, f: () => void): () => void;
  wire(): Wire | undefined;
  /** A message of the pair's connection on its way to the member. */
  say(message: Bytes): Promise<void>;
  /** Media can flow, or not any more. */
  onBound(media: CallMedia | undefined): void;
  changed(): void;
  /** Somebody stands between the two, or a browser showed what was not opened: nothing is tried again. */
  alarm(why: TrunklineError): void;
}

/** One connection, from its making to its end. */
interface Attempt { readonly connection: Connection; readonly shown: Shown; readonly serial: Serial; described: boolean; offer: Bytes | undefined; ended: boolean }

export class Pair {
  readonly #o: PairOwner;
  #now: Attempt | undefined;
  #pending: SessionMessage | undefined;
  #early: SessionMessage[] = [];
  #cancelAgain: () => void = () => undefined;
  #closed = false;

  constructor(o: PairOwner) {
    this.#o = o;
    this.#begin();
  }

  get bound(): boolean { return this.#now?.connection.bound ?? false; }
  get media(): CallMedia | undefined { return this.#now?.connection.media; }
  get route(): Route | undefined { return this.#now?.shown.route; }
  get broken(): boolean { return this.#now?.connection.brokenSinceMs !== undefined; }
  stats(): Promise<RTCStatsReport | undefined> { return this.#now?.connection.stats() ?? Promise.resolve(undefined); }

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
    const connection = new Connection(o.peer, {
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
      order, session, media: 2, relayOnly: o.relayOnly, byCards: false, renews: false,
      post: { send: (m) => o.say(marshalSessionMessage(m)) },
      phase: () => (attempt.ended ? "ended" : attempt.connection.bound ? "live" : "connecting"),
      bound: async () => {
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
      file: () => undefined, failed: fail, path: () => o.changed(), look,
    });
    const attempt: Attempt = { connection, shown, serial, described: false, offer: undefined, ended: false };
    this.#now = attempt;
    serial.do(async () => {
      await connection.open();
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
    if (a === undefined) {
      // Between two attempts: whoever was faster has begun the next one.
      if (this.#early.length < 128) this.#early.push(m);
      if (m.type === SessionType.offer && m.generation === 0) this.#again();
      return;
    }
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
    if (m.type === SessionType.offer || m.type === SessionType.answer) a.described = true;
  }

  #failed(a: Attempt, why: TrunklineError): void {
    if (a.ended || this.#closed) return;
    this.#end(a);
    if (why.code === "key_alarm" || why.code === "binding") return this.#o.alarm(why);
    if (this.#o.session.role === Role.responder) {
      void this.#o.say(marshalSessionMessage({ type: SessionType.bye, reason: Reason.failed, generation: 0 })).catch(() => undefined); // the link has ended, and the stay with it
    }
    this.#cancelAgain = this.#o.after(pauseMs, () => this.#again());
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

/** Whether a message begins a connection. */
export function offersAnew(raw: Bytes): boolean {
  const m = parseSessionMessage(raw);
  return m.type === SessionType.offer && m.generation === 0;
}
