// The connection to the SFU of a room's node (docs/spec/sfu.md). It publishes what the room's worker has sealed, and
// receives what the worker opens. The client makes every offer. The SFU's certificate is nobody's we know: what goes over
// it is sealed for others. It needs no relay: nobody but the node sees where this side is.

import { refuse, TrunklineError } from "../errors.ts";
import { RoomLegEventKind, RoomLegKind, type RoomLegEvent } from "../link/roomframes.ts";
import type { Wire } from "../link/wire.ts";
import { kinds, payloadTypes, prefer, slotNames, type SlotName, type Transformed } from "../call/media.ts";
import { grossFrames, Leaving } from "../call/leaving.ts";
import { heardOn, lookMs, Quiet, type Heard } from "../call/quiet.ts";
import { localLeg, type Leg as LegWord } from "../call/route.ts";
import type { RoomPort } from "./frames.ts";
import { readOnce } from "./shown.ts";

const compareMs = 1_000;
/** Between a description and the next: of many who come at once there is one. */
const settleMs = 250;
/** How long a leg whose path broke may take to find another one, before a leg is made anew. The SFU keeps the seat for 30 s. */
const mendingMs = 15_000;
const restartMs = 4_000;

/** A slot of somebody, as the SFU is asked for it. */
export interface Stream { readonly of: number; readonly slot: SlotName; readonly priority: number; readonly height: number }

export interface LegOwner {
  readonly port: RoomPort;
  wire(): Wire;
  /** The first frame of somebody's slot has opened. */
  onTrack(of: number, slot: SlotName, track: MediaStreamTrack): void;
  /** A section is somebody else's now. */
  onGone(of: number, slot: SlotName): void;
  onUp(up: boolean): void;
  onEvent(e: RoomLegEvent, stream: { readonly of: number; readonly slot: SlotName } | undefined): void;
  onFailed(why: TrunklineError): void;
}

// The header extensions that the SFU needs. Of audio levels there are none: they tell everyone on the path who speaks.
const needed = /transport-wide-cc-extensions-01|sdes:mid|sdes:rtp-stream-id|sdes:repaired-rtp-stream-id|dependency-descriptor|video-layers-allocation/;

function withNeeded(sdp: string): string {
  return sdp.split("\r\n").filter((l) => !l.startsWith("a=extmap:") || needed.test(l)).join("\r\n");
}

/** From the smallest stream to the largest. */
const cameraLayers = [
  { rid: "q", scaleResolutionDownBy: 4, maxBitrate: 120_000 }, { rid: "h", scaleResolutionDownBy: 2, maxBitrate: 400_000 }, { rid: "f", scaleResolutionDownBy: 1, maxBitrate: 1_500_000 },
];
// Of a screen the smaller one helps where it moves; letters want all of it.
const screenLayers = [{ rid: "h", scaleResolutionDownBy: 2, maxBitrate: 500_000 }, { rid: "f", scaleResolutionDownBy: 1, maxBitrate: 2_500_000 }];

interface Section { readonly id: number; readonly transceiver: RTCRtpTransceiver; stream: Stream | undefined }

export class SfuLeg {
  readonly #o: LegOwner;
  readonly #pc: RTCPeerConnection;
  readonly #senders = new Map<SlotName, { readonly id: number; readonly transceiver: RTCRtpTransceiver }>();
  readonly #sections: Section[] = [];
  readonly #leaving = new Map<number, Leaving>();
  #lines = 0;
  #wanted: readonly Stream[] = [];
  #lastN = 0;
  #begun = false;
  #due = false; // something is to be said to the SFU
  #busy = false; // something is being said, or was a moment ago
  #seeks = false; // the next offer looks for another path
  #offered = 0; // sections that were in an offer
  #mended: (() => void) | undefined; // while the path is broken
  readonly #quiet = new Quiet();
  #up = false;
  #closed = false;
  #newest: RTCStatsReport | undefined;
  readonly #timers: ReturnType<typeof setInterval>[] = [];

  constructor(o: LegOwner) {
    this.#o = o;
    // See webrtc.ts: what has no transform sends and shows nothing.
    const pc = new RTCPeerConnection({ bundlePolicy: "max-bundle", encodedInsertableStreams: true } as RTCConfiguration);
    this.#pc = pc;
    for (const slot of ["microphone", "screenAudio", "camera", "screen"] as const) {
      const layers = slot === "camera" ? cameraLayers : slot === "screen" ? screenLayers : undefined;
      const t = pc.addTransceiver(kinds[slot], { direction: "sendonly", ...(layers === undefined ? {} : { sendEncodings: layers }) });
      const id = this.#lines++;
      (t.sender as unknown as Transformed).transform = o.port.line({ id, way: "seal", slot, of: 0 });
      preferAll(t, kinds[slot], layers !== undefined);
      this.#senders.set(slot, { id, transceiver: t });
    }
    o.port.onFirst = (id, of, slot) => this.#first(id, of, slot);
    pc.onconnectionstatechange = () => {
      this.#quiet.reset();
      this.#path();
    };
    this.#timers.push(setInterval(() => {
      if (pc.connectionState !== "connected") return;
      this.#heard().then((h) => {
        this.#quiet.look(h);
        this.#path();
      }, () => undefined); // closed meanwhile
    }, lookMs * 2), setInterval(() => void this.#compare(), compareMs));
  }

  /** What has come over the path. One receiver's report is a small one, and has the path if anything comes to it. */
  async #heard(): Promise<Heard | undefined> {
    const receiver = this.#sections.find((s) => s.stream !== undefined && s.transceiver.currentDirection === "recvonly")?.transceiver.receiver;
    return (receiver === undefined ? undefined : heardOn(await receiver.getStats())) ?? heardOn(await this.#pc.getStats());
  }

  get up(): boolean { return this.#up; }

  #fail(why: TrunklineError): void { if (!this.#closed) this.#o.onFailed(why); }

  /** Up: the browser says so, and something comes. A path that breaks is looked for anew, with everything on it. */
  #path(): void {
    if (this.#closed) return;
    const { connectionState: state } = this.#pc;
    const works = state === "connected" && !this.#quiet.silent;
    if (works) {
      this.#mended?.();
      this.#mended = undefined;
    } else if (this.#mended === undefined && (state === "connected" || state === "disconnected" || state === "failed")) {
      const late = setTimeout(() => this.#fail(refuse("unreachable", "the path to the SFU broke")), mendingMs);
      const again = setInterval(() => this.#seek(), restartMs);
      this.#mended = () => {
        clearTimeout(late);
        clearInterval(again);
      };
      this.#seek();
    }
    if (works === this.#up) return;
    this.#up = works;
    this.#o.onUp(works);
  }

  #seek(): void {
    this.#seeks = true;
    this.#tell();
  }

  /** Sends a track in a slot, or nothing. */
  async send(slot: SlotName, track: MediaStreamTrack | null, text: boolean): Promise<void> {
    const { transceiver: { sender } } = this.#senders.get(slot)!;
    if (slot === "screen") {
      const p = sender.getParameters();
      for (const e of p.encodings) e.active = e.rid === "f" || !text;
      await sender.setParameters(p).catch(() => undefined); // between two negotiations: all layers go out then
    }
    await sender.replaceTrack(track);
  }

  /** Everything that is wanted; it replaces what was. */
  want(streams: readonly Stream[], lastN: number): void {
    if (lastN === this.#lastN && this.#begun && same(streams, this.#wanted)) return;
    this.#begun = true;
    this.#wanted = streams;
    this.#lastN = lastN;
    this.#place();
    this.#tell();
  }

  /** Says to the SFU what is to be said, one thing after the other. */
  #tell(): void {
    this.#due = true;
    if (this.#busy || this.#closed) return;
    this.#due = false;
    this.#busy = true;
    void this.#negotiate().catch((err: unknown) => {
      // Where many come at once the node asks for patience.
      if (err instanceof TrunklineError && err.nodeCode === "rate") this.#due = true;
      else this.#fail(err instanceof TrunklineError ? err : refuse("unreachable", "the browser does not get on with the SFU", err));
    }).finally(() => setTimeout(() => {
      this.#busy = false;
      if (this.#due) this.#tell();
    }, settleMs));
  }

  /** A section for each stream. One whose stream is wanted no more is used again; and there is one more for sound, so that
   * nobody's first words wait for a description. */
  #place(): void {
    const wants = (s: Section) => this.#wanted.find((w) => w.of === s.stream?.of && w.slot === s.stream.slot);
    for (const s of this.#sections) {
      if (s.stream === undefined) continue;
      const w = wants(s);
      if (w === undefined) this.#o.onGone(s.stream.of, s.stream.slot);
      s.stream = w;
    }
    for (const w of this.#wanted) {
      if (this.#sections.some((s) => s.stream === w)) continue;
      const free = this.#free(kinds[w.slot]);
      if (free !== undefined) {
        free.stream = w;
        this.#o.port.retarget(free.id, w.of, slotNames.indexOf(w.slot));
      } else this.#section(w.slot, w);
    }
    if (this.#free("audio") === undefined) this.#section("microphone", undefined);
  }

  #free(kind: "audio" | "video"): Section | undefined { return this.#sections.find((s) => s.stream === undefined && s.transceiver.receiver.track.kind === kind); }

  #section(slot: SlotName, stream: Stream | undefined): void {
    const t = this.#pc.addTransceiver(kinds[slot], { direction: "recvonly" });
    const id = this.#lines++;
    (t.receiver as unknown as Transformed).transform = this.#o.port.line({ id, way: "open", slot, of: stream?.of ?? 0 });
    preferAll(t, kinds[slot]);
    this.#sections.push({ id, transceiver: t, stream });
  }

  async #negotiate(): Promise<void> {
    const count = this.#sections.length + this.#senders.size;
    const seeks = this.#seeks;
    if (count > this.#offered || seeks) {
      if (this.#offered > 0) this.#sayWants(); // of what has its section already
      const offer = await this.#pc.createOffer({ iceRestart: seeks });
      await this.#pc.setLocalDescription(offer);
      const sdp = withNeeded(offer.sdp ?? "");
      this.#o.port.postMessage({ type: "codecs", codecs: payloadTypes(sdp) });
      const answer = await this.#o.wire().call({ case: "roomLeg", value: { kind: RoomLegKind.offer, sdp } }, "roomLeg");
      if (this.#closed) return;
      await this.#pc.setRemoteDescription({ type: "answer", sdp: withNeeded(answer.sdp) });
      this.#offered = count;
      this.#seeks = false;
    }
    this.#sayWants();
  }

  #sayWants(): void {
    const wants = this.#sections.flatMap(({ transceiver: { mid }, stream }) => (stream === undefined || mid === null ? [] : [{
      mid, publisher: stream.of, slot: slotNames.indexOf(stream.slot), priority: stream.priority, height: Math.min(stream.height, 65_535),
    }]));
    this.#o.wire().send({ case: "roomLeg", value: { kind: RoomLegKind.want, wants, lastN: this.#lastN } });
  }

  #first(id: number, of: number, slot: number): void {
    const s = this.#sections.find((x) => x.id === id);
    const name = slotNames[slot];
    if (s?.stream === undefined || name === undefined || s.stream.of !== of || s.stream.slot !== name) return;
    this.#o.onTrack(of, name, s.transceiver.receiver.track);
  }

  event(e: RoomLegEvent): void {
    if (e.kind === RoomLegEventKind.closed) return this.#fail(new TrunklineError("unreachable", "the SFU ended this side's leg", { nodeCode: e.reason }));
    const of = e.kind === RoomLegEventKind.allocated ? this.#sections.find((s) => s.transceiver.mid === e.mid)?.stream : undefined;
    this.#o.onEvent(e, of ?? (slotNames[e.slot] === undefined || e.publisher === 0 ? undefined : { of: e.publisher, slot: slotNames[e.slot]! }));
  }

  /** See media.ts: nothing may have been shown or sent that did not go through the worker. */
  async #compare(): Promise<void> {
    const report = await this.#pc.getStats().then(readOnce, () => undefined); // closed meanwhile
    if (this.#closed || report === undefined) return;
    this.#newest = report;
    if (!this.#up) return;
    const counts = await this.#o.port.count();
    if (this.#closed) return;
    const total = (mid: string | null, type: string, name: string) => {
      let n = 0;
      for (const s of report.values() as Iterable<Record<string, unknown>>) if (s["type"] === type && s["mid"] === mid && typeof s[name] === "number") n += s[name];
      return n;
    };
    for (const { id, transceiver: t } of this.#sections) {
      if (t.receiver.track.kind === "video" && total(t.mid, "inbound-rtp", "framesDecoded") > (counts.get(id)?.passed ?? 0)) return this.#fail(refuse("key_alarm", "frames were shown without being opened"));
    }
    for (const [slot, { id, transceiver: t }] of this.#senders) {
      if (kinds[slot] !== "video") continue;
      let leaving = this.#leaving.get(id);
      // Each size of a picture is counted.
      if (leaving === undefined) this.#leaving.set(id, leaving = new Leaving(3 * grossFrames));
      if (leaving.unsealed(total(t.mid, "outbound-rtp", "framesSent"), counts.get(id)?.seen ?? 0)) return this.#fail(refuse("key_alarm", "frames left without being sealed"));
    }
  }

  stats(): Promise<RTCStatsReport> { return this.#pc.getStats(); }

  /** The report of the last second: it is a large one, and not asked for twice. */
  get newest(): RTCStatsReport | undefined { return this.#newest; }

  /** This side's way to the node. */
  async way(): Promise<LegWord> { return localLeg(await this.#pc.getStats())?.leg ?? "direct"; }

  /** A stream has ended at the SFU: when it comes again, its first frame is told anew. */
  ended(of: number, slot: SlotName): void {
    const s = this.#sections.find((x) => x.stream?.of === of && x.stream.slot === slot);
    if (s !== undefined) this.#o.port.retarget(s.id, of, slotNames.indexOf(slot));
  }

  /** On which section a stream comes, for statistics. */
  midOf(of: number, slot: SlotName): string | null {
    return this.#sections.find((s) => s.stream?.of === of && s.stream.slot === slot)?.transceiver.mid ?? null;
  }

  close(): void {
    this.#closed = true;
    for (const t of this.#timers) clearInterval(t);
    this.#mended?.();
    this.#pc.onconnectionstatechange = null;
    this.#pc.close();
    this.#o.port.terminate();
  }
}

function same(a: readonly Stream[], b: readonly Stream[]): boolean {
  return a.length === b.length && a.every((x, i) => {
    const y = b[i]!;
    return x.of === y.of && x.slot === y.slot && x.priority === y.priority && x.height === y.height;
  });
}

/** As in a call, and repair of pictures; simulcast is VP8's alone. */
function preferAll(t: RTCRtpTransceiver, kind: "audio" | "video", simulcast = false): void {
  if (kind === "audio") return prefer(t, kind);
  const all = RTCRtpReceiver.getCapabilities("video")?.codecs ?? [];
  t.setCodecPreferences(all.filter((c) => /^video\/(vp8|rtx)$/i.test(c.mimeType)
    || (!simulcast && /^video\/vp9$/i.test(c.mimeType) && /(?:^|[; ])profile-id=(?!0)/.exec(c.sdpFmtpLine ?? "") === null)));
}
