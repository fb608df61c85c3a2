// What left without being sealed is told from what is still on its way to the worker.

import { expect, it } from "vitest";
import { Leaving } from "../src/call/leaving.ts";

/** Looks once for each pair of what the browser counted and what came; says at which look it was found. */
function found(gross: number, looks: readonly (readonly [number, number])[]): number {
  const l = new Leaving(gross);
  return looks.findIndex(([counted, came]) => l.unsealed(counted, came));
}

const seconds = (n: number, look: (s: number) => readonly [number, number]) => Array.from({ length: n }, (_, s) => look(s + 1));

it.each<[string, readonly (readonly [number, number])[], number]>([
  ["all of it was sealed", seconds(60, (s) => [30 * s, 30 * s]), -1],
  ["the worker is nine seconds behind", seconds(60, (s) => [30 * s, Math.max(1, 30 * (s - 9))]), -1],
  ["a worker that begins late", seconds(60, (s) => [30 * s, s < 5 ? 0 : 30 * s]), -1],
  ["every second frame went past it", seconds(60, (s) => [30 * s, 15 * s]), 20],
  ["none came to it", seconds(60, (s) => [30 * s, 0]), 5],
])("%s", (_, looks, at) => expect(found(150, looks)).toBe(at));
