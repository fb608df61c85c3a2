// Parts of the program that are fetched when they are first needed: bundlers make files of their own of them.

import { refuse } from "./errors.ts";

/** Gives one part. It is asked for once; where it cannot be fetched, the next one who needs it asks again. */
export function part<T>(fetch: () => Promise<T>): () => Promise<T> {
  let asked: Promise<T> | undefined;
  return () => asked ??= fetch().catch((err: unknown) => {
    asked = undefined;
    throw refuse("unreachable", "a part of the program could not be fetched", err);
  });
}
