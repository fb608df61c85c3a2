// Sound and pictures of a room in a browser: by which way they go, and what of them may be shown (docs/spec/rooms.md,
// section 10). Nothing is taken away before the other way works: this side publishes to the SFU beside the mesh, shows
// each other member from where its frames open first, and says so; who has said SFU gets nothing over the mesh any more.

import { TrunklineError } from "../errors.ts";
import { RoomLegEventKind, RoomLegKind, type RoomLegEvent } from "../link/roomframes.ts";
import type { Wire } from "../link/wire.ts";
import type { Lender } from "../call/connection.ts";
import { kinds, type CallMedia, type SlotName } from "../call/media.ts";
import type { Leg } from "../call/route.ts";
import { browserPeer } from "../call/webrtc.ts";
import { localKeys, type KeyCaller } from "./ring.ts";
import { RoomFrames } from "./frames.ts";
import { Forwarded } from "./forwarded.ts";
import { SfuLeg } from "./leg.ts";
import { Way, type RoomMessageInit } from "./message.ts";
import { heldBack, needMessage, OwnNeeds, sameNeed, wordOf, youngMs, type Word } from "./needs.ts";
import { wanted } from "./wanted.ts";
import { beginsAnew, Pair } from "./pair.ts";
import { decide, firstNeed, inMesh, mayStandIn, wordFor, type Need, type Promotion } from "./promotion.ts";
import { brings, countFrames, newOther, qualityFrom, readOnce, slotOf, tilesOf, type Other } from "./shown.ts";
import type { Member } from "./stay.ts";
import type { Published, PublishOptions, Quality, RoomRoute, Tile, Topology, TopologyState, Wants } from "./types.ts";

const legPauseMs = 2_000;
const tickMs = 1_000;
/** How long the slots that come over the mesh are waited for on the SFU once one of them is there. */
const allSlotsMs = 3_000;
/** How long what still comes over the SFU alone keeps this side there when nobody else does. */
const lingerMs = 10_000;
/** How long two that should be connected may take. */
const pairMs = 15_000;

export interface MediaOwner {
  readonly relayOnly: boolean;
  /** The own node; undefined: there is none. */
  readonly home: Lender | undefined;
  readonly worker: (() => Worker) | undefined;
  now(): number;
  after(ms: number, f: () => void): () => void;
  wire(): Wire | undefined;
  /** How many are in, ourselves among them, by the node's word, until all of them are known; 0 after that. */
  expected(): number;
  /** Seals a message for a member; what fails ends the stay. */
  say(m: Member, msg: RoomMessageInit): void;
  changed(): void;
  moved(): void;
  /** The own index; 0 without a place. */
  me(): number;
  alarm(what: "frames" | "certificate"): void;
  /** A member says that it ended its connection with an alarm. */
  told(index: number): void;
  failed(why: TrunklineError): void;
}

export class RoomMedia {
  readonly keys: KeyCaller;
  readonly #o: MediaOwner;
  readonly #frames: RoomFrames | undefined;
  readonly #others = new Map<number, Other>();
  readonly #own = new Map<SlotName, { readonly track: MediaStreamTrack; readonly text: boolean }>();
  #wants: Wants | undefined;
  #leg: SfuLeg | undefined;
  #legWay: Leg = "direct";
  #legReport: RTCStatsReport | undefined;
  #legQuality: Quality | undefined; // of all who come over it
  readonly #forwarded = new Forwarded();
  #legDueMs = -Infinity; // not before, after one that ended
  #standsIn = false; // the mesh does, while there is no leg
  #lingersMs: number | undefined;
  readonly #needs = new Map<number, Need>(); // by whoever said it
  readonly #ownNeeds = new OwnNeeds();
  #saidNeed: Need | undefined;
  #promotion: Promotion = inMesh;
  #setting: Topology = "auto";
  #limit = 4;
  #sfu = false;
  #node = "";
  #inside = false;
  #sinceMs = 0;
  #cancelTick: () => void = () => undefined;
  #speaking = false;
  #order: readonly number[] = [];
  #closed = false;

  constructor(o: MediaOwner) {
    this.#o = o;
    this.#frames = o.worker === undefined ? undefined : new RoomFrames(o.worker(), (why) => o.failed(why));
    this.keys = this.#frames?.keys ?? localKeys();
    this.#sinceMs = o.now();
  }

  /** A stay begins, or its card changed. */
  configure(o: { readonly topology: Topology; readonly limit: number; readonly sfu: boolean; readonly node: string; readonly inside: boolean }): void {
    this.#setting = o.topology;
    this.#limit = o.limit;
    this.#sfu = o.sfu;
    this.#node = o.node;
    this.#inside = o.inside;
    this.#look();
    if (this.#frames !== undefined && !this.#closed) this.#tick();
  }

  #tick(): void {
    this.#cancelTick();
    this.#cancelTick = this.#o.after(tickMs, () => {
      this.#look();
      void this.#measure().finally(() => { if (!this.#closed) this.#tick(); });
    });
  }

  // ---- Who is here ----

  came(m: Member): void {
    const o = newOther(m);
    this.#others.set(m.index, o);
    for (const slot of this.#forwarded.of(m.index)) slotOf(o, slot).published = true;
    this.#look();
    if (this.#meshDue) this.#connect(o);
  }

  went(index: number): void {
    const o = this.#others.get(index);
    if (o === undefined) return;
    this.#others.delete(index);
    this.#needs.delete(index);
    this.#ownNeeds.gone(index);
    o.waiting?.();
    o.pair?.close();
    this.#look();
  }

  /** All of a stay's are gone; the next one begins anew. */
  reset(): void {
    this.#inside = false;
    this.#cancelTick();
    for (const i of [...this.#others.keys()]) this.went(i);
    this.#endLeg();
    this.#needs.clear();
    this.#ownNeeds.reset();
    this.#saidNeed = undefined;
    this.#promotion = inMesh;
    this.#standsIn = false;
    this.#legDueMs = -Infinity;
  }

  /** asks: the other side may have to be told that there is to be a connection again. */
  #connect(o: Other, asks = false): void {
    const { session } = o.member;
    if (this.#frames === undefined || o.pair !== undefined || session === undefined) return;
    const frames = this.#frames;
    o.pair = new Pair({
      session, asks, relayOnly: this.#o.relayOnly, home: this.#o.home, peer: browserPeer({ frames: () => frames.port(o.member.index) }), now: () => this.#o.now(), after: (ms, f) => this.#o.after(ms, f),
      wire: () => this.#o.wire(), say: async (message) => this.#o.say(o.member, { case: "connection", value: { message } }), changed: () => this.#o.changed(),
      alarm: (why) => (why.code === "peer_alarm" ? this.#o.told(o.member.index) : this.#o.alarm(why.code === "binding" ? "certificate" : "frames")),
      onBound: (media) => this.#bound(o, media),
    });
  }

  #bound(o: Other, media: CallMedia | undefined): void {
    o.pairMedia = media;
    for (const s of o.slots.values()) s.mesh = undefined;
    if (media !== undefined) {
      o.boundMs = this.#o.now();
      for (const [slot, track] of media.tracks) slotOf(o, slot).mesh = track;
      media.onTrack = (slot, track) => {
        slotOf(o, slot).mesh = track;
        this.#o.changed();
      };
      media.onAdapted = () => this.#o.changed();
      for (const [slot, { track }] of this.#own) this.#quietly(media.send(slot, track));
      this.#follow(o);
      this.#maybeEndLeg();
    }
    this.#o.changed();
  }

  /** A browser that does not send what it should ends its connection, which is made again. */
  #quietly(work: Promise<void>): void { work.catch(() => undefined); }

  /** A message of the pair's connection. */
  heard(m: Member, raw: Uint8Array<ArrayBuffer>): void {
    const o = this.#others.get(m.index);
    if (o === undefined) return;
    // The other side wants the mesh, and noticed first.
    if (o.pair === undefined && beginsAnew(raw)) this.#connect(o);
    o.pair?.heard(raw);
  }

  /** A member says that it sends something: then it has connections as well. */
  sends(index: number): void { this.#others.get(index)?.pair?.revive(); }

  /** How a member gets what we send. */
  gotWay(m: Member, kind: number): void {
    const o = this.#others.get(m.index);
    if (o === undefined) return;
    o.getsSfu = kind === Way.sfu;
    this.#follow(o);
    this.#maybeEndPair(o);
    this.#maybeEndLeg();
  }

  // ---- What anybody needs the SFU for ----

  /** What a member says that it needs. */
  gotNeed(index: number, need: Need | undefined): void {
    if (need === undefined) this.#needs.delete(index);
    else this.#needs.set(index, need);
    this.#look();
  }

  /** Our own, for whoever comes. */
  get need(): Need | undefined { return this.#saidNeed; }

  /** Copies that a mesh has to be sent: others who are in, times slots. */
  get #copies(): number { return this.#others.size * this.#own.size; }

  #lookAtNeeds(): void {
    const now = this.#o.now();
    for (const [index, { pair }] of this.#others) {
      if (!this.#promotion.up && pair?.failingSinceMs !== undefined && now - pair.failingSinceMs >= pairMs) this.#ownNeeds.pair(index);
    }
    this.#ownNeeds.copies(this.#copies);
    const { first } = this.#ownNeeds;
    if (sameNeed(first, this.#saidNeed)) return;
    this.#saidNeed = first;
    for (const { member } of this.#others.values()) this.#o.say(member, needMessage(first));
  }

  /** What is needed by somebody who is in, of somebody who is. */
  *#needed(): Iterable<readonly [number, Need]> {
    for (const [of, n] of this.#needs) {
      if (this.#others.has(of) && (n.cause !== "pair" || n.with === this.#o.me() || this.#others.has(n.with))) yield [of, n];
    }
    if (this.#saidNeed !== undefined) yield [this.#o.me(), this.#saidNeed];
  }

  // ---- Mesh, SFU and back ----

  /** What is to be sent and heard over the mesh: always but over the SFU, and there while this side has no leg. */
  get #meshDue(): boolean { return !this.#promotion.up || this.#standsIn; }

  /** Asked when somebody came or went, and each second. */
  #look(): void {
    if (this.#closed || !this.#inside || this.#frames === undefined) return;
    this.#lookAtNeeds();
    const was = this.#promotion;
    const now = this.#o.now();
    const count = Math.max(this.#others.size + 1, this.#o.expected());
    this.#promotion = decide(was, now, { topology: this.#setting, limit: this.#limit, sfu: this.#sfu, count, needs: this.#needed() });
    const { up } = this.#promotion;
    if (up !== was.up) {
      this.#sinceMs = now;
      this.#standsIn = false;
      this.#o.moved();
      // A connection that was begun and is needed no more.
      if (up) for (const o of this.#others.values()) this.#maybeEndPair(o);
    }
    if (up && this.#leg === undefined && now >= this.#legDueMs) this.#beginLeg();
    for (const o of this.#others.values()) {
      // The mesh first; the leg ends when everybody has it.
      if (was.up && !up) this.#connect(o, true);
      this.#follow(o);
    }
    this.#want();
    this.#maybeEndLeg();
  }

  /** Brings a member's media to the way that it is to come, once that way works. */
  #follow(o: Other): void {
    o.pairMedia?.hold(heldBack({ sfu: o.getsSfu, broken: o.pair?.broken === true }, this.#promotion.up, this.#saidNeed));
    // Whoever has left the SFU before us, or lost its leg, is heard over the mesh.
    const left = o.viaSfu && [...o.slots.values()].every((s) => s.sfu === undefined);
    if (!this.#meshDue && !left) return this.#mayHearOverSfu(o);
    if (o.viaSfu && o.pair?.bound === true) this.#hearOverMesh(o);
  }

  #beginLeg(): void {
    const frames = this.#frames!;
    const leg: SfuLeg = new SfuLeg({
      port: frames.port(0),
      wire: () => {
        const w = this.#o.wire();
        if (w === undefined) throw new TrunklineError("unreachable", "the room's node cannot be reached at the moment");
        return w;
      },
      onTrack: (of, slot, track) => this.#overSfu(of, slot, track),
      onGone: (of, slot) => {
        const s = this.#others.get(of)?.slots.get(slot);
        if (s !== undefined) s.sfu = undefined;
        this.#o.changed();
      },
      onUp: (up) => {
        if (up) {
          this.#standsIn = false;
          void leg.way().then((w) => { this.#legWay = w; this.#o.changed(); }, () => undefined); // closed meanwhile
          if (this.#speaking) this.#saySpeaking();
        }
        this.#o.changed();
      },
      onEvent: (e, stream) => this.#legEvent(e, stream),
      onFailed: (why) => {
        if (this.#leg !== leg) return;
        if (why.code === "key_alarm") this.#o.alarm("frames");
        this.#endLeg();
        this.#legDueMs = this.#o.now() + legPauseMs;
        this.#legLost();
      },
    });
    this.#leg = leg;
    for (const [slot, { track, text }] of this.#own) this.#quietly(leg.send(slot, track, text));
  }

  #endLeg(): void {
    this.#lingersMs = undefined;
    const leg = this.#leg;
    if (leg === undefined) return;
    this.#leg = undefined;
    this.#forwarded.clear();
    leg.close();
    for (const o of this.#others.values()) for (const s of o.slots.values()) {
      s.sfu = undefined;
      s.published = false;
      s.withheld = undefined;
    }
    const w = this.#o.wire();
    if (w?.ended === undefined) w?.send({ case: "roomLeg", value: { kind: RoomLegKind.end } });
    this.#o.changed();
  }

  #want(): void {
    if (this.#leg === undefined) return;
    const sends = (of: number, slot: SlotName) => {
      const s = this.#others.get(of)?.slots.get(slot);
      return s !== undefined && (s.published || s.mesh !== undefined || s.sfu !== undefined);
    };
    this.#leg.want(wanted([...this.#others.keys()].sort((a, b) => a - b), sends, this.#wants), this.#wants?.lastN ?? 0);
  }

  /** The first frame of somebody's slot has opened that came over the SFU. */
  #overSfu(of: number, slot: SlotName, track: MediaStreamTrack): void {
    const o = this.#others.get(of);
    if (o === undefined) return;
    slotOf(o, slot).sfu = track;
    this.#o.changed();
    this.#follow(o);
  }

  /** Says SFU as soon as all slots that come over the mesh come over it as well, or a while after the first one did. */
  #mayHearOverSfu(o: Other): void {
    const slots = [...o.slots.values()];
    if (o.viaSfu || slots.every((s) => s.sfu === undefined)) return;
    if (slots.every((s) => s.mesh === undefined || s.sfu !== undefined)) return this.#hearOverSfu(o);
    o.waiting ??= this.#o.after(allSlotsMs, () => this.#hearOverSfu(o));
  }

  #hearOverSfu(o: Other): void {
    o.waiting?.();
    o.waiting = undefined;
    if (this.#others.get(o.member.index) !== o || this.#meshDue || this.#leg === undefined || o.viaSfu) return;
    o.viaSfu = true;
    this.#o.say(o.member, { case: "way", value: { kind: Way.sfu } });
    this.#maybeEndPair(o);
    this.#o.changed();
  }

  #hearOverMesh(o: Other): void {
    o.viaSfu = false;
    this.#o.say(o.member, { case: "way", value: { kind: Way.mesh } });
  }

  /** Ends a connection of the mesh over which neither side gets anything. */
  #maybeEndPair(o: Other): void {
    if (!this.#promotion.up || o.pair === undefined || !o.getsSfu || !o.viaSfu) return;
    const { pair } = o;
    o.pair = undefined;
    pair.close();
  }

  /** Leaves the SFU when nobody needs it: we hear all others over the mesh, and they us. */
  #maybeEndLeg(): void {
    if (this.#promotion.up || this.#leg === undefined) return;
    const now = this.#o.now();
    for (const o of this.#others.values()) {
      // Of whom nothing comes and who gets nothing, as one without sound and picture, nobody waits.
      if (o.viaSfu || o.getsSfu || (brings(o) && o.pair?.bound !== true)) return void (this.#lingersMs = undefined);
    }
    this.#lingersMs ??= now;
    // What is shown comes from the mesh by now, but for what is not sent there.
    const only = [...this.#others.values()].some((o) => [...o.slots.values()].some((s) => s.sfu !== undefined && s.still === 0 && s.mesh === undefined));
    if (!only || now - this.#lingersMs >= lingerMs) this.#endLeg();
  }

  /** Back to the mesh for as long as there is no leg, unless more are here than any mesh is for: they wait for the next one. */
  #legLost(): void {
    if (!mayStandIn(this.#others.size + 1)) return;
    this.#standsIn = true;
    for (const o of this.#others.values()) {
      if (o.viaSfu) this.#hearOverMesh(o);
      this.#connect(o, true);
    }
  }

  legEvent(v: { readonly event: RoomLegEvent | undefined }): void {
    if (v.event !== undefined) this.#leg?.event(v.event);
  }

  #legEvent(e: RoomLegEvent, stream: { readonly of: number; readonly slot: SlotName } | undefined): void {
    if (e.kind === RoomLegEventKind.speaker) this.#order = e.order;
    if (stream === undefined) return;
    if (e.kind === RoomLegEventKind.published) this.#forwarded.add(stream.of, stream.slot);
    if (e.kind === RoomLegEventKind.unpublished) this.#forwarded.delete(stream.of, stream.slot);
    const o = this.#others.get(stream.of);
    if (o === undefined) return;
    if (e.kind === RoomLegEventKind.published) slotOf(o, stream.slot).published = true;
    const s = o.slots.get(stream.slot);
    if (s !== undefined && e.kind === RoomLegEventKind.unpublished) {
      s.published = false;
      s.sfu = undefined;
      this.#leg?.ended(stream.of, stream.slot);
      this.#follow(o);
    }
    if (s !== undefined && e.kind === RoomLegEventKind.allocated) s.withheld = e.sent ? undefined : e.reason === "bandwidth" ? "bandwidth" : "us";
    if (e.kind !== RoomLegEventKind.allocated) this.#want();
    this.#o.changed();
  }

  // ---- What goes out ----

  async publish(slot: SlotName, track: MediaStreamTrack, o: PublishOptions = {}): Promise<void> {
    if (track.kind !== kinds[slot]) throw new TrunklineError("malformed", "a track of another kind");
    const text = slot === "screen" && o.content !== "motion";
    if (track.kind === "video") track.contentHint = slot === "screen" ? (text ? "detail" : "motion") : "motion";
    this.#own.set(slot, { track, text });
    await this.#put(slot, track, text);
  }

  async unpublish(slot: SlotName): Promise<void> {
    if (!this.#own.delete(slot)) return;
    await this.#put(slot, null, false);
  }

  async #put(slot: SlotName, track: MediaStreamTrack | null, text: boolean): Promise<void> {
    await Promise.all([...[...this.#others.values()].map((o) => o.pairMedia?.send(slot, track)), this.#leg?.send(slot, track, text)]);
    this.#o.changed();
  }

  published(): Published[] {
    const hindered = [...this.#others.values()].map((o) => o.pairMedia?.adapted).find((a) => a !== undefined && a.why !== undefined);
    return [...this.#own].map(([slot, { track }]) => ({ slot, track, adapted: hindered }));
  }

  setWants(w: Wants): void {
    this.#wants = w;
    this.#want();
  }

  setSpeaking(on: boolean): void {
    if (on === this.#speaking) return;
    this.#speaking = on;
    this.#saySpeaking();
    this.#o.changed();
  }

  #saySpeaking(): void {
    const w = this.#o.wire();
    if (this.#leg?.up === true && w?.ended === undefined) w?.send({ case: "roomLeg", value: { kind: RoomLegKind.speaking, speaking: this.#speaking } });
  }

  // ---- What is shown ----

  /** sends: what somebody says that it sends; undefined: it does not say. */
  tiles(sends: (index: number) => ReadonlySet<SlotName> | undefined): Tile[] {
    return [...this.#others].sort(([a], [b]) => a - b).flatMap(([index, o]) => tilesOf(o, sends(index), this.#promotion.up));
  }

  facts(index: number): { readonly connected: boolean; readonly route: RoomRoute | undefined; readonly quality: Quality | undefined; readonly speaking: boolean } {
    const o = this.#others.get(index);
    if (o === undefined) return { connected: false, route: undefined, quality: undefined, speaking: this.#speaking };
    // What somebody sends who sends nothing just now would come over the SFU as well.
    const sfu = (o.viaSfu || (this.#promotion.up && !brings(o))) && this.#leg?.up === true;
    const route: RoomRoute | undefined = sfu ? { over: "sfu", node: this.#node, leg: this.#legWay } : o.pair?.bound === true && o.pair.route !== undefined ? { over: "mesh", route: o.pair.route } : undefined;
    const broken = o.pair?.broken === true && !sfu;
    return { connected: sfu || o.pair?.bound === true, route, speaking: o.speaking, quality: broken ? { word: "lost", rttMs: undefined, loss: undefined, kbps: undefined } : o.quality };
  }

  topology(): TopologyState {
    const { up, reason } = this.#promotion;
    // A connection of the mesh still carries something.
    const carries = (o: Other) => o.pairMedia !== undefined && (!o.getsSfu || (!o.viaSfu && [...o.slots.values()].some((s) => s.mesh !== undefined)));
    const need = up ? undefined : firstNeed(this.#needed());
    const about = up ? reason : need;
    return {
      mode: up ? "sfu" : "mesh", moving: up ? [...this.#others.values()].some(carries) || this.#leg?.up !== true : this.#leg !== undefined, setting: this.#setting,
      ...wordFor(reason, this.#setting, this.#sfu, need !== undefined || this.#others.size + 1 > this.#limit),
      of: about?.of, with: about?.with, unmet: need?.why as TopologyState["unmet"],
      sinceMs: this.#sinceMs, limit: this.#limit, node: this.#node,
    };
  }

  /** Who spoke last, first. */
  speakers(): number[] {
    const now = [...this.#others].filter(([, o]) => o.speaking).map(([i]) => i);
    return [...now, ...this.#order.filter((i) => !now.includes(i) && this.#others.has(i))];
  }

  // ---- Measures ----

  async stats(index: number | undefined): Promise<RTCStatsReport | undefined> {
    if (index === undefined) return this.#leg?.stats();
    const o = this.#others.get(index);
    return o?.viaSfu === true ? this.#leg?.stats() : o?.pair?.stats();
  }

  async #measure(): Promise<void> {
    const leg = this.#leg;
    const sfu = leg?.newest === this.#legReport ? undefined : leg?.newest;
    if (sfu !== undefined) this.#legQuality = qualityFrom(this.#legReport, sfu);
    const words: Word[] = [];
    for (const [index, o] of this.#others) {
      const mesh = await o.pair?.stats().then((r) => r && readOnce(r), () => undefined); // closed meanwhile
      const before = o.report;
      if (o.viaSfu) o.quality = this.#legQuality;
      else if (mesh !== undefined) o.quality = qualityFrom(before, mesh);
      o.report = mesh;
      countFrames(o, { mesh, sfu }, this.#promotion.up, (slot) => leg?.midOf(index, slot));
      const word = mesh === undefined || o.viaSfu || o.getsSfu ? undefined : wordOf(before, mesh);
      if (word !== undefined) words.push(word);
    }
    this.#legReport = leg?.newest;
    const now = this.#o.now();
    const measures = !this.#promotion.up && leg === undefined && [...this.#others.values()].every((o) => o.pairMedia === undefined || now - o.boundMs >= youngMs);
    if (measures) this.#ownNeeds.look(words, this.#copies);
    else this.#ownNeeds.pause();
    this.#o.changed();
  }

  close(): void {
    this.reset();
    this.#closed = true;
    this.#frames?.close();
  }
}
