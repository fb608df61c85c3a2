// How well packets come through, by the browser's statistics.

import { selectedPair, type Stat } from "./route.ts";

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
