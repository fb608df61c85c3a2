// Whether media goes over the node's SFU (docs/spec/rooms.md, section 10): a pure state of the times at which it is asked
// and of what all members know, so that all come to the same.

import type { Topology, TopologyState } from "./types.ts";

/** How long a room that needs the SFU no more stays on it: who comes and goes at the limit moves nobody to and fro. */
export const backMs = 15_000;

/** No mesh is for more, also not while there is no leg. */
const largestMesh = 10;

export const causes = ["uplink", "processor", "pair"] as const;
export type Cause = (typeof causes)[number];

/** What a member needs the SFU for. with: whom it gets no connection to; for a pair alone. */
export interface Need { readonly cause: Cause; readonly with: number }

/** Why media goes over the SFU. of: the member whose need it is. */
export interface Reason { readonly why: "pinned" | "count" | Cause; readonly of: number | undefined; readonly with: number | undefined }

export interface Promotion {
  readonly up: boolean;
  /** The first reason in the order of the table; after the last one has gone, that one. */
  readonly reason: Reason | undefined;
  /** Since when nothing needs the SFU. */
  readonly underMs: number | undefined;
}

export const inMesh: Promotion = { up: false, reason: undefined, underMs: undefined };

/** The need that counts: the first in the table, and of the same those of whoever came first. */
export function firstNeed(needs: Iterable<readonly [number, Need]>): Reason | undefined {
  let best: Reason | undefined;
  for (const [of, n] of needs) {
    const [now, before] = [causes.indexOf(n.cause), best === undefined ? causes.length : causes.indexOf(best.why as Cause)];
    if (now < before || (now === before && of < best!.of!)) best = { why: n.cause, of, with: n.cause === "pair" ? n.with : undefined };
  }
  return best;
}

/** count: how many are in, oneself among them. needs: by the index of whoever said it, of those who are in. */
export function decide(
  p: Promotion, nowMs: number, o: { readonly topology: Topology; readonly limit: number; readonly sfu: boolean; readonly count: number; readonly needs: Iterable<readonly [number, Need]> },
): Promotion {
  if (!o.sfu || o.topology === "mesh") return inMesh;
  const everybody = (why: "pinned" | "count"): Reason => ({ why, of: undefined, with: undefined });
  const reason = o.topology === "sfu" ? everybody("pinned") : o.count > o.limit ? everybody("count") : firstNeed(o.needs);
  if (reason !== undefined) return { up: true, reason, underMs: undefined };
  if (!p.up) return p;
  if (p.underMs === undefined) return { ...p, underMs: nowMs };
  return nowMs - p.underMs >= backMs ? inMesh : p;
}

/** What people are told: why it is this way, and who decided. short: a mesh is not what would be had with an SFU. */
export function wordFor(reason: Reason | undefined, topology: Topology, sfu: boolean, short: boolean): Pick<TopologyState, "why" | "who"> {
  // Where the node has none it is not for the owner to say.
  if (topology === "mesh" || (topology === "sfu" && sfu)) return { why: "card", who: "owner" };
  const why = reason?.why ?? "count";
  return { why: !sfu && (short || topology === "sfu") ? "no_sfu" : why === "pinned" ? "count" : why, who: "us" };
}

/** Whether the mesh stands in for somebody without a leg to the SFU, where so many are in, oneself among them. */
export function mayStandIn(count: number): boolean { return count <= largestMesh; }
