// Who holds which media key (docs/spec/rooms.md, section 8).

import { freshKey, newGroupKey, ratchet, type GroupKey } from "./group.ts";
import type { RoomMessage, RoomMessageInit } from "./message.ts";
import { copyKey } from "./ring.ts";
import type { Chair } from "./chair.ts";
import type { Member, Stay, StayOwner } from "./stay.ts";
import { covers, tellingOf, type Telling } from "./telling.ts";

/** How long the others have to say that they hold a fresh key before it is used without. */
const switchMs = 2_000;
/** How long frames under the key before are taken: its sender switches within switchMs, and what it had sent is on its way. */
const forgetMs = 2 * switchMs;
/** How often whoever has not answered in time is looked for. */
const remindMs = 1_000;
/** How long a sender's key is used (docs/spec/rooms.md, section 8). */
const lifeMs = 86_400_000;

/** What keys need to know of a stay. */
export interface KeyHolders extends Pick<Stay, "now" | "rosters" | "say" | "sorted"> {
  readonly o: Pick<StayOwner, "keys" | "rekeyed">;
  readonly serial: Pick<Stay["serial"], "later">;
  readonly chair: Pick<Chair, "giveRoster">;
}

export class Keys {
  readonly #s: KeyHolders;
  #key!: GroupKey; // in use
  #next: GroupKey | undefined; // drawn because somebody went, and not used yet
  /** Somebody holds a newer roster: nothing is given before we have it. */
  stale = false;
  #wanted: (Telling & { readonly of: Member }) | undefined; // the roster that was asked for, of whoever said that it has it
  #cancelSwitch: () => void = () => undefined;

  constructor(s: KeyHolders) { this.#s = s; }

  async begin(index: number): Promise<void> {
    this.#key = newGroupKey();
    await this.#s.o.keys({ do: "begin", index, key: copyKey(this.#key) });
    this.#each(remindMs, () => this.#remind());
    this.#each(lifeMs, () => this.rekey());
  }

  #each(ms: number, work: () => Promise<void>): void {
    this.#s.serial.later(ms, async () => {
      await work();
      this.#each(ms, work);
    });
  }

  /** The one that the others should hold. */
  get #newest(): GroupKey { return this.#next ?? this.#key; }

  /**
   * Gives our key to those who came. If anything was sealed under it, it moves a step first, so that they cannot read
   * what was; the others hear of the step.
   */
  async give(came: readonly Member[]): Promise<void> {
    if (this.#next === undefined && (await this.#s.o.keys({ do: "used" })).used === true) {
      this.#key = ratchet(this.#key);
      await this.#s.o.keys({ do: "use", key: copyKey(this.#key) });
      for (const m of this.#s.sorted()) {
        if (!m.in || came.includes(m)) continue;
        m.held = false;
        await this.#tell(m, false);
      }
    }
    for (const m of came) await this.#tell(m, true);
  }

  /** Gives one member our newest key, or the word that it has moved a step. */
  async #tell(m: Member, whole: boolean): Promise<void> {
    if (this.stale) return; // it is told once we know who is here
    const { generation, base } = this.#newest;
    const r = this.#s.rosters.current;
    m.gave++;
    m.told = tellingOf(this.#s.now, r, generation, whole);
    await this.#s.say(m, {
      case: "key", value: { generation, ...(whole ? { key: base } : {}), ...(r === undefined ? {} : { rosterEpoch: BigInt(r.epoch), rosterHash: r.hash }) },
    } satisfies RoomMessageInit);
  }

  /** A whole key of ours is on its way to a member under the roster that is held. */
  #underway(m: Member): boolean {
    return covers(m.told, tellingOf(this.#s.now, this.#s.rosters.current, this.#newest.generation, true));
  }

  /** Gives our key to everybody who does not hold it yet, unless it is on its way. */
  async again(): Promise<void> {
    for (const m of this.#s.sorted()) {
      if (!m.in || m.held || this.#underway(m)) continue;
      m.gave = 0;
      await this.#tell(m, true);
    }
  }

  /** Gives our key again to whoever has not said in time that it holds it, and asks again for a roster that did not come. */
  async #remind(): Promise<void> {
    if (!this.stale) return this.again();
    if (this.#wanted === undefined) return;
    const here = this.#s.sorted().filter((x) => x.in);
    const m = here.find((x) => x === this.#wanted?.of) ?? here[0];
    if (m !== undefined) await this.#askRoster(m, this.#wanted.roster);
  }

  /** Asks a member for a roster that somebody holds, once in three seconds. */
  async #askRoster(m: Member, epoch: string): Promise<void> {
    const asked = { atMs: this.#s.now, roster: epoch, generation: 0, whole: false, of: m };
    if (covers(this.#wanted, asked)) return;
    this.#wanted = asked;
    await this.#s.say(m, { case: "rosterWanted", value: {} });
  }

  /**
   * Draws a fresh key because somebody went: all that remain get it, and it is used when all hold it. What was guessed
   * of the others' keys is forgotten, since whoever went can guess as well.
   */
  async rekey(): Promise<void> {
    this.#next = freshKey(this.#newest);
    let alone = true;
    for (const m of this.#s.sorted()) {
      await this.#s.o.keys({ do: "expect", of: m.index });
      m.held = false;
      if (!m.in) continue;
      alone = false;
      await this.#tell(m, true);
    }
    if (alone) return this.#switch();
    this.#cancelSwitch();
    this.#cancelSwitch = this.#s.serial.later(switchMs, () => this.#switch());
  }

  /** Goes over to the key that was drawn. */
  async #switch(): Promise<void> {
    if (this.#next === undefined) return;
    this.#cancelSwitch();
    this.#key = this.#next;
    this.#next = undefined;
    await this.#s.o.keys({ do: "use", key: copyKey(this.#key) });
    this.#s.o.rekeyed();
  }

  /** A member's own key. */
  async got(m: Member, k: Extract<RoomMessage, { readonly case: "key" }>["value"]): Promise<void> {
    const r = this.#s.rosters.current;
    const newer = k.rosterEpoch > BigInt(r?.epoch ?? 0);
    // Not of somebody who may not be here. In a lobby a moderator who comes again knows of nobody who was let in before
    // it has the roster: there may be nobody with the chair who gives it.
    if (!this.#s.rosters.admits(m)) return newer ? this.#askRoster(m, String(k.rosterEpoch)) : undefined;
    // And not under an older roster than ours.
    if (r !== undefined && k.rosterEpoch < BigInt(r.epoch)) return this.#s.chair.giveRoster(m);
    if (newer) {
      this.stale = true;
      await this.#askRoster(m, String(k.rosterEpoch));
    }
    const { generation } = await this.#s.o.keys(k.key.length === 0
      ? { do: "step", of: m.index, generation: k.generation }
      : { do: "give", of: m.index, key: { generation: k.generation, base: k.key } });
    if (generation === undefined) return;
    if (k.key.length > 0) this.#s.serial.later(forgetMs, async () => void await this.#s.o.keys({ do: "forget", of: m.index, generation }));
    // What we hold, whether that is what was sent or not: its sender sees the difference.
    await this.#s.say(m, { case: "keyHeld", value: { generation } });
  }

  /** What a member holds of ours. */
  async isHeld(m: Member, generation: number): Promise<void> {
    if (!m.in) return;
    if (m.gave > 0) m.gave--;
    if (generation !== this.#newest.generation) {
      // It has seen all that was sent, and missed something.
      if (m.gave === 0 && !this.#underway(m)) await this.#tell(m, true);
      return;
    }
    m.held = true;
    if (this.#next !== undefined && this.#s.sorted().every((o) => !o.in || o.held)) await this.#switch();
  }
}
