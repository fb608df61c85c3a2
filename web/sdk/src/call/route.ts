// The way that packets take, by the browser's statistics (docs/spec/media.md, section 5), and how well.

import type { Control } from "./control.ts";

export const legWords = ["lan", "direct", "relay/udp", "relay/tcp", "relay/tls"] as const;
export type Leg = (typeof legWords)[number];

export interface Route {
  /** Of the pair: a relay on this side, else one on the other, else lan or direct. */
  readonly path: Leg;
  readonly local: Leg;
  /** The other side's end, as it says; undefined until it said so. */
  readonly remote: Leg | undefined;
}

type Stat = Readonly<Record<string, unknown>>;

function near(address: unknown): boolean {
  if (typeof address !== "string") return false;
  const a = address.toLowerCase();
  return /^(10\.|127\.|192\.168\.|169\.254\.|172\.(1[6-9]|2\d|3[01])\.)/.test(a) || a === "::1" || /^f[cd]/.test(a) || /^fe[89ab]/.test(a);
}

/** The pair that is in use, with its two candidates. */
export function selectedPair(report: RTCStatsReport): { readonly pair: Stat; readonly local: Stat; readonly remote: Stat } | undefined {
  const all = [...(report as unknown as Map<string, Stat>).values()];
  const transport = all.find((s) => s["type"] === "transport" && typeof s["selectedCandidatePairId"] === "string");
  // Firefox has no transport in its report and marks the pair.
  const pair = transport !== undefined ? (report as unknown as Map<string, Stat>).get(transport["selectedCandidatePairId"] as string) : all.find((s) => s["type"] === "candidate-pair" && s["selected"] === true);
  const local = all.find((s) => s["id"] === pair?.["localCandidateId"]);
  const remote = all.find((s) => s["id"] === pair?.["remoteCandidateId"]);
  return pair === undefined || local === undefined || remote === undefined ? undefined : { pair, local, remote };
}

/** For how long nothing has come over the path. */
export function silenceOf(report: RTCStatsReport): number {
  const pair = selectedPair(report)?.pair;
  const [now, last] = [pair?.["timestamp"], pair?.["lastPacketReceivedTimestamp"]];
  return typeof now === "number" && typeof last === "number" && last > 0 ? Math.max(now - last, 0) : 0;
}

/** This side's end of the path; undefined while there is none. */
export function localLeg(report: RTCStatsReport): { readonly leg: Leg; readonly remoteRelayed: boolean } | undefined {
  const s = selectedPair(report);
  if (s === undefined) return undefined;
  const remoteRelayed = s.remote["candidateType"] === "relay";
  if (s.local["candidateType"] === "relay") {
    const over = s.local["relayProtocol"];
    return { leg: over === "tcp" ? "relay/tcp" : over === "tls" ? "relay/tls" : "relay/udp", remoteRelayed };
  }
  const lan = !remoteRelayed && s.local["candidateType"] === "host" && near(s.local["address"]) && near(s.remote["address"]);
  return { leg: lan ? "lan" : "direct", remoteRelayed };
}

export function isRelay(l: Leg | undefined): boolean {
  return l !== undefined && l.startsWith("relay/");
}

/** What both ends say, put together. */
export function routeOf(local: Leg, remoteRelayed: boolean, remote: Leg | undefined): Route {
  let path: Leg = local;
  if (!isRelay(local) && isRelay(remote)) path = remote!;
  else if (!isRelay(local) && remoteRelayed) path = "relay/udp";
  return { path, local, remote };
}

export function legOf(c: Extract<Control, { case: "leg" }>): Leg | undefined {
  return legWords[c.value.kind - 1];
}

/** Numbers that people understand: of the last moments, from two reports. */
export interface Quality {
  readonly roundTripMs: number | undefined;
  /** Of what the other side sent, 0 to 1. */
  readonly loss: number | undefined;
  readonly videoCodec: string | undefined;
  readonly width: number | undefined;
  readonly height: number | undefined;
  readonly framesPerSecond: number | undefined;
  readonly receivedKbps: number | undefined;
  readonly sentKbps: number | undefined;
}

export function qualityOf(before: RTCStatsReport | undefined, now: RTCStatsReport): Quality {
  const pair = selectedPair(now)?.pair;
  const old = before === undefined ? undefined : selectedPair(before)?.pair;
  const num = (s: Stat | undefined, k: string) => (typeof s?.[k] === "number" ? s[k] : undefined);
  const since = (k: string) => {
    const [a, b] = [num(old, k), num(pair, k)];
    const ms = (num(pair, "timestamp") ?? 0) - (num(old, "timestamp") ?? 0);
    return a === undefined || b === undefined || ms <= 0 || old?.["id"] !== pair?.["id"] ? undefined : Math.round((8 * (b - a)) / ms);
  };
  let lost = 0;
  let received = 0;
  let video: Stat | undefined;
  for (const s of (now as unknown as Map<string, Stat>).values()) {
    if (s["type"] !== "inbound-rtp") continue;
    const was = before === undefined ? undefined : (before as unknown as Map<string, Stat>).get(s["id"] as string);
    lost += (num(s, "packetsLost") ?? 0) - (num(was, "packetsLost") ?? 0);
    received += (num(s, "packetsReceived") ?? 0) - (num(was, "packetsReceived") ?? 0);
    if (s["kind"] === "video" && (num(s, "framesDecoded") ?? 0) > (num(video, "framesDecoded") ?? 0)) video = s;
  }
  const codec = video === undefined ? undefined : (now as unknown as Map<string, Stat>).get(video["codecId"] as string)?.["mimeType"];
  const rtt = num(pair, "currentRoundTripTime");
  return {
    roundTripMs: rtt === undefined ? undefined : Math.round(rtt * 1000),
    loss: lost + received > 0 ? Math.max(lost, 0) / (Math.max(lost, 0) + received) : undefined,
    videoCodec: typeof codec === "string" ? codec.replace(/^video\//, "") : undefined,
    width: num(video, "frameWidth"), height: num(video, "frameHeight"), framesPerSecond: num(video, "framesPerSecond"),
    receivedKbps: since("bytesReceived"), sentKbps: since("bytesSent"),
  };
}
