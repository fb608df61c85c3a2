// Sound and picture of a call in a browser (docs/spec/media.md, sections 2 and 3). Each slot has a section of its own
// in each direction, and every encoded frame goes through the worker's transform. A transform can fail open, so:
//
//   - a sender has its transform before it has a track, and gets a track only when the call is bound
//   - a track that comes is given to nobody before the worker has authenticated a frame of it
//   - what the browser counts is compared with what the worker counts. What left and never came there ends the call; one frame
//     too many that was shown takes the slot off the page until a fresh section has brought an authentic frame, and ends
//     the call the second time

import { refuse, type TrunklineError } from "../errors.ts";
import { part } from "../part.ts";
import type { Adapted } from "./adaptation.ts";
import type { Adapting } from "./adapting.ts";
import { kidOf } from "../kid.ts";
import type { SFrameCodec } from "../sframe.ts";
import type { PeerOptions } from "./peer.ts";
import type { FrameCounts, FromFrames, FrameOptions, ToFrames } from "./frames.ts";
import { grossBytes, grossFrames, Leaving } from "./leaving.ts";

const adapting = part(() => import("./adapting.ts"));
const unhindered: Adapted = { why: undefined, camera: "full", screen: "full" };

export type SlotName = "microphone" | "camera" | "screen" | "screenAudio";
export const slotNames = ["microphone", "camera", "screen", "screenAudio"] as const satisfies readonly SlotName[];

export const kinds: Readonly<Record<SlotName, "audio" | "video">> = { microphone: "audio", camera: "video", screen: "video", screenAudio: "audio" };
const compareMs = 1_000;
/** So many packets of sound come with a frame of which the worker knows, and of so many frames one opens. */
const fewPackets = 50;
/** So many comparisons in a row may find packets of a picture and no frame of it: a first one can be large. */
const deafLooks = 3;
/** Encoders begin with little: so many comparisons pass before it is of use to adapt, and more while no picture has come. */
const adaptsAfter = 3;
const adaptsAlone = 15;
/** So many comparisons may come before the worker has started. */
const readyTries = 10;

interface TransformClass { new (worker: Worker, options: unknown): unknown }

/** The worker of a connection's frames; a room has one for all of its connections. */
export interface FramesWorker {
  postMessage(m: ToFrames): void;
  onmessage: ((e: MessageEvent<FromFrames>) => void) | null;
  onerror: ((e: ErrorEvent) => void) | null;
  terminate(): void;
  /** A transform of the browser's for one line. */
  transform(line: { readonly id: number; readonly slot: SlotName; readonly way: "seal" | "open" }): unknown;
}

export function newTransform(worker: Worker, options: unknown): unknown {
  const Transform = (globalThis as unknown as { RTCRtpScriptTransform: TransformClass }).RTCRtpScriptTransform;
  return new Transform(worker, options);
}

/** A worker of its own for a connection of two, sealed under the session's keys. */
export function callFrames(worker: Worker, o: Pick<PeerOptions, "mediaKeys" | "role">): FramesWorker {
  const transform: FramesWorker["transform"] = ({ id, slot, way }) => {
    const { send, receive } = o.mediaKeys();
    const index = way === "seal" ? o.role : 1 - o.role;
    const options: FrameOptions = { id, way, kid: kidOf(index, slotNames.indexOf(slot)), key: way === "seal" ? send : receive };
    const made = newTransform(worker, options);
    send.fill(0);
    receive.fill(0);
    return made;
  };
  return Object.assign(worker, { transform }) as FramesWorker;
}
export type Transformed = { transform: unknown };

/** Whether this browser can seal the frames of a call. */
export function canSeal(): boolean {
  return "RTCRtpScriptTransform" in globalThis && typeof RTCPeerConnection === "function" && "transform" in RTCRtpSender.prototype;
}

/** One section of a description, as far as slots need it. */
export interface Section { readonly kind: string; readonly direction: string; readonly mid: string }

export function sectionsOf(sdp: string): Section[] {
  const out: Section[] = [];
  for (const part of sdp.split(/^(?=m=)/m).slice(1)) {
    const direction = /^a=(sendonly|recvonly|sendrecv|inactive)\r?$/m.exec(part)?.[1] ?? "sendrecv";
    out.push({ kind: /^m=(\w+)/.exec(part)![1]!, direction, mid: /^a=mid:(.*?)\r?$/m.exec(part)?.[1] ?? "" });
  }
  return out;
}

/** What the sections of a call are for, by mid. */
export type Slots = Map<string, { readonly slot: SlotName; readonly direction: "sendonly" | "recvonly" }>;

/** Which slot each section of a first offer is for: its kind, its direction and its place among those of the same. */
export function slotsOf(offer: string): Slots {
  const out: Slots = new Map();
  const places = new Map<string, number>();
  for (const s of sectionsOf(offer)) {
    if (s.kind !== "audio" && s.kind !== "video") continue;
    if (s.direction !== "sendonly" && s.direction !== "recvonly") throw refuse("malformed", "a section with another direction than one");
    const key = `${s.kind} ${s.direction}`;
    const place = places.get(key) ?? 0;
    places.set(key, place + 1);
    const slot = slotNames.filter((n) => kinds[n] === s.kind)[place];
    if (slot !== undefined) out.set(s.mid, { slot, direction: s.direction });
  }
  return out;
}

/**
 * Adds the fresh sections of a later offer: a new one is for the first slot of its kind and direction whose section has
 * become inactive in this offer, once for each.
 */
export function addFresh(slots: Slots, offer: string): void {
  const sections = sectionsOf(offer);
  const inactive = new Set(sections.filter((s) => s.direction === "inactive").map((s) => s.mid));
  for (const s of sections) {
    if (slots.has(s.mid)) continue;
    const had = [...slots].filter(([, at]) => kinds[at.slot] === s.kind && at.direction === s.direction);
    const left = had.find(([mid, at]) => inactive.has(mid) && had.filter(([, other]) => other.slot === at.slot).length === 1);
    if (left !== undefined) slots.set(s.mid, left[1]);
  }
}

/**
 * Whether what the browser has counted of a stream fits what the worker has opened of it. Past: frames were shown or
 * heard that the worker did not open, or it has opened none of many. Deaf: nothing of a picture comes to the worker.
 */
export function judge(picture: boolean, there: Counted, c: FrameCounts): "past" | "deaf" | undefined {
  if (there.frames > c.passed || (c.passed === 0 && c.dropped > fewPackets)) return "past";
  if (c.seen > 0 || there.packets <= fewPackets) return undefined;
  // Sound has no count of frames behind the transform: a stream that has packets and no frame in the worker went past it.
  return picture ? "deaf" : "past";
}

/**
 * Removes every header extension but transport-wide-cc, which numbers packets so that the sender learns what arrives:
 * the others tell those on the path more about what is said and shown, and none is needed.
 */
export function withoutExtensions(sdp: string): string {
  return sdp.split("\r\n").filter((l) => !l.startsWith("a=extmap") || l.includes("transport-wide-cc-extensions-01")).join("\r\n");
}

const formats: Readonly<Record<string, SFrameCodec>> = { "opus/48000/2": "opus", "vp8/90000": "vp8", "vp9/90000": "vp9" };

/** The payload types of a description that this protocol knows. */
export function payloadTypes(sdp: string): (readonly [number, SFrameCodec])[] {
  const out: (readonly [number, SFrameCodec])[] = [];
  for (const m of sdp.matchAll(/^a=rtpmap:(\d+) (\S+?)\r?$/gm)) {
    const codec = formats[m[2]!.toLowerCase()];
    if (codec !== undefined) out.push([Number(m[1]), codec]);
  }
  return out;
}

/** What is known of the frames of one slot in one direction. */
export interface SlotCounts extends FrameCounts { readonly slot: SlotName; readonly way: "seal" | "open" }

/** What is not sent for the moment. */
export type Hold = boolean | "pictures";

/** Sound and picture of one call. */
export interface CallMedia {
  /** Sends a track in a slot, another one in its place, or nothing. Before the call is bound it waits. */
  send(slot: SlotName, track: MediaStreamTrack | null): Promise<void>;
  /** The call is bound: what was to be sent is sent. */
  bound(): void;
  /** Sends nothing while it is on, or no pictures; what was to be sent is sent again afterwards. */
  hold(on: Hold): void;
  /**
   * A fresh section is to take the place of a slot's, which sends and shows nothing any more: with the next offer. False
   * where there is none, or a second time.
   */
  renew(slot: number, way: "seal" | "open"): boolean;
  /** A track of which a frame was authentic: nobody gets it before that. Undefined: it must be shown no more. */
  onTrack: (slot: SlotName, track: MediaStreamTrack | undefined) => void;
  /** Tracks that have been handed out. */
  readonly tracks: ReadonlyMap<SlotName, MediaStreamTrack>;
  counts(): Promise<readonly SlotCounts[]>;
  stats(): Promise<RTCStatsReport>;
  /** What of the pictures is given up just now because the path or the processor does not carry it. */
  readonly adapted: Adapted;
  onAdapted: () => void;
}

interface Line {
  readonly id: number;
  readonly slot: SlotName;
  readonly way: "seal" | "open";
  readonly transceiver: RTCRtpTransceiver;
  /** Comparisons in a row that found it deaf. */
  deaf: number;
  /** A fresh section takes its place, and nothing of it is sent or shown. */
  left: boolean;
}

interface Counted { readonly frames: number; readonly packets: number }

/** The media of one connection. */
export class SealedMedia implements CallMedia {
  onTrack: (slot: SlotName, track: MediaStreamTrack | undefined) => void = () => undefined;
  onAdapted: () => void = () => undefined;
  readonly tracks = new Map<SlotName, MediaStreamTrack>();
  readonly #pc: RTCPeerConnection;
  readonly #o: Pick<PeerOptions, "role" | "onBypassed" | "lateKeys">;
  readonly #worker: FramesWorker;
  readonly #fail: (why: TrunklineError) => void;
  readonly #lines: Line[] = [];
  readonly #questions = new Map<number, (c: ReadonlyMap<number, FrameCounts>) => void>();
  readonly #wanted = new Map<SlotName, MediaStreamTrack | null>();
  #slots: Slots = new Map();
  readonly #due: Line[] = []; // a fresh section takes their place in the next offer
  readonly #leaving = new Map<number, Leaving>(); // by line
  #adapting: Adapting | undefined;
  #looks = 0;
  #bound = false;
  #held: Hold = false;
  #question = 0;
  #timer: ReturnType<typeof setInterval> | undefined;
  #closed = false;
  #ready = false;
  #late = 0;

  constructor(pc: RTCPeerConnection, o: PeerOptions, worker: FramesWorker) {
    this.#pc = pc;
    this.#o = o;
    this.#worker = worker;
    this.#fail = (why) => { if (!this.#closed) o.onFailed(why); };
    worker.onmessage = (e: MessageEvent<FromFrames>) => this.#heard(e.data);
    worker.onerror = () => this.#fail(refuse("closed", "the frames' worker has ended"));
    pc.ontrack = (e) => this.#came(e.transceiver);
  }

  readonly #unsent = (err: unknown): void => this.#fail(refuse("unreachable", "the browser does not send what it should", err));

  #say(m: ToFrames): void { this.#worker.postMessage(m); }

  /** Before the first offer: a section for each slot and direction. */
  offer(): void {
    for (const slot of slotNames) {
      for (const direction of ["sendonly", "recvonly"] as const) {
        this.#add(slot, direction);
      }
    }
  }

  #add(slot: SlotName, direction: "sendonly" | "recvonly"): void {
    const t = this.#pc.addTransceiver(kinds[slot], { direction });
    prefer(t, kinds[slot]);
    if (direction === "sendonly") this.#attach(slot, "seal", t);
  }

  /** Before a later offer: fresh sections for those that are due. */
  again(): void {
    for (const { slot, way, transceiver } of this.#due.splice(0)) {
      transceiver.direction = "inactive";
      this.#add(slot, way === "seal" ? "sendonly" : "recvonly");
    }
  }

  renew(slot: number, way: "seal" | "open"): boolean {
    const [line, second] = this.#lines.filter((l) => l.slot === slotNames[slot] && l.way === way);
    if (line === undefined || line.left || second !== undefined) return false;
    this.#leave(line);
    if (this.#o.role === 0) this.#due.push(line);
    return true;
  }

  #leave(line: Line): void {
    line.left = true;
    const { sender, receiver: { track } } = line.transceiver;
    if (line.way === "seal") return void sender.replaceTrack(null).catch(this.#unsent);
    track.enabled = false;
    if (this.tracks.get(line.slot) !== track) return;
    this.tracks.delete(line.slot);
    this.onTrack(line.slot, undefined);
  }

  /** A description was made, or is about to be given to the browser. Offers say which section is which. */
  described(offer: boolean, sdp: string): void {
    if (offer && this.#slots.size > 0) addFresh(this.#slots, sdp);
    else if (offer) this.#slots = slotsOf(sdp);
    this.#say({ type: "codecs", codecs: payloadTypes(sdp) });
  }

  /** After an offer was taken and before it is answered. */
  answer(): void {
    for (const t of this.#pc.getTransceivers()) {
      if (t.mid === null || this.#lines.some((l) => l.transceiver === t)) continue;
      const at = this.#slots.get(t.mid);
      if (at === undefined) {
        t.direction = "inactive";
        continue;
      }
      prefer(t, kinds[at.slot]);
      if (at.direction === "sendonly") {
        t.direction = "recvonly";
        this.#came(t);
      } else {
        t.direction = "sendonly";
        this.#attach(at.slot, "seal", t);
      }
    }
  }

  #came(t: RTCRtpTransceiver): void {
    if (this.#lines.some((l) => l.transceiver === t)) return;
    const at = t.mid === null ? undefined : this.#slots.get(t.mid);
    // A section that is for no slot is left without a reader.
    if (at === undefined) return void (t.receiver.track.enabled = false);
    const line = this.#attach(at.slot, "open", t);
    t.receiver.track.addEventListener("ended", () => {
      if (this.tracks.get(line.slot) === t.receiver.track) this.tracks.delete(line.slot);
    });
  }

  #attach(slot: SlotName, way: "seal" | "open", t: RTCRtpTransceiver): Line {
    const id = this.#lines.length;
    const end = (way === "seal" ? t.sender : t.receiver) as unknown as Transformed;
    end.transform = this.#worker.transform({ id, slot, way });
    const line: Line = { id, slot, way, transceiver: t, deaf: 0, left: false };
    for (const l of this.#lines) if (l.slot === slot && l.way === way && !l.left) this.#leave(l);
    this.#lines.push(line);
    // In a fresh section goes on what was sent in the one before.
    if (way === "seal") this.#adapting?.forget(slot);
    if (way === "seal" && this.#bound) this.#resume();
    return line;
  }

  #heard(m: FromFrames): void {
    if (m.type === "ready") this.#ready = true;
    if (m.type === "counts") {
      this.#questions.get(m.question)?.(new Map(m.counts));
      this.#questions.delete(m.question);
    }
    if (m.type !== "first") return;
    const line = this.#lines[m.id];
    if (line === undefined || line.way !== "open" || line.left) return;
    const { track } = line.transceiver.receiver;
    this.tracks.set(line.slot, track);
    this.onTrack(line.slot, track);
  }

  /** The call is bound: what was to be sent is sent, and counts are compared from now on. */
  bound(): void {
    if (this.#bound) return;
    this.#bound = true;
    this.#resume();
    this.#timer = setInterval(() => void this.compare(), compareMs);
  }

  hold(on: Hold): void {
    if (this.#held === on || this.#closed) return;
    this.#held = on;
    if (this.#bound) this.#resume();
  }

  #resume(): void {
    for (const [slot, track] of this.#wanted) {
      // A connection that is closed meanwhile sends nothing any more, whatever it was to send.
      this.#put(slot, this.#holds(slot) ? null : track).catch(this.#unsent);
    }
  }

  async send(slot: SlotName, track: MediaStreamTrack | null): Promise<void> {
    if (track !== null && track.kind !== kinds[slot]) throw refuse("malformed", "a track of another kind");
    // A screen is read and a face moves: it is the encoder that has to know.
    if (track?.kind === "video" && track.contentHint === "") track.contentHint = slot === "screen" ? "detail" : "motion";
    this.#wanted.set(slot, track);
    if (this.#bound && !this.#holds(slot)) await this.#put(slot, track);
  }

  #holds(slot: SlotName): boolean { return this.#held === true || (this.#held === "pictures" && kinds[slot] === "video"); }

  async #put(slot: SlotName, track: MediaStreamTrack | null): Promise<void> {
    const sender = this.#sender(slot);
    if (sender === undefined || this.#closed) return;
    if ((sender as unknown as Transformed).transform == null) throw refuse("closed", "a sender without a transform sends nothing");
    await sender.replaceTrack(track);
  }

  #sender(slot: SlotName): RTCRtpSender | undefined {
    return this.#lines.find((l) => l.slot === slot && l.way === "seal" && !l.left)?.transceiver.sender;
  }

  /** After a time in which packets were lost: a picture that needs nothing of before, of everything that is shown. */
  askKeyFrames(): void { this.#say({ type: "keyframes" }); }

  stats(): Promise<RTCStatsReport> { return this.#pc.getStats(); }

  async counts(): Promise<readonly SlotCounts[]> {
    const counts = await this.#count();
    return this.#lines.map((l) => ({ slot: l.slot, way: l.way, ...(counts.get(l.id) ?? none) }));
  }

  #count(): Promise<ReadonlyMap<number, FrameCounts>> {
    const question = ++this.#question;
    return new Promise((resolve) => {
      this.#questions.set(question, resolve);
      this.#say({ type: "count", question });
    });
  }

  /**
   * The browser's counts first, the worker's after them: so what was shown is never ahead of what was opened.
   */
  async compare(): Promise<void> {
    if (this.#closed) return;
    // Nothing is sent or shown without it, but people should hear of it.
    if (!this.#ready) return ++this.#late > readyTries ? this.#fail(refuse("closed", "the frames' worker did not start")) : undefined;
    const report = await this.#pc.getStats();
    const counts = await this.#count();
    if (this.#closed) return;
    for (const line of this.#lines) {
      const c = counts.get(line.id) ?? none;
      const there = countOf(report, line);
      if (there === undefined || line.left) continue;
      const picture = kinds[line.slot] === "video";
      if (line.way === "seal") {
        let leaving = this.#leaving.get(line.id);
        if (leaving === undefined) this.#leaving.set(line.id, leaving = new Leaving(picture ? grossFrames : grossBytes));
        if (leaving.unsealed(there.frames, picture ? c.seen : c.bytes)) return this.#fail(refuse("key_alarm", "frames left without being sealed"));
        continue;
      }
      const { onBypassed } = this.#o;
      const found = judge(picture, there, this.#o.lateKeys === true ? { ...c, dropped: 0 } : c);
      line.deaf = found === "deaf" ? line.deaf + 1 : 0;
      if (found !== "past" && line.deaf !== deafLooks) continue;
      const slot = slotNames.indexOf(line.slot);
      if (onBypassed !== undefined && this.renew(slot, "open")) onBypassed(slot, found ?? "deaf");
      // One that is deaf again shows nothing, and a path that is that bad is nobody's attack.
      else if (found === "past") return this.#fail(refuse("key_alarm", "frames were shown without being opened"));
    }
    this.#adapt(report);
  }

  // ---- As much as the path and the processor carry ----

  get adapted(): Adapted { return this.#adapting?.adapted ?? unhindered; }

  // What it takes is fetched when the call is on; until then the browser gives way by itself.
  #adapt(report: RTCStatsReport): void {
    if (this.#held) return;
    if (this.#adapting !== undefined) {
      if (this.#adapting.look(report)) this.onAdapted();
      return;
    }
    const begin = (m: typeof import("./adapting.ts")) => {
      this.#adapting ??= new m.Adapting((slot) => this.#sender(slot), (slot) => (this.#wanted.get(slot) ?? null) !== null);
    };
    this.#looks += this.tracks.has("camera") || this.tracks.has("screen") ? adaptsAlone / adaptsAfter : 1;
    if (this.#looks >= adaptsAlone) adapting().then(begin, () => undefined); // the next second asks again
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#timer);
    this.#pc.ontrack = null;
    this.#worker.terminate();
    for (const q of this.#questions.values()) q(new Map());
    this.#questions.clear();
  }
}

const none: FrameCounts = { seen: 0, passed: 0, bytes: 0, dropped: 0 };

/** What left, or was given to the decoder, by the browser's own account: frames of pictures, bytes of sound that left. */
function countOf(report: RTCStatsReport, line: Line): Counted | undefined {
  for (const s of report.values() as Iterable<Record<string, unknown>>) {
    if (s["mid"] !== line.transceiver.mid) continue;
    const number = (name: string) => (typeof s[name] === "number" ? s[name] : 0);
    if (line.way === "seal" && s["type"] === "outbound-rtp") {
      // Packets of sound are no measure: some of them are padding.
      return { frames: kinds[line.slot] === "video" ? number("framesSent") : number("bytesSent") - number("retransmittedBytesSent"), packets: 0 };
    }
    if (line.way === "open" && s["type"] === "inbound-rtp") {
      return { frames: number("framesDecoded"), packets: number("packetsReceived") };
    }
  }
  return undefined;
}

/** Opus, or VP8 before VP9 of profile 0, and nothing else: only their frames can be sealed whole. */
export function prefer(t: RTCRtpTransceiver, kind: "audio" | "video"): void {
  const all = RTCRtpReceiver.getCapabilities(kind)?.codecs ?? [];
  const pick = (mime: string) => all.filter((c) => c.mimeType.toLowerCase() === mime && /(?:^|[; ])profile-id=(?!0)/.exec(c.sdpFmtpLine ?? "") === null);
  t.setCodecPreferences(kind === "audio" ? pick("audio/opus") : [...pick("video/vp8"), ...pick("video/vp9")]);
}
