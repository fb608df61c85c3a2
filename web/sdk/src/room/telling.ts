// What a member was told last, and when (docs/spec/rooms.md, section 8). The same is not said again before the member had
// time to answer: in a room that fills, everybody would say everything to everybody each time.

import { hex } from "../bytes.ts";
import type { Roster } from "./roster.ts";

/** How long a member has to say what it holds before it is told again: what the node does not pass on it does not keep either. */
export const tellMs = 3_000;

export interface Telling {
  readonly atMs: number;
  /** The roster's hash, or, where it is only asked for, its epoch; empty before there is one. */
  readonly roster: string;
  readonly generation: number;
  /** The key itself, not that it has moved a step. */
  readonly whole: boolean;
}

export function tellingOf(atMs: number, roster: Roster | undefined, generation = 0, whole = false): Telling {
  return { atMs, roster: roster === undefined ? "" : hex(roster.hash), generation, whole };
}

/** Whether what would be told now was told already and its answer may still come. */
export function covers(before: Telling | undefined, now: Telling): boolean {
  if (before === undefined || before.roster !== now.roster || before.generation !== now.generation || (now.whole && !before.whole)) return false;
  const ago = now.atMs - before.atMs; // less than nothing: the clock was set back
  return ago >= 0 && ago < tellMs;
}
