// A connection of the browser's own WebRTC: the two channels of a call, and its sound and picture (media.ts) where
// the page gives it a worker for them.

import { copy, type Bytes } from "../bytes.ts";
import { refuse } from "../errors.ts";
import { release } from "../transfer/release.ts";
import type { CallPeer, PeerFactory, PeerOptions } from "./peer.ts";
import { heardOn, lookMs, quickLookMs, Quiet } from "./quiet.ts";
import { callFrames, canSeal, SealedMedia, withoutExtensions, type FramesWorker } from "./media.ts";
import { parseFingerprint } from "./sdp.ts";

/** Unsent bytes at which a file waits: enough for what is under way in 50 ms, more where a round trip takes longer. */
const highWater = 1 << 20;
const highestWater = 4 * highWater;
const highWaterRtt = 0.05;
const rttEveryMs = 2_000;

export interface BrowserPeerOptions {
  /** Starts the SDK's worker (call/worker.ts), one for each call with sound or picture. Without it calls carry data only. */
  readonly worker?: () => Worker;
  /** In its place: where frames are sealed and opened. */
  readonly frames?: () => FramesWorker;
}

/** Connections of RTCPeerConnection. */
export function browserPeer(more: BrowserPeerOptions = {}): PeerFactory {
  return (o) => {
    const frames = more.frames ?? (more.worker === undefined ? undefined : () => callFrames(more.worker!(), o));
    if (o.media !== 0 && frames !== undefined && !canSeal()) throw refuse("closed", "this browser cannot seal sound and picture");
    // encodedInsertableStreams: Chromium lets frames past a transform that is not set in the very task that makes a
    // sender or receiver, and those of a short while after. With it, what has no transform sends and shows nothing.
    const configuration = (servers: PeerOptions["servers"]): RTCConfiguration & { encodedInsertableStreams?: boolean } => ({
      ...(o.media !== 0 ? { encodedInsertableStreams: true } : {}),
      iceServers: servers.map((s) => ({ urls: s.urls, username: s.username, credential: s.credential })),
      iceTransportPolicy: o.relayOnly ? "relay" : "all", bundlePolicy: "max-bundle",
    });
    const pc = new RTCPeerConnection(configuration(o.servers));
    const channel = (label: string, id: number, onMessage: (b: Uint8Array) => void): RTCDataChannel => {
      const dc = pc.createDataChannel(label, { negotiated: true, id, ordered: true });
      dc.binaryType = "arraybuffer";
      dc.onmessage = (e: MessageEvent<unknown>) => {
        if (!(e.data instanceof ArrayBuffer) || e.data.byteLength === 0) return o.onFailed(refuse("malformed", "a message that no channel has room for"));
        onMessage(new Uint8Array(e.data));
      };
      dc.onclose = () => o.onGone();
      return dc;
    };
    const control = channel("control", 0, (b) => {
      o.onControlOpen(); // a message may be reported before the channel is
      o.onControl(b);
    });
    const file = channel("file", 1, o.onFile);
    const flow = new Flow(pc, file);
    control.onopen = () => o.onControlOpen();
    pc.ondatachannel = () => o.onFailed(refuse("malformed", "a third channel"));
    pc.onicecandidate = (e) => {
      if (e.candidate === null) o.onCandidate(undefined);
      else if (e.candidate.candidate !== "") o.onCandidate(e.candidate.candidate);
    };
    const media = o.media !== 0 && frames !== undefined ? new SealedMedia(pc, o, frames()) : undefined;
    // Up: the browser says so, and something comes.
    const quiet = new Quiet();
    let up: boolean | undefined;
    const path = () => {
      const state = pc.connectionState;
      if (state !== "connected" && state !== "disconnected" && state !== "failed") return;
      const now = state === "connected" && !quiet.silent;
      if (now === up) return;
      // What was lost meanwhile is missing for every picture that builds on it.
      if (now && up === false) media?.askKeyFrames();
      up = now;
      o.onPath(now);
    };
    let doubted = false;
    let next: ReturnType<typeof setTimeout> | undefined;
    let closed = false;
    const look = async (): Promise<void> => {
      if (pc.connectionState === "connected") {
        // One receiver's report is a small one, and has the path of all; that of one that receives nothing has none.
        const receiver = pc.getTransceivers().find((t) => t.currentDirection === "recvonly")?.receiver;
        const report = await (receiver ?? pc).getStats().catch(() => undefined); // closed meanwhile
        if (closed || report === undefined) return;
        quiet.look(heardOn(report));
        path();
        if (quiet.doubtful && !doubted) o.onDoubt?.();
        doubted = quiet.doubtful;
      }
      next = setTimeout(() => void look(), up === false ? quickLookMs : lookMs);
    };
    next = setTimeout(() => void look(), lookMs);
    pc.onconnectionstatechange = () => {
      quiet.reset();
      path();
    };
    // A handshake with another certificate than the signed one ends here, before there is any channel.
    const watch = () => {
      const dtls = pc.sctp?.transport;
      if (dtls) dtls.onstatechange = () => { if (dtls.state === "failed") o.onFailed(refuse("key_alarm", "the certificate is not the one that was signed")); };
    };
    const describe = async (d: RTCSessionDescriptionInit): Promise<string> => {
      await pc.setLocalDescription(d);
      watch();
      const sdp = withoutExtensions(d.sdp ?? "");
      media?.described(d.type === "offer", sdp);
      return sdp;
    };
    const take = async (type: "offer" | "answer", told: string): Promise<void> => {
      const sdp = withoutExtensions(told);
      media?.described(type === "offer", sdp);
      await pc.setRemoteDescription({ type, sdp });
    };
    const peer: CallPeer = {
      media,
      createOffer: async () => {
        media?.offer();
        return describe(await pc.createOffer());
      },
      acceptOffer: async (sdp) => {
        await take("offer", sdp);
        media?.answer();
        return describe(await pc.createAnswer());
      },
      setServers: (servers) => pc.setConfiguration(configuration(servers)),
      restart: async () => {
        media?.again();
        return describe(await pc.createOffer({ iceRestart: true }));
      },
      acceptAnswer: (sdp) => take("answer", sdp),
      stats: () => pc.getStats(),
      addCandidate: async (line) => {
        if (line !== undefined) await pc.addIceCandidate({ candidate: line, sdpMLineIndex: 0 });
      },
      peerFingerprint: () => peerFingerprint(pc),
      sendControl: (b) => control.send(b),
      sendFile: (b) => flow.send(b),
      close: () => {
        // What the end of the connection reports is no failure any more.
        for (const dc of [control, file]) dc.onclose = dc.onmessage = null;
        flow.close();
        pc.onconnectionstatechange = pc.onicecandidate = null;
        closed = true;
        clearTimeout(next);
        media?.close();
        pc.close();
      },
    };
    return peer;
  };
}

/** Holds whoever sends on the file channel while too much is unsent. */
class Flow {
  readonly #pc: RTCPeerConnection;
  readonly #channel: RTCDataChannel;
  #high = highWater;
  #lookedMs = -Infinity;
  #waiting: (() => void)[] = [];

  constructor(pc: RTCPeerConnection, channel: RTCDataChannel) {
    this.#pc = pc;
    this.#channel = channel;
    channel.bufferedAmountLowThreshold = highWater / 4;
    channel.addEventListener("bufferedamountlow", () => this.#wake());
    channel.addEventListener("close", () => this.#wake());
  }

  async send(b: Bytes): Promise<void> {
    this.#channel.send(b);
    release(b); // the channel has a copy of its own
    if (this.#channel.bufferedAmount < this.#high) return;
    if (performance.now() - this.#lookedMs > rttEveryMs) {
      this.#lookedMs = performance.now();
      void this.#look();
    }
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /** Follows the round trip; what it cannot know leaves everything as it is. */
  async #look(): Promise<void> {
    const stats = await this.#pc.getStats().catch(() => undefined);
    stats?.forEach((s: { readonly type: string; readonly nominated?: boolean; readonly state?: string; readonly currentRoundTripTime?: number }) => {
      if (s.type !== "candidate-pair" || s.nominated !== true || s.state !== "succeeded" || s.currentRoundTripTime === undefined) return;
      this.#high = waterFor(s.currentRoundTripTime);
      this.#channel.bufferedAmountLowThreshold = this.#high / 4;
    });
  }

  #wake(): void {
    for (const f of this.#waiting.splice(0)) f();
  }

  close(): void { this.#wake(); }
}

/** How much may be unsent with a round trip of so many seconds. */
export function waterFor(rtt: number): number {
  return Math.round(Math.min(Math.max(highWater * rtt / highWaterRtt, highWater), highestWater));
}

/**
 * SHA-256 of the certificate in use. A browser that does not show it has compared it with the description, whose
 * fingerprint was compared with the signed one.
 */
export async function peerFingerprint(pc: RTCPeerConnection): Promise<Bytes> {
  const transport = pc.sctp?.transport as (RTCDtlsTransport & { getRemoteCertificates?: () => ArrayBuffer[] }) | undefined;
  const der = transport?.getRemoteCertificates?.()[0];
  if (der !== undefined) return copy(new Uint8Array(await crypto.subtle.digest("SHA-256", der)));
  const line = /^a=fingerprint:(.*)$/m.exec(pc.remoteDescription?.sdp ?? "")?.[1];
  if (line === undefined) throw refuse("binding", "the other side's certificate is not known");
  return parseFingerprint(line.trim());
}
