// What comes of the others: which of two ways each slot is taken from, what of it may be shown, and how it is going.

import { kinds, slotNames, type CallMedia, type SlotName } from "../call/media.ts";
import { qualityOf } from "../call/quality.ts";
import type { Pair } from "./pair.ts";
import type { Member } from "./stay.ts";
import type { Quality, Tile } from "./types.ts";

/** A picture of which nothing is decoded for so many looks comes no more. */
const stillLooks = 3;
/** The share of a quiet room: louder than this somebody speaks. */
const speakingLevel = 0.01;

export interface Source { readonly track: MediaStreamTrack; readonly over: "mesh" | "sfu" }

/** What is known of one slot of somebody. */
export interface SlotState {
  mesh: MediaStreamTrack | undefined;
  sfu: MediaStreamTrack | undefined;
  /** The SFU has it, by its own account. */
  published: boolean;
  /** Why the SFU sends nothing of it. */
  withheld: "bandwidth" | "us" | undefined;
  frames: number;
  still: number;
  /** Of its sound so far, in the browser's count. */
  energy: number | undefined;
  width: number | undefined;
  height: number | undefined;
  fps: number | undefined;
  codec: Tile["codec"];
}

/** Somebody else, as far as media is concerned. */
export interface Other {
  readonly member: Member;
  pair: Pair | undefined;
  pairMedia: CallMedia | undefined;
  /** Since when the connection of the mesh works. */
  boundMs: number;
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

export function newOther(member: Member): Other {
  return { member, pair: undefined, pairMedia: undefined, boundMs: 0, viaSfu: false, getsSfu: false, waiting: undefined, slots: new Map(), quality: undefined, speaking: false, report: undefined };
}

export function slotOf(o: Other, slot: SlotName): SlotState {
  let s = o.slots.get(slot);
  if (s === undefined) o.slots.set(slot, s = { mesh: undefined, sfu: undefined, published: false, withheld: undefined, frames: 0, still: 0, energy: undefined, width: undefined, height: undefined, fps: undefined, codec: undefined });
  return s;
}

/** Something of it comes, or is said to. */
export function brings(o: Other): boolean { return [...o.slots.values()].some((s) => s.mesh !== undefined || s.sfu !== undefined || s.published); }

/** From where a slot is taken just now. */
export function sourceOf(o: Other, s: SlotState, up: boolean): Source | undefined {
  const prefer = o.viaSfu || (up && s.sfu !== undefined) ? "sfu" : "mesh";
  const first = prefer === "sfu" ? s.sfu : s.mesh;
  if (first !== undefined) return { track: first, over: prefer };
  const other = prefer === "sfu" ? s.mesh : s.sfu;
  return other === undefined ? undefined : { track: other, over: prefer === "sfu" ? "mesh" : "sfu" };
}

/** Somebody's tiles. said: what it says that it sends; undefined: it does not say. */
export function tilesOf(o: Other, said: ReadonlySet<SlotName> | undefined, up: boolean): Tile[] {
  const out: Tile[] = [];
  const person = o.member.index;
  for (const slot of slotNames) {
    const s = o.slots.get(slot);
    const source = s === undefined ? undefined : sourceOf(o, s, up);
    if (said === undefined ? source === undefined && s?.published !== true : !said.has(slot)) continue;
    const stopped = s !== undefined && s.still >= stillLooks && kinds[slot] === "video";
    const pausedBy: Tile["pausedBy"] = (source?.over === "mesh" ? undefined : s?.withheld) ?? (o.pair?.broken === true && source?.over === "mesh" ? "path" : stopped && source !== undefined ? (said === undefined ? "sender" : "path") : undefined);
    out.push({
      key: `${person}/${slot}`, person, slot, track: source?.track, state: pausedBy !== undefined ? "paused" : source === undefined ? "securing" : "live", pausedBy,
      width: s?.width, height: s?.height, framesPerSecond: s?.fps, codec: s?.codec, over: source?.over,
    });
  }
  return out;
}

/** How well somebody's packets come, out of two reports of the connection that they come over. */
export function qualityFrom(before: RTCStatsReport | undefined, now: RTCStatsReport): Quality {
  const q = qualityOf(before, now);
  const [loss, rtt] = [q.loss ?? 0, q.roundTripMs ?? 0];
  return { word: loss > 0.1 || rtt > 600 ? "poor" : loss > 0.02 || rtt > 250 ? "fair" : "good", rttMs: q.roundTripMs, loss: q.loss, kbps: q.receivedKbps };
}

/** A browser makes the objects of a report anew each time that one looks through it. This makes them once. */
export function readOnce(report: RTCStatsReport): RTCStatsReport {
  return new Map(report as unknown as Iterable<[string, unknown]>) as unknown as RTCStatsReport;
}

/** Takes what the browser says of each slot: whether it moves, how large it is, how loud. reports: of the way that a slot comes
 * on; without one nothing new is known of it. midOf: its section of the SFU's leg. */
export function countFrames(o: Other, reports: { readonly mesh: RTCStatsReport | undefined; readonly sfu: RTCStatsReport | undefined }, up: boolean, midOf: (slot: SlotName) => string | null | undefined): void {
  let speaking = false;
  for (const [slot, s] of o.slots) {
    const source = sourceOf(o, s, up);
    if (source === undefined) continue;
    const report = reports[source.over];
    if (report === undefined) {
      speaking ||= slot === "microphone" && o.speaking;
      continue;
    }
    const mid = source.over === "sfu" ? midOf(slot) : undefined;
    for (const r of report.values() as Iterable<Record<string, unknown>>) {
      if (r["type"] !== "inbound-rtp" || (mid !== undefined ? r["mid"] !== mid : r["trackIdentifier"] !== source.track.id)) continue;
      const number = (name: string) => (typeof r[name] === "number" ? r[name] : undefined);
      const frames = number("framesDecoded") ?? number("packetsReceived") ?? 0;
      s.still = frames === s.frames ? s.still + 1 : 0;
      s.frames = frames;
      [s.width, s.height, s.fps] = [number("frameWidth"), number("frameHeight"), number("framesPerSecond")];
      const mime = (report as unknown as ReadonlyMap<string, Record<string, unknown>>).get(String(r["codecId"]))?.["mimeType"];
      s.codec = typeof mime === "string" ? mime.split("/")[1]!.toLowerCase() as Tile["codec"] : undefined;
      if (slot !== "microphone") continue;
      // Chromium's level stays where it was as long as nothing but silence comes, and that can be loud.
      const energy = number("totalAudioEnergy");
      speaking = (number("audioLevel") ?? 0) > speakingLevel && s.still === 0 && (energy === undefined || energy !== s.energy);
      s.energy = energy;
    }
  }
  o.speaking = speaking;
}
