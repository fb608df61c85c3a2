// The connection of two cards: one data channel, with the browser's own WebRTC (docs/spec/cards.md, section 4).

import { uuidOf, type Card, type CardCandidate, type CardCandidateType } from "../envelope/card.ts";
import { CardKind, maxCardCandidates } from "../envelope/card.ts";
import { refuse, TrunklineError } from "../errors.ts";
import type { Bytes } from "../bytes.ts";
import type { IceServer } from "./peer.ts";
import { formatFingerprint, isNamed, parseCandidate } from "./sdp.ts";
import { peerFingerprint } from "./webrtc.ts";

export interface CardPeerOptions {
  readonly relayOnly: boolean;
  readonly servers: readonly IceServer[];
  readonly onOpen: () => void;
  readonly onMessage: (b: Uint8Array) => void;
  /** The channel was closed, or the connection did what there is no room for. */
  readonly onEnded: (why: TrunklineError) => void;
}

/** One connection with one channel. */
export interface CardPeer {
  /** Makes an offer, or the answer to one, and gives it with all addresses that were found in time. */
  local(offer?: string): Promise<string>;
  accept(answer: string): Promise<void>;
  /** Tries addresses anew, which the library may have given up: the other side did not know of us yet. */
  again(lines: readonly string[]): void;
  /** SHA-256 of the certificate that the other side really uses. */
  peerFingerprint(): Promise<Bytes>;
  send(b: Bytes): void;
  close(): void;
}

export type CardPeerFactory = (o: CardPeerOptions) => CardPeer;

/** How long a card waits for the last of its addresses after the first. */
export const cardGatheringMs = 3_000;

/** Connections of RTCPeerConnection. */
export const browserCardPeer: CardPeerFactory = (o) => {
  const pc = new RTCPeerConnection({
    iceServers: o.servers.map((s) => ({ urls: s.urls, username: s.username, credential: s.credential })), iceTransportPolicy: o.relayOnly ? "relay" : "all",
  });
  const dc = pc.createDataChannel("card", { negotiated: true, id: 0, ordered: true });
  dc.binaryType = "arraybuffer";
  dc.onopen = () => o.onOpen();
  dc.onmessage = (e: MessageEvent<unknown>) => {
    o.onOpen(); // a message may be reported before the channel is
    if (!(e.data instanceof ArrayBuffer) || e.data.byteLength === 0) return o.onEnded(refuse("malformed", "a message that a card's channel has no room for"));
    o.onMessage(new Uint8Array(e.data));
  };
  dc.onclose = () => o.onEnded(refuse("unreachable", "the other side has gone"));
  pc.ondatachannel = () => o.onEnded(refuse("malformed", "a second channel"));
  const watch = () => {
    const dtls = pc.sctp?.transport;
    if (dtls) dtls.onstatechange = () => { if (dtls.state === "failed") o.onEnded(refuse("key_alarm", "the certificate is not the one of the card")); };
  };
  const gathered = () => new Promise<void>((resolve) => {
    let late: ReturnType<typeof setTimeout> | undefined;
    const done = () => {
      clearTimeout(late);
      resolve();
    };
    pc.onicecandidate = (e) => {
      if (e.candidate === null) done();
      else late ??= setTimeout(done, cardGatheringMs);
    };
  });
  return {
    local: async (offer) => {
      if (offer !== undefined) await pc.setRemoteDescription({ type: "offer", sdp: offer });
      const all = gathered();
      await pc.setLocalDescription(offer === undefined ? await pc.createOffer() : await pc.createAnswer());
      watch();
      await all;
      return pc.localDescription?.sdp ?? "";
    },
    accept: async (answer) => {
      await pc.setRemoteDescription({ type: "answer", sdp: answer });
      watch();
    },
    again: (lines) => {
      // What cannot be tried is none of the meeting's business.
      for (const candidate of lines) pc.addIceCandidate({ candidate, sdpMLineIndex: 0 }).catch(() => undefined);
    },
    peerFingerprint: () => peerFingerprint(pc),
    send: (b) => dc.send(b),
    close: () => {
      dc.onclose = dc.onmessage = pc.onicecandidate = null;
      pc.close();
    },
  };
};

const preference: Readonly<Record<CardCandidateType, number>> = { host: 126, srflx: 100, relay: 0 };

/** The candidate lines that a card stands for. */
export function cardLines(c: Card, relayOnly: boolean): string[] {
  return c.candidates.flatMap((k, i) => {
    if (relayOnly && k.type !== "relay") return [];
    const priority = preference[k.type] * 2 ** 24 + (65_535 - i) * 256 + 255;
    const related = k.type === "host" ? "" : ` raddr ${k.address.includes(":") ? "::" : "0.0.0.0"} rport 9`;
    return [`candidate:${i + 1} 1 udp ${priority} ${k.address} ${k.port} typ ${k.type}${related}`];
  });
}

/** The description that a card stands for. Nothing in it is the other side's text: the card's fields have one form each. */
export function cardDescription(c: Card, relayOnly: boolean): string {
  return [
    "v=0", "o=- 1 1 IN IP4 0.0.0.0", "s=-", "t=0 0", "a=group:BUNDLE 0",
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel", "c=IN IP4 0.0.0.0", "a=mid:0", "a=sendrecv",
    `a=ice-ufrag:${c.ufrag}`, `a=ice-pwd:${c.pwd}`, `a=fingerprint:${formatFingerprint(c.fingerprint)}`,
    `a=setup:${c.kind === CardKind.answer ? "active" : "actpass"}`, "a=sctp-port:5000", "a=max-message-size:65535",
    ...cardLines(c, relayOnly).map((l) => `a=${l}`), "a=end-of-candidates", "",
  ].join("\r\n");
}

const maxHosts = maxCardCandidates - 4; // there is room for the addresses that others see

/** What of an own description a card has room for, the shortest way first. */
export function cardCandidates(sdp: string, relayOnly: boolean): CardCandidate[] {
  const out: CardCandidate[] = [];
  for (const [, line] of sdp.matchAll(/^a=(candidate:[^\r\n]*)/gm)) {
    const c = cardCandidate(line!);
    if (c === undefined || (relayOnly && c.type !== "relay") || out.some((k) => k.type === c.type && k.address === c.address && k.port === c.port)) continue;
    if (c.type === "host" && out.filter((k) => k.type === "host").length >= maxHosts) continue;
    if (out.length < maxCardCandidates) out.push(c);
  }
  const order: readonly CardCandidateType[] = ["host", "srflx", "relay"];
  return out.sort((a, b) => order.indexOf(a.type) - order.indexOf(b.type));
}

function cardCandidate(line: string): CardCandidate | undefined {
  if (isNamed(line)) {
    const [, , , , address, port] = line.split(" ");
    return uuidOf(address!) === undefined ? undefined : { type: "host", address: address!.toLowerCase(), port: Number(port) };
  }
  try {
    const c = parseCandidate(line);
    if (c.transport !== "udp" || c.component !== 1 || c.type === "prflx" || /^fe[89ab]/i.test(c.address)) return undefined;
    return { type: c.type, address: c.address.includes(":") ? new URL(`http://[${c.address}]/`).hostname.slice(1, -1) : c.address, port: c.port };
  } catch (err) {
    if (err instanceof TrunklineError) return undefined; // an address that no card has room for
    throw err;
  }
}
