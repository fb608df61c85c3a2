/** Runs an action at most once at a time: a second press while it is under way does nothing.
 * The returned function never rejects; what went wrong goes to `failed`. */
export function once<A extends unknown[]>(action: (...args: A) => Promise<void>, failed: (error: unknown) => void): (...args: A) => void {
  let running = false;
  return (...args) => {
    if (running) return;
    running = true;
    action(...args)
      .catch(failed)
      .finally(() => {
        running = false;
      });
  };
}
