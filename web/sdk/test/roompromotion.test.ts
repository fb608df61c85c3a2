// Which way a room's media goes, over times that the test names, and what a member needs the SFU for (docs/spec/rooms.md,
// section 10). The cases by count are those of client/promotion_internal_test.go.

import { describe, expect, it } from "vitest";
import { marshalRoomMessage, parseRoomMessage } from "../src/room/message.ts";
import { heldBack, needMessage, needOf, OwnNeeds, sameNeed, wordOf, type Word } from "../src/room/needs.ts";
import { Forwarded, mostPublishers } from "../src/room/forwarded.ts";
import { backMs, decide, firstNeed, inMesh, mayStandIn, wordFor, type Need, type Reason } from "../src/room/promotion.ts";
import type { Topology } from "../src/room/types.ts";

const uplink: Need = { cause: "uplink", with: 0 };
const processor: Need = { cause: "processor", with: 0 };
const pair: Need = { cause: "pair", with: 2 };

interface Ask { readonly after: number; readonly count: number; readonly needs?: readonly (readonly [number, Need])[]; readonly up: string | undefined }
const asks = (...list: readonly (readonly [number, number, string | undefined, ...(readonly [number, Need])[]])[]): Ask[] => list.map(([after, count, up, ...needs]) => ({ after, count, up, needs }));

describe("media goes", () => {
  it.each<[string, { topology?: Topology; limit: number; sfu?: boolean }, Ask[]]>([
    ["by count", { limit: 4 }, asks(
      [0, 4, undefined], [0, 5, "count"], [3_600_000, 5, "count"], // over the limit
      [0, 4, "count"], [backMs - 1, 4, "count"], [1, 4, undefined], // back after the whole time
      [0, 5, "count"], [0, 4, "count"], [backMs - 1, 4, "count"], [0, 5, "count"], // somebody came in between
      [0, 4, "count"], [backMs - 1, 4, "count"], [1, 3, undefined],
    )],
    ["by what members need", { limit: 4 }, asks(
      [0, 3, "pair", [3, pair]], [0, 3, "uplink", [3, pair], [5, uplink]], [0, 5, "count", [5, uplink]],
      [0, 3, "processor", [1, processor]], [0, 3, "processor"], [backMs - 1, 3, "pair", [3, pair]], // another one began in between
      [0, 3, "pair"], [backMs - 1, 3, "pair"], [1, 3, undefined],
    )],
    ["in a mesh, pinned", { limit: 2, topology: "mesh" }, asks([0, 2, undefined], [0, 9, undefined], [0, 3, undefined, [1, uplink]])],
    ["over the SFU, pinned", { limit: 4, topology: "sfu" }, asks([0, 1, "pinned"], [3_600_000, 2, "pinned"], [0, 2, "pinned", [1, uplink]])],
    ["in a mesh where the node has no SFU", { limit: 2, sfu: false }, asks([0, 9, undefined], [0, 2, undefined, [1, uplink]])],
  ])("%s", (_, o, list) => {
    let [p, now] = [inMesh, 1_790_000_000_000];
    for (const [i, a] of list.entries()) {
      now += a.after;
      p = decide(p, now, { topology: o.topology ?? "auto", limit: o.limit, sfu: o.sfu ?? true, count: a.count, needs: a.needs ?? [] });
      expect([i, p.up, p.reason?.why]).toEqual([i, a.up !== undefined, a.up]);
    }
  });

  it("for the first need in the table, of whoever came first", () => {
    expect(firstNeed([])).toBeUndefined();
    expect(firstNeed([[7, pair], [6, pair]])).toEqual({ why: "pair", of: 6, with: 2 });
    expect(firstNeed([[3, pair], [9, processor], [4, processor], [8, uplink]])).toEqual({ why: "uplink", of: 8, with: undefined });
  });
});

it.each<[Topology, boolean, boolean, Reason | undefined, ReturnType<typeof wordFor>]>([
  ["auto", true, false, undefined, { why: "count", who: "us" }],
  ["auto", true, false, { why: "pair", of: 6, with: 2 }, { why: "pair", who: "us" }],
  ["auto", true, false, { why: "pinned", of: undefined, with: undefined }, { why: "count", who: "us" }], // pinned no more, and not back yet
  ["auto", false, false, undefined, { why: "count", who: "us" }],
  ["auto", false, true, undefined, { why: "no_sfu", who: "us" }],
  ["mesh", true, true, undefined, { why: "card", who: "owner" }],
  ["mesh", false, true, undefined, { why: "card", who: "owner" }],
  ["sfu", true, false, { why: "pinned", of: undefined, with: undefined }, { why: "card", who: "owner" }],
  ["sfu", false, false, undefined, { why: "no_sfu", who: "us" }], // the owner wants one that the node does not have
])("with the card's topology %s, an SFU at the node %s, short of one %s, for %o people are told %o", (topology, sfu, short, reason, word) => {
  expect(wordFor(reason, topology, sfu, short)).toEqual(word);
});

describe("a member needs the SFU", () => {
  const seconds = (n: OwnNeeds, count: number, words: readonly Word[], copies: number) => { for (let i = 0; i < count; i++) n.look(words, copies); };

  it("for its uplink when three measures in a row say so of every connection of two or more", () => {
    const n = new OwnNeeds();
    seconds(n, 9, ["bandwidth"], 2);
    seconds(n, 9, ["bandwidth", "none"], 4);
    seconds(n, 2, ["bandwidth", "bandwidth"], 4);
    seconds(n, 1, ["bandwidth", "none"], 4);
    seconds(n, 2, ["bandwidth", "bandwidth"], 4);
    n.pause();
    seconds(n, 2, ["bandwidth", "bandwidth"], 4);
    expect(n.first).toBeUndefined();
    seconds(n, 1, ["bandwidth", "bandwidth"], 4);
    expect(n.first).toEqual(uplink);
  });

  it("for its processor when any connection says so, until it has fewer copies to send than then", () => {
    const n = new OwnNeeds();
    seconds(n, 3, ["none", "cpu"], 4);
    expect(n.first).toEqual(processor);
    seconds(n, 60, ["none", "none"], 4);
    for (const more of [4, 6, 4]) n.copies(more);
    expect(n.first).toEqual(processor);
    n.copies(3);
    expect(n.first).toBeUndefined();
  });

  it("for a pair until the other one has gone, and says the first of several", () => {
    const n = new OwnNeeds();
    n.pair(5);
    n.pair(2);
    expect(n.first).toEqual(pair);
    seconds(n, 3, ["bandwidth", "bandwidth"], 4);
    expect(n.first).toEqual(uplink);
    n.copies(0);
    n.gone(2);
    expect(n.first).toEqual({ cause: "pair", with: 5 });
    n.reset();
    expect(n.first).toBeUndefined();
  });

  it.each([uplink, processor, pair, undefined])("and says %o so that it is read again", (need) => {
    const m = parseRoomMessage(marshalRoomMessage(needMessage(need)));
    expect(m.case === "need" && sameNeed(needOf(m.value), need)).toBe(true);
  });
});

it.each([
  [{ sfu: false, broken: false }, false, uplink, false], // still in the mesh
  [{ sfu: false, broken: false }, true, uplink, "pictures"],
  [{ sfu: false, broken: false }, true, processor, "pictures"],
  [{ sfu: false, broken: false }, true, pair, false],
  [{ sfu: false, broken: false }, true, undefined, false],
  [{ sfu: true, broken: false }, true, uplink, true],
  [{ sfu: false, broken: true }, true, uplink, true],
] as const)("a member that gets %o: the room is on the SFU %s, this side needs %o, held back is %s", (gets, up, own, held) => {
  expect(heldBack(gets, up, own)).toBe(held);
});

it("takes the word of the encoders that send", () => {
  const report = (...all: readonly Record<string, unknown>[]) => new Map(all.map((s, i) => [String(i), { id: String(i), type: "outbound-rtp", kind: "video", framesSent: 9, ...s }])) as unknown as RTCStatsReport;
  const word = (...now: Record<string, unknown>[]) => wordOf(report(...now.map(() => ({ bytesSent: 10_000, timestamp: 5_000 }))), report(...now));
  // A second in which so much of the encoder's target of 100 kbit/s was sent.
  const limited = (share: number) => ({ qualityLimitationReason: "bandwidth", targetBitrate: 100_000, bytesSent: 10_000 + share * 12_500, timestamp: 6_000 });
  expect(word()).toBeUndefined();
  expect(word({ framesSent: 0, qualityLimitationReason: "cpu" }, { active: false, qualityLimitationReason: "cpu" }, { kind: "audio" }, { type: "inbound-rtp" })).toBeUndefined();
  expect(word({ qualityLimitationReason: "none" })).toBe("none");
  expect(word(limited(0.9), { qualityLimitationReason: "none" })).toBe("bandwidth");
  expect(word({ qualityLimitationReason: "cpu" }, limited(0.9))).toBe("cpu");
  // One that has begun small says so for long, and does not fill what it may send by now.
  expect(word(limited(0.4))).toBe("none");
  expect(wordOf(undefined, report(limited(0.9)))).toBe("none");
  expect(word({ qualityLimitationReason: "bandwidth" })).toBe("none");
});

it("does not go back to the mesh for want of a leg where more are in than any mesh is for", () => {
  expect([2, 9, 10, 11, 50].map(mayStandIn)).toEqual([true, true, true, false, false]);
});

describe("what the SFU says that it has", () => {
  it("is there for whoever is known later, by publisher, until it is gone", () => {
    const f = new Forwarded();
    const has = (of: number) => [...f.of(of)];
    f.add(3, "camera");
    f.add(3, "microphone");
    f.add(3, "camera");
    f.add(4, "screen");
    expect([has(3), has(4), has(5)]).toEqual([["camera", "microphone"], ["screen"], []]);
    f.delete(3, "camera");
    f.delete(3, "camera");
    f.delete(5, "camera");
    expect([has(3), has(4)]).toEqual([["microphone"], ["screen"]]);
    f.clear();
    expect([has(3), has(4)]).toEqual([[], []]);
  });

  it("is kept of no more publishers than there can be, and there is room again when one has gone", () => {
    const f = new Forwarded();
    for (let of = 0; of <= mostPublishers; of++) f.add(of, "camera");
    expect([[...f.of(mostPublishers - 1)], [...f.of(mostPublishers)]]).toEqual([["camera"], []]);
    f.add(0, "screen"); // of one that it knows
    expect([...f.of(0)]).toEqual(["camera", "screen"]);
    f.delete(1, "camera");
    f.add(mostPublishers, "camera");
    expect([[...f.of(1)], [...f.of(mostPublishers)]]).toEqual([[], ["camera"]]);
  });
});
