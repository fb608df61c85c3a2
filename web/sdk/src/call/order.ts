// The order in which things happen in a call: one after the other, whatever they wait for.

import { TrunklineError } from "../errors.ts";
import type { Client } from "../client/client.ts";
import { isTemporary } from "../link/wire.ts";

export class Order {
  readonly #c: Client;
  readonly #failed: (why: TrunklineError) => Promise<void>;
  readonly #cancels: (() => void)[] = [];
  #queue: Promise<void> = Promise.resolve();

  /** failed is called, in order, with what ends the call. */
  constructor(c: Client, failed: (why: TrunklineError) => Promise<void>) {
    this.#c = c;
    this.#failed = failed;
  }

  /** Runs after everything that came before it; what it throws ends the call. */
  do(work: () => Promise<void>): void {
    const run = this.#queue.then(async () => {
      try {
        await work();
      } catch (err) {
        if (!(err instanceof TrunklineError)) throw err;
        await this.#failed(err);
      }
    });
    this.#queue = run.catch(() => undefined);
    this.#c.background("a call", () => run);
  }

  /** Calls f later, unless the call has ended by then. */
  after(ms: number, f: () => void): void { this.#cancels.push(this.#c.timers.after(ms, f)); }

  /** The same for work that has its place in the order. */
  later(ms: number, work: () => Promise<void>): void { this.after(ms, () => this.do(work)); }

  /** Nothing that was put off happens any more. */
  close(): void {
    for (const cancel of this.#cancels.splice(0)) cancel();
  }
}

/** Waits and hides what ends by itself: the machine's timers say what comes of it. */
export async function quiet(work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (err) {
    if (!isTemporary(err)) throw err;
  }
}
