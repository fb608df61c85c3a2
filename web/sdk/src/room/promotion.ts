// Whether media goes over the node's SFU (docs/spec/rooms.md, section 10), by count: a pure state of the times at which
// it is asked.

import type { Topology } from "./types.ts";

/** How long a room that would fit into a mesh again stays on the SFU: who comes and goes at the limit moves nobody to and fro. */
export const backMs = 15_000;

export interface Promotion {
  readonly up: boolean;
  /** Since when the room would fit into a mesh. */
  readonly underMs: number | undefined;
}

export const inMesh: Promotion = { up: false, underMs: undefined };

/** count: how many are in, oneself among them. */
export function decide(p: Promotion, nowMs: number, o: { readonly topology: Topology; readonly limit: number; readonly sfu: boolean; readonly count: number }): Promotion {
  if (!o.sfu || o.topology === "mesh") return inMesh;
  if (o.topology === "sfu" || o.count > o.limit) return { up: true, underMs: undefined };
  if (!p.up) return p;
  if (p.underMs === undefined) return { up: true, underMs: nowMs };
  return nowMs - p.underMs >= backMs ? inMesh : p;
}
