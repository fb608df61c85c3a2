// Carries out what adaptation.ts says: tells the encoders of a connection, once a second, how much to send.

import { adapt, adapted, limitsOf, measured, unhindered, type Adaptation, type Adapted, type Limits } from "./adaptation.ts";
import type { SlotName } from "./media.ts";

export class Adapting {
  readonly #sender: (slot: SlotName) => RTCRtpSender | undefined;
  readonly #sends: (slot: SlotName) => boolean;
  #adaptation: Adaptation = unhindered;
  readonly #limited = new Map<SlotName, string>(); // what a slot's encoder was told, and for which picture

  constructor(sender: (slot: SlotName) => RTCRtpSender | undefined, sends: (slot: SlotName) => boolean) {
    this.#sender = sender;
    this.#sends = sends;
  }

  get adapted(): Adapted { return adapted(this.#adaptation); }

  /** Takes the statistics of a second. Whether people are to be told something else now. */
  look(report: RTCStatsReport): boolean {
    const before = this.adapted;
    this.#adaptation = adapt(this.#adaptation, measured(report, performance.now(), { camera: this.#sends("camera"), screen: this.#sends("screen") }));
    for (const slot of ["camera", "screen"] as const) this.#limit(slot, limitsOf(this.#adaptation, slot));
    const now = this.adapted;
    return now.why !== before.why || now.camera !== before.camera || now.screen !== before.screen;
  }

  /** Another encoder is a slot's: it has been told nothing yet. */
  forget(slot: SlotName): void { this.#limited.delete(slot); }

  #limit(slot: "camera" | "screen", limits: Limits | undefined): void {
    const sender = this.#sender(slot);
    const lines = sender?.track?.getSettings().height;
    if (sender === undefined || lines === undefined) return;
    const told = JSON.stringify([lines, limits]);
    if (this.#limited.get(slot) === told) return;
    const p = sender.getParameters() as RTCRtpSendParameters & { degradationPreference?: string };
    const encoding = p.encodings[0];
    if (encoding === undefined) return;
    // Between two seconds the browser gives way by itself, and by the same order.
    p.degradationPreference = slot === "screen" ? "maintain-resolution" : "maintain-framerate";
    encoding.active = limits !== undefined;
    if (limits !== undefined) {
      encoding.maxBitrate = limits.kbps * 1000;
      encoding.maxFramerate = limits.framesPerSecond;
      encoding.scaleResolutionDownBy = limits.height === undefined ? 1 : Math.max(1, lines / limits.height);
    }
    this.#limited.set(slot, told);
    // It may come between two negotiations: then it is said again.
    sender.setParameters(p).catch(() => this.#limited.delete(slot));
  }
}
