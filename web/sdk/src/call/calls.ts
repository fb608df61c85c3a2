// Calls: rings, answers, session frames and the order in which a connection comes to be. The WebRTC library is
// behind PeerFactory; nothing reaches it that was not checked, and nothing of it is taken before the channel
// binding has verified.

import { copy, equal, hex, random, text, unhex, type Bytes } from "../bytes.ts";
import { Reason, Type, type BodyOf, type ReplyAddress } from "../envelope/bodies.ts";
import type { Opened } from "../envelope/open.ts";
import { answerRing, newRing, type RingState } from "../envelope/ring.ts";
import { Role, type Session } from "../envelope/session.ts";
import { marshalSessionMessage, parseSessionMessage, SessionType, type SessionMessage } from "../envelope/sessionmessage.ts";
import { Ttl } from "../envelope/types.ts";
import { refuse, TrunklineError } from "../errors.ts";
import { parseId } from "../identity/address.ts";
import type { DeviceList } from "../identity/device.ts";
import { PeerId, type PublicKey } from "../identity/key.ts";
import type { Addressee, CallHandler, Client } from "../client/client.ts";
import { SharedHop } from "../client/ledger.ts";
import { listOf, type ContactRecord } from "../client/records.ts";
import { isTemporary, nodeRefusal } from "../link/wire.ts";
import { bindingMs, Gate, marshalControlMessage, type Control, type ControlInit } from "./control.ts";
import { deadlineOf, glareIsOurs, incoming, next, outgoing, type CallAction, type CallEvent, type CallState } from "./machine.ts";
import { checkDescription, cleanDescription, parseCandidate, parseSdp } from "./sdp.ts";

export type Media = 0 | 1 | 2;

export interface IceServer { readonly urls: string; readonly username: string; readonly credential: string }

export interface PeerOptions {
  readonly role: Role;
  readonly media: Media;
  readonly relayOnly: boolean;
  readonly servers: readonly IceServer[];
  /** A local candidate line; absent: there are no more. */
  readonly onCandidate: (line: string | undefined) => void;
  /** The control channel is open. */
  readonly onControlOpen: () => void;
  readonly onControl: (message: Uint8Array) => void;
  readonly onFile: (chunk: Uint8Array) => void;
  /** The connection failed, was lost for good, or did what the protocol has no room for. */
  readonly onFailed: (why: TrunklineError) => void;
}

/** One connection of a WebRTC library. Descriptions go in checked and come out as the library wrote them. */
export interface CallPeer {
  createOffer(): Promise<string>;
  acceptOffer(sdp: string): Promise<string>;
  acceptAnswer(sdp: string): Promise<void>;
  /** A line without "a="; absent: the other side has no more. */
  addCandidate(line: string | undefined): Promise<void>;
  /** SHA-256 of the certificate that the other side really uses, once there is one. */
  peerFingerprint(): Promise<Bytes>;
  sendControl(message: Bytes): void;
  /** Resolves when the channel has room for more. */
  sendFile(chunk: Bytes): Promise<void>;
  close(): void;
}

export type PeerFactory = (o: PeerOptions) => CallPeer;

export interface CallOptions { readonly media?: Media; readonly relayOnly?: boolean }

export interface CallsOptions {
  readonly peer: PeerFactory;
  /** Told of every call that begins here or rings here, before anything happens in it. */
  readonly onCall?: (c: Call) => void;
}

const maxRinging = 16;
const maxEarly = 64;
const earlyKeptMs = 120_000;
const sessionGraceMs = 120_000;
const maxEarlyCandidates = 64;
const frameTries = 8;
const framePauseMs = 400;

interface OutRing { readonly to: Addressee; readonly state: RingState }

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

  readonly #calls: Calls;
  readonly #c: Client;
  readonly root: PublicKey;
  readonly relayOnly: boolean;
  readonly rings: ReadonlyMap<string, OutRing>;
  readonly ring: Opened | undefined;
  #state: CallState;
  #why: TrunklineError | undefined;
  #session: Session | undefined;
  #peer: CallPeer | undefined;
  #gate: Gate | undefined;
  #payload: Bytes | undefined; // caller: the first frame; callee: the answer
  #described = false;
  #early: (string | undefined)[] = [];
  #ownFingerprint: Bytes | undefined;
  #answerTo: { readonly offer: Bytes; readonly answer: SessionMessage } | undefined;
  readonly #hops = new SharedHop();
  #cancelTick: () => void = () => undefined;
  readonly #cancels: (() => void)[] = [];
  #turn: Bytes | undefined;
  #queue: Promise<void> = Promise.resolve();

  constructor(calls: Calls, c: Client, s: {
    root: PublicKey; direction: "outgoing" | "incoming"; media: Media; relayOnly: boolean; rings?: ReadonlyMap<string, OutRing>; ring?: Opened; state: CallState;
  }) {
    this.#calls = calls;
    this.#c = c;
    this.root = s.root;
    this.contact = s.root.id();
    this.direction = s.direction;
    this.media = s.media;
    this.relayOnly = s.relayOnly;
    this.rings = s.rings ?? new Map();
    this.ring = s.ring;
    this.#state = s.state;
  }

  get state(): CallState { return this.#state; }
  /** Why the call failed, where it did. */
  get why(): TrunklineError | undefined { return this.#why; }
  get session(): Session | undefined { return this.#session; }
  get bound(): boolean { return this.#gate?.bound ?? false; }

  /** Says yes to an incoming ring. */
  accept(): void { this.happen({ type: "accept" }); }
  /** Says no, on all devices. */
  decline(): void { this.happen({ type: "decline" }); }
  hangup(): void { this.happen({ type: "hangup" }); }

  /** Sends a message on the control channel of a bound call. */
  sendControl(m: ControlInit): void {
    if (!this.bound) throw refuse("malformed", "nothing is sent before the call is bound");
    this.#peer!.sendControl(marshalControlMessage(m));
  }

  /** Sends a message on the file channel; resolves when there is room for more. */
  async sendFile(chunk: Bytes): Promise<void> {
    if (!this.bound) throw refuse("malformed", "nothing is sent before the call is bound");
    await this.#peer!.sendFile(chunk);
  }

  /** Takes one event. Events and what they cause happen one after the other. */
  happen(e: CallEvent, more?: { readonly session?: Session; readonly why?: TrunklineError }): void {
    this.#do(async () => {
      if (more?.why !== undefined && e.type !== "unreachable") this.#why ??= more.why;
      await this.#step(e, more?.session);
    });
  }

  /** Carries out what the machine said at the beginning. */
  begin(actions: readonly CallAction[]): void {
    this.#do(async () => {
      await this.#carry(actions, undefined);
      this.#changed();
    });
  }

  #do(work: () => Promise<void>): void {
    const run = this.#queue.then(async () => {
      try {
        await work();
      } catch (err) {
        if (!(err instanceof TrunklineError)) throw err;
        this.#why ??= err;
        await this.#step({ type: "failed" }, undefined);
      }
    });
    this.#queue = run.catch(() => undefined);
    this.#c.background("a call", () => run);
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
        this.#adopt(session!);
        await this.#openConnection();
        return this.#offer();
      case "resend-first": case "resend-answer": return this.#resend();
      case "accept": return this.#answer(Type.accept);
      case "decline": return quiet(this.#answer(Type.decline));
      case "send-busy": return quiet(this.#answer(Type.busy));
      case "open-ice": return this.#openConnection();
      case "step": {
        const s = this.#session!;
        s.step();
        this.#cancels.push(this.#c.timers.after(sessionGraceMs, () => s.forget()));
        return;
      }
      case "bye":
        if (this.#session !== undefined) await quiet(this.#send({ type: SessionType.bye, reason: a.reason, generation: 0 }));
        return;
      case "missed": this.#c.tell({ type: "missed", from: this.contact, reason: reasonWord(a.reason) }); return;
      case "end": return this.#close();
    }
  }

  #close(): void {
    this.#cancelTick();
    for (const c of this.#cancels.splice(0)) c();
    this.#peer?.close();
    for (const r of this.rings.values()) r.state.close();
    this.#session?.close();
    this.#calls.leave(this);
    const handle = this.#turn;
    if (handle !== undefined) this.#c.background("give the relay back", async () => this.#c.link.wire?.send({ case: "turnRelease", value: { handle } }));
  }

  #adopt(s: Session): void {
    this.#session = s;
    this.#calls.addSession(this, s);
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
    const o = this.ring;
    const to = o === undefined ? this.#session!.reply : (o.content as BodyOf<typeof Type.ring>).reply;
    const device = o === undefined ? this.#session!.peerDevice : o.cert.deviceId;
    await quiet(this.#c.ledger.post({ to: this.root, device, home: to.home, ttl: Ttl.live, hop: { tag: to.tag, token: to.token }, payload }));
  }

  // ---- Frames ----

  /** Where frames go, with the newest token that the other device has given. */
  #reply(): ReplyAddress {
    const s = this.#session!;
    const grant = this.#c.contactRecord(this.root)?.grants.find((g) => g.device === s.peerDevice.hex && g.tag === hex(s.reply.tag));
    return grant === undefined ? s.reply : { ...s.reply, token: unhex(grant.token) };
  }

  async #send(m: SessionMessage, t = 0): Promise<void> {
    const payload = this.#session!.seal(marshalSessionMessage(m));
    const to = this.#reply();
    await this.#c.ledger.post({
      to: this.root, device: this.#session!.peerDevice, home: to.home, ttl: Ttl.live, hop: { tag: to.tag, token: to.token }, payload, shared: this.#hops,
      fate: (f) => {
        // The device may be reconnecting: the message is sealed again a few times.
        if ((f !== "refused" && f !== "expired") || t >= frameTries || this.#state.phase === "ended") return;
        this.#cancels.push(this.#c.timers.after(framePauseMs, () => this.#do(async () => {
          if (this.#state.phase !== "ended") await quiet(this.#send(m, t + 1));
        })));
      },
    });
  }

  /** A payload under one of the session's handles. */
  onFrame(payload: Bytes): void {
    this.#do(async () => {
      const s = this.#session;
      if (s === undefined || this.#state.phase === "ended") return;
      let m: SessionMessage;
      try {
        m = parseSessionMessage(s.open(payload));
      } catch (err) {
        if (err instanceof TrunklineError) return; // a frame that does not belong is dropped
        throw err;
      }
      if (this.#state.phase === "answered") await this.#step({ type: "frame" }, undefined);
      if (m.type === SessionType.bye) return this.#step({ type: "bye", reason: m.reason }, undefined);
      await this.#negotiate(m);
    });
  }

  async #negotiate(m: SessionMessage): Promise<void> {
    const peer = this.#peer;
    if (peer === undefined) return;
    switch (m.type) {
      case SessionType.offer: {
        if (this.#session!.role !== Role.responder) throw refuse("malformed", "an offer of the side that answers");
        // A repeated offer gets the same answer; one of a later generation needs a restart, which this side does not do yet.
        if (this.#answerTo !== undefined) {
          if (equal(this.#answerTo.offer, m.sdp)) await this.#send(this.#answerTo.answer);
          return;
        }
        const answer = this.#describe(SessionType.answer, await peer.acceptOffer(this.#checked(m)));
        this.#answerTo = { offer: m.sdp, answer };
        await this.#send(answer);
        return this.#addEarly();
      }
      case SessionType.answer:
        if (this.#session!.role !== Role.initiator || m.setup === 3) throw refuse("malformed", "an answer of the side that offers");
        if (this.#described) return; // a second answer
        await peer.acceptAnswer(this.#checked(m));
        return this.#addEarly();
      case SessionType.ice:
        for (const line of m.candidates) await this.#candidate(line);
        return;
      case SessionType.iceEnd: return this.#candidate(undefined);
      case SessionType.confirm: case SessionType.bye: return;
    }
  }

  /** What a library may see of a description: checked against what was signed. */
  #checked(m: Extract<SessionMessage, { type: 2 | 3 }>): string {
    checkDescription(m);
    return text(cleanDescription(m.sdp, this.relayOnly));
  }

  /** What of an own description is sent, with what is signed beside it. */
  #describe(type: 2 | 3, sdp: string): Extract<SessionMessage, { type: 2 | 3 }> {
    const clean = cleanDescription(new TextEncoder().encode(sdp), this.relayOnly);
    const p = parseSdp(clean);
    this.#ownFingerprint = p.fingerprint;
    return { type, sdp: clean, fingerprint: p.fingerprint, ufrag: p.ufrag, setup: p.setup, generation: 0 };
  }

  async #offer(): Promise<void> {
    const offer = this.#describe(SessionType.offer, await this.#peer!.createOffer());
    // It is kept: the same bytes go out again until the other side answers.
    this.#payload = this.#session!.seal(marshalSessionMessage(offer));
    await this.#resend();
  }

  // Frames may overtake each other: a candidate waits for its description.
  async #candidate(line: string | undefined): Promise<void> {
    if (!this.#described) {
      if (this.#early.length < maxEarlyCandidates) this.#early.push(line);
      return;
    }
    if (line !== undefined) {
      try {
        const c = parseCandidate(line);
        if (this.relayOnly && c.type !== "relay") return;
      } catch {
        return; // a line that cannot be used changes nothing
      }
    }
    await this.#peer?.addCandidate(line?.replace(/^a=/, ""));
  }

  async #addEarly(): Promise<void> {
    this.#described = true;
    for (const line of this.#early.splice(0)) await this.#candidate(line);
  }

  // ---- The connection ----

  async #openConnection(): Promise<void> {
    const s = this.#session!;
    let servers: IceServer[] = [];
    try {
      const w = await this.#c.wire();
      const t = await w.call({ case: "turn", value: { purpose: "call" } }, "turn");
      this.#turn = t.handle;
      // Over UDP alone: a path over TCP stalls with each lost packet, and ICE nominates what answers first.
      servers = t.urls.filter((u) => !/transport=tcp|^turns:/.test(u)).map((urls) => ({ urls, username: t.username, credential: t.credential }));
    } catch (err) {
      if (!(err instanceof TrunklineError)) throw err;
      if (this.relayOnly) throw refuse("unreachable", "relay only was asked for and the own node gives no relay", err);
    }
    this.#peer = this.#calls.options.peer({
      role: s.role, media: this.media, relayOnly: this.relayOnly, servers,
      onCandidate: (line) => this.#do(async () => {
        if (this.#state.phase === "ended") return;
        if (line === undefined) return quiet(this.#send({ type: SessionType.iceEnd, generation: 0 }));
        let c;
        try {
          c = parseCandidate(line);
        } catch {
          return; // a name that the browser put in place of an address helps nobody
        }
        if (!this.relayOnly || c.type === "relay") await quiet(this.#send({ type: SessionType.ice, candidates: [line.replace(/^a=/, "")], generation: 0 }));
      }),
      onControlOpen: () => this.#do(async () => {
        if (this.#gate !== undefined || this.#state.phase === "ended") return;
        this.#gate = new Gate(this.#session!, this.#ownFingerprint!, await this.#peer!.peerFingerprint());
        this.#peer!.sendControl(this.#gate.open());
        this.#cancels.push(this.#c.timers.after(bindingMs, () => {
          if (!this.bound) this.happen({ type: "failed" }, { why: refuse("binding", "the channel binding did not come") });
        }));
      }),
      onControl: (message) => this.#do(async () => {
        if (this.#state.phase === "ended") return;
        if (this.#gate === undefined) throw refuse("binding", "a message before the channel was opened");
        const { send, bound, control } = this.#gate.take(message);
        if (send !== undefined) this.#peer!.sendControl(send);
        if (bound) await this.#step({ type: "bound" }, undefined);
        if (control?.case === "bye") await this.#step({ type: "bye", reason: Reason.ended }, undefined);
        else if (control !== undefined) this.onControl(control);
      }),
      onFile: (chunk) => this.#do(async () => {
        if (this.#state.phase === "ended") return;
        // What comes before this side verified the binding ends the call; what a bound peer sent before our Ready arrived is taken.
        if (this.#gate === undefined || !this.#gate.verified) throw refuse("binding", "a file before the channel binding");
        this.onFile(chunk);
      }),
      onFailed: (why) => this.happen({ type: "failed" }, { why }),
    });
  }

  toJSON(): string { return "[redacted]"; }
}

function reasonWord(r: Reason): string {
  const words: Record<Reason, string> = { 1: "ended", 2: "answered elsewhere", 3: "declined", 4: "busy", 5: "timeout", 6: "failed" };
  return words[r];
}

/** Waits and hides what ends by itself: the machine's timers say what comes of it. */
async function quiet(work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (err) {
    if (!isTemporary(err)) throw err;
  }
}

/** Finds the call that a frame, an answer or a cancel belongs to. */
export class Calls implements CallHandler {
  readonly options: CallsOptions;
  readonly #c: Client;
  readonly #active = new Set<Call>();
  readonly #byHandle = new Map<string, Call>();
  readonly #rings = new Map<string, { readonly call: Call; readonly ring: OutRing }>();
  readonly #incoming = new Map<string, Call>();
  readonly #early = new Map<string, { readonly from: string; readonly reason: Reason; readonly atMs: number }>();

  /** Makes the client take calls. */
  constructor(c: Client, o: CallsOptions) {
    this.#c = c;
    this.options = o;
    c.calls = this;
  }

  get active(): readonly Call[] { return [...this.#active]; }

  /** Rings every device of an accepted contact. */
  async call(id: string, o: CallOptions = {}): Promise<Call> {
    const root = parseId(id);
    const k = this.#c.writable(root);
    const media = o.media ?? 1;
    const ringing = media === 0 ? undefined : this.active.find((x) => x.root.equals(root) && x.ring !== undefined && x.media !== 0 && x.state.phase === "ringing");
    if (ringing !== undefined) {
      // Who rings somebody whose ring waits here answers that ring.
      ringing.accept();
      return ringing;
    }
    await this.#c.wire();
    const rings = await this.#makeRings(k, media);
    const call = new Call(this, this.#c, {
      root, direction: "outgoing", media, relayOnly: o.relayOnly ?? false, rings, state: outgoing(this.#c.now(), [...rings.keys()]),
    });
    this.#active.add(call);
    for (const ring of rings.values()) this.#rings.set(ring.state.handleHex, { call, ring });
    this.options.onCall?.(call);
    call.begin([]);
    call.sendRings();
    return call;
  }

  async #makeRings(k: ContactRecord, media: Media): Promise<Map<string, OutRing>> {
    const grant = await this.#c.ownGrant();
    const sessionId = random(16);
    const out = new Map<string, OutRing>();
    for (const to of await this.#c.addressees(k)) {
      const state = await newRing(this.#c.device, this.#c.ownCert(), to.bundle, {
        media, sessionId, reply: { home: grant.home, tag: grant.tag, token: grant.token }, nowMs: this.#c.now(), ownList: this.#c.mustOwnList(), theirList: to.list,
      });
      out.set(to.bundle.deviceId.hex, { to, state });
    }
    if (out.size === 0) throw refuse("unreachable", "no device of this contact offers a key to ring with");
    return out;
  }

  addSession(call: Call, s: Session): void {
    for (const h of s.handles()) this.#byHandle.set(h, call);
  }

  leave(call: Call): void {
    this.#active.delete(call);
    for (const [h, c] of this.#byHandle) if (c === call) this.#byHandle.delete(h);
    for (const [h, r] of this.#rings) if (r.call === call) this.#rings.delete(h);
    for (const [h, c] of this.#incoming) if (c === call) this.#incoming.delete(h);
  }

  endWith(root: PublicKey): void {
    for (const c of this.active) if (c.root.equals(root)) this.#leaveCall(c);
  }

  stop(): void {
    for (const c of this.active) this.#leaveCall(c);
  }

  // Not a DECLINE where it rings: nobody said no.
  #leaveCall(c: Call): void {
    c.happen({ type: c.ring !== undefined && c.state.phase === "ringing" ? "failed" : "hangup" });
  }

  onFrame(payload: Bytes): void {
    const handle = hex(payload.subarray(0, 8));
    const call = this.#byHandle.get(handle);
    if (call !== undefined) return call.onFrame(copy(payload));
    const ring = this.#rings.get(handle);
    if (ring !== undefined) this.#onAnswer(ring.call, ring.ring, payload);
  }

  #onAnswer(call: Call, ring: OutRing, payload: Bytes): void {
    const device = ring.state.device.hex;
    try {
      const got = ring.state.finish(payload, this.#c.opener);
      const type = ({ [Type.accept]: "accepted", [Type.decline]: "declined", [Type.busy]: "busy" } as const)[got.kind];
      call.happen({ type, device }, got.session === undefined ? undefined : { session: got.session });
    } catch (err) {
      if (!(err instanceof TrunklineError)) throw err;
      // The same answer again: our first frame has not arrived.
      if (err.code === "replay" || err.code === "ring_over") call.happen({ type: "accept-again", device });
      if (err.code === "unverified") this.#c.directory.forget(call.root);
    }
  }

  onRing(o: Opened, body: BodyOf<typeof Type.ring>): void {
    const k = this.#c.contactRecord(o.sender);
    if (o.standing !== "own" && (k === undefined || k.evidence.length > 0)) return; // whose device this is, is what the alarm is about
    const hash = hex(o.hash);
    const early = this.#early.get(hash);
    let greeting: "ring" | "accept" | "busy" | "missed" = "ring";
    let relayOnly = false;
    if (o.late) {
      greeting = "missed";
    } else if (early !== undefined && early.from === o.sender.hex) {
      this.#early.delete(hash);
      // The person knows of a call that was answered or declined elsewhere.
      if (early.reason === Reason.answeredElsewhere || early.reason === Reason.declined) return;
      greeting = "missed";
    } else {
      // A ring for files ends an older one of the same device, which was killed and came back.
      if (body.media === 0) {
        for (const c of this.active) {
          if (c.media === 0 && c.ring !== undefined && c.ring.cert.deviceId.equals(o.cert.deviceId) && c.ring.createdMs <= o.createdMs) c.hangup();
        }
      } else {
        const rival = this.active.find((c) => c.root.equals(o.sender) && c.ring === undefined && c.media !== 0 && c.state.phase === "ringing");
        if (rival !== undefined) {
          if (glareIsOurs(this.#c.self, o.sender, this.#c.deviceId, o.cert.deviceId)) return;
          greeting = "accept";
          relayOnly = rival.relayOnly;
          rival.happen({ type: "glare-lost" });
        } else if (this.active.some((c) => c.media !== 0 && (c.state.phase === "answered" || c.state.phase === "connecting" || c.state.phase === "live"))) {
          greeting = o.standing === "own" ? "accept" : "busy";
        }
      }
      if (o.standing === "own") greeting = "accept";
      if (greeting === "ring" && this.active.filter((c) => c.ring !== undefined && c.state.phase === "ringing").length >= maxRinging) greeting = "missed";
    }
    const { state, actions } = incoming(this.#c.now(), o.expiresMs, greeting);
    const call = new Call(this, this.#c, { root: o.sender, direction: "incoming", media: body.media, relayOnly, ring: o, state });
    this.#active.add(call);
    this.#incoming.set(hash, call);
    this.options.onCall?.(call);
    if (state.phase === "ringing") this.#c.tell({ type: "ringing", call: call.id, from: call.contact, media: body.media });
    call.begin(actions);
  }

  onCancel(o: Opened, body: BodyOf<typeof Type.cancel>): void {
    const hash = hex(body.ringHash);
    const call = this.#incoming.get(hash);
    if (call !== undefined) {
      if (call.root.equals(o.sender)) call.happen({ type: "cancelled", reason: body.reason });
      return;
    }
    const now = this.#c.now();
    for (const [h, e] of this.#early) if (now - e.atMs > earlyKeptMs) this.#early.delete(h);
    if (this.#early.size < maxEarly) this.#early.set(hash, { from: o.sender.hex, reason: body.reason, atMs: now });
  }
}

