// In a room every sender has a key of its own, which it gives to whoever may hear it (docs/spec/rooms.md, section 8).
// The key moves one step when somebody comes, so that who comes cannot read what was sent before, and is drawn anew when
// somebody goes. This runs where the frames are: in the rooms' worker.

import { copy, equal, random, type Bytes } from "../bytes.ts";
import { hkdf } from "../crypto/hash.ts";
import { refuse } from "../errors.ts";
import { context } from "../labels.ts";
import { clearPrefix, kidOf, parseHeader, SFrameReceiver, SFrameSender, type SFrameCodec } from "../sframe.ts";

/** A sender's base key and its generation. */
export interface GroupKey { readonly generation: number; readonly base: Bytes }

/** A sender's first key. */
export function newGroupKey(): GroupKey { return { generation: 0, base: random(32) }; }

/** The key one step on. There is no way back from it. */
export function ratchet(k: GroupKey): GroupKey {
  return { generation: k.generation + 1, base: hkdf(k.base, undefined, context("room-ratchet"), 32) };
}

/** A new key, one generation on, that nobody can derive. */
export function freshKey(k: GroupKey): GroupKey { return { generation: k.generation + 1, base: random(32) }; }

const slots = 4;
const rekeyFrames = 2 ** 32;

/** Seals the frames of all slots of one member. It is the one place in which counters are allocated. */
export class GroupSender {
  readonly #index: number;
  #key: GroupKey;
  #slots: (Promise<SFrameSender> | undefined)[] = [];
  #frames = 0;
  #used = false;

  /** Begins with a key that was used for nothing yet. */
  constructor(index: number, key: GroupKey) {
    this.#index = index;
    this.#key = key;
  }

  /** Goes over to a later key. Its counters begin at 0, which is safe because no generation of a base key comes twice. */
  use(key: GroupKey): void {
    if (key.generation <= this.#key.generation) throw refuse("replay", "a key of this generation was used already");
    this.#key = key;
    this.#slots = [];
    this.#frames = 0;
    this.#used = false;
  }

  /** Whether anything was sealed under the present key: one that sealed nothing tells nothing to whoever gets it. */
  get used(): boolean { return this.#used; }

  async seal(slot: number, codec: SFrameCodec, frame: Uint8Array): Promise<Bytes> {
    if (slot >= slots) throw refuse("malformed", `slot ${slot}`);
    if (++this.#frames > rekeyFrames) throw refuse("exhausted", "SFrame key is used up");
    this.#used = true;
    // Taken before the first wait, so that a key that changes meanwhile does not mix with another one's counters.
    const sender = this.#slots[slot] ??= SFrameSender.create(kidOf(this.#index, slot, this.#key.generation), this.#key.base);
    return (await sender).seal(codec, frame);
  }

  toJSON(): string { return "[redacted]"; }
}

/** The keys of one generation, made when the first frame of a slot comes. */
class Generation {
  readonly key: GroupKey;
  readonly #index: number;
  readonly #slots: (Promise<SFrameReceiver> | undefined)[] = [];

  constructor(index: number, key: GroupKey) {
    this.#index = index;
    this.key = key;
  }

  async open(slot: number, codec: SFrameCodec, sealed: Uint8Array): Promise<Bytes> {
    const make = async () => {
      const r = new SFrameReceiver();
      await r.addKey(kidOf(this.#index, slot, this.key.generation), this.key.base);
      return r;
    };
    return (await (await (this.#slots[slot] ??= make())).open(codec, sealed)).frame;
  }
}

/**
 * Opens the frames of one member. It holds the sender's newest key, the one before, whose frames may still be on their
 * way, and the one that a step makes of the newest: a sender steps when somebody comes, and its frames may be here before
 * its word of it.
 */
export class GroupReceiver {
  readonly #index: number;
  #newest: GroupKey | undefined;
  #ahead = false; // frames under the step of the newest are taken
  readonly #keys = new Map<number, Generation>();

  /** One without a key: it opens nothing. */
  constructor(index: number) { this.#index = index; }

  /** Of the newest key. */
  get generation(): number | undefined { return this.#newest?.generation; }

  /**
   * Takes a key that its sender has sent. What is told again changes nothing; a key of the newest generation that is
   * another one counts, because the step that stood for it was a guess; an older one is refused.
   */
  give(key: GroupKey): void {
    const n = this.#newest;
    if (n !== undefined && key.generation < n.generation) throw refuse("replay", "a key of this generation was used already");
    if (n !== undefined && key.generation === n.generation && equal(key.base, n.base)) return;
    this.#take({ generation: key.generation, base: copy(key.base) });
  }

  /** What a sender says instead of the key to those who hold the one before. */
  step(generation: number): void {
    const n = this.#newest;
    if (n !== undefined && generation === n.generation) return;
    if (n === undefined || generation !== n.generation + 1) throw refuse("key", "a step that is out of turn");
    this.#take(this.#keys.get(generation)?.key ?? ratchet(n));
  }

  #take(key: GroupKey): void {
    const n = this.#newest;
    this.#place(key);
    // A generation is told apart by 16 values: of more than two, one would hide another.
    for (const g of this.#keys.keys()) if (g !== key.generation && !(n !== undefined && g === n.generation && g + 1 === key.generation)) this.#keys.delete(g);
    this.#newest = key;
    this.#ahead = true;
    this.#place(ratchet(key));
  }

  // A key that is there stays with its window: which counters were seen must not be forgotten.
  #place(key: GroupKey): void {
    const there = this.#keys.get(key.generation);
    if (there === undefined || !equal(there.key.base, key.base)) this.#keys.set(key.generation, new Generation(this.#index, key));
  }

  /** Ends what is guessed: somebody has gone, so the next key is one that cannot be derived from what whoever went has. */
  expect(): void {
    if (this.#newest === undefined || !this.#ahead) return;
    this.#ahead = false;
    this.#keys.delete(this.#newest.generation + 1);
  }

  /** Drops every key but the newest, unless a newer one than of that generation has come: it has a time of its own. */
  forget(generation: number): void {
    if (this.#newest?.generation !== generation) return;
    for (const g of this.#keys.keys()) if (g < generation) this.#keys.delete(g);
  }

  /** The frame. Only one of this member and of this slot opens; one under the step of the newest key makes that the newest. */
  async open(slot: number, codec: SFrameCodec, sealed: Uint8Array): Promise<Bytes> {
    const { kid } = parseHeader(sealed.subarray(clearPrefix(codec, sealed)));
    for (const [g, held] of this.#keys) {
      if (BigInt(kidOf(this.#index, slot, g)) !== kid) continue;
      const frame = await held.open(slot, codec, sealed);
      // Meanwhile it may have been taken away: then nothing that it opened counts.
      if (this.#keys.get(g) !== held) throw refuse("key", "the key has gone");
      if (this.#newest !== undefined && g === this.#newest.generation + 1) {
        for (const old of this.#keys.keys()) if (old < this.#newest.generation) this.#keys.delete(old);
        this.#newest = held.key;
        if (this.#ahead) this.#place(ratchet(held.key));
      }
      return frame;
    }
    throw refuse("key", "no SFrame key for this key id");
  }

  toJSON(): string { return "[redacted]"; }
}

/** Whose frame it is, by the key id that it names: the index of its sender, and the slot. It is not opened. */
export function ownerOf(codec: SFrameCodec, sealed: Uint8Array): { readonly index: number; readonly slot: number } {
  const { kid } = parseHeader(sealed.subarray(clearPrefix(codec, sealed)));
  if (kid >= 128n * 65_536n) throw refuse("key", "no index has so many bits");
  return { index: Number(kid) >> 7, slot: (Number(kid) >> 4) & 7 };
}
