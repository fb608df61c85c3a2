// How much of the picture a call sends when the path or the processor cannot carry all of it: a pure reducer, into
// which go the numbers of each second and out of which come limits for the encoders. Resolution is given up first, then
// frames, then the camera beside a shared screen, then the camera; a screen stays legible for longer than it stays
// smooth. Sound is never given up.

import { selectedPair } from "./route.ts";

/** Encoder limits of one slot. */
export interface Limits {
  /** Lines of the picture at most; undefined: as many as there are. */
  readonly height: number | undefined;
  readonly framesPerSecond: number;
  readonly kbps: number;
}

/** What holds the picture back. */
export type Shortage = "bandwidth" | "cpu";
/** What was given up of a picture. */
export type Kept = "full" | "smaller" | "slower" | "paused";
/** For people: what is given up just now, and why. */
export interface Adapted { readonly why: Shortage | undefined; readonly camera: Kept; readonly screen: Kept }

/** What was measured in the last second. */
export interface Measured {
  readonly atMs: number;
  readonly camera: boolean;
  readonly screen: boolean;
  /** What the encoders say that holds them back; browsers do not all say it. */
  readonly encoder: Shortage | undefined;
  /** Of the packets that left, the part that did not arrive, 0 to 1, as the other side says. */
  readonly loss: number | undefined;
  /** What the path carries, as the browser estimates it. */
  readonly availableKbps: number | undefined;
}

interface Rung { readonly camera: Limits | undefined; readonly screen: Limits | undefined }

const limits = (height: number | undefined, framesPerSecond: number, kbps: number): Limits => ({ height, framesPerSecond, kbps });
const detail = limits(undefined, 15, 2_500);

/** The camera alone. No rung asks for less than half of the one above, so that a way back up is no leap. */
const alone: readonly Rung[] = [
  limits(720, 30, 1_700), limits(540, 30, 900), limits(360, 30, 500), limits(180, 30, 250), limits(180, 15, 150), limits(180, 7, 80), undefined,
].map((camera) => ({ camera, screen: undefined }));

/** The camera beside a screen: it is the screen that people look at. */
const beside: readonly Rung[] = [
  { camera: limits(720, 30, 1_700), screen: detail },
  { camera: limits(360, 30, 500), screen: detail },
  { camera: limits(180, 30, 250), screen: limits(undefined, 15, 1_500) },
  { camera: limits(180, 15, 150), screen: limits(undefined, 8, 1_000) },
  { camera: undefined, screen: limits(undefined, 8, 800) },
  { camera: undefined, screen: limits(undefined, 5, 400) },
  { camera: undefined, screen: limits(720, 5, 250) },
  { camera: undefined, screen: limits(540, 3, 120) },
];

const soundKbps = 50;
/** An encoder begins with little and says so: what it says counts from here on. */
const graceMs = 10_000;
/** Seconds in a row that something is missing before a rung is given up. */
const badSeconds = 3;
/** Seconds in a row that nothing is missing before the next rung up is tried, and how far that grows when it does not hold. */
const goodSeconds = 8;
const mostGoodSeconds = 64;
const holdsMs = 15_000;
/** What the other side said longer ago is of a picture that is not sent any more. */
const staleMs = 10_000;
const heavyLoss = 0.1;
const lightLoss = 0.03;

export interface Adaptation {
  readonly rung: number;
  readonly why: Shortage | undefined;
  readonly sends: { readonly camera: boolean; readonly screen: boolean };
  /** Since when this is sent. */
  readonly sinceMs: number;
  readonly bad: number;
  readonly good: number;
  readonly patience: number;
  readonly raisedMs: number;
}

export const unhindered: Adaptation = {
  rung: 0, why: undefined, sends: { camera: false, screen: false }, sinceMs: -Infinity, bad: 0, good: 0, patience: goodSeconds, raisedMs: -Infinity,
};

function ladder(a: Pick<Adaptation, "sends">): readonly Rung[] {
  return a.sends.screen ? beside : alone;
}

function needed(a: Adaptation, rung: number): number {
  const { camera, screen } = ladder(a)[rung]!;
  return soundKbps + (a.sends.camera ? camera?.kbps ?? 0 : 0) + (screen?.kbps ?? 0);
}

/** Takes the numbers of one second. */
export function adapt(before: Adaptation, m: Measured): Adaptation {
  let a = before;
  if (m.camera !== a.sends.camera || m.screen !== a.sends.screen) {
    // Another picture needs another measure. What the path lost before, it has not won back by that.
    const sends = { camera: m.camera, screen: m.screen };
    a = { ...a, sends, sinceMs: m.atMs, bad: 0, good: 0, rung: Math.min(a.rung, ladder({ sends }).length - 1) };
  }
  if (!m.camera && !m.screen) return { ...a, rung: 0, why: undefined };
  const begun = m.atMs - a.sinceMs >= graceMs;
  const scarce = begun && m.encoder === "bandwidth" && m.availableKbps !== undefined && m.availableKbps < 0.8 * needed(a, a.rung);
  const lossy = m.loss !== undefined && m.loss >= heavyLoss;
  const busy = begun && m.encoder === "cpu";
  if (scarce || lossy || busy) {
    if (a.bad + 1 < badSeconds || a.rung === ladder(a).length - 1) return { ...a, bad: a.bad + 1, good: 0 };
    const held = m.atMs - a.raisedMs >= holdsMs;
    return {
      ...a, rung: a.rung + 1, why: busy && !scarce && !lossy ? "cpu" : "bandwidth", bad: 0, good: 0,
      patience: held ? a.patience : Math.min(2 * a.patience, mostGoodSeconds),
    };
  }
  if (m.loss !== undefined && m.loss >= lightLoss) return { ...a, bad: 0, good: 0 };
  if (a.rung === 0) return { ...a, bad: 0, good: 0, patience: m.atMs - a.raisedMs >= mostGoodSeconds * 1000 ? goodSeconds : a.patience };
  if (a.good + 1 < a.patience) return { ...a, bad: 0, good: a.good + 1 };
  const rung = a.rung - 1;
  return { ...a, rung, why: rung === 0 ? undefined : a.why, bad: 0, good: 0, raisedMs: m.atMs };
}

/** The limits of a slot's encoder; undefined: it pauses. */
export function limitsOf(a: Adaptation, slot: "camera" | "screen"): Limits | undefined {
  return ladder(a)[a.rung]![slot] ?? (slot === "screen" && !a.sends.screen ? detail : undefined);
}

/** What people are told. */
export function adapted(a: Adaptation): Adapted {
  const kept = (slot: "camera" | "screen"): Kept => {
    if (!a.sends[slot]) return "full";
    const now = limitsOf(a, slot);
    const all = ladder(a)[0]![slot]!;
    if (now === undefined) return "paused";
    if (now.framesPerSecond < all.framesPerSecond) return "slower";
    return now.height === all.height ? "full" : "smaller";
  };
  return { why: a.why, camera: kept("camera"), screen: kept("screen") };
}

/** The numbers of a second, out of the browser's statistics. */
export function measured(report: RTCStatsReport, atMs: number, sends: { readonly camera: boolean; readonly screen: boolean }): Measured {
  const all = [...(report as unknown as Map<string, Readonly<Record<string, unknown>>>).values()];
  const reasons = all.filter((s) => s["type"] === "outbound-rtp" && s["kind"] === "video").map((s) => s["qualityLimitationReason"]);
  const timeOf = (s: (typeof all)[number]) => (typeof s["timestamp"] === "number" ? s["timestamp"] : 0);
  const newest = Math.max(0, ...all.map(timeOf));
  const losses = all.filter((s) => s["type"] === "remote-inbound-rtp" && newest - timeOf(s) < staleMs).flatMap((s) => (typeof s["fractionLost"] === "number" ? [s["fractionLost"]] : []));
  const available = selectedPair(report)?.pair["availableOutgoingBitrate"];
  return {
    atMs, ...sends,
    encoder: reasons.includes("bandwidth") ? "bandwidth" : reasons.includes("cpu") ? "cpu" : undefined,
    loss: losses.length === 0 ? undefined : Math.max(...losses),
    availableKbps: typeof available === "number" ? available / 1000 : undefined,
  };
}
