// Ending what takes long. Until something is written down here or has left, an abort undoes it; from then on it is
// done to its end, because half of it would be a lie. Each function says where that point is.

import { refuse, type TrunklineError } from "./errors.ts";

/** Accepted by everything that may take long. */
export interface Abortable {
  /** Ends the waiting. What is thrown is a {@link TrunklineError} with the code "aborted" and the signal's reason as its cause. */
  readonly signal?: AbortSignal | undefined;
}

/** What is thrown where a signal ended something. */
export function abortError(signal: AbortSignal): TrunklineError {
  return refuse("aborted", "it was stopped by whoever asked for it", signal.reason);
}

/** Throws where the signal has ended. */
export function checkAbort(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw abortError(signal);
}

/** Waits for work until the signal ends. The work itself goes on: it must be of the kind that harms nobody. */
export async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  const s = signal;
  let stop: () => void = () => undefined;
  const ended = new Promise<never>((_, reject) => {
    stop = () => reject(abortError(s));
    if (s.aborted) stop();
    else s.addEventListener("abort", stop, { once: true });
  });
  try {
    return await Promise.race([work, ended]);
  } finally {
    s.removeEventListener("abort", stop);
  }
}
