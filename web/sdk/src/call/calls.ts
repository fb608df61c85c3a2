// Calls: rings, answers, session frames and the order in which a connection comes to be. The WebRTC library is
// behind PeerFactory; nothing reaches it that was not checked, and nothing of it is taken before the channel
// binding has verified.

import { copy, equal, hex, random, text, unhex, type Bytes } from "../bytes.ts";
import { Reason, Type, type BodyOf, type ReplyAddress } from "../envelope/bodies.ts";
import type { Opened } from "../envelope/open.ts";
import { answerRing, newRing, type RingState } from "../envelope/ring.ts";
import { Role, type CallCode, type Session } from "../envelope/session.ts";
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
import type { CallMedia } from "./media.ts";
import { isRelay, legOf, legWords, localLeg, routeOf, type Leg, type Route } from "./route.ts";
import { checkDescription, cleanDescription, formatCandidate, hidden, parseCandidate, parseSdp } from "./sdp.ts";

export type Media = 0 | 1 | 2;

export interface IceServer { readonly urls: string; readonly username: string; readonly credential: string }

export interface PeerOptions {
  readonly role: Role;
  readonly media: Media;
  readonly relayOnly: boolean;
  readonly servers: readonly IceServer[];
  /** SFrame base keys, a copy each time. */
  readonly mediaKeys: () => { readonly send: Bytes; readonly receive: Bytes };
  /** A local candidate line; absent: there are no more. */
  readonly onCandidate: (line: string | undefined) => void;
  /** The control channel is open. */
  readonly onControlOpen: () => void;
  readonly onControl: (message: Uint8Array) => void;
  readonly onFile: (chunk: Uint8Array) => void;
  /** Whether packets get through, as the library sees it. */
  readonly onPath: (up: boolean) => void;
  /** The connection did what the protocol has no room for. */
  readonly onFailed: (why: TrunklineError) => void;
}

/** One connection of a WebRTC library. Descriptions go in checked and come out as the library wrote them. */
export interface CallPeer {
  /** Sound and picture, where the library has them. */
  readonly media?: CallMedia | undefined;
  createOffer(): Promise<string>;
  acceptOffer(sdp: string): Promise<string>;
  acceptAnswer(sdp: string): Promise<void>;
  /** Servers for the next ICE generation. */
  setServers(servers: readonly IceServer[]): void;
  /** An offer of a new ICE generation under the same certificate. */
  restart(): Promise<string>;
  /** A line without "a="; absent: the other side has no more. */
  addCandidate(line: string | undefined): Promise<void>;
  /** SHA-256 of the certificate that the other side really uses, once there is one. */
  peerFingerprint(): Promise<Bytes>;
  /** What the library says of the path and of the media. */
  stats?(): Promise<RTCStatsReport>;
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
const widenMs = 2_000; // the relay's TCP ports are tried when UDP has found nothing by then
const restartMs = 4_000;
const pathGivenUpMs = 45_000;
const filesGivenUpMs = 6_000; // whoever sends rings again and goes on where it was

/** What a side says that it sends; shown beside the picture, relied upon for nothing. */
export interface Sending { readonly microphone: boolean; readonly camera: boolean; readonly screen: boolean; readonly screenAudio: boolean; readonly hand: boolean }
/** A place on a shared screen, x and y from 0 to 1; undefined: it has gone. own: on the screen that its sender shares. */
export interface Pointer { readonly own: boolean; readonly at: { readonly x: number; readonly y: number } | undefined }
export const reactions = ["yes", "no", "applause", "heart", "laugh", "surprise"] as const;
export type Reaction = (typeof reactions)[number];

const edge = 65_535;
const pointerEveryMs = 50;
const nothing: Sending = { microphone: false, camera: false, screen: false, screenAudio: false, hand: false };

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
  /** Something that is shown beside the media has changed: what the other side sends, the route, the call code, the path. */
  onChange: () => void = () => undefined;
  onReaction: (r: Reaction) => void = () => undefined;
  onPointer: (p: Pointer) => void = () => undefined;

  readonly #calls: Calls;
  readonly #c: Client;
  readonly root: PublicKey;
  #relayOnly: boolean;
  readonly rings: ReadonlyMap<string, OutRing>;
  readonly ring: Opened | undefined;
  #state: CallState;
  #why: TrunklineError | undefined;
  #session: Session | undefined;
  #peer: CallPeer | undefined;
  #gate: Gate | undefined;
  #payload: Bytes | undefined; // caller: the first frame; callee: the answer
  #early: { readonly line: string | undefined; readonly generation: number }[] = [];
  #ownFingerprint: Bytes | undefined;
  #theirFingerprint: Bytes | undefined;
  #answerTo: { readonly offer: Bytes; readonly answer: SessionMessage } | undefined;
  #offered = -1; // generation of our newest offer
  #pendingOffer: SessionMessage | undefined; // while no answer has come
  #taken = -1; // generation of the other side's newest description
  readonly #ufrags = new Map<string, number>(); // our user names and their generation
  #pathUp = false;
  #brokenMs: number | undefined;
  #triedMs = -Infinity;
  #peerSending: Sending = nothing;
  #announced: { readonly audio: boolean; readonly video: boolean } | undefined;
  #callCode: CallCode | undefined;
  #code: string | undefined;
  #toldLeg: Leg | undefined;
  #remoteLeg: Leg | undefined;
  #route: Route | undefined;
  #pointedMs = 0;
  readonly #hops = new SharedHop();
  #cancelTick: () => void = () => undefined;
  readonly #cancels: (() => void)[] = [];
  readonly #turns: Bytes[] = []; // handles of the relay
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
    this.#relayOnly = s.relayOnly;
    this.rings = s.rings ?? new Map();
    this.ring = s.ring;
    this.#state = s.state;
  }

  get state(): CallState { return this.#state; }
  /** Why the call failed, where it did. */
  get why(): TrunklineError | undefined { return this.#why; }
  get session(): Session | undefined { return this.#session; }
  get bound(): boolean { return this.#state.phase !== "ended" && (this.#gate?.bound ?? false); }

  /** Only the relay's addresses are told, and only it is used. */
  get relayOnly(): boolean { return this.#relayOnly; }
  /** Sound and picture, from the moment that there is a connection. */
  get peerMedia(): CallMedia | undefined { return this.#peer?.media; }
  get peerSending(): Sending { return this.#peerSending; }
  /** What a side announced that does not tell what it sends: one that plays files. */
  get announced(): { readonly audio: boolean; readonly video: boolean } | undefined { return this.#peerSending === nothing ? this.#announced : undefined; }
  /** The six digits that both people compare, once both sides have them. */
  get code(): string | undefined { return this.#code; }
  get route(): Route | undefined { return this.#route; }
  /** Since when the path is broken. */
  get brokenSinceMs(): number | undefined { return this.#brokenMs; }
  async stats(): Promise<RTCStatsReport | undefined> { return this.#peer?.stats?.(); }

  /** Tells what this side sends, when it has changed. */
  sendSending(s: Sending): void { this.sendControl({ case: "sending", value: { ...s } }); }
  sendReaction(r: Reaction): void { this.sendControl({ case: "reaction", value: { kind: reactions.indexOf(r) + 1 } }); }
  /** Shows the other side where this one points; more than 20 in a second are left out. */
  sendPointer(p: Pointer): void {
    const now = this.#c.now();
    if (p.at !== undefined && now - this.#pointedMs < pointerEveryMs) return;
    this.#pointedMs = now;
    const place = (v: number) => Math.round(Math.min(Math.max(v, 0), 1) * edge);
    this.sendControl({ case: "pointer", value: p.at === undefined ? { own: p.own, here: false } : { own: p.own, here: true, x: place(p.at.x), y: place(p.at.y) } });
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
    if (this.#gate?.bound === true) {
      try {
        this.#peer?.sendControl(marshalControlMessage({ case: "bye", value: {} }));
      } catch { /* the channel is gone, and whoever listened on it knows */ }
    }
    this.#peer?.close();
    for (const r of this.rings.values()) r.state.close();
    this.#session?.close();
    this.#calls.leave(this);
    this.#c.background("give the relay back", async () => {
      for (const handle of this.#turns) this.#c.link.wire?.send({ case: "turnRelease", value: { handle } });
    });
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
        if (m.generation < this.#taken) return; // frames may overtake each other
        if (m.generation === this.#taken) {
          // A repeated offer gets the same answer.
          if (this.#answerTo !== undefined && equal(this.#answerTo.offer, m.sdp)) await this.#send(this.#answerTo.answer);
          return;
        }
        if (m.generation !== this.#taken + 1) throw refuse("malformed", "an offer out of turn");
        const sdp = this.#checked(m);
        if (m.generation > 0) peer.setServers(await this.#relay(true));
        this.#taken = m.generation;
        const answer = this.#describe(SessionType.answer, await peer.acceptOffer(sdp), m.generation);
        this.#answerTo = { offer: m.sdp, answer };
        await this.#send(answer);
        return this.#addEarly();
      }
      case SessionType.answer:
        if (this.#session!.role !== Role.initiator || m.setup === 3) throw refuse("malformed", "an answer of the side that offers");
        if (m.generation !== this.#offered || this.#taken === this.#offered) return; // to an older offer, or a second one
        await peer.acceptAnswer(this.#checked(m));
        this.#taken = m.generation;
        this.#pendingOffer = undefined;
        if (m.generation === 0) this.#lookAgain(widenMs);
        return this.#addEarly();
      case SessionType.ice:
        for (const line of m.candidates) await this.#candidate(line, m.generation);
        return;
      case SessionType.iceEnd: return this.#candidate(undefined, m.generation);
      case SessionType.restart:
        // Followed once in four seconds at most; one about an older offer brings the newest again while that is unanswered.
        if (this.#session!.role === Role.initiator && (m.generation === this.#offered || this.#offered > this.#taken) && this.#mayTry()) await this.#restart();
        return;
      case SessionType.confirm: case SessionType.bye: return;
    }
  }

  // ---- A new path ----

  #mayTry(): boolean {
    const now = this.#c.now();
    if (now - this.#triedMs < restartMs) return false;
    this.#triedMs = now;
    return true;
  }

  /** Restarts with all ports of the relay where no path has been found by then. */
  #lookAgain(ms: number): void {
    this.#cancels.push(this.#c.timers.after(ms, () => this.#do(async () => {
      if (this.#state.phase !== "connecting" || this.#pathUp) return;
      await this.#restart();
      this.#lookAgain(restartMs);
    })));
  }

  async #restart(): Promise<void> {
    if (this.#offered > this.#taken) {
      if (this.#pendingOffer !== undefined) await quiet(this.#send(this.#pendingOffer));
      return;
    }
    this.#peer!.setServers(await this.#relay(true));
    this.#offered++;
    this.#pendingOffer = this.#describe(SessionType.offer, await this.#peer!.restart(), this.#offered);
    await quiet(this.#send(this.#pendingOffer));
  }

  #onPath(up: boolean): void {
    this.#pathUp = up;
    if (up) {
      if (this.#brokenMs !== undefined) {
        this.#brokenMs = undefined;
        this.onChange();
      }
      return;
    }
    if (this.#state.phase !== "live" || this.#brokenMs !== undefined) return;
    const broken = this.#brokenMs = this.#c.now();
    const mend = () => this.#do(async () => {
      if (this.#brokenMs !== broken || this.#state.phase !== "live") return;
      this.onChange();
      if (this.#c.now() - broken > (this.media === 0 ? filesGivenUpMs : pathGivenUpMs)) throw refuse("unreachable", "the connection broke and did not come back");
      this.#cancels.push(this.#c.timers.after(restartMs, mend));
      if (this.#session!.role === Role.initiator) {
        if (this.#mayTry()) await this.#restart();
      } else {
        // Only the side that offered first offers, so that two restarts do not cross: the other asks it to.
        await quiet(this.#send({ type: SessionType.restart, generation: this.#taken }));
      }
    });
    mend();
  }

  /** What a library may see of a description: checked against what was signed. */
  #checked(m: Extract<SessionMessage, { type: 2 | 3 }>): string {
    const { fingerprint } = checkDescription(m);
    // A restart keeps the certificate; another one needs another call.
    if (this.#theirFingerprint !== undefined && !equal(fingerprint, this.#theirFingerprint)) throw refuse("key_alarm", "the other side's certificate changed within a call");
    if (this.#ownFingerprint !== undefined && equal(fingerprint, this.#ownFingerprint)) throw refuse("key_alarm", "the other side shows this side's own certificate");
    this.#theirFingerprint = fingerprint;
    return text(cleanDescription(m.sdp, this.relayOnly));
  }

  /** What of an own description is sent, with what is signed beside it. */
  #describe(type: 2 | 3, sdp: string, generation: number): Extract<SessionMessage, { type: 2 | 3 }> {
    const clean = cleanDescription(new TextEncoder().encode(sdp), this.relayOnly);
    const p = parseSdp(clean);
    this.#ownFingerprint = p.fingerprint;
    this.#ufrags.set(p.ufrag, generation);
    return { type, sdp: clean, fingerprint: p.fingerprint, ufrag: p.ufrag, setup: p.setup, generation };
  }

  async #offer(): Promise<void> {
    this.#offered = 0;
    const offer = this.#describe(SessionType.offer, await this.#peer!.createOffer(), 0);
    // It is kept: the same bytes go out again until the other side answers.
    this.#payload = this.#session!.seal(marshalSessionMessage(offer));
    await this.#resend();
  }

  // Frames may overtake each other: a candidate waits for its description.
  async #candidate(line: string | undefined, generation: number): Promise<void> {
    if (generation < this.#taken) return;
    if (generation > this.#taken) {
      if (this.#early.length < maxEarlyCandidates) this.#early.push({ line, generation });
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
    for (const e of this.#early.splice(0)) await this.#candidate(e.line, e.generation);
  }

  // ---- The connection ----

  async #openConnection(): Promise<void> {
    const s = this.#session!;
    // Over UDP alone at first: a path over TCP stalls with each lost packet, and ICE nominates what answers first.
    const servers = await this.#relay(false);
    this.#peer = guarded(this.#calls.options.peer)({
      role: s.role, media: this.media, relayOnly: this.relayOnly, servers, mediaKeys: () => s.mediaKeys(),
      onCandidate: (line) => this.#do(async () => {
        if (this.#state.phase === "ended") return;
        const now = s.role === Role.initiator ? this.#offered : this.#taken;
        const generation = this.#ufrags.get(/ ufrag (\S+)/.exec(line ?? "")?.[1] ?? "") ?? Math.max(now, 0);
        if (line === undefined) return quiet(this.#send({ type: SessionType.iceEnd, generation }));
        let c;
        try {
          c = parseCandidate(line);
        } catch {
          return; // a name that the browser put in place of an address helps nobody
        }
        // With relay only not even the address behind the relay's.
        if (this.relayOnly && c.type !== "relay") return;
        const told = this.relayOnly ? formatCandidate(hidden(c)) : line.replace(/^a=/, "");
        await quiet(this.#send({ type: SessionType.ice, candidates: [told], generation }));
      }),
      onControlOpen: () => this.#do(async () => {
        if (this.#gate !== undefined || this.#state.phase === "ended") return;
        const used = await this.#peer!.peerFingerprint();
        if (this.#theirFingerprint === undefined || !equal(used, this.#theirFingerprint)) throw refuse("key_alarm", "the certificate is not the one that was signed");
        this.#gate = new Gate(this.#session!, this.#ownFingerprint!, used);
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
        if (bound) {
          await this.#step({ type: "bound" }, undefined);
          if (!this.bound) return; // whoever was told has hung up
          this.#peer!.media?.bound();
          this.#callCode = this.#session!.callCode();
          if (s.role === Role.initiator) this.sendControl({ case: "codeCommit", value: { hash: this.#callCode.commit() } });
          await this.#look();
        }
        if (control?.case === "bye") await this.#step({ type: "bye", reason: Reason.ended }, undefined);
        else if (control !== undefined) this.#content(control);
      }),
      onFile: (chunk) => this.#do(async () => {
        if (this.#state.phase === "ended") return;
        // What comes before this side verified the binding ends the call; what a bound peer sent before our Ready arrived is taken.
        if (this.#gate === undefined || !this.#gate.verified) throw refuse("binding", "a file before the channel binding");
        this.onFile(chunk);
      }),
      onPath: (up) => this.#do(async () => {
        this.#onPath(up);
        if (up) await this.#look();
      }),
      onFailed: (why) => this.happen({ type: "failed" }, { why }),
    });
  }

  /** The own node's relay, with fresh credentials. Without one the call is tried without, unless addresses are to be hidden. */
  async #relay(allPorts: boolean): Promise<IceServer[]> {
    try {
      const w = await this.#c.wire();
      const t = await w.call({ case: "turn", value: { purpose: "call" } }, "turn");
      this.#turns.push(t.handle);
      return t.urls.filter((u) => allPorts || !/transport=tcp|^turns:/.test(u)).map((urls) => ({ urls, username: t.username, credential: t.credential }));
    } catch (err) {
      if (!(err instanceof TrunklineError)) throw err;
      if (this.relayOnly) throw refuse("unreachable", "relay only was asked for and the own node gives no relay", err);
      return [];
    }
  }

  // ---- What is shown beside the media ----

  /** Reads which way the packets take, and tells the other side about this end of it. */
  async #look(): Promise<void> {
    const report = await this.#peer?.stats?.();
    const at = report === undefined ? undefined : localLeg(report);
    if (at === undefined || this.#state.phase === "ended") return;
    this.#route = routeOf(at.leg, at.remoteRelayed, this.#remoteLeg);
    if (this.bound && this.#toldLeg !== at.leg) {
      this.#toldLeg = at.leg;
      this.sendControl({ case: "leg", value: { kind: legWords.indexOf(at.leg) + 1 } });
    }
    this.onChange();
  }

  /** Looks again which way the packets take: ICE may change it by itself. */
  lookAtRoute(): void {
    if (this.bound) this.#do(() => this.#look());
  }

  /** A message of a bound call. What has no meaning ends it. */
  #content(m: Control): void {
    this.#shown(m);
    this.onControl(m);
  }

  #shown(m: Control): void {
    switch (m.case) {
      case "leg": {
        const leg = legOf(m);
        if (leg === undefined) throw refuse("malformed", "a leg of no kind");
        this.#remoteLeg = leg;
        if (this.#route !== undefined) this.#route = routeOf(this.#route.local, isRelay(leg), leg);
        return this.onChange();
      }
      case "mediaStart": {
        const { audio, video } = m.value;
        if (audio > 1 || (video !== 0 && video !== 2 && video !== 3)) throw refuse("malformed", "media of an unknown codec");
        this.#announced = { audio: audio !== 0, video: video !== 0 };
        return this.onChange();
      }
      case "mediaEnd":
        this.#announced = { audio: false, video: false };
        return this.onChange();
      case "codeCommit":
        return this.sendControl({ case: "codeNonce", value: { nonce: this.#callCode!.answer(m.value.hash) } });
      case "codeNonce": {
        const { nonce, code } = this.#callCode!.reveal(m.value.nonce);
        this.sendControl({ case: "codeReveal", value: { nonce } });
        this.#code = code;
        return this.onChange();
      }
      case "codeReveal":
        this.#code = this.#callCode!.finish(m.value.nonce);
        return this.onChange();
      case "sending":
        this.#peerSending = { ...m.value };
        return this.onChange();
      case "reaction": {
        const r = reactions[m.value.kind - 1];
        if (r === undefined) throw refuse("malformed", "a reaction of no kind");
        return this.onReaction(r);
      }
      case "pointer": {
        const { own, here, x, y } = m.value;
        if (x > edge || y > edge || (!here && (x !== 0 || y !== 0))) throw refuse("malformed", "a pointer to nowhere");
        return this.onPointer({ own, at: here ? { x: x / edge, y: y / edge } : undefined });
      }
      default: return;
    }
  }

  toJSON(): string { return "[redacted]"; }
}

function reasonWord(r: Reason): string {
  const words: Record<Reason, string> = { 1: "ended", 2: "answered elsewhere", 3: "declined", 4: "busy", 5: "timeout", 6: "failed" };
  return words[r];
}

/**
 * The same connections, but what the library throws ends the call and nothing else: it may be made to throw by
 * what the other side sends.
 */
function guarded(make: PeerFactory): PeerFactory {
  const ours = (err: unknown) => (err instanceof TrunklineError ? err : refuse("unreachable", "the connection could not do what the call needs", err));
  const now = <T>(f: () => T): T => {
    try {
      return f();
    } catch (err) {
      throw ours(err);
    }
  };
  const later = async <T>(f: () => Promise<T>): Promise<T> => {
    try {
      return await f();
    } catch (err) {
      throw ours(err);
    }
  };
  return (o) => {
    const p = now(() => make(o));
    const { stats } = p;
    return {
      media: p.media, ...(stats === undefined ? {} : { stats: () => later(() => stats.call(p)) }),
      createOffer: () => later(() => p.createOffer()), acceptOffer: (s) => later(() => p.acceptOffer(s)), acceptAnswer: (s) => later(() => p.acceptAnswer(s)),
      restart: () => later(() => p.restart()), setServers: (s) => now(() => p.setServers(s)),
      // A candidate that the library has no use for is none of the call's business.
      addCandidate: (line) => p.addCandidate(line).catch(() => undefined),
      peerFingerprint: () => later(() => p.peerFingerprint()), sendControl: (b) => now(() => p.sendControl(b)), sendFile: (b) => later(() => p.sendFile(b)),
      close: () => p.close(),
    };
  };
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

