// What a member asks of the SFU.

import { expect, it } from "vitest";
import { wanted } from "../src/room/wanted.ts";

const people = Array.from({ length: 49 }, (_, i) => i + 1);

it("asks for no more than a description carries: everybody's voice, then screens, then faces", () => {
  const all = wanted(people, () => true, undefined);
  const count = (slot: string) => all.filter((s) => s.slot === slot).length;
  expect([count("microphone"), count("screenAudio"), count("screen"), count("camera")]).toEqual([49, 4, 28, 0]);
  const faces = wanted(people, (of, slot) => slot === "camera" || (slot === "screen" && of === 7), undefined);
  expect([faces.length, faces[0]]).toEqual([28, { of: 7, slot: "screen", priority: 1, height: 0 }]);
  const tiles = people.map((person) => ({ person, slot: "camera" as const, height: 90 }));
  expect(wanted(people, () => true, { tiles }).filter((s) => s.slot === "camera").map((s) => s.of)).toEqual(people.slice(0, 28));
});

it("asks for the pictures that are shown, each once, the first ones and those that are pinned before others", () => {
  const sends = (of: number, slot: string) => of < 4 && slot !== "screenAudio" && !(of === 2 && slot === "camera");
  const tiles = [
    { person: 3, slot: "screen", height: 719.6 }, { person: 2, slot: "camera", height: 90 }, { person: 1, slot: "camera", height: 90, pinned: true },
    { person: 3, slot: "screen", height: 90 }, { person: 9, slot: "camera", height: 90 },
  ] as const;
  expect(wanted([1, 2, 3, 4], sends, { tiles })).toEqual([
    ...[1, 2, 3].map((of) => ({ of, slot: "microphone", priority: 255, height: 0 })),
    { of: 3, slot: "screen", priority: 100, height: 720 }, { of: 1, slot: "camera", priority: 226, height: 90 },
  ]);
});
