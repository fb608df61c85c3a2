// Whether something left that was not sealed, by what the browser has counted and what has come to the worker. A browser
// counts before it seals, and a worker on a busy machine may be seconds behind: it is what the browser had counted some
// looks ago that has to have come there by now. Where nothing at all comes there, as where a browser has ignored what is to
// seal, that is seen at once.

/** So many looks, one in a second, a worker may be behind. */
const behind = 10;

export class Leaving {
  readonly #counted: number[] = [];
  readonly #gross: number;

  /** gross: of this nothing can be on its way for longer than a look takes. */
  constructor(gross: number) { this.#gross = gross; }

  /** One look. counted: what left by the browser's account. came: what has come to the worker. */
  unsealed(counted: number, came: number): boolean {
    this.#counted.push(counted);
    const before = this.#counted.length > behind ? this.#counted.shift()! : 0;
    return before > came || (came === 0 && counted > this.#gross);
  }
}

/** Frames of a picture, some seconds of them; bytes of sound. */
export const grossFrames = 100;
export const grossBytes = 20_000;
