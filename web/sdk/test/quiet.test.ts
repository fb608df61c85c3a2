// Whether a path still carries anything is read from the browser's numbers.

import { describe, expect, it } from "vitest";
import { busyLooks, doubtLooks, heardOn, idleLooks, Quiet, type Heard } from "../src/call/quiet.ts";

const report = (...all: Record<string, unknown>[]): RTCStatsReport => new Map(all.map((s) => [s["id"], s])) as unknown as RTCStatsReport;
const pair = (id: string, bytes: number, more: Record<string, unknown> = {}) => ({ id, type: "candidate-pair", bytesReceived: bytes, requestsReceived: 1, responsesReceived: 1, ...more });
const transport = (id: string) => ({ id: "T", type: "transport", selectedCandidatePairId: id });

describe("what was heard", () => {
  it("is of the pair in use, whatever comes over another one", () => {
    const first = heardOn(report(transport("a"), pair("a", 10), pair("b", 10)));
    expect(first).toBeDefined();
    expect(heardOn(report(transport("a"), pair("a", 10), pair("b", 11)))).toEqual(first);
    for (const other of [
      report(transport("a"), pair("a", 11)),
      report(transport("a"), pair("a", 10, { requestsReceived: 2 })),
      report(transport("a"), pair("a", 10, { responsesReceived: 2 })),
      report(transport("b"), pair("a", 10), pair("b", 10)),
    ]) expect(heardOn(other)).not.toEqual(first);
  });

  it("is that of the selected one in a browser that has no numbers of transports", () => {
    expect(heardOn(report(pair("a", 10), pair("b", 20, { selected: true })))).toEqual({ path: "b", asked: 2, bytes: 20 });
  });

  it("is not known without a pair, and without its numbers", () => {
    expect(heardOn(report(transport("a")))).toBeUndefined();
    expect(heardOn(report(pair("a", 10)))).toBeUndefined();
    expect(heardOn(report(transport("a"), { id: "a", type: "candidate-pair" }))).toBeUndefined();
  });
});

describe("a path", () => {
  const at = (path: string, bytes: number, asked = 1): Heard => ({ path, asked, bytes });
  const looks = (q: Quiet, n: number, heard: Heard | undefined) => { for (let i = 0; i < n; i++) q.look(heard); };

  it("on which nobody speaks is silent after so many looks without anything, and not one earlier", () => {
    const q = new Quiet();
    q.look(at("a", 1));
    looks(q, idleLooks - 1, at("a", 1));
    expect(q.silent).toBe(false);
    q.look(at("a", 1));
    expect(q.silent).toBe(true);
    q.look(at("a", 1, 2));
    expect(q.silent).toBe(false);
  });

  it("that takes the place of a silent one has to carry something", () => {
    const q = new Quiet();
    looks(q, idleLooks + 1, at("a", 1));
    q.look(at("b", 9, 9));
    expect(q.silent).toBe(true);
    q.look(at("b", 9, 10));
    expect(q.silent).toBe(false);
  });

  it("that was full of packets is silent earlier", () => {
    const q = new Quiet();
    for (let n = 0; n < 5; n++) q.look(at("a", n));
    looks(q, busyLooks - 1, at("a", 4));
    expect(q.silent).toBe(false);
    q.look(at("a", 4));
    expect(q.silent).toBe(true);
    q.look(at("a", 5));
    expect(q.silent).toBe(false);
  });

  it("that was full of packets is doubtful before it is silent, and an idle one never", () => {
    const q = new Quiet();
    looks(q, idleLooks, at("a", 1));
    expect(q.doubtful).toBe(false);
    for (let n = 0; n < 5; n++) q.look(at("a", n));
    looks(q, doubtLooks - 1, at("a", 4));
    expect(q.doubtful).toBe(false);
    q.look(at("a", 4));
    expect([q.doubtful, q.silent]).toEqual([true, false]);
    q.look(at("a", 5));
    expect(q.doubtful).toBe(false);
  });

  it("on which people stopped speaking is an idle one from the first question on", () => {
    const q = new Quiet();
    for (let n = 0; n < 5; n++) q.look(at("a", n));
    q.look(at("a", 4, 2));
    looks(q, idleLooks - 1, at("a", 4, 2));
    expect(q.silent).toBe(false);
  });

  it("of which the browser says nothing is never silent", () => {
    const q = new Quiet();
    looks(q, 3 * idleLooks, undefined);
    expect(q.silent).toBe(false);
  });

  it("begins anew when the connection does", () => {
    const q = new Quiet();
    looks(q, idleLooks + 1, at("a", 1));
    q.reset();
    expect(q.silent).toBe(false);
    looks(q, idleLooks, at("a", 1));
    expect(q.silent).toBe(false);
  });
});
