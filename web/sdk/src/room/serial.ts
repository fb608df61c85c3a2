// Work of a room, one after the other, whatever it waits for.

import { TrunklineError } from "../errors.ts";

export class Serial {
  #queue: Promise<unknown> = Promise.resolve();
  #closed = false;
  readonly #cancels = new Set<() => void>();
  readonly #after: (ms: number, f: () => void) => () => void;
  readonly #failed: (why: unknown) => void;

  /** failed is told what work ended with that nobody waits for. */
  constructor(after: (ms: number, f: () => void) => () => void, failed: (why: unknown) => void) {
    this.#after = after;
    this.#failed = failed;
  }

  get closed(): boolean { return this.#closed; }

  /** Runs after everything that came before it. What it throws is failed's. */
  do(work: () => Promise<void> | void): void {
    this.ask(async () => work()).catch((err: unknown) => { if (!this.#closed) this.#failed(err); });
  }

  /** The same for work that somebody waits for. */
  ask<T>(work: () => Promise<T>): Promise<T> {
    const run = this.#queue.then(() => {
      if (this.#closed) throw new TrunklineError("closed", "the room is over");
      return work();
    });
    this.#queue = run.catch(() => undefined);
    return run;
  }

  /** Has its place in the order once the time has come, unless all is over by then. Gives the function that calls it off. */
  later(ms: number, work: () => Promise<void> | void): () => void {
    const cancel = this.#after(ms, () => {
      this.#cancels.delete(cancel);
      this.do(work);
    });
    this.#cancels.add(cancel);
    return () => {
      this.#cancels.delete(cancel);
      cancel();
    };
  }

  /** Nothing that waits happens any more. Resolves when what runs has ended. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const c of this.#cancels) c();
    this.#cancels.clear();
    await this.#queue;
  }
}
