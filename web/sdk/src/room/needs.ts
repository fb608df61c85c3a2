// What this side needs the SFU for (docs/spec/rooms.md, section 10): measured each second while it sends over a mesh. A need
// does not end because things look well from the SFU, where one copy is sent.

import type { Hold } from "../call/media.ts";
import type { RoomMessage, RoomMessageInit } from "./message.ts";
import { causes, type Need } from "./promotion.ts";

/** So many measures in a row. */
const enough = 3;
/** An encoder begins with little and says so. */
export const youngMs = 5_000;
/** With one other a mesh sends as many copies as the SFU is sent. */
const fewest = 2;

/** What the encoders of a connection say that holds their pictures back. */
export type Word = "bandwidth" | "cpu" | "none";

/**
 * An encoder that has begun small says for long that it was the line, also where the line is a good one by now. What the line
 * does hold back fills what the estimate gives it: this share of the encoder's target, between two reports.
 */
const fills = 0.7;

type Stat = Readonly<Record<string, unknown>>;

/** The word of a connection, by its newest report and the one before; undefined: no picture goes over it. */
export function wordOf(before: RTCStatsReport | undefined, report: RTCStatsReport): Word | undefined {
  let word: Word | undefined;
  for (const s of report.values() as Iterable<Stat>) {
    if (s["type"] !== "outbound-rtp" || s["kind"] !== "video" || s["active"] === false || !((s["framesSent"] as number) > 0)) continue;
    const reason = s["qualityLimitationReason"];
    if (reason === "cpu" || (reason === "bandwidth" && word !== "cpu" && full((before as unknown as ReadonlyMap<string, Stat> | undefined)?.get(String(s["id"])), s))) word = reason;
    else word ??= "none";
  }
  return word;
}

function full(before: Stat | undefined, now: Stat): boolean {
  const since = (name: string) => Number(now[name]) - Number(before?.[name]);
  return (8_000 * since("bytesSent")) / since("timestamp") >= fills * Number(now["targetBitrate"]); // not a number: never
}

/** The needs of one member, this side. */
export class OwnNeeds {
  readonly #rows = { uplink: 0, processor: 0 };
  readonly #since = new Map<"uplink" | "processor", number>(); // how many copies there were
  readonly #pairs = new Set<number>();

  /** One second in a mesh. words: of each connection that a picture goes over. copies: others who are in, times slots. */
  look(words: readonly Word[], copies: number): void {
    const many = words.length >= fewest;
    this.#row("uplink", many && words.every((w) => w === "bandwidth"), copies);
    this.#row("processor", many && words.includes("cpu"), copies);
  }

  #row(cause: "uplink" | "processor", short: boolean, copies: number): void {
    this.#rows[cause] = short ? this.#rows[cause] + 1 : 0;
    if (this.#rows[cause] >= enough && !this.#since.has(cause)) this.#since.set(cause, copies);
  }

  /** Nothing is measured just now: measures are in a row again afterwards. */
  pause(): void { this.#rows.uplink = this.#rows.processor = 0; }

  /** With fewer copies to send than when it began, a need ends. */
  copies(n: number): void {
    for (const [cause, before] of this.#since) if (n < before) this.#since.delete(cause);
  }

  /** It and this side do not get a connection. */
  pair(index: number): void { this.#pairs.add(index); }
  gone(index: number): void { this.#pairs.delete(index); }

  /** All that is past counts no more: this side comes in anew. */
  reset(): void {
    this.pause();
    this.#since.clear();
    this.#pairs.clear();
  }

  /** The first in the table. */
  get first(): Need | undefined {
    for (const cause of ["uplink", "processor"] as const) if (this.#since.has(cause)) return { cause, with: 0 };
    return this.#pairs.size === 0 ? undefined : { cause: "pair", with: Math.min(...this.#pairs) };
  }
}

/**
 * What a member is not sent over its connection of the mesh: nothing while it gets it over the SFU, or the path is broken;
 * and no pictures once the room goes over since this side cannot send a copy to each. The way out has to fit on the same line.
 */
export function heldBack(gets: { readonly sfu: boolean; readonly broken: boolean }, up: boolean, own: Need | undefined): Hold {
  if (gets.sfu || gets.broken) return true;
  return up && (own?.cause === "uplink" || own?.cause === "processor") ? "pictures" : false;
}

export function sameNeed(a: Need | undefined, b: Need | undefined): boolean { return a?.cause === b?.cause && a?.with === b?.with; }

/** What is said to the others; without a need, that there is none any more. */
export function needMessage(n: Need | undefined): RoomMessageInit {
  return { case: "need", value: n === undefined ? {} : { cause: causes.indexOf(n.cause) + 1, with: n.with } };
}

/** What somebody else has said. */
export function needOf(m: Extract<RoomMessage, { readonly case: "need" }>["value"]): Need | undefined {
  const cause = causes[m.cause - 1];
  return cause === undefined ? undefined : { cause, with: m.with };
}
