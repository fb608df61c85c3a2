// What of a picture is given up when the path or the processor does not carry all of it, and how it comes back.

import { describe, expect, it } from "vitest";
import { adapt, adapted, limitsOf, measured, unhindered, type Adaptation, type Measured } from "../src/call/adaptation.ts";

type Second = Partial<Omit<Measured, "atMs">>;
const fine: Second = { camera: true, screen: false, encoder: undefined, loss: 0, availableKbps: 5_000 };
const scarce: Second = { ...fine, encoder: "bandwidth", availableKbps: 30 };

/** Runs so many seconds of the same numbers. */
function run(a: Adaptation, startS: number, seconds: number, s: Second): Adaptation {
  for (let i = 0; i < seconds; i++) {
    a = adapt(a, { camera: false, screen: false, encoder: undefined, loss: undefined, availableKbps: undefined, ...fine, ...s, atMs: (startS + i) * 1000 });
  }
  return a;
}

/** Every state that so many seconds lead through, once each. */
function steps(s: Second, seconds = 60) {
  const out: unknown[] = [];
  let a = run(unhindered, 0, 11, { ...s, encoder: undefined, loss: 0, availableKbps: 5_000 });
  for (let i = 0; i < seconds; i++) {
    a = run(a, 11 + i, 1, s);
    const now = { camera: limitsOf(a, "camera"), screen: limitsOf(a, "screen") };
    if (JSON.stringify(out.at(-1)) !== JSON.stringify(now)) out.push(now);
  }
  return { a, out: out as { camera: { height?: number; framesPerSecond: number; kbps: number } | undefined; screen: { height?: number; framesPerSecond: number; kbps: number } | undefined }[] };
}

describe("a path that carries too little", () => {
  it("costs the camera resolution, then frames, then all of it", () => {
    const { a, out } = steps(scarce);
    expect(out.map(({ camera }) => camera && [camera.height, camera.framesPerSecond])).toEqual([[720, 30], [540, 30], [360, 30], [180, 30], [180, 15], [180, 7], undefined]);
    expect(adapted(a)).toEqual({ why: "bandwidth", camera: "paused", screen: "full" });
    const kbps = out.map(({ camera }) => camera?.kbps ?? 0);
    for (let i = 1; i < kbps.length - 1; i++) expect(kbps[i]! / kbps[i - 1]!).toBeGreaterThanOrEqual(0.5);
  });

  it("beside a screen costs the camera, and the screen's frames before its lines", () => {
    const { a, out } = steps({ ...scarce, screen: true });
    const paused = out.findIndex((s) => s.camera === undefined);
    const smaller = out.findIndex((s) => s.screen?.height !== undefined);
    expect(paused).toBeGreaterThan(0);
    expect(smaller).toBeGreaterThan(paused);
    expect(out.every((s) => s.screen !== undefined)).toBe(true);
    expect(adapted(a)).toEqual({ why: "bandwidth", camera: "paused", screen: "slower" });
  });

  it("costs nothing in the first ten seconds, in which every encoder begins with little", () => {
    expect(run(unhindered, 0, 9, scarce).rung).toBe(0);
    const shared = run(run(unhindered, 0, 20, fine), 20, 9, { ...scarce, screen: true });
    expect(shared.rung).toBe(0);
  });

  it("does not where the encoder is content with what there is, or the estimate is high enough", () => {
    expect(run(unhindered, 0, 60, { ...fine, availableKbps: 10 }).rung).toBe(0);
    expect(run(unhindered, 0, 60, { ...fine, encoder: "bandwidth", availableKbps: 3_000 }).rung).toBe(0);
    expect(run(unhindered, 0, 60, { ...fine, encoder: "bandwidth", availableKbps: undefined }).rung).toBe(0);
  });

  it("stops costing where what is sent fits", () => {
    expect(limitsOf(run(unhindered, 0, 22, { ...fine, encoder: "bandwidth", availableKbps: 450 }), "camera")?.height).toBe(360);
  });
});

describe("loss", () => {
  it("counts from the first second on, also where a browser says nothing else", () => {
    expect(run(unhindered, 0, 3, { loss: 0.2, encoder: undefined, availableKbps: undefined }).rung).toBe(1);
  });
  it("of one second or two, or a little of it, changes nothing", () => {
    let a = run(unhindered, 0, 20, fine);
    for (let i = 0; i < 10; i++) a = run(run(a, 20 + 3 * i, 2, { ...fine, loss: 0.3 }), 22 + 3 * i, 1, fine);
    expect(a.rung).toBe(0);
    expect(run(unhindered, 0, 60, { ...fine, loss: 0.05 }).rung).toBe(0);
    const low = run(unhindered, 0, 3, { ...fine, loss: 0.2 });
    expect(run(low, 3, 60, { ...fine, loss: 0.05 }).rung).toBe(1);
  });
});

describe("a busy processor", () => {
  it("is named as such", () => {
    expect(adapted(run(run(unhindered, 0, 11, fine), 11, 3, { ...fine, encoder: "cpu" }))).toEqual({ why: "cpu", camera: "smaller", screen: "full" });
  });
});

describe("when it is better again", () => {
  it("everything comes back, one rung after the other", () => {
    const low = run(run(unhindered, 0, 11, fine), 11, 9, scarce);
    expect(low.rung).toBe(3);
    expect(run(low, 20, 7, fine).rung).toBe(3);
    expect(run(low, 20, 8, fine).rung).toBe(2);
    const back = run(low, 20, 24, fine);
    expect([back.rung, back.why]).toEqual([0, undefined]);
  });

  it("a rung that did not hold is tried again later and later, and sooner once all has held", () => {
    let a = run(run(unhindered, 0, 11, fine), 11, 3, scarce);
    let now = 14;
    const waits: number[] = [];
    for (let i = 0; i < 5; i++) {
      const begun = now;
      while (a.rung === 1) a = run(a, now++, 1, fine);
      waits.push(now - begun);
      a = run(a, now, 3, scarce);
      now += 3;
    }
    expect(waits).toEqual([8, 16, 32, 64, 64]);
    a = run(a, now, 64, fine);
    expect([a.rung, a.patience]).toEqual([0, 64]);
    expect(run(a, now + 64, 64, fine).patience).toBe(8);
  });
});

describe("what is sent", () => {
  it("nothing but sound is limited by nothing", () => {
    expect(adapted(run(unhindered, 0, 60, { ...scarce, camera: false }))).toEqual({ why: undefined, camera: "full", screen: "full" });
  });
  it("a screen that is shared on a poor path begins as low, and a camera alone goes on as low", () => {
    const low = run(run(unhindered, 0, 11, fine), 11, 60, scarce);
    expect([low.rung, run(low, 71, 1, { ...scarce, screen: true }).rung]).toEqual([6, 6]);
    const lower = run(run(unhindered, 0, 11, { ...fine, screen: true }), 11, 60, { ...scarce, screen: true });
    expect([lower.rung, run(lower, 71, 1, scarce).rung]).toEqual([7, 6]);
  });
});

it("reads the browser's statistics", () => {
  const report = (...stats: Record<string, unknown>[]) => new Map(stats.map((s, i) => [String(s["id"] ?? i), s])) as unknown as RTCStatsReport;
  const sends = { camera: true, screen: false };
  const chromium = report(
    { id: "T", type: "transport", selectedCandidatePairId: "P" }, { id: "P", type: "candidate-pair", localCandidateId: "L", remoteCandidateId: "R", availableOutgoingBitrate: 300_000 },
    { id: "L", type: "local-candidate" }, { id: "R", type: "remote-candidate" }, { type: "outbound-rtp", kind: "audio" },
    { type: "outbound-rtp", kind: "video", qualityLimitationReason: "none" }, { type: "outbound-rtp", kind: "video", qualityLimitationReason: "cpu" },
    { type: "remote-inbound-rtp", kind: "audio", fractionLost: 0.02 }, { type: "remote-inbound-rtp", kind: "video", fractionLost: 0.25 },
  );
  expect(measured(chromium, 7, sends)).toEqual({ atMs: 7, ...sends, encoder: "cpu", loss: 0.25, availableKbps: 300 });
  const paused = report({ type: "remote-inbound-rtp", kind: "video", fractionLost: 0.9, timestamp: 1_000 }, { type: "remote-inbound-rtp", kind: "audio", fractionLost: 0.01, timestamp: 11_000 });
  expect(measured(paused, 7, sends).loss).toBe(0.01);
  const firefox = report({ type: "outbound-rtp", kind: "video" }, { type: "remote-inbound-rtp", kind: "video" });
  expect(measured(firefox, 7, sends)).toEqual({ atMs: 7, ...sends, encoder: undefined, loss: undefined, availableKbps: undefined });
});
