// What makes a slot go on in a fresh section, which section that is, and that no counter is used twice in it.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { addFresh, judge, slotsOf, type FrameOptions } from "../src/call/index.ts";
import { serveFrames } from "../src/call/worker.ts";
import { parseHeader } from "../src/sframe.ts";

const sections = (...s: readonly string[]) => "v=0\r\n" + s.map((line, mid) => `m=${line.split(" ")[0]} 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:${mid}\r\na=${line.split(" ")[1]}\r\n`).join("");
const first = ["audio sendonly", "audio recvonly", "video sendonly", "video recvonly", "video sendonly", "video recvonly"];
const without = (mid: number, ...more: readonly string[]) => sections(...first.map((s, i) => (i === mid ? s.replace(/\w+only/, "inactive") : s)), ...more);

describe("a new section of a later offer", () => {
  it.each<[string, string, unknown]>([
    ["is for the slot whose section became inactive", without(5, "video recvonly"), { slot: "screen", direction: "recvonly" }],
    ["is for the camera where that did", without(2, "video sendonly"), { slot: "camera", direction: "sendonly" }],
    ["is for none while all are there", sections(...first, "video recvonly"), undefined],
    ["is for none of another direction", without(3, "video sendonly"), undefined],
    ["is for none of another kind", without(3, "audio recvonly"), undefined],
    ["is for none in both directions", without(3, "video sendrecv"), undefined],
  ])("%s", (_, offer, found) => {
    const slots = slotsOf(sections(...first));
    addFresh(slots, offer);
    expect(slots.get("6")).toEqual(found);
    expect(slots.size).toBe(found === undefined ? 6 : 7);
  });

  it("takes a slot's place once", () => {
    const slots = slotsOf(sections(...first));
    addFresh(slots, without(3, "video recvonly"));
    addFresh(slots, without(3, "video inactive", "video recvonly"));
    expect([slots.get("6")?.slot, slots.get("7")]).toEqual(["camera", undefined]);
    addFresh(slots, sections(...first));
    expect(slots.size).toBe(7);
  });
});

describe("what the browser and the worker have counted", () => {
  const none = { seen: 0, passed: 0, bytes: 0, dropped: 0 };
  const sealed = { ...none, seen: 90, passed: 90, bytes: 9_000 };
  it.each<[string, boolean, { frames: number; packets: number }, typeof none, string | undefined]>([
    ["a picture of which all was opened", true, { frames: 90, packets: 400 }, sealed, undefined],
    ["a picture of which more was shown", true, { frames: 91, packets: 400 }, sealed, "past"],
    ["sound of which all was opened", false, { frames: 0, packets: 90 }, sealed, undefined],
    ["sound that began", false, { frames: 0, packets: 50 }, none, undefined],
    ["sound of which nothing was seen", false, { frames: 0, packets: 51 }, none, "past"],
    ["a picture of which nothing was seen", true, { frames: 0, packets: 51 }, none, "deaf"],
    ["a picture of which nothing was seen, and which is shown", true, { frames: 1, packets: 51 }, none, "past"],
    ["a few frames in plain", true, { frames: 0, packets: 90 }, { ...none, seen: 50, dropped: 50 }, undefined],
    ["many frames in plain", true, { frames: 0, packets: 90 }, { ...none, seen: 51, dropped: 51 }, "past"],
    ["many frames in plain beside sealed ones", true, { frames: 1, packets: 90 }, { ...none, seen: 52, passed: 1, dropped: 51 }, undefined],
    ["a frame that is being opened", false, { frames: 0, packets: 90 }, { ...none, seen: 1 }, undefined],
  ])("%s", (_, picture, there, counts, found) => expect(judge(picture, there, counts)).toBe(found));
});

describe("the worker", () => {
  const scope = globalThis as unknown as Record<string, unknown>;
  const before = { postMessage: scope["postMessage"], onmessage: scope["onmessage"] };
  beforeAll(() => {
    scope["postMessage"] = () => undefined;
    serveFrames();
  });
  afterAll(() => { Object.assign(scope, before, { onrtctransform: undefined }); });

  interface Sound { data: ArrayBuffer; getMetadata(): { mimeType: string } }
  const sound = (data: Uint8Array): Sound => ({ data: data.slice().buffer as ArrayBuffer, getMetadata: () => ({ mimeType: "audio/opus" }) });
  /** A section's transform: what goes in, and what comes out. */
  function section(id: number, way: FrameOptions["way"]) {
    const into = new TransformStream<Sound, Sound>();
    const out = new TransformStream<Sound, Sound>();
    const options: FrameOptions = { id, way, kid: 16, key: new Uint8Array(32).fill(7) };
    (scope["onrtctransform"] as (e: unknown) => void)({ transformer: { readable: into.readable, writable: out.writable, options } });
    const [writer, reader] = [into.writable.getWriter(), out.readable.getReader()];
    return {
      options, put: (b: Uint8Array) => void writer.write(sound(b)).catch(() => undefined),
      get: async () => new Uint8Array((await reader.read()).value!.data),
    };
  }

  it("goes on with the counter in a fresh section, and opens no frame a second time there", async () => {
    const [old, fresh] = [section(0, "seal"), section(1, "seal")];
    expect([old.options.key, fresh.options.key]).toEqual([new Uint8Array(32), new Uint8Array(32)]);
    const sealed: Uint8Array[] = [];
    for (const s of [old, old, fresh, old, fresh]) {
      s.put(new Uint8Array([sealed.length]));
      sealed.push(await s.get());
    }
    expect(sealed.map((b) => parseHeader(b).ctr)).toEqual([0n, 1n, 2n, 3n, 4n]);
    const [first, second] = [section(2, "open"), section(3, "open")];
    first.put(sealed[0]!);
    expect([...await first.get()]).toEqual([0]);
    second.put(sealed[0]!);
    second.put(sealed[2]!);
    expect([...await second.get()]).toEqual([2]);
  });
});
