// The way that packets take, by the browser's statistics (docs/spec/media.md, section 5). How well is in quality.ts.

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

export type Stat = Readonly<Record<string, unknown>>;

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
