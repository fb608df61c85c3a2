// What is shown beside the media of a bound call: what the other side says that it sends, reactions, a pointer on a
// shared screen, the way that packets take and the six digits that both people compare (docs/spec/media.md, section 4).

import type { CallCode } from "../envelope/session.ts";
import { refuse } from "../errors.ts";
import type { Control, ControlInit } from "./control.ts";
import { isRelay, legOf, legWords, localLeg, routeOf, type Leg, type Route } from "./route.ts";

/** What a side says that it sends; shown beside the picture, relied upon for nothing. */
export interface Sending { readonly microphone: boolean; readonly camera: boolean; readonly screen: boolean; readonly screenAudio: boolean; readonly hand: boolean }
/** A place on a shared screen, x and y from 0 to 1; undefined: it has gone. own: on the screen that its sender shares. */
export interface Pointer { readonly own: boolean; readonly at: { readonly x: number; readonly y: number } | undefined }
export const reactions = ["yes", "no", "applause", "heart", "laugh", "surprise"] as const;
export type Reaction = (typeof reactions)[number];

const edge = 65_535;
const pointerEveryMs = 50;
const nothing: Sending = { microphone: false, camera: false, screen: false, screenAudio: false, hand: false };

export class Shown {
  onChange: () => void = () => undefined;
  onReaction: (r: Reaction) => void = () => undefined;
  onPointer: (p: Pointer) => void = () => undefined;
  readonly #send: (m: ControlInit) => void;
  readonly #now: () => number;
  #peerSending: Sending = nothing;
  #announced: { readonly audio: boolean; readonly video: boolean } | undefined;
  #callCode: CallCode | undefined;
  #code: string | undefined;
  #toldLeg: Leg | undefined;
  #remoteLeg: Leg | undefined;
  #route: Route | undefined;
  #pointedMs = 0;

  /** send puts a message on the control channel of the bound call. */
  constructor(send: (m: ControlInit) => void, now: () => number) {
    this.#send = send;
    this.#now = now;
  }

  get peerSending(): Sending { return this.#peerSending; }
  get announced(): { readonly audio: boolean; readonly video: boolean } | undefined { return this.#peerSending === nothing ? this.#announced : undefined; }
  /** Whether the other side has said what it sends. */
  get told(): boolean { return this.#peerSending !== nothing || this.#announced !== undefined; }
  get code(): string | undefined { return this.#code; }
  get route(): Route | undefined { return this.#route; }

  reaction(r: Reaction): void { this.#send({ case: "reaction", value: { kind: reactions.indexOf(r) + 1 } }); }

  pointer(p: Pointer): void {
    const now = this.#now();
    if (p.at !== undefined && now - this.#pointedMs < pointerEveryMs) return;
    this.#pointedMs = now;
    const place = (v: number) => Math.round(Math.min(Math.max(v, 0), 1) * edge);
    this.#send({ case: "pointer", value: p.at === undefined ? { own: p.own, here: false } : { own: p.own, here: true, x: place(p.at.x), y: place(p.at.y) } });
  }

  /** The call is bound: the side that rang commits itself to the call code. */
  begin(code: CallCode, commits: boolean): void {
    this.#callCode = code;
    if (commits) this.#send({ case: "codeCommit", value: { hash: code.commit() } });
  }

  /** Reads which way the packets take, and with tell says this end of it to the other side. */
  look(report: RTCStatsReport, tell: boolean): void {
    const at = localLeg(report);
    if (at === undefined) return;
    this.#route = routeOf(at.leg, at.remoteRelayed, this.#remoteLeg);
    if (tell && this.#toldLeg !== at.leg) {
      this.#toldLeg = at.leg;
      this.#send({ case: "leg", value: { kind: legWords.indexOf(at.leg) + 1 } });
    }
    this.onChange();
  }

  /** A message of a bound call. What has no meaning ends it. */
  take(m: Control): void {
    switch (m.case) {
      case "leg": {
        const leg = legOf(m);
        if (leg === undefined) throw refuse("malformed", "a leg of no kind");
        this.#remoteLeg = leg;
        if (this.#route !== undefined) this.#route = routeOf(this.#route.local, isRelay(leg), leg);
        return this.onChange();
      }
      case "mediaStart": {
        const { audio, video } = m.value;
        if (audio > 1 || (video !== 0 && video !== 2 && video !== 3)) throw refuse("malformed", "media of an unknown codec");
        this.#announced = { audio: audio !== 0, video: video !== 0 };
        return this.onChange();
      }
      case "mediaEnd":
        this.#announced = { audio: false, video: false };
        return this.onChange();
      case "codeCommit":
        return this.#send({ case: "codeNonce", value: { nonce: this.#callCode!.answer(m.value.hash) } });
      case "codeNonce": {
        const { nonce, code } = this.#callCode!.reveal(m.value.nonce);
        this.#send({ case: "codeReveal", value: { nonce } });
        this.#code = code;
        return this.onChange();
      }
      case "codeReveal":
        this.#code = this.#callCode!.finish(m.value.nonce);
        return this.onChange();
      case "sending":
        this.#peerSending = { ...m.value };
        return this.onChange();
      case "reaction": {
        const r = reactions[m.value.kind - 1];
        if (r === undefined) throw refuse("malformed", "a reaction of no kind");
        return this.onReaction(r);
      }
      case "pointer": {
        const { own, here, x, y } = m.value;
        if (x > edge || y > edge || (!here && (x !== 0 || y !== 0))) throw refuse("malformed", "a pointer to nowhere");
        return this.onPointer({ own, at: here ? { x: x / edge, y: y / edge } : undefined });
      }
      default: return;
    }
  }
}
