// The chair's word on who is in a room and who must not be (docs/spec/rooms.md, section 7).

import { copy, equal, type Bytes } from "../bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { encode } from "../canon.ts";
import { refuse } from "../errors.ts";
import { certValidAt, type DeviceCert } from "../identity/device.ts";
import { DeviceId, PublicKey, signObject } from "../identity/key.ts";
import { keysOf, mayEnter, maxSeats, maxUnix, openByDevice, positionOf, type Card } from "./card.ts";
import type { MemberId, Self } from "./join.ts";
import { RosterMessage } from "./wire.ts";

export const maxRoster = 12_288;
export const maxBanned = 64;
const clockAheadMs = 300_000;

/** One member as a roster names it: whoever it is, for this one join. */
export interface Seat { readonly index: number; readonly root: PublicKey; readonly device: DeviceId; readonly joinHash: Bytes }

export interface Roster {
  readonly room: Bytes;
  readonly epoch: number;
  readonly previous: Bytes;
  readonly chair: DeviceCert;
  readonly createdMs: number;
  readonly seats: readonly Seat[];
  readonly banned: readonly PublicKey[];
  readonly hash: Bytes;
  readonly signed: Bytes;
}

export function seatOf(m: MemberId): Seat {
  return { index: m.index, root: m.cert.root, device: m.cert.deviceId, joinHash: m.joinHash };
}

export function sameSeat(a: Seat, b: Seat): boolean {
  return a.index === b.index && a.root.equals(b.root) && a.device.equals(b.device) && equal(a.joinHash, b.joinHash);
}

/** Signs the roster after previous, which is undefined before the first. */
export async function signRoster(self: Self, room: Bytes, previous: Roster | undefined, seats: readonly Seat[], banned: readonly PublicKey[], nowMs: number): Promise<Roster> {
  const roots = new Map(banned.map((k) => [k.hex, k]));
  return parseRoster(await signObject(self.device, "roster", encode(RosterMessage, {
    version: 1, room, epoch: BigInt((previous?.epoch ?? 0) + 1), ...(previous === undefined ? {} : { previous: previous.hash }), chairCert: self.cert.signed, created: BigInt(nowMs),
    seats: [...seats].sort((a, b) => a.index - b.index).map((s) => ({ index: s.index, root: s.root.bytes, device: s.device.bytes, joinHash: s.joinHash })),
    banned: [...roots.values()].sort((a, b) => (a.hex < b.hex ? -1 : 1)).map((k) => k.bytes),
  })));
}

/** Reads a signed roster. Whose word it is, and whether it is newer, Rosters knows. */
export async function parseRoster(signed: Uint8Array): Promise<Roster> {
  const { message: m, cert: chair } = await openByDevice(signed, maxRoster, "roster", RosterMessage, (x) => x.chairCert);
  const bad = (what: string) => refuse("malformed", `roster: ${what}`);
  if (m.version !== 1 || m.room.length !== 32 || m.epoch === 0n || m.epoch > BigInt(Number.MAX_SAFE_INTEGER)) throw bad("fields");
  if (m.previous.length !== (m.epoch === 1n ? 0 : 32)) throw bad("the one before");
  if (m.created === 0n || m.created > BigInt(maxUnix) * 1000n || m.seats.length > maxSeats || m.banned.length > maxBanned) throw bad("limits");
  const seats: Seat[] = [];
  for (const s of m.seats) {
    if (s.index === 0 || s.index > 65_535 || s.joinHash.length !== 32 || s.index <= (seats.at(-1)?.index ?? 0)) throw bad("seat");
    seats.push({ index: s.index, root: await PublicKey.check(s.root), device: DeviceId.fromBytes(s.device), joinHash: s.joinHash });
  }
  const banned = await keysOf(m.banned);
  if (banned.some((k, i) => i > 0 && banned[i - 1]!.hex >= k.hex)) throw bad("order of the banned");
  return { room: m.room, epoch: Number(m.epoch), previous: m.previous, chair, createdMs: Number(m.created), seats, banned, hash: sha256(signed) as Bytes, signed: copy(signed) };
}

export function bans(r: Roster | undefined, root: PublicKey): boolean {
  return r?.banned.some((k) => k.equals(root)) ?? false;
}

/** What became of a roster: held from now on; the one that is held; a worse placed moderator's, whose signer signs again. */
export type Taken = "newer" | "unchanged" | "rival" | "lost";
/** Why one is dropped. fork: one moderator has signed two, which is an alarm. */
export type Dropped = "older" | "fork" | "not the chair" | "of another room" | "out of its time";

/** Holds the newest roster of a room and says what a further one means. */
export class Rosters {
  #card: Card;
  #current: Roster | undefined;

  constructor(c: Card) { this.#card = c; }

  get current(): Roster | undefined { return this.#current; }

  /** Goes on by a newer card of the same room. */
  useCard(c: Card): void { this.#card = c; }

  take(r: Roster, nowMs: number): Taken | Dropped {
    if (!equal(r.room, this.#card.room)) return "of another room";
    const position = positionOf(this.#card, r.chair.root);
    // Nobody sends away who is placed better.
    if (position === undefined || r.banned.some((k) => (positionOf(this.#card, k) ?? Infinity) <= position)) return "not the chair";
    try {
      certValidAt(r.chair, nowMs);
    } catch {
      return "out of its time";
    }
    if (r.createdMs > nowMs + clockAheadMs) return "out of its time";
    const c = this.#current;
    if (c !== undefined && r.epoch < c.epoch) return "older";
    if (c === undefined || r.epoch > c.epoch) {
      this.#current = r;
      return "newer";
    }
    if (equal(r.hash, c.hash)) return "unchanged";
    const held = positionOf(this.#card, c.chair.root)!;
    if (position === held) return "fork";
    if (position > held) return "lost";
    this.#current = r;
    return "rival";
  }

  /** Whether media keys may go to a member. */
  admits(m: MemberId): boolean {
    if (bans(this.#current, m.cert.root)) return false;
    return mayEnter(this.#card, m.cert.root) || (this.#card.entry === "lobby" && (this.#current?.seats.some((s) => sameSeat(s, seatOf(m))) ?? false));
  }
}

/** Who has the chair among those present: the owner, else the first moderator of the card, of several devices of one the lowest index. */
export function chairOf<M extends MemberId>(c: Card, present: readonly M[]): M | undefined {
  let best: { readonly m: M; readonly at: number } | undefined;
  for (const m of present) {
    const at = positionOf(c, m.cert.root);
    if (at !== undefined && (best === undefined || at < best.at || (at === best.at && m.index < best.m.index))) best = { m, at };
  }
  return best?.m;
}
