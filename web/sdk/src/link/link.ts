// A link that stays: it dials, joins, waits for the end and dials again, with pauses that grow and are drawn
// at random, so that the clients of a node that restarts do not all come at once.

import { abortError } from "../abort.ts";
import { isCode, refuse, TrunklineError } from "../errors.ts";
import { Wire, type DialOptions, type Timers } from "./wire.ts";

/** Each attempt has a number; what an older attempt says late is ignored. */
export type LinkState =
  | { readonly state: "connecting"; readonly attempt: number }
  | { readonly state: "up"; readonly attempt: number; readonly wire: Wire }
  | { readonly state: "waiting"; readonly attempt: number; readonly retryAtMs: number; readonly why: TrunklineError }
  | { readonly state: "ended"; readonly attempt: number; readonly why: TrunklineError };

export interface LinkOptions {
  readonly timers: Timers;
  /** What to dial now; asked anew for every attempt. */
  readonly dial: () => Promise<Omit<DialOptions, "onEnd" | "onDrain" | "timers" | "signal">>;
  /** Makes a new wire the link: publishes and registers. */
  readonly join: (w: Wire) => Promise<void>;
  readonly onState: (s: LinkState) => void;
}

const firstPauseMs = 300;
const lastPauseMs = 30_000;
const maxHintMs = 600_000;

// After these the same dial cannot succeed: a person has to act.
const finalCodes = new Set(["replaced", "not_registered", "policy", "registration_closed", "bad_signature"]);

function isFinal(err: TrunklineError): boolean {
  return (["key_alarm", "aborted", "signature", "equivocation", "rollback", "revoked", "not_registered"] as const).some((code) => isCode(err, code))
    || (err.code === "refused" && finalCodes.has(err.nodeCode ?? ""));
}

export class Link {
  readonly #o: LinkOptions;
  #attempt = 0;
  #pause = firstPauseMs;
  #state: LinkState | undefined;
  #stop = new AbortController();
  #cancelWait: () => void = () => undefined;
  #ups: { resolve: (w: Wire) => void; reject: (e: TrunklineError) => void }[] = [];

  constructor(o: LinkOptions) {
    this.#o = o;
  }

  get state(): LinkState | undefined { return this.#state; }
  /** The wire of this moment. */
  get wire(): Wire | undefined { return this.#state?.state === "up" ? this.#state.wire : undefined; }

  start(): void {
    if (this.#state === undefined) void this.#try();
  }

  /** Dials now, for example because the browser is online again. */
  hurry(): void {
    if (this.#state?.state !== "waiting") return;
    this.#cancelWait();
    void this.#try();
  }

  stop(): void {
    const wire = this.wire;
    this.#stop.abort();
    this.#cancelWait();
    this.#end(refuse("aborted", "the client was stopped"));
    wire?.close();
  }

  /** Waits for a link that is up. */
  up(signal?: AbortSignal): Promise<Wire> {
    const s = this.#state;
    if (s?.state === "up") return Promise.resolve(s.wire);
    if (s?.state === "ended") return Promise.reject(s.why);
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(abortError(signal));
      const stop = () => {
        this.#ups = this.#ups.filter((u) => u !== entry);
        reject(abortError(signal!));
      };
      const done = () => signal?.removeEventListener("abort", stop);
      const entry = { resolve: (w: Wire) => { done(); resolve(w); }, reject: (e: TrunklineError) => { done(); reject(e); } };
      this.#ups.push(entry);
      signal?.addEventListener("abort", stop, { once: true });
    });
  }

  async #try(): Promise<void> {
    const attempt = ++this.#attempt;
    const began = this.#o.timers.now();
    const current = () => attempt === this.#attempt && !this.#stop.signal.aborted;
    this.#set({ state: "connecting", attempt });
    let hint = 0;
    let ended: ((err: TrunklineError) => void) | undefined;
    let end: TrunklineError | undefined;
    const onEnd = (err: TrunklineError) => {
      end = err;
      ended?.(err);
    };
    let wire: Wire | undefined;
    let why: TrunklineError;
    try {
      wire = await Wire.dial({
        ...(await this.#o.dial()), timers: this.#o.timers, signal: this.#stop.signal, onEnd,
        onDrain: (d) => {
          const bound = (n: bigint) => Math.min(Number(n), maxHintMs);
          hint = bound(d.reconnectAfterMs) + this.#o.timers.random() * bound(d.jitterMs);
        },
      });
      await this.#o.join(wire);
      if (!current()) return wire.close();
      if (end === undefined) {
        this.#set({ state: "up", attempt, wire });
        const up = this.#ups;
        this.#ups = [];
        for (const u of up) u.resolve(wire);
      }
      why = end ?? await new Promise<TrunklineError>((resolve) => { ended = resolve; });
    } catch (err) {
      why = err instanceof TrunklineError ? err : refuse("unreachable", "the link did not come up", err);
      // What the node said before it closed explains more than the closed connection that a question ran into.
      if (end !== undefined && (end as TrunklineError).code === "refused") why = end;
      wire?.close(why);
    }
    if (!current()) return;
    if (isFinal(why)) return this.#end(why);
    const { timers } = this.#o;
    // A node that takes nobody now says when to come back; not all at one moment.
    const asked = (why as { readonly retryAfterMs?: number }).retryAfterMs ?? 0;
    if (asked > 0) hint = Math.max(hint, Math.min(asked, maxHintMs) + timers.random() * 1_000);
    if (timers.now() - began > lastPauseMs) this.#pause = firstPauseMs;
    const wait = Math.max(hint, this.#pause / 2 + timers.random() * this.#pause);
    this.#pause = Math.min(2 * this.#pause, lastPauseMs);
    this.#set({ state: "waiting", attempt, retryAtMs: timers.now() + wait, why });
    this.#cancelWait = timers.after(wait, () => void this.#try());
  }

  #end(why: TrunklineError): void {
    if (this.#state?.state === "ended") return;
    this.#set({ state: "ended", attempt: this.#attempt, why });
    const up = this.#ups;
    this.#ups = [];
    for (const u of up) u.reject(why);
  }

  #set(s: LinkState): void {
    this.#state = s;
    this.#o.onState(s);
  }
}
