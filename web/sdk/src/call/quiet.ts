// Whether anything still comes over a path. A browser says that a path is broken after more than five seconds
// without an answer; a call that is to go on within five has to notice before that.

/** How often it is looked whether something came, and how often while nothing does: what takes over is to be seen at once. */
export const lookMs = 250;
export const quickLookMs = 100;

/** So many looks without anything, three seconds: a browser asks on an idle path every two and a half whether it is there. */
export const idleLooks = 12;

/** So many where packets came until then: those of sound come fifty times a second, and each side reports on the other's. */
export const busyLooks = 8;
const busy = 4;

/**
 * After a second of it another path is looked for while this one is still used. A browser leaves one that it could use for
 * a worse one only when nothing has come over it for three and a half seconds: by then the other one is to be ready.
 */
export const doubtLooks = 4;

/** What has come over a path so far. */
export interface Heard {
  readonly path: string;
  /** Questions of the other side whether the path is there, and its answers to ours. */
  readonly asked: number;
  readonly bytes: number;
}

/** What has come over the path in use; undefined while there is none or the browser does not say. */
export function heardOn(report: RTCStatsReport): Heard | undefined {
  const all = [...report.values()] as Readonly<Record<string, unknown>>[];
  const chosen = all.find((s) => s["type"] === "transport")?.["selectedCandidatePairId"];
  const pair = all.find((s) => s["type"] === "candidate-pair" && (chosen === undefined ? s["selected"] === true : s["id"] === chosen));
  if (pair === undefined || typeof pair["bytesReceived"] !== "number") return undefined;
  const number = (name: string) => (typeof pair[name] === "number" ? pair[name] : 0);
  return { path: String(pair["id"]), asked: number("requestsReceived") + number("responsesReceived"), bytes: number("bytesReceived") };
}

/** Counts looks in a row in which nothing was heard. */
export class Quiet {
  #last: Heard | undefined;
  #looks = 0;
  #flow = 0; // looks in a row with packets, before the silence

  get silent(): boolean { return this.#looks >= (this.#flow >= busy ? busyLooks : idleLooks); }
  /** Packets came all the time, and now none do. */
  get doubtful(): boolean { return this.#flow >= busy && this.#looks >= doubtLooks; }

  look(heard: Heard | undefined): void {
    const last = this.#last;
    this.#last = heard;
    // A path that is new has to show that something comes over it.
    if (heard !== undefined && last !== undefined && heard.path !== last.path) return;
    if (heard !== undefined && heard.asked === last?.asked && heard.bytes === last.bytes) {
      this.#looks++;
      return;
    }
    this.#looks = 0;
    this.#flow = heard !== undefined && last !== undefined && heard.bytes !== last.bytes ? this.#flow + 1 : 0;
  }

  /** Begins anew, after a time in which nobody looked. */
  reset(): void {
    this.#last = undefined;
    this.#looks = this.#flow = 0;
  }
}
