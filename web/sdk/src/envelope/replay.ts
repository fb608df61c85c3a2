// Which messages were seen (docs/spec/envelope.md, section 9).

import { hex } from "../bytes.ts";
import { refuse } from "../errors.ts";
import type { DeviceId } from "../identity/key.ts";

export interface Replay {
  /**
   * Records the message until the time and tells whether it was recorded before. Durable when it resolves,
   * and called before anything acts on the message. At a cap it throws full and evicts nothing.
   */
  seen(device: DeviceId, id: Uint8Array, untilMs: number, stranger: boolean): Promise<boolean>;
}

// Longer than the grace that opening gives a message, so that it is refused by its time before it is forgotten.
export const replaySlackMs = 10 * 60_000;
export const replayPerDevice = 4096;
export const replayStrangers = 256;

/** The rules of the caps over a map in memory; a durable store writes down what `seen` adds. */
export class MemoryReplay implements Replay {
  readonly #now: () => number;
  readonly #contacts = new Map<string, Map<string, number>>();
  readonly #strangers = new Map<string, number>();

  constructor(now: () => number) {
    this.#now = now;
  }

  /** Puts back an entry that was stored. */
  restore(device: string, id: string, untilMs: number, stranger: boolean): void {
    if (stranger) this.#strangers.set(`${device}/${id}`, untilMs);
    else this.#of(device).set(id, untilMs);
  }

  /** The synchronous half: true if it was seen, false if it was recorded now. */
  check(device: DeviceId, id: Uint8Array, untilMs: number, stranger: boolean): boolean {
    const now = this.#now();
    const key = hex(id);
    // A stranger that became a contact in between has its entries in the pool.
    if (now < (this.#strangers.get(`${device.hex}/${key}`) ?? 0)) return true;
    const seen = this.#of(device.hex);
    if (now < (seen.get(key) ?? 0)) return true;
    const [map, name, cap] = stranger
      ? [this.#strangers, `${device.hex}/${key}`, replayStrangers] as const
      : [seen, key, replayPerDevice] as const;
    if (map.size >= cap && !dropEnded(map, now, cap)) throw refuse("full", "too many messages of one sender at once");
    map.set(name, untilMs);
    return false;
  }

  async seen(device: DeviceId, id: Uint8Array, untilMs: number, stranger: boolean): Promise<boolean> {
    return this.check(device, id, untilMs, stranger);
  }

  #of(device: string): Map<string, number> {
    let m = this.#contacts.get(device);
    if (m === undefined) this.#contacts.set(device, m = new Map());
    return m;
  }
}

function dropEnded(m: Map<string, number>, now: number, cap: number): boolean {
  for (const [k, end] of m) if (now >= end) m.delete(k);
  return m.size < cap;
}

/** A clock that never goes back: what was decided once stays decided. */
export class Clock {
  readonly #source: () => number;
  #floor: number;

  constructor(source: () => number, floorMs = 0) {
    this.#source = source;
    this.#floor = floorMs;
  }

  now(): number {
    const t = this.#source();
    if (t > this.#floor) this.#floor = t;
    return this.#floor;
  }
}
