// What happens without being asked for. Ids of people are texts (tl1…), ids of messages hexadecimal digits.

import type { LinkState } from "../link/link.ts";
import type { NoteState } from "./records.ts";

export type ClientEvent =
  | { readonly type: "link"; readonly link: LinkState }
  /** A stranger asks to be a contact. Name and text are its own words. */
  | { readonly type: "knock"; readonly from: string; readonly name: string; readonly text: string; readonly domain: string }
  | { readonly type: "knock-accepted"; readonly from: string }
  /** Somebody who was not known was met by cards. */
  | { readonly type: "met"; readonly id: string }
  /** Another own device told of a contact. */
  | { readonly type: "contact"; readonly id: string; readonly state: "accepted" | "blocked" }
  | { readonly type: "note"; readonly from: string; readonly id: string; readonly text: string }
  /** One of our notes came further, or ended. */
  | { readonly type: "note-state"; readonly to: string; readonly id: string; readonly state: NoteState; readonly code: string }
  /** A contact read our code with its camera and says that it matched; see Contact.comparedMs. */
  | { readonly type: "compared"; readonly from: string }
  | { readonly type: "devices-changed"; readonly from: string }
  /** Keys contradict each other; nothing is sent until the person decides. */
  | { readonly type: "alarm"; readonly from: string; readonly what: string }
  | { readonly type: "ringing"; readonly call: string; readonly from: string; readonly media: 0 | 1 | 2 }
  | { readonly type: "missed"; readonly from: string; readonly reason: string }
  | { readonly type: "call"; readonly call: string; readonly state: string; readonly reason: string }
  /** A plugin began, ended, or was cut off because it threw, hung or answered nonsense. */
  | { readonly type: "plugin"; readonly name: string; readonly state: "on" | "off" | "cut"; readonly why: "" | "threw" | "hung" | "answer" }
  /** The client cannot go on; the error says why. */
  | { readonly type: "ended"; readonly error: Error };

export type Listener = (e: ClientEvent) => void;

/** Lets something happen once in a while for each key, however often others ask for it. Bounded. */
export class Seldom {
  readonly #last = new Map<string, number>();

  allow(key: string, nowMs: number, everyMs: number): boolean {
    const t = this.#last.get(key);
    if (t !== undefined && nowMs - t < everyMs) return false;
    if (this.#last.size >= 4096) {
      for (const [k, x] of this.#last) if (nowMs - x >= everyMs) this.#last.delete(k);
      if (this.#last.size >= 4096) return false;
    }
    this.#last.set(key, nowMs);
    return true;
  }
}

/** Spaces repeated attempts at the same thing: at once, after 5 seconds, then twice as long each time. */
export class Attempts {
  readonly #due = new Map<string, { nextMs: number; waitMs: number }>();

  ready(key: string, nowMs: number): boolean {
    const was = this.#due.get(key);
    if (was !== undefined && nowMs < was.nextMs) return false;
    const waitMs = Math.min(Math.max(2 * (was?.waitMs ?? 0), 5_000), 15 * 60_000);
    this.#due.set(key, { nextMs: nowMs + waitMs, waitMs });
    return true;
  }

  done(key: string): void { this.#due.delete(key); }
  /** Makes everything ready: something has changed that may let it succeed. */
  again(): void { this.#due.clear(); }
}
