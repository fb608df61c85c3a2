// The marks of how well somebody's packets come and of who speaks, out of what a browser says of the connection (docs/spec/rooms.md, section 10).

import { describe, expect, it } from "vitest";
import { countFrames, newOther, qualityFrom, slotOf } from "../src/room/shown.ts";
import type { Member } from "../src/room/stay.ts";

type Stat = Record<string, unknown>;
const report = (...stats: Stat[]) => new Map(stats.map((s) => [s["id"], s])) as unknown as RTCStatsReport;

/** A connection some seconds after it began. rtt is in seconds, as browsers say it. */
function at(seconds: number, o: { readonly rtt?: number; readonly got?: number; readonly lost?: number; readonly bytes?: number; readonly pair?: string }): RTCStatsReport {
  const pair = o.pair ?? "P";
  return report(
    { id: "T", type: "transport", selectedCandidatePairId: pair },
    { id: pair, type: "candidate-pair", nominated: true, state: "succeeded", localCandidateId: "L", remoteCandidateId: "R", timestamp: seconds * 1000, currentRoundTripTime: o.rtt, bytesReceived: o.bytes, bytesSent: 0 },
    { id: "L", type: "local-candidate", candidateType: "host" },
    { id: "R", type: "remote-candidate", candidateType: "host" },
    { id: "A", type: "inbound-rtp", kind: "audio", packetsReceived: o.got, packetsLost: o.lost },
  );
}

describe("somebody's packets come", () => {
  it.each<[string, number, number, number, string]>([
    ["at once and all", 0.02, 1000, 0, "good"],
    ["at the edge of good", 0.25, 980, 20, "good"],
    ["late", 0.251, 1000, 0, "fair"],
    ["with some of them lost", 0.02, 970, 30, "fair"],
    ["at the edge of fair", 0.6, 900, 100, "fair"],
    ["very late", 0.601, 1000, 0, "poor"],
    ["with many of them lost", 0.02, 890, 110, "poor"],
  ])("%s", (_, rtt, got, lost, word) => {
    expect(qualityFrom(undefined, at(2, { rtt, got, lost }))).toMatchObject({ word, rttMs: Math.round(rtt * 1000), loss: lost / (got + lost) });
  });

  it("as they did in the last moments, whatever was before", () => {
    const bad = at(10, { rtt: 0.02, got: 500, lost: 500, bytes: 1_000 });
    expect(qualityFrom(bad, at(12, { rtt: 0.02, got: 1500, lost: 500, bytes: 251_000 }))).toEqual({ word: "good", rttMs: 20, loss: 0, kbps: 1000 });
    expect(qualityFrom(at(10, { rtt: 0.02, got: 9000, lost: 0 }), at(12, { rtt: 0.02, got: 9080, lost: 20 }))).toMatchObject({ word: "poor", loss: 0.2 });
  });

  it("and one that is counted as lost before it comes after all makes nothing worse", () => {
    expect(qualityFrom(at(10, { got: 100, lost: 9 }), at(12, { got: 209, lost: 0 }))).toMatchObject({ word: "good", loss: 0 });
  });

  it("over another path than before, of which the rate is not known yet", () => {
    expect(qualityFrom(at(10, { bytes: 9_000_000 }), at(12, { bytes: 1_000, pair: "Q" })).kbps).toBeUndefined();
  });

  it("in no number where the browser says nothing, and not badly", () => {
    expect(qualityFrom(undefined, report())).toEqual({ word: "good", rttMs: undefined, loss: undefined, kbps: undefined });
  });
});

it.each<[string, readonly (readonly [packets: number, level: number, energy: number | undefined])[], readonly boolean[]]>([
  ["while something loud comes", [[50, 0.2, 0.1], [100, 0.3, 0.2], [150, 0.001, 0.2001]], [true, true, false]],
  ["not where the level stands still since nothing but silence comes", [[50, 0.2, 0.1], [100, 0.2, 0.1], [150, 0.2, 0.1], [200, 0.2, 0.15]], [true, false, false, true]],
  ["not where nothing comes at all", [[50, 0.2, 0.1], [50, 0.2, 0.1]], [true, false]],
  ["by the level alone in a browser that counts no energy", [[50, 0.2, undefined], [100, 0.2, undefined], [150, 0, undefined]], [true, true, false]],
])("somebody speaks %s", (_, looks, marks) => {
  const other = newOther({ index: 2 } as Member);
  slotOf(other, "microphone").mesh = { id: "sound" } as MediaStreamTrack;
  expect(looks.map(([packetsReceived, audioLevel, totalAudioEnergy]) => {
    countFrames(other, { mesh: report({ id: "A", type: "inbound-rtp", trackIdentifier: "sound", packetsReceived, audioLevel, totalAudioEnergy }), sfu: undefined }, false, () => undefined);
    return other.speaking;
  })).toEqual(marks);
});
