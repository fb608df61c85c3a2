// Sound and pictures of a room in a browser: by which way they go, and what of them may be shown (docs/spec/rooms.md,
// section 10). Nothing is taken away before the other way works: this side publishes to the SFU beside the mesh, shows
// each other member from where its frames open first, and says so; who has said SFU gets nothing over the mesh any more.

import { TrunklineError } from "../errors.ts";
import { RoomLegEventKind, RoomLegKind, type RoomLegEvent } from "../link/roomframes.ts";
import type { Wire } from "../link/wire.ts";
import { kinds, slotNames, type CallMedia, type SlotName } from "../call/media.ts";
import { qualityOf } from "../call/quality.ts";
import type { Leg } from "../call/route.ts";
import { browserPeer } from "../call/webrtc.ts";
import { localKeys, type KeyCaller } from "./ring.ts";
import { RoomFrames } from "./frames.ts";
import { SfuLeg, type Stream } from "./leg.ts";
import { Way, type RoomMessageInit } from "./message.ts";
import { offersAnew, Pair } from "./pair.ts";
import { decide, inMesh, type Promotion } from "./promotion.ts";
import type { Member } from "./stay.ts";
import type { Published, PublishOptions, Quality, RoomRoute, Tile, Topology, TopologyState, Wants } from "./types.ts";

const legPauseMs = 2_000;
const tickMs = 1_000;
/** How long the slots that come over the mesh are waited for on the SFU once one of them is there. */
const allSlotsMs = 1_500;
/** A picture of which nothing is decoded for so many looks comes no more. */
const stillLooks = 3;
/** The share of a quiet room: louder than this somebody speaks. */
const speakingLevel = 0.01;

export interface MediaOwner {
  readonly relayOnly: boolean;
  readonly worker: (() => Worker) | undefined;
  now(): number;
  after(ms: number, f: () => void): () => void;
  wire(): Wire | undefined;
  /** Seals a message for a member; what fails ends the stay. */
  say(m: Member, msg: RoomMessageInit): void;
  changed(): void;
  moved(): void;
  alarm(what: "frames" | "certificate"): void;
  failed(why: TrunklineError): void;
}

interface Source { readonly track: MediaStreamTrack; readonly over: "mesh" | "sfu" }

/** What is known of one slot of somebody. */
interface SlotState {
  mesh: MediaStreamTrack | undefined;
  sfu: MediaStreamTrack | undefined;
  /** The SFU has it, by its own account. */
  published: boolean;
  /** Why the SFU sends nothing of it. */
  withheld: "bandwidth" | "us" | undefined;
  frames: number;
  still: number;
  width: number | undefined;
  height: number | undefined;
  fps: number | undefined;
  codec: Tile["codec"];
}

/** Somebody else, as far as media is concerned. */
interface Other {
  readonly member: Member;
  pair: Pair | undefined;
  pairMedia: CallMedia | undefined;
  /** We get its media over the SFU, and have said so. */
  viaSfu: boolean;
  /** It gets ours over the SFU. */
  getsSfu: boolean;
  waiting: (() => void) | undefined;
  readonly slots: Map<SlotName, SlotState>;
  quality: Quality | undefined;
  speaking: boolean;
  report: RTCStatsReport | undefined;
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
  #cancelLeg: () => void = () => undefined;
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
    const o: Other = { member: m, pair: undefined, pairMedia: undefined, viaSfu: false, getsSfu: false, waiting: undefined, slots: new Map(), quality: undefined, speaking: false, report: undefined };
    this.#others.set(m.index, o);
    this.#look();
    if (!this.#promotion.up) this.#connect(o);
  }

  went(index: number): void {
    const o = this.#others.get(index);
    if (o === undefined) return;
    this.#others.delete(index);
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
    this.#promotion = inMesh;
  }

  #connect(o: Other): void {
    const { session } = o.member;
    if (this.#frames === undefined || o.pair !== undefined || session === undefined) return;
    const frames = this.#frames;
    o.pair = new Pair({
      session, relayOnly: this.#o.relayOnly, peer: browserPeer({ frames: () => frames.port(o.member.index) }), now: () => this.#o.now(), after: (ms, f) => this.#o.after(ms, f),
      wire: () => this.#o.wire(), say: async (message) => this.#o.say(o.member, { case: "connection", value: { message } }), changed: () => this.#o.changed(),
      alarm: (why) => this.#o.alarm(why.code === "binding" ? "certificate" : "frames"),
      onBound: (media) => this.#bound(o, media),
    });
  }

  #bound(o: Other, media: CallMedia | undefined): void {
    o.pairMedia = media;
    for (const s of o.slots.values()) s.mesh = undefined;
    if (media !== undefined) {
      for (const [slot, track] of media.tracks) this.#slot(o, slot).mesh = track;
      media.onTrack = (slot, track) => {
        this.#slot(o, slot).mesh = track;
        this.#o.changed();
      };
      media.onAdapted = () => this.#o.changed();
      media.hold(o.getsSfu);
      for (const [slot, { track }] of this.#own) this.#quietly(media.send(slot, track));
      if (!this.#promotion.up && o.viaSfu) this.#hearOverMesh(o);
      this.#maybeEndLeg();
    }
    this.#o.changed();
  }

  /** A browser that does not send what it should ends its connection, which is made again. */
  #quietly(work: Promise<void>): void { work.catch(() => undefined); }

  #slot(o: Other, slot: SlotName): SlotState {
    let s = o.slots.get(slot);
    if (s === undefined) o.slots.set(slot, s = { mesh: undefined, sfu: undefined, published: false, withheld: undefined, frames: 0, still: 0, width: undefined, height: undefined, fps: undefined, codec: undefined });
    return s;
  }

  /** A message of the pair's connection. */
  heard(m: Member, raw: Uint8Array<ArrayBuffer>): void {
    const o = this.#others.get(m.index);
    if (o === undefined) return;
    // The other side wants the mesh, and noticed first.
    if (o.pair === undefined && offersAnew(raw)) this.#connect(o);
    o.pair?.heard(raw);
  }

  /** How a member gets what we send. */
  gotWay(m: Member, kind: number): void {
    const o = this.#others.get(m.index);
    if (o === undefined) return;
    o.getsSfu = kind === Way.sfu;
    o.pairMedia?.hold(o.getsSfu);
    this.#maybeEndPair(o);
    this.#maybeEndLeg();
  }

  // ---- Mesh, SFU and back ----

  /** Asked when somebody came or went, and each second. */
  #look(): void {
    if (this.#closed || !this.#inside || this.#frames === undefined) return;
    const was = this.#promotion.up;
    this.#promotion = decide(this.#promotion, this.#o.now(), { topology: this.#setting, limit: this.#limit, sfu: this.#sfu, count: this.#others.size + 1 });
    const { up } = this.#promotion;
    if (up !== was) {
      this.#sinceMs = this.#o.now();
      this.#o.moved();
    }
    if (up && this.#leg === undefined) this.#beginLeg();
    // The mesh first; the leg ends when everybody has it.
    if (!up && was) for (const o of this.#others.values()) this.#connect(o);
    this.#want();
    this.#maybeEndLeg();
  }

  #beginLeg(): void {
    this.#cancelLeg();
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
        if (up) void leg.way().then((w) => { this.#legWay = w; this.#o.changed(); }, () => undefined);
        this.#o.changed();
      },
      onEvent: (e, stream) => this.#legEvent(e, stream),
      onFailed: (why) => {
        if (this.#leg !== leg) return;
        if (why.code === "key_alarm") this.#o.alarm("frames");
        this.#endLeg();
        this.#legLost();
        this.#cancelLeg = this.#o.after(legPauseMs, () => this.#look());
      },
    });
    this.#leg = leg;
    for (const [slot, { track, text }] of this.#own) this.#quietly(leg.send(slot, track, text));
  }

  #endLeg(): void {
    this.#cancelLeg();
    const leg = this.#leg;
    if (leg === undefined) return;
    this.#leg = undefined;
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

  /** What is wanted of the SFU: of everybody sound, and of the pictures those that are on the screen. */
  #want(): void {
    if (this.#leg === undefined) return;
    const streams: Stream[] = [];
    const ids = [...this.#others.keys()].sort((a, b) => a - b);
    for (const of of ids) streams.push({ of, slot: "microphone", priority: 255, height: 0, paused: false });
    for (const of of ids) if (this.#others.get(of)!.slots.get("screenAudio")?.published === true) streams.push({ of, slot: "screenAudio", priority: 255, height: 0, paused: false });
    const w = this.#wants;
    if (w === undefined) {
      for (const of of ids) streams.push({ of, slot: "camera", priority: 0, height: 0, paused: false });
      for (const of of ids) if (this.#others.get(of)!.slots.get("screen")?.published === true) streams.push({ of, slot: "screen", priority: 1, height: 0, paused: false });
    } else {
      w.tiles.forEach((t, i) => {
        if (this.#others.has(t.person) && !streams.some((s) => s.of === t.person && s.slot === t.slot)) {
          streams.push({ of: t.person, slot: t.slot, priority: (t.pinned === true ? 128 : 0) + Math.max(100 - i, 0), height: Math.round(t.height), paused: false });
        }
      });
    }
    this.#leg.want(streams.slice(0, 150), w?.lastN ?? 0);
  }

  /** The first frame of somebody's slot has opened that came over the SFU. */
  #overSfu(of: number, slot: SlotName, track: MediaStreamTrack): void {
    const o = this.#others.get(of);
    if (o === undefined) return;
    this.#slot(o, slot).sfu = track;
    this.#o.changed();
    if (!this.#promotion.up || o.viaSfu) return;
    const all = () => [...o.slots.values()].every((s) => s.mesh === undefined || s.sfu !== undefined);
    if (all()) return this.#hearOverSfu(o);
    o.waiting ??= this.#o.after(allSlotsMs, () => this.#hearOverSfu(o));
  }

  #hearOverSfu(o: Other): void {
    o.waiting?.();
    o.waiting = undefined;
    if (this.#others.get(o.member.index) !== o || !this.#promotion.up || this.#leg === undefined || o.viaSfu) return;
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
    for (const o of this.#others.values()) {
      // Of whom nothing comes and who gets nothing, as one without sound and picture, nobody waits.
      if (o.viaSfu || o.getsSfu || (o.slots.size > 0 && o.pair?.bound !== true)) return;
      // What is shown comes from the mesh by now.
      if ([...o.slots.values()].some((s) => s.sfu !== undefined && s.still === 0 && s.mesh === undefined)) return;
    }
    this.#endLeg();
  }

  /** Back to the mesh for as long as there is no leg. */
  #legLost(): void {
    for (const o of this.#others.values()) {
      if (o.viaSfu) this.#hearOverMesh(o);
      this.#connect(o);
    }
  }

  legEvent(v: { readonly event: RoomLegEvent | undefined }): void {
    if (v.event !== undefined) this.#leg?.event(v.event);
  }

  #legEvent(e: RoomLegEvent, stream: { readonly of: number; readonly slot: SlotName } | undefined): void {
    if (e.kind === RoomLegEventKind.speaker) this.#order = e.order;
    const o = stream === undefined ? undefined : this.#others.get(stream.of);
    if (stream === undefined || o === undefined) return;
    const s = this.#slot(o, stream.slot);
    if (e.kind === RoomLegEventKind.published) s.published = true;
    if (e.kind === RoomLegEventKind.unpublished) s.published = false;
    if (e.kind === RoomLegEventKind.allocated) s.withheld = e.sent ? undefined : e.reason === "bandwidth" ? "bandwidth" : "us";
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
    const w = this.#o.wire();
    if (this.#leg?.up === true && w?.ended === undefined) w?.send({ case: "roomLeg", value: { kind: RoomLegKind.speaking, speaking: on } });
    this.#o.changed();
  }

  // ---- What is shown ----

  /** sends: what somebody says that it sends; undefined: it does not say. */
  tiles(sends: (index: number) => ReadonlySet<SlotName> | undefined): Tile[] {
    const out: Tile[] = [];
    for (const [index, o] of [...this.#others].sort(([a], [b]) => a - b)) {
      const said = sends(index);
      for (const slot of slotNames) {
        const s = o.slots.get(slot);
        const source = s === undefined ? undefined : this.#source(o, s);
        if (said === undefined ? source === undefined && s?.published !== true : !said.has(slot)) continue;
        const stopped = s !== undefined && s.still >= stillLooks && kinds[slot] === "video";
        const pausedBy: Tile["pausedBy"] = s?.withheld ?? (o.pair?.broken === true && source?.over === "mesh" ? "path" : stopped && source !== undefined ? (said === undefined ? "sender" : "path") : undefined);
        out.push({
          key: `${index}/${slot}`, person: index, slot, track: source?.track, state: pausedBy !== undefined ? "paused" : source === undefined ? "securing" : "live", pausedBy,
          width: s?.width, height: s?.height, framesPerSecond: s?.fps, codec: s?.codec, over: source?.over,
        });
      }
    }
    return out;
  }

  #source(o: Other, s: SlotState): Source | undefined {
    const prefer = o.viaSfu || (this.#promotion.up && s.sfu !== undefined) ? "sfu" : "mesh";
    const first = prefer === "sfu" ? s.sfu : s.mesh;
    if (first !== undefined) return { track: first, over: prefer };
    const other = prefer === "sfu" ? s.mesh : s.sfu;
    return other === undefined ? undefined : { track: other, over: prefer === "sfu" ? "mesh" : "sfu" };
  }

  facts(index: number): { readonly connected: boolean; readonly route: RoomRoute | undefined; readonly quality: Quality | undefined; readonly speaking: boolean } {
    const o = this.#others.get(index);
    if (o === undefined) return { connected: false, route: undefined, quality: undefined, speaking: this.#speaking };
    const sfu = o.viaSfu && this.#leg?.up === true;
    const route: RoomRoute | undefined = sfu ? { over: "sfu", node: this.#node, leg: this.#legWay } : o.pair?.bound === true && o.pair.route !== undefined ? { over: "mesh", route: o.pair.route } : undefined;
    const broken = o.pair?.broken === true && !sfu;
    return { connected: sfu || o.pair?.bound === true, route, speaking: o.speaking, quality: broken ? { word: "lost", rttMs: undefined, loss: undefined, kbps: undefined } : o.quality };
  }

  topology(): TopologyState {
    const { up } = this.#promotion;
    const pairs = [...this.#others.values()].some((o) => o.pairMedia !== undefined);
    const pinned = this.#setting !== "auto";
    return {
      mode: up ? "sfu" : "mesh", moving: up ? pairs || this.#leg?.up !== true : this.#leg !== undefined, setting: this.#setting,
      why: pinned ? "card" : !this.#sfu && this.#others.size + 1 > this.#limit ? "no_sfu" : "count", who: pinned ? "owner" : "us",
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
    const overSfu = await leg?.stats().catch(() => undefined); // closed meanwhile
    for (const [index, o] of this.#others) {
      const mine = o.viaSfu ? overSfu : await o.pair?.stats().catch(() => undefined);
      if (mine === undefined) continue;
      const before = o.viaSfu ? this.#legReport : o.report;
      const q = qualityOf(before, mine);
      const loss = q.loss ?? 0;
      o.quality = { word: loss > 0.1 || (q.roundTripMs ?? 0) > 600 ? "poor" : loss > 0.02 || (q.roundTripMs ?? 0) > 250 ? "fair" : "good", rttMs: q.roundTripMs, loss: q.loss, kbps: q.receivedKbps };
      if (!o.viaSfu) o.report = mine;
      this.#count(index, o, mine, leg);
    }
    this.#legReport = overSfu;
    this.#o.changed();
  }

  /** What the browser says of each slot: whether it moves, how large it is, how loud. */
  #count(index: number, o: Other, report: RTCStatsReport, leg: SfuLeg | undefined): void {
    o.speaking = false;
    for (const [slot, s] of o.slots) {
      const source = this.#source(o, s);
      if (source === undefined) continue;
      const mid = source.over === "sfu" ? leg?.midOf(index, slot) : undefined;
      for (const r of report.values() as Iterable<Record<string, unknown>>) {
        if (r["type"] !== "inbound-rtp" || (mid !== undefined ? r["mid"] !== mid : r["trackIdentifier"] !== source.track.id)) continue;
        const number = (name: string) => (typeof r[name] === "number" ? r[name] : undefined);
        const frames = number("framesDecoded") ?? number("packetsReceived") ?? 0;
        s.still = frames === s.frames ? s.still + 1 : 0;
        s.frames = frames;
        [s.width, s.height, s.fps] = [number("frameWidth"), number("frameHeight"), number("framesPerSecond")];
        const mime = (report as unknown as ReadonlyMap<string, Record<string, unknown>>).get(String(r["codecId"]))?.["mimeType"];
        s.codec = typeof mime === "string" ? mime.split("/")[1]!.toLowerCase() as Tile["codec"] : undefined;
        if (slot === "microphone") o.speaking = (number("audioLevel") ?? 0) > speakingLevel && s.still === 0;
      }
    }
  }

  close(): void {
    this.reset();
    this.#closed = true;
    this.#frames?.close();
  }
}
