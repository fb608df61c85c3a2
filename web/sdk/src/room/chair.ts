// Rosters, and what those who run a room do (docs/spec/rooms.md, sections 7 and 9).

import { equal, hex, random, type Bytes } from "../bytes.ts";
import { refuse, TrunklineError } from "../errors.ts";
import type { PublicKey } from "../identity/key.ts";
import { signCommand, type RoomCommand } from "../link/roomframes.ts";
import { remember } from "./attendee.ts";
import { parseCard, positionOf, sealCard, signCard, type Card, type CardInit } from "./card.ts";
import { bans, chairOf, maxBanned, parseRoster, sameSeat, seatOf, signRoster } from "./roster.ts";
import { formatRoomLink, RoomKeys } from "./secret.ts";
import type { Member, Stay } from "./stay.ts";
import { covers, tellingOf } from "./telling.ts";

export class Chair {
  readonly #s: Stay;

  constructor(s: Stay) { this.#s = s; }

  /** Who has it, as far as is known here. */
  get index(): number | undefined {
    const s = this.#s;
    return s.lobby ? undefined : chairOf(s.card, [s.own, ...[...s.members.values()].filter((m) => m.session !== undefined)])?.index;
  }

  get isOurs(): boolean { return this.#s.settled && !this.#s.awaitsRoster && this.index === this.#s.own.index; }

  /** Signs a roster if the chair is ours and the one that is held is not what it should be. */
  async sign(): Promise<void> {
    if (!this.isOurs) return;
    const r = this.#s.rosters.current;
    const seats = this.#s.roster();
    if (r !== undefined && r.chair.root.equals(this.#s.own.cert.root) && r.seats.length === seats.length && r.seats.every((x, i) => sameSeat(x, seats[i]!))) return;
    await this.#next(r?.banned ?? []);
  }

  /** Makes the next roster and gives it to everybody. */
  async #next(banned: readonly PublicKey[]): Promise<void> {
    const s = this.#s;
    const seats = s.roster().filter((x) => !banned.some((k) => k.equals(x.root)));
    const r = await signRoster(s.o.attendee.self, s.room, s.rosters.current, seats, banned, s.now);
    if (s.rosters.take(r, s.now) !== "newer") throw refuse("malformed", "an own roster that does not count");
    for (const m of s.sorted()) if (m.session !== undefined) await this.giveRoster(m);
  }

  /** Gives a member the roster that is held, unless it is on its way. */
  async giveRoster(m: Member): Promise<void> {
    const r = this.#s.rosters.current;
    if (r === undefined || !this.#s.rosters.admits(m)) return;
    const given = tellingOf(this.#s.now, r);
    if (covers(m.roster, given)) return;
    m.roster = given;
    await this.#s.say(m, { case: "roster", value: { signed: r.signed } });
  }

  /** Takes a roster that a member has passed on. */
  async got(m: Member, signed: Bytes): Promise<void> {
    const s = this.#s;
    const r = await parseRoster(signed);
    const taken = s.rosters.take(r, s.now);
    if (taken === "fork") return s.o.alarm();
    if (taken === "older" || taken === "lost") return this.giveRoster(m); // whoever sent it does not have the newest
    s.keys.stale = false;
    if (taken === "newer" || taken === "rival") {
      if (bans(r, s.own.cert.root)) throw new Removed();
      // The other chair's is held now; if the chair is ours it lacks what we knew.
      await s.changed();
    }
    await s.keys.again();
  }

  /** What somebody who comes is told before our key. */
  async greet(m: Member): Promise<void> {
    const s = this.#s;
    if (this.isOurs) await this.giveRoster(m);
    if ((positionOf(s.card, m.cert.root) ?? 0) > 0 && s.stewardSeed !== undefined && isOwner(s.card, s.own)) {
      await s.say(m, { case: "stewardship", value: { seed: s.stewardSeed } });
    }
  }

  /** The key that runs the room, from the owner's device to a moderator. */
  async stewardship(m: Member, seed: Bytes): Promise<void> {
    const s = this.#s;
    if (!isOwner(s.card, m) || s.steward !== undefined || positionOf(s.card, s.own.cert.root) === undefined) return;
    await s.useSteward(seed);
    await remember(s.o.attendee, s.room, (r) => { r.steward = hex(seed); });
    s.o.changed();
  }

  /** From a moderator who has replaced the gate. */
  async newLink(m: Member, secret: Bytes): Promise<void> {
    if (positionOf(this.#s.card, m.cert.root) !== undefined) await this.#s.useLink(secret);
  }

  // ---- What those who run it ask for ----

  /** Asks the node for something as a steward. */
  async command(c: RoomCommand, signal?: AbortSignal): Promise<void> {
    const s = this.#s;
    if (s.steward === undefined) throw refuse("policy", "this device does not run the room: its owner and the moderators do");
    await s.wire.call(await signCommand(s.steward, s.wire, s.room, c), "roomDone", signal);
  }

  /** Approves of somebody who waits, for this device and this place, and has the node let it in. Keys follow once it has shown itself to all. */
  async admit(index: number, signal?: AbortSignal): Promise<void> {
    const w = this.#s.waiting.get(index);
    if (w?.id === undefined) throw nobody();
    this.#s.approved.set(index, seatOf(w.id));
    try {
      await this.command({ case: "admit", value: { index } }, signal);
    } catch (err) {
      this.#s.approved.delete(index);
      throw err;
    }
  }

  async deny(index: number, signal?: AbortSignal): Promise<void> {
    if (!this.#s.waiting.has(index)) throw nobody();
    await this.command({ case: "remove", value: { index } }, signal);
  }

  /**
   * Sends a member away. The roster first: from then on nobody gives it a key, whatever the node does. Then the node
   * takes the seat and gets another gate, and those who remain get the new link.
   */
  async remove(index: number): Promise<void> {
    const s = this.#s;
    const m = s.members.get(index);
    if (m === undefined) throw nobody();
    if (!this.isOurs || m.cert.root.equals(s.card.owner.root)) throw refuse("policy", "the owner or another moderator has the chair");
    const banned = s.rosters.current?.banned ?? [];
    if (banned.length >= maxBanned) throw refuse("full", "as many were sent away from this room as it can remember: close it and make another");
    await this.#next([...banned, m.cert.root]);
    await s.review();
    s.o.changed();
    if (s.steward === undefined) return; // it hears nothing more; the seat at the node is not ours to take
    try {
      await this.command({ case: "remove", value: { index } });
    } catch (err) {
      // It has gone by itself.
      if (!(err instanceof TrunklineError) || err.nodeCode !== "unreachable") throw err;
    }
    await this.replaceLink();
  }

  /** Draws a new secret for the same room. Everybody who is in stays. */
  async replaceLink(): Promise<string> {
    const s = this.#s;
    const secret = random(32);
    const keys = await RoomKeys.of(secret);
    const stays = s.sorted().filter((m) => m.in);
    const keep = [s.own.index, ...stays.map((m) => m.index)].sort((a, b) => a - b);
    await this.command({ case: "gate", value: { gateKey: keys.gate.publicKey.bytes, card: await sealCard(keys, s.card), keep } });
    for (const m of stays) await s.say(m, { case: "newLink", value: { secret } });
    await s.useLink(secret);
    return formatRoomLink(s.o.link());
  }

  /** Another card, with the next serial; for the owner's device. It counts here once the node has it. */
  async newCard(change: Partial<Pick<CardInit, "expires" | "topology">>): Promise<void> {
    const s = this.#s;
    if (!isOwner(s.card, s.own)) throw refuse("policy", "only the device that made the room can change what it is");
    const c = s.card;
    const card = await signCard(s.o.attendee.self.device, { ...c, meshMost: c.meshLimit, ...change, serial: c.serial + 1 });
    await this.command({ case: "extend", value: { expires: BigInt(card.expires), card: await sealCard(s.roomKeys, card) } });
    await s.sayAll({ case: "card", value: { signed: card.signed } });
    await s.useCard(card);
  }

  /** A newer card. Who passes it on does not matter: its owner's device has signed it, and the id says which that is. */
  async gotCard(signed: Bytes): Promise<void> {
    const card = await parseCard(signed);
    if (equal(card.room, this.#s.room) && card.serial > this.#s.card.serial) await this.#s.useCard(card);
  }
}

/** A roster bans us. */
export class Removed extends TrunklineError {
  constructor() { super("refused", "a moderator sent this side away", { nodeCode: "removed" }); }
}

function nobody(): TrunklineError { return refuse("not_listed", "there is nobody with that number"); }

function isOwner(c: Card, m: { readonly cert: { readonly root: PublicKey; readonly device: PublicKey } }): boolean {
  return c.owner.root.equals(m.cert.root) && c.owner.device.equals(m.cert.device);
}
