// The connection of a call and the order in which it comes to be: offers and answers of each generation, candidates,
// the channel binding, and a new path when the old one broke. Nothing of the WebRTC library is taken before the
// binding has verified.

import { equal, text, type Bytes } from "../bytes.ts";
import { Role, type Session } from "../envelope/session.ts";
import { SessionType, type SessionMessage } from "../envelope/sessionmessage.ts";
import { refuse, TrunklineError } from "../errors.ts";
import type { Client } from "../client/client.ts";
import type { Wire } from "../link/wire.ts";
import { bindingMs, Gate, marshalControlMessage, type Control, type ControlInit } from "./control.ts";
import type { CallState } from "./machine.ts";
import type { CallMedia, SlotName } from "./media.ts";
import { quiet, type Order } from "./order.ts";
import { guarded, type CallPeer, type IceServer, type Media, type PeerFactory } from "./peer.ts";
import type { FramePost } from "./post.ts";
import { silenceOf } from "./route.ts";
import { checkDescription, cleanDescription, formatCandidate, hidden, isNamed, parseCandidate, parseSdp } from "./sdp.ts";

const maxEarlyCandidates = 64;
const widenMs = 2_000; // the relay's TCP ports are tried when UDP has found nothing by then
const restartMs = 4_000;
const mostSilenceMs = 15_000;
const countedMs = 500; // nobody waits longer for the end of a call
const pathGivenUpMs = 45_000;
const filesGivenUpMs = 6_000; // whoever sends rings again and goes on where it was

/** A node that may lend its relay. */
export interface Lender { wire(): Promise<Pick<Wire, "call">>; readonly link: { readonly wire: Pick<Wire, "send"> | undefined } }

/** The call that a connection belongs to. */
export interface ConnectionOwner {
  readonly client: Pick<Client, "now" | "background"> & Lender;
  /** Who is asked for a relay where that node gives none: the own node, in a room of another one. */
  readonly home?: Lender | undefined;
  readonly order: Pick<Order, "do" | "after" | "later">;
  readonly post: Pick<FramePost, "send">;
  readonly session: Session;
  readonly media: Media;
  readonly relayOnly: boolean;
  /** Two cards made the session: there may be no node, and names as addresses are told and used. */
  readonly byCards: boolean;
  /** A stream that is not opened gets a fresh section. */
  readonly renews: boolean;
  phase(): CallState["phase"];
  /** The binding has verified on both sides. */
  bound(): Promise<void>;
  /** A message of the bound call. */
  control(m: Control): Promise<void>;
  file(chunk: Uint8Array): void;
  failed(why: TrunklineError): void;
  /** The other side has closed the connection: a frame that says why may be under way. */
  gone(why: TrunklineError): void;
  /** Packets get through, or not any more. */
  path(): void;
  /** A look at the route is due. */
  look(): Promise<void>;
}

export class Connection {
  readonly #o: ConnectionOwner;
  readonly #make: PeerFactory;
  #peer: CallPeer | undefined;
  #gate: Gate | undefined;
  #early: { readonly line: string | undefined; readonly generation: number }[] = [];
  #ownFingerprint: Bytes | undefined;
  #theirFingerprint: Bytes | undefined;
  #answerTo: { readonly offer: Bytes; readonly answer: SessionMessage } | undefined;
  #offered = -1; // generation of our newest offer
  #pendingOffer: SessionMessage | undefined; // while no answer has come
  #taken = -1; // generation of the other side's newest description
  readonly #ufrags = new Map<string, number>(); // our user names and their generation
  #pathUp = false;
  #gone = false; // the other side has closed the channels
  #brokenMs: number | undefined;
  #triedMs = -Infinity;
  #asking = false; // the own node, for its relay
  readonly #turns: { readonly handle: Bytes; readonly of: Lender }[] = [];

  constructor(make: PeerFactory, o: ConnectionOwner) {
    this.#make = guarded(make);
    this.#o = o;
  }

  get bound(): boolean { return this.#gate?.bound ?? false; }
  get media(): CallMedia | undefined { return this.#peer?.media; }
  /** Since when the path is broken. */
  get brokenSinceMs(): number | undefined { return this.#brokenMs; }
  async stats(): Promise<RTCStatsReport | undefined> { return this.#peer?.stats?.(); }
  sendControl(m: ControlInit): void { if (!this.#gone) this.#peer!.sendControl(marshalControlMessage(m)); }
  async sendFile(chunk: Bytes): Promise<void> {
    if (this.#gone) throw refuse("unreachable", "the other side has left");
    await this.#peer!.sendFile(chunk);
  }

  /** Sends no more, and tells how much there was. */
  async end(): Promise<void> {
    const media = this.media;
    if (media === undefined || !this.bound || this.#brokenMs !== undefined) return;
    media.hold(true);
    const late = new Promise<undefined>((resolve) => this.#o.order.after(countedMs, () => resolve(undefined)));
    const counts = await Promise.race([media.counts(), late]);
    if (counts === undefined) return;
    const sealed = (...slots: readonly SlotName[]) => counts.filter((c) => c.way === "seal" && slots.includes(c.slot)).reduce((n, c) => n + c.passed, 0);
    if (this.bound && !this.#ended) {
      this.sendControl({ case: "mediaEnd", value: { audioFrames: BigInt(sealed("microphone")), videoFrames: BigInt(sealed("camera")) } });
    }
  }

  /** Goodbye: says that this is the end. It would overtake a frame that says why. */
  close(goodbye = true): void {
    if (goodbye && this.bound) {
      try {
        this.sendControl({ case: "bye", value: {} });
      } catch { /* the channel is gone, and whoever listened on it knows */ }
    }
    this.#peer?.close();
    this.#o.client.background("give the relay back", async () => {
      for (const { handle, of } of this.#turns) of.link.wire?.send({ case: "turnRelease", value: { handle } });
    });
  }

  get #ended(): boolean { return this.#o.phase() === "ended"; }

  async open(): Promise<void> {
    const s = this.#o.session;
    // Over UDP alone at first: a path over TCP stalls with each lost packet, and ICE nominates what answers first.
    const servers = await this.#relay(false);
    this.#peer = this.#make({
      role: s.role, media: this.#o.media, relayOnly: this.#o.relayOnly, servers, mediaKeys: () => s.mediaKeys(),
      onCandidate: (line) => this.#o.order.do(async () => {
        if (this.#ended) return;
        const now = s.role === Role.initiator ? this.#offered : this.#taken;
        const generation = this.#ufrags.get(/ ufrag (\S+)/.exec(line ?? "")?.[1] ?? "") ?? Math.max(now, 0);
        if (line === undefined) return quiet(this.#o.post.send({ type: SessionType.iceEnd, generation }));
        let c;
        try {
          c = parseCandidate(line);
        } catch {
          // A name that a browser put in place of an address is for another browser in the same network, if for anybody.
          if (!this.#o.relayOnly && isNamed(line)) await quiet(this.#o.post.send({ type: SessionType.ice, candidates: [line.replace(/^a=/, "")], generation }));
          return;
        }
        // With relay only not even the address behind the relay's.
        if (this.#o.relayOnly && c.type !== "relay") return;
        const told = this.#o.relayOnly ? formatCandidate(hidden(c)) : line.replace(/^a=/, "");
        await quiet(this.#o.post.send({ type: SessionType.ice, candidates: [told], generation }));
      }),
      onControlOpen: () => this.#o.order.do(async () => {
        if (this.#gate !== undefined || this.#ended) return;
        const used = await this.#peer!.peerFingerprint();
        if (this.#theirFingerprint === undefined || !equal(used, this.#theirFingerprint)) throw refuse("key_alarm", "the certificate is not the one that was signed");
        this.#gate = new Gate(this.#o.session, this.#ownFingerprint!, used);
        this.#peer!.sendControl(this.#gate.open());
        this.#o.order.after(bindingMs, () => {
          if (!this.bound && !this.#gone) this.#o.failed(refuse("binding", "the channel binding did not come"));
        });
      }),
      onControl: (message) => this.#o.order.do(async () => {
        if (this.#ended) return;
        if (this.#gate === undefined) throw refuse("binding", "a message before the channel was opened");
        const { send, bound, control } = this.#gate.take(message);
        if (send !== undefined) this.#peer!.sendControl(send);
        if (bound) {
          await this.#o.bound();
          await this.#o.look();
        }
        if (control?.case === "fresh") this.#asked(control.value.slot);
        else if (control !== undefined) await this.#o.control(control);
      }),
      onFile: (chunk) => this.#o.order.do(async () => {
        if (this.#ended) return;
        // What comes before this side verified the binding ends the call; what a bound peer sent before our Ready arrived is taken.
        if (this.#gate === undefined || !this.#gate.verified) throw refuse("binding", "a file before the channel binding");
        this.#o.file(chunk);
      }),
      onPath: (up) => this.#o.order.do(async () => {
        await this.#onPath(up);
        if (up) await this.#o.look();
      }),
      onDoubt: () => this.#o.order.do(async () => {
        if (this.#o.phase() === "live" && this.#brokenMs === undefined) await this.#seek();
      }),
      // Only the side that offered first offers.
      ...(this.#o.renews ? {
        onBypassed: (slot: number) => this.#o.order.do(async () => {
          if (this.#ended) return;
          if (s.role === Role.initiator) this.#renew();
          else this.sendControl({ case: "fresh", value: { slot } });
        }),
      } : {}),
      onGone: () => this.#o.order.do(async () => {
        if (this.#gone || this.#ended) return;
        this.#gone = true;
        this.#o.gone(refuse("unreachable", "a channel of the call was closed"));
      }),
      onFailed: (why) => this.#o.failed(why),
    });
  }

  /** A node's relay, with fresh credentials. Without one the call is tried without, unless addresses are to be hidden. */
  async #relay(allPorts: boolean): Promise<IceServer[]> {
    const { client, home } = this.#o;
    // Whoever meets by cards does not wait for a node.
    if (this.#o.byCards && !this.#o.relayOnly && client.link.wire === undefined) return [];
    try {
      return await this.#borrow(client, allPorts).catch((err: unknown) => {
        if (home === undefined || !(err instanceof TrunklineError)) throw err;
        return this.#borrow(home, allPorts);
      });
    } catch (err) {
      if (!(err instanceof TrunklineError)) throw err;
      if (this.#o.relayOnly) throw refuse("unreachable", "relay only was asked for and no node gives a relay", err);
      return [];
    }
  }

  async #borrow(of: Lender, allPorts: boolean): Promise<IceServer[]> {
    const t = await (await of.wire()).call({ case: "turn", value: { purpose: "call" } }, "turn");
    this.#turns.push({ handle: t.handle, of });
    return t.urls.filter((u) => allPorts || !/transport=tcp|^turns:/.test(u)).map((urls) => ({ urls, username: t.username, credential: t.credential }));
  }

  // ---- Descriptions and candidates ----

  /** Takes what the session's frames carry. */
  async negotiate(m: SessionMessage): Promise<void> {
    const peer = this.#peer;
    if (peer === undefined) return;
    switch (m.type) {
      case SessionType.offer: {
        if (this.#o.session.role !== Role.responder) throw refuse("malformed", "an offer of the side that answers");
        if (m.generation < this.#taken) return; // frames may overtake each other
        if (m.generation === this.#taken) {
          // A repeated offer gets the same answer.
          if (this.#answerTo !== undefined && equal(this.#answerTo.offer, m.sdp)) await this.#o.post.send(this.#answerTo.answer);
          return;
        }
        if (m.generation !== this.#taken + 1) throw refuse("malformed", "an offer out of turn");
        const sdp = this.#checked(m);
        if (m.generation > 0) peer.setServers(await this.#relay(true));
        this.#taken = m.generation;
        const answer = this.#describe(SessionType.answer, await peer.acceptOffer(sdp), m.generation);
        this.#answerTo = { offer: m.sdp, answer };
        await this.#o.post.send(answer);
        return this.#addEarly();
      }
      case SessionType.answer:
        if (this.#o.session.role !== Role.initiator || m.setup === 3) throw refuse("malformed", "an answer of the side that offers");
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
        if (this.#o.session.role === Role.initiator && (m.generation === this.#offered || this.#offered > this.#taken)) await this.#seek();
        return;
      case SessionType.confirm: case SessionType.bye: return;
    }
  }

  /** What a library may see of a description: checked against what was signed. */
  #checked(m: Extract<SessionMessage, { type: 2 | 3 }>): string {
    const { fingerprint } = checkDescription(m);
    // A restart keeps the certificate; another one needs another call.
    if (this.#theirFingerprint !== undefined && !equal(fingerprint, this.#theirFingerprint)) throw refuse("key_alarm", "the other side's certificate changed within a call");
    if (this.#ownFingerprint !== undefined && equal(fingerprint, this.#ownFingerprint)) throw refuse("key_alarm", "the other side shows this side's own certificate");
    this.#theirFingerprint = fingerprint;
    return text(cleanDescription(m.sdp, this.#o.relayOnly));
  }

  /** What of an own description is sent, with what is signed beside it. */
  #describe(type: 2 | 3, sdp: string, generation: number): Extract<SessionMessage, { type: 2 | 3 }> {
    const clean = cleanDescription(new TextEncoder().encode(sdp), this.#o.relayOnly);
    const p = parseSdp(clean);
    this.#ownFingerprint = p.fingerprint;
    this.#ufrags.set(p.ufrag, generation);
    return { type, sdp: clean, fingerprint: p.fingerprint, ufrag: p.ufrag, setup: p.setup, generation };
  }

  /** The first offer, of the side that rang. */
  async offer(): Promise<SessionMessage> {
    this.#offered = 0;
    return this.#describe(SessionType.offer, await this.#peer!.createOffer(), 0);
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
        if (this.#o.relayOnly && c.type !== "relay") return;
      } catch {
        if (this.#o.relayOnly || !isNamed(line)) return; // a line that cannot be used changes nothing
      }
    }
    await this.#peer?.addCandidate(line?.replace(/^a=/, ""));
  }

  async #addEarly(): Promise<void> {
    for (const e of this.#early.splice(0)) await this.#candidate(e.line, e.generation);
  }

  // ---- A new path ----

  #mayTry(): boolean {
    const now = this.#o.client.now();
    if (now - this.#triedMs < restartMs) return false;
    this.#triedMs = now;
    return true;
  }

  /** Restarts with all ports of the relay where no path has been found by then. */
  #lookAgain(ms: number): void {
    this.#o.order.later(ms, async () => {
      if (this.#o.phase() !== "connecting" || this.#pathUp) return;
      await this.#restart(this.#offered > this.#taken ? [] : await this.#relay(true));
      this.#lookAgain(restartMs);
    });
  }

  /** Only the side that offered first offers, so that two restarts do not cross: the other asks it to. */
  async #seek(): Promise<void> {
    if (!this.#mayTry()) return;
    if (this.#o.session.role !== Role.initiator) return quiet(this.#o.post.send({ type: SessionType.restart, generation: this.#taken }));
    if (this.#offered > this.#taken) return this.#restart([]);
    // What broke the path may have broken the way to the own node as well: nothing else waits for its relay, and when the
    // node is back one restart follows, however many were due meanwhile.
    if (this.#asking) return;
    this.#asking = true;
    this.#o.client.background("ask for the relay", async () => {
      const servers = await this.#relay(true).finally(() => { this.#asking = false; });
      this.#o.order.do(async () => { if (!this.#ended) await this.#restart(servers); });
    });
  }

  async #restart(servers: readonly IceServer[]): Promise<void> {
    if (this.#offered > this.#taken) {
      if (this.#pendingOffer !== undefined) await quiet(this.#o.post.send(this.#pendingOffer));
      return;
    }
    this.#peer!.setServers(servers);
    this.#offered++;
    this.#pendingOffer = this.#describe(SessionType.offer, await this.#peer!.restart(), this.#offered);
    await quiet(this.#o.post.send(this.#pendingOffer));
  }

  // ---- A fresh section ----

  /** The other side has not opened what came in a slot, and asks for a fresh section: once for each slot. */
  #asked(slot: number): void {
    if (!this.#o.renews || this.#o.session.role !== Role.initiator || this.media?.renew(slot, "seal") !== true) throw refuse("malformed", "a fresh section out of turn");
    this.#renew();
  }

  /** Offers what the media make anew, until an answer to an offer that has it is here. */
  #renew(): void {
    const due = this.#offered + 1;
    const offer = (): void => this.#o.order.do(async () => {
      if (this.#ended || this.#taken >= due) return;
      await this.#seek();
      this.#o.order.after(restartMs, offer);
    });
    offer();
  }

  async #onPath(up: boolean): Promise<void> {
    this.#pathUp = up;
    if (up) {
      if (this.#brokenMs !== undefined) {
        this.#brokenMs = undefined;
        this.media?.hold(false);
        this.#o.path();
      }
      return;
    }
    if (this.#o.phase() !== "live" || this.#brokenMs !== undefined) return;
    // Whoever is shown that there is no connection does not expect to be seen and heard.
    this.media?.hold(true);
    // The library says so some seconds after the last packet.
    const report = await this.stats();
    const broken = this.#brokenMs = this.#o.client.now() - (report === undefined ? 0 : Math.min(silenceOf(report), mostSilenceMs));
    const mend = () => this.#o.order.do(async () => {
      if (this.#brokenMs !== broken || this.#o.phase() !== "live") return;
      this.#o.path();
      if (this.#o.client.now() - broken > (this.#o.media === 0 ? filesGivenUpMs : pathGivenUpMs)) throw refuse("unreachable", "the connection broke and did not come back");
      await this.#seek();
      // The last try may have been made in doubt, before the path was given up.
      this.#o.order.after(restartMs - (this.#o.client.now() - this.#triedMs), mend);
    });
    mend();
  }
}
