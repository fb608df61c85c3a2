// One ring and what came of it. The machine (machine.ts) says what is to be done and this does it: rings and answers
// here, the connection in connection.ts, what is shown beside the media in shown.ts.

import { hex, random, unhex, utf8, type Bytes } from "../bytes.ts";
import { byeReason, Reason, Type, type BodyOf } from "../envelope/bodies.ts";
import type { Opened } from "../envelope/open.ts";
import { answerRing, type RingState } from "../envelope/ring.ts";
import { Role, type Session } from "../envelope/session.ts";
import { parseSessionMessage, SessionType, type SessionMessage } from "../envelope/sessionmessage.ts";
import { Ttl } from "../envelope/types.ts";
import { isAlarm, refuse, toldOfAlarm, TrunklineError } from "../errors.ts";
import type { DeviceList } from "../identity/device.ts";
import { PeerId, type PublicKey } from "../identity/key.ts";
import type { Client } from "../client/client.ts";
import { listOf } from "../client/records.ts";
import type { Addressee } from "../client/sending.ts";
import { nodeRefusal } from "../link/wire.ts";
import type { Adapted } from "./adaptation.ts";
import { Connection } from "./connection.ts";
import type { Control, ControlInit } from "./control.ts";
import { deadlineOf, next, type CallAction, type CallEvent, type CallState } from "./machine.ts";
import type { CallMedia } from "./media.ts";
import { Order, quiet } from "./order.ts";
import type { Media, PeerFactory } from "./peer.ts";
import { FramePost, type Carrier } from "./post.ts";
import type { Route } from "./route.ts";
import { Shown, type Pointer, type Reaction, type Sending } from "./shown.ts";

const sessionGraceMs = 120_000;
/** So long a call whose connection was closed waits for the frame that says why, which comes over the nodes. */
const reasonMs = 3_000;

export interface OutRing { readonly to: Addressee; readonly state: RingState }

/** Where a call is found by what comes for it. */
export interface CallBook {
  readonly peer: PeerFactory;
  addSession(call: Call, s: Session): void;
  leave(call: Call): void;
}

/** One ring and what came of it. */
export class Call {
  readonly id = hex(random(8));
  readonly contact: string;
  readonly direction: "outgoing" | "incoming";
  readonly media: Media;
  /** A message of a bound call's control channel. */
  onControl: (m: Control) => void = () => undefined;
  /** A chunk of a file. */
  onFile: (chunk: Uint8Array) => void = () => undefined;
  onState: (s: CallState) => void = () => undefined;
  /** A few words within the call, of somebody with whom there is no node in common. */
  onNote: (n: CallNote) => void = () => undefined;

  readonly #book: CallBook;
  readonly #c: Client;
  readonly root: PublicKey;
  #relayOnly: boolean;
  readonly rings: ReadonlyMap<string, OutRing>;
  readonly ring: Opened | undefined;
  #state: CallState;
  #why: TrunklineError | undefined;
  #session: Session | undefined;
  #post: FramePost | undefined;
  #connection: Connection | undefined;
  #payload: Bytes | undefined; // caller: the first frame; callee: the answer
  #cancelTick: () => void = () => undefined;
  readonly #carrier: Carrier | undefined;
  readonly #shown: Shown;
  readonly #order: Order;

  constructor(book: CallBook, c: Client, s: {
    root: PublicKey; direction: "outgoing" | "incoming"; media: Media; relayOnly: boolean; rings?: ReadonlyMap<string, OutRing>; ring?: Opened; state: CallState;
    /** Of two cards: the session that they made, and what carries its frames. */
    met?: { readonly session: Session; readonly carrier: Carrier };
  }) {
    this.#book = book;
    this.#c = c;
    this.root = s.root;
    this.contact = s.root.id();
    this.direction = s.direction;
    this.media = s.media;
    this.#relayOnly = s.relayOnly;
    this.rings = s.rings ?? new Map();
    this.ring = s.ring;
    this.#state = s.state;
    this.#shown = new Shown((m) => this.sendControl(m), () => c.now());
    this.#order = new Order(c, async (why) => {
      this.#why ??= why;
      await this.#step(failure(why), undefined);
    });
    this.#carrier = s.met?.carrier;
    if (s.met !== undefined) this.#adopt(s.met.session);
  }

  get state(): CallState { return this.#state; }
  /** Why the call failed, where it did. */
  get why(): TrunklineError | undefined { return this.#why; }
  get session(): Session | undefined { return this.#session; }
  /** Two cards made it, and no node takes part. */
  get byCards(): boolean { return this.#carrier !== undefined; }
  get bound(): boolean { return this.#state.phase !== "ended" && (this.#connection?.bound ?? false); }

  /** Only the relay's addresses are told, and only it is used. */
  get relayOnly(): boolean { return this.#relayOnly; }
  /** Sound and picture, from the moment that there is a connection. */
  get peerMedia(): CallMedia | undefined { return this.#connection?.media; }
  /** What of the own pictures is given up just now because the path or the processor does not carry it. */
  get adapted(): Adapted | undefined { return this.peerMedia?.adapted; }
  get peerSending(): Sending { return this.#shown.peerSending; }
  /** Whether the other side has said what it sends. */
  get peerTold(): boolean { return this.#shown.told; }
  /** What a side announced that does not tell what it sends: one that plays files. */
  get announced(): { readonly audio: boolean; readonly video: boolean } | undefined { return this.#shown.announced; }
  /** The six digits that both people compare, once both sides have them. */
  get code(): string | undefined { return this.#shown.code; }
  get route(): Route | undefined { return this.#shown.route; }
  /** Since when the path is broken. */
  get brokenSinceMs(): number | undefined { return this.#connection?.brokenSinceMs; }
  async stats(): Promise<RTCStatsReport | undefined> { return this.#connection?.stats(); }

  /** Something that is shown beside the media has changed: what the other side sends, the route, the call code, the path. */
  get onChange(): () => void { return this.#shown.onChange; }
  set onChange(f: () => void) { this.#shown.onChange = f; }
  set onReaction(f: (r: Reaction) => void) { this.#shown.onReaction = f; }
  set onPointer(f: (p: Pointer) => void) { this.#shown.onPointer = f; }

  /** Tells what this side sends, when it has changed. */
  sendSending(s: Sending): void { this.sendControl({ case: "sending", value: { ...s } }); }
  sendReaction(r: Reaction): void { this.#shown.reaction(r); }
  /** Shows the other side where this one points; more than 20 in a second are left out. */
  sendPointer(p: Pointer): void { this.#shown.pointer(p); }
  /** Writes to the other side within the call, 1 to 8,192 bytes of UTF-8. */
  sendNote(text: string): CallNote {
    const m = { case: "note", value: { id: random(16), text } } as const;
    const n = noteOf(m);
    this.sendControl(m);
    return n;
  }
  /** Says which media are about to come. */
  announce(audio: boolean, video: boolean): void {
    this.sendControl({ case: "mediaStart", value: { audio: audio ? 1 : 0, video: video ? 2 : 0 } });
  }

  /** Says yes to an incoming ring. */
  accept(o: { readonly relayOnly?: boolean } = {}): void {
    if (o.relayOnly === true) this.#relayOnly = true;
    this.happen({ type: "accept" });
  }
  /** Says no, on all devices. */
  decline(): void { this.happen({ type: "decline" }); }
  /** Ends it. At once: without a last word on how much was sent, because the page is going. */
  hangup(o: { readonly atOnce?: boolean } = {}): void {
    if (o.atOnce !== true) this.#order.do(() => this.#connection?.end() ?? Promise.resolve());
    this.happen({ type: "hangup" });
  }

  /** Sends a message on the control channel of a bound call. */
  sendControl(m: ControlInit): void {
    if (!this.bound) throw refuse("malformed", "nothing is sent before the call is bound");
    this.#connection!.sendControl(m);
  }

  /** Sends a message on the file channel; resolves when there is room for more. */
  async sendFile(chunk: Bytes): Promise<void> {
    if (!this.bound) throw refuse("malformed", "nothing is sent before the call is bound");
    await this.#connection!.sendFile(chunk);
  }

  /** Takes one event. Events and what they cause happen one after the other. */
  happen(e: CallEvent, more?: { readonly session?: Session; readonly why?: TrunklineError }): void {
    this.#order.do(async () => {
      if (more?.why !== undefined && e.type !== "unreachable") this.#why ??= more.why;
      await this.#step(e.type === "failed" ? failure(more?.why) : e, more?.session);
    });
  }

  /** Carries out what the machine said at the beginning. */
  begin(actions: readonly CallAction[]): void {
    this.#order.do(async () => {
      await this.#carry(actions, undefined);
      this.#changed();
    });
  }

  async #step(e: CallEvent, session: Session | undefined): Promise<void> {
    const before = this.#state;
    const { state, actions } = next(before, this.#c.now(), e);
    this.#state = state;
    await this.#carry(actions, session);
    if (state !== before) this.#changed();
  }

  #changed(): void {
    this.#cancelTick();
    const at = deadlineOf(this.#state);
    if (at !== undefined) this.#cancelTick = this.#c.timers.after(Math.max(at - this.#c.now(), 0), () => this.happen({ type: "tick" }));
    this.onState(this.#state);
    const reason = this.#state.phase === "ended" ? reasonWord(this.#state.reason) : "";
    this.#c.tell({ type: "call", call: this.id, state: this.#state.phase, reason });
  }

  async #carry(actions: readonly CallAction[], session: Session | undefined): Promise<void> {
    for (const a of actions) await this.#act(a, session);
  }

  async #act(a: CallAction, session: Session | undefined): Promise<void> {
    switch (a.do) {
      case "cancel": this.#sendCancel(a.device, a.reason); return;
      case "send-first":
        if (session !== undefined) this.#adopt(session);
        await this.#connect();
        this.#payload = await this.#post!.seal(await this.#connection!.offer());
        return this.#resend();
      case "resend-first": case "resend-answer": return this.#resend();
      case "accept": return this.#answer(Type.accept);
      case "decline": return quiet(this.#answer(Type.decline));
      case "send-busy": return quiet(this.#answer(Type.busy));
      case "open-ice": return this.#connect();
      case "step": {
        const s = this.#session!;
        s.step();
        this.#order.after(sessionGraceMs, () => s.forget());
        return;
      }
      case "bye":
        if (this.#post !== undefined) await quiet(this.#post.send({ type: SessionType.bye, reason: a.reason, generation: 0 }));
        return;
      case "missed": this.#c.tell({ type: "missed", from: this.contact, reason: reasonWord(a.reason) }); return;
      case "end": return this.#close();
    }
  }

  #close(): void {
    this.#cancelTick();
    this.#order.close();
    this.#connection?.close(this.#state.phase === "ended" && this.#state.reason === Reason.ended);
    for (const r of this.rings.values()) r.state.close();
    this.#session?.close();
    this.#carrier?.close();
    this.#book.leave(this);
  }

  #adopt(s: Session): void {
    this.#session = s;
    this.#post = new FramePost(this.#c, this.root, s, this.#order, () => this.#state.phase === "ended", this.#carrier);
    this.#book.addSession(this, s);
  }

  // ---- Rings and answers ----

  sendRings(): void {
    for (const [device, r] of this.rings) {
      const unreachable = (why: TrunklineError) => this.happen({ type: "unreachable", device }, { why });
      this.#c.background("ring", async () => {
        try {
          await this.#c.dispatch(r.to, {
            body: { type: Type.tokenUpdate }, lifeMs: 0, ttl: Ttl.ring, collapse: r.state.collapse,
            fate: (_, f, code) => { if (f === "refused") unreachable(nodeRefusal(code)); },
          }, "", r.state.payload);
        } catch (err) {
          unreachable(err instanceof TrunklineError ? err : refuse("unreachable", "the ring did not go out", err));
        }
      });
    }
  }

  // In the background: the call must not wait for it.
  #sendCancel(device: string, reason: Reason): void {
    const r = this.rings.get(device);
    if (r === undefined) return;
    this.#c.background("cancel a ring", async () => {
      const payload = await r.state.sealCancel(this.#c.device, this.#c.ownCert(), r.to.bundle, reason, {
        nowMs: this.#c.now(), ownList: this.#c.mustOwnList(), theirList: r.to.list,
      });
      await this.#c.dispatch(r.to, { body: { type: Type.tokenUpdate }, lifeMs: 0, ttl: Ttl.ring, collapse: r.state.collapse }, "", payload);
    });
  }

  async #answer(kind: 6 | 7 | 8): Promise<void> {
    const grant = await this.#c.ownGrant();
    const { payload, session } = await answerRing(this.#c.device, this.#c.ownCert(), this.ring!, {
      kind, reply: { home: grant.home, tag: grant.tag, token: grant.token }, nowMs: this.#c.now(), ownList: this.#c.mustOwnList(),
      callerList: await this.#callerList(kind),
    });
    this.#payload = payload;
    if (session !== undefined) this.#adopt(session);
    await this.#resend();
  }

  /** The caller's pinned list, asked for again when it does not know the device that calls or has ended. */
  async #callerList(kind: number): Promise<DeviceList | undefined> {
    const o = this.ring!;
    if (o.standing === "own") return this.#c.ownList();
    const k = this.#c.contactRecord(o.sender);
    if (k === undefined) return undefined;
    if (kind === Type.accept && o.list !== "current") {
      return (await this.#c.directory.lookup(o.sender, k.domain, k.home === "" ? undefined : PeerId.fromBytes(unhex(k.home)))).list;
    }
    return listOf(k.list);
  }

  /** Posts the first frame or the answer, the same bytes each time. */
  async #resend(): Promise<void> {
    const payload = this.#payload;
    if (payload === undefined) return;
    if (this.#carrier !== undefined) return this.#carrier.send(payload);
    const o = this.ring;
    const to = o === undefined ? this.#session!.reply : (o.content as BodyOf<typeof Type.ring>).reply;
    const device = o === undefined ? this.#session!.peerDevice : o.cert.deviceId;
    await quiet(this.#c.ledger.post({ to: this.root, device, home: to.home, ttl: Ttl.live, hop: { tag: to.tag, token: to.token }, payload }));
  }

  // ---- The connection ----

  async #connect(): Promise<void> {
    this.#connection = new Connection(this.#book.peer, {
      client: this.#c, order: this.#order, post: this.#post!, session: this.#session!, media: this.media, relayOnly: this.#relayOnly,
      byCards: this.byCards, renews: true, phase: () => this.#state.phase,
      bound: async () => {
        await this.#step({ type: "bound" }, undefined);
        if (!this.bound) return; // whoever was told has hung up
        this.peerMedia?.bound();
        this.#shown.begin(this.#session!.callCode(), this.#session!.role === Role.initiator);
      },
      control: async (m) => {
        if (m.case === "bye") return this.#step({ type: "bye", reason: Reason.ended }, undefined);
        if (m.case === "note") return this.onNote(noteOf(m));
        this.#shown.take(m);
        this.onControl(m);
      },
      file: (chunk) => this.onFile(chunk),
      failed: (why) => this.happen({ type: "failed" }, { why }),
      gone: (why) => this.#order.after(reasonMs, () => this.happen({ type: "failed" }, { why })),
      path: () => this.onChange(),
      look: () => this.#look(),
    });
    await this.#connection.open();
    if (this.peerMedia !== undefined) this.peerMedia.onAdapted = () => this.onChange();
  }

  /** A payload under one of the session's handles. */
  onFrame(payload: Bytes): void {
    this.#order.do(async () => {
      const s = this.#session;
      if (s === undefined || this.#state.phase === "ended") return;
      let m: SessionMessage;
      try {
        m = parseSessionMessage(await s.open(payload));
      } catch (err) {
        if (err instanceof TrunklineError) return; // a frame that does not belong is dropped
        throw err;
      }
      if (this.#state.phase === "answered") await this.#step({ type: "frame" }, undefined);
      if (m.type === SessionType.bye) return this.#bye(byeReason(m.reason));
      await this.#connection?.negotiate(m);
    });
  }

  #bye(reason: Reason): Promise<void> {
    if (reason === Reason.alarm) this.#why ??= toldOfAlarm();
    // With a broken path here it is plain what failed.
    else if (reason === Reason.failed && this.brokenSinceMs === undefined) this.#why ??= refuse("peer_failed", "something went wrong at the other side");
    return this.#step({ type: "bye", reason }, undefined);
  }

  async #look(): Promise<void> {
    const report = await this.stats();
    if (report !== undefined && this.#state.phase !== "ended") this.#shown.look(report, this.bound);
  }

  /** Looks again which way the packets take: ICE may change it by itself. */
  lookAtRoute(): void {
    if (this.bound) this.#order.do(() => this.#look());
  }

  toJSON(): string { return "[redacted]"; }
}

/** What one side writes to the other within a call; the id is 32 hexadecimal digits. */
export interface CallNote { readonly id: string; readonly text: string }

const maxCallNote = 8192;

function noteOf(m: Extract<Control, { case: "note" }>): CallNote {
  const { id, text } = m.value;
  if (id.length !== 16 || text === "" || utf8(text).length > maxCallNote) throw refuse("malformed", "a note of another size");
  return { id: hex(id), text };
}

function failure(why: TrunklineError | undefined): CallEvent {
  return { type: isAlarm(why) ? "alarm" : "failed" };
}

function reasonWord(r: Reason): string {
  const words: Record<Reason, string> = { 1: "ended", 2: "answered elsewhere", 3: "declined", 4: "busy", 5: "timeout", 6: "failed", 7: "alarm" };
  return words[r];
}
