// What the SFU says that it has. Whoever comes late is told of all streams before it knows whose they are.

import type { SlotName } from "../call/media.ts";

/** More publishers than a room has are made up. */
export const mostPublishers = 200;

export class Forwarded {
  readonly #of = new Map<number, Set<SlotName>>(); // by publisher, none of them empty

  /** The SFU has it from now on. */
  add(of: number, slot: SlotName): void {
    const slots = this.#of.get(of);
    if (slots !== undefined) slots.add(slot);
    else if (this.#of.size < mostPublishers) this.#of.set(of, new Set([slot]));
  }

  /** It has it no more. */
  delete(of: number, slot: SlotName): void {
    const slots = this.#of.get(of);
    if (slots?.delete(slot) === true && slots.size === 0) this.#of.delete(of);
  }

  /** What it has of a publisher. */
  of(publisher: number): Iterable<SlotName> { return this.#of.get(publisher) ?? []; }

  clear(): void { this.#of.clear(); }
}
