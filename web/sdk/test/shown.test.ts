// What the two sides of a bound call tell each other beside the media, and what ends it.

import { describe, expect, it } from "vitest";
import { hex, unhex } from "../src/bytes.ts";
import * as call from "../src/call/index.ts";
import { Shown, type Pointer } from "../src/call/shown.ts";
import { refusal, vectors } from "./vectors.ts";

const v = vectors<{
  control: { name: string; case: string; value: Record<string, number | boolean>; bytes: string }[];
  control_refused: { name: string; bytes: string }[];
  descriptions: { name: string; relay_only: boolean; sdp: string; clean: string }[];
}>("media.json");

function camel(word: string): string {
  return word.replace(/_(\w)/g, (_, c: string) => c.toUpperCase());
}

/** Somebody in a bound call, and what they are told and send. */
function listener(now = () => 0) {
  const sent: call.ControlInit[] = [];
  const heard: unknown[] = [];
  const shown = new Shown((m) => sent.push(m), now);
  shown.onReaction = (r) => heard.push(r);
  shown.onPointer = (p) => heard.push(p);
  return { shown, sent, heard };
}

describe("control messages of the specification's vectors", () => {
  it.each(v.control)("$name", ({ case: name, value, bytes }) => {
    const m = call.parseControlMessage(unhex(bytes));
    const said = Object.fromEntries(Object.entries(m.value).map(([k, x]) => [k, typeof x === "bigint" ? Number(x) : x]));
    expect({ case: m.case, value: said }).toEqual({ case: camel(name), value: Object.fromEntries(Object.entries(value).map(([k, x]) => [camel(k), x])) });
    expect(hex(call.marshalControlMessage(m as call.ControlInit))).toBe(bytes);
    listener().shown.take(m);
  });

  it.each(v.control_refused)("refuses $name", async ({ bytes }) => {
    const { code } = await refusal(() => listener().shown.take(call.parseControlMessage(unhex(bytes))));
    expect(["malformed", "not_canonical"]).toContain(code);
  });
});

describe("what one side writes, the other one shows", () => {
  it("reactions and places on a screen", () => {
    let now = 1000;
    const a = listener(() => now);
    const b = listener();
    for (const r of call.reactions) a.shown.reaction(r);
    const places: Pointer[] = [{ own: true, at: { x: 0, y: 1 } }, { own: false, at: { x: 0.5, y: 0.25 } }, { own: false, at: undefined }];
    for (const p of places) {
      a.shown.pointer(p);
      now += 50;
    }
    for (const m of a.sent) b.shown.take(call.parseControlMessage(call.marshalControlMessage(m)));
    expect(b.heard.slice(0, 6)).toEqual([...call.reactions]);
    expect(b.heard.slice(6)).toEqual([places[0], { own: false, at: { x: expect.closeTo(0.5, 4), y: expect.closeTo(0.25, 4) } }, places[2]]);
  });

  it("of places at most 20 in a second, but always that the pointer has gone", () => {
    let now = 0;
    const a = listener(() => now);
    for (now = 1000; now < 2000; now++) a.shown.pointer({ own: false, at: { x: 0.1, y: 0.1 } });
    expect(a.sent).toHaveLength(20);
    a.shown.pointer({ own: false, at: undefined });
    expect(a.sent).toHaveLength(21);
  });

  it("a place beyond the edge is at the edge", () => {
    const a = listener(() => 1000);
    a.shown.pointer({ own: true, at: { x: 7, y: -1 } });
    expect(a.sent).toEqual([{ case: "pointer", value: { own: true, here: true, x: 65_535, y: 0 } }]);
  });

  it("what is sent, and before that what was announced", () => {
    const { shown } = listener();
    expect(shown.announced).toBeUndefined();
    shown.take({ case: "mediaStart", value: { audio: 1, video: 0 } });
    expect(shown.announced).toEqual({ audio: true, video: false });
    shown.take({ case: "mediaEnd", value: { audioFrames: 3n, videoFrames: 0n } });
    expect(shown.announced).toEqual({ audio: false, video: false });
    const sending = { microphone: true, camera: false, screen: true, screenAudio: false, hand: false };
    shown.take({ case: "sending", value: sending });
    expect([shown.peerSending, shown.announced]).toEqual([sending, undefined]);
  });
});

describe("descriptions of the specification's vectors", () => {
  it.each(v.descriptions)("$name", ({ relay_only, sdp, clean }) => {
    const bytes = new TextEncoder();
    for (const text of [sdp, clean]) expect(new TextDecoder().decode(call.cleanDescription(bytes.encode(text), relay_only))).toBe(clean);
    call.parseSdp(bytes.encode(clean));
  });
});
