// What the client writes down. All of it is JSON of text and numbers: bytes in hexadecimal, wide numbers in
// decimal digits. The format is this device's own; it never leaves it.

import { hex, unhex } from "../bytes.ts";
import type { Grant } from "../envelope/bodies.ts";
import { readKeptList, type DeviceList, type Pin } from "../identity/device.ts";
import { DeviceId, PeerId } from "../identity/key.ts";

export const formatVersion = 2;

export interface ProfileRecord { readonly version: number; readonly root: string; readonly createdMs: number }

export interface HomeRecord {
  readonly peerId: string;
  readonly domain: string;
  readonly url: string;
  readonly tag: string;
  tokenEpoch: number;
  /** The node takes the token before, too. */
  grace: boolean;
}

export interface GrantRecord {
  readonly device: string;
  readonly peerId: string;
  readonly domain: string;
  readonly tag: string;
  readonly token: string;
  readonly tokenEpoch: string;
}

export interface PinRecord { readonly epoch: number; readonly hash: string; readonly seenMs: number; readonly recovery: string; readonly suite: number }

/** known: looked up only. pending: we knocked and wait. */
export type ContactState = "known" | "pending" | "accepted" | "blocked";

export interface ContactRecord {
  readonly root: string;
  domain: string;
  /** Peer id of the home, in hexadecimal; empty if unknown. */
  home: string;
  state: ContactState;
  name: string;
  petname: string;
  text: string;
  verified: boolean;
  /** When it said last that it read our code and that it matched; it proves nothing. */
  comparedMs?: number;
  /** Its devices changed over a gap, or contradict each other. */
  changed: boolean;
  pin: PinRecord | null;
  list: string;
  /** Contradicting lists: sending is stopped until the person decides. */
  evidence: string[];
  grants: GrantRecord[];
  /** Epoch of the own token that it holds, by home domain. */
  given: Record<string, number>;
  /** When a device of it was sent our list last. */
  told: Record<string, number>;
  readonly addedMs: number;
}

export interface KnockRecord {
  readonly root: string;
  readonly device: string;
  readonly name: string;
  readonly text: string;
  readonly domain: string;
  readonly home: string;
  readonly receivedMs: number;
  readonly grant: GrantRecord | null;
}

export type NoteState = "queued" | "accepted" | "stored" | "delivered" | "read" | "expired" | "refused";

/** A note without its text, which is sealed and stands apart: see history.ts. */
export interface NoteRecord {
  readonly id: string;
  readonly contact: string;
  readonly out: boolean;
  readonly place: number;
  readonly replyTo: string;
  readonly createdMs: number;
  /** Out: when it was sealed last. */
  sealedMs: number;
  state: NoteState;
  code: string;
  /** In: its receipt has gone out. */
  acked: boolean;
}

/** Where a note is kept. */
export function noteKey(contact: string, out: boolean, id: string, prefix = "note/"): string {
  return `${prefix}${contact}/${out ? "out" : "in"}/${id}`;
}

/** submitted: written down, nothing heard yet. */
export type Fate = "submitted" | "accepted" | "delivered" | "stored" | "expired" | "refused";

export interface LedgerRecord {
  readonly id: string;
  readonly message: string;
  readonly contact: string;
  readonly device: string;
  readonly dest: string;
  readonly domain: string;
  readonly ttl: number;
  readonly envelope: string;
  readonly atMs: number;
  readonly deadlineMs: number;
  fate: Fate;
  code: string;
}

export function grantRecord(g: Grant): GrantRecord {
  return {
    device: g.device.hex, peerId: hex(g.home.peerId.bytes), domain: g.home.domain, tag: hex(g.tag), token: hex(g.token),
    tokenEpoch: g.tokenEpoch.toString(),
  };
}

export function grantOf(r: GrantRecord): Grant {
  return {
    device: DeviceId.fromBytes(unhex(r.device)), home: { peerId: PeerId.fromBytes(unhex(r.peerId)), domain: r.domain }, tag: unhex(r.tag),
    token: unhex(r.token), tokenEpoch: BigInt(r.tokenEpoch),
  };
}

export function pinRecord(p: Pin): PinRecord {
  return { epoch: p.epoch, hash: hex(p.hash), seenMs: p.seenMs, recovery: p.recovery === undefined ? "" : hex(p.recovery), suite: p.suite };
}

export function pinOf(r: PinRecord | null): Pin | undefined {
  return r === null ? undefined : { ...r, hash: unhex(r.hash), recovery: r.recovery === "" ? undefined : unhex(r.recovery) };
}

const maxGrants = 8;

/** Stores a grant, replacing an older one of the same device. */
export function setGrant(k: ContactRecord, g: GrantRecord): void {
  const at = k.grants.findIndex((x) => x.device === g.device);
  const old = k.grants[at];
  if (old !== undefined) {
    if (BigInt(old.tokenEpoch) <= BigInt(g.tokenEpoch) || old.tag !== g.tag) k.grants[at] = g;
    return;
  }
  if (k.grants.length >= maxGrants) k.grants.shift(); // devices come and go; the oldest is of one gone
  k.grants.push(g);
}

// The same lists are asked for with every message. Their signatures were checked before they were written down.
const parsed = new Map<string, DeviceList>();
const maxParsed = 512;

export function listOf(signed: string): DeviceList | undefined {
  if (signed === "") return undefined;
  let l = parsed.get(signed);
  if (l === undefined) {
    l = readKeptList(unhex(signed));
    if (parsed.size >= maxParsed) parsed.delete(parsed.keys().next().value!);
    parsed.set(signed, l);
  }
  return l;
}
