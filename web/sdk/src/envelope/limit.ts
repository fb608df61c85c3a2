// Token buckets: so many a second, and so many at once.

export interface Rate { readonly perSecond: number; readonly burst: number }

export class TokenBucket {
  readonly #rate: Rate;
  #left: number;
  #last: number | undefined;

  constructor(rate: Rate) {
    this.#rate = rate;
    this.#left = rate.burst;
  }

  take(nowMs: number): boolean {
    if (this.#last === undefined || nowMs > this.#last) {
      if (this.#last !== undefined) {
        this.#left = Math.min(this.#left + (nowMs - this.#last) / 1000 * this.#rate.perSecond, this.#rate.burst);
      }
      this.#last = nowMs;
    }
    if (this.#left < 1) return false;
    this.#left--;
    return true;
  }
}
