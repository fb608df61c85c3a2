// A real WebRTC stack in Node, for calls with the Go client: ICE, DTLS and SCTP of the package werift. The SDK
// itself has no such dependency; in a page the browser's own stack stands here.

import { createHash } from "node:crypto";
import { createSelfSignedCertificate, RTCPeerConnection, type RTCDataChannel } from "werift";
import type { CallPeer, CardPeer, CardPeerFactory, PeerFactory } from "../src/call/index.ts";
import { TrunklineError } from "../src/errors.ts";

// The package gives every connection of a process one certificate; two people in one process have one each.
const certificates = await Promise.all(Array.from({ length: 8 }, () => createSelfSignedCertificate({ signature: 3, hash: 4 }, 23)));
let next = 0;
const dtls = () => ({ keys: certificates[next++ % certificates.length]! });

export const weriftPeer: PeerFactory = (o): CallPeer => {
  const pc = new RTCPeerConnection({
    iceServers: [...o.servers], iceTransportPolicy: o.relayOnly ? "relay" : "all", iceUseIpv6: false, dtls: dtls(),
  });
  const open = (label: string, id: number, onMessage: (b: Uint8Array) => void): RTCDataChannel => {
    const dc = pc.createDataChannel(label, { negotiated: true, id, ordered: true });
    dc.onMessage.subscribe((m) => {
      if (typeof m === "string" || m.length === 0) o.onFailed(new TrunklineError("malformed", "a message that no channel has room for"));
      else onMessage(new Uint8Array(m));
    });
    dc.stateChanged.subscribe((s) => { if (s === "closed") o.onGone(); });
    return dc;
  };
  const control = open("control", 0, (b) => {
    o.onControlOpen(); // a message may be reported before the channel is
    o.onControl(b);
  });
  const file = open("file", 1, o.onFile);
  control.stateChanged.subscribe((s) => { if (s === "open") o.onControlOpen(); });
  pc.onIceCandidate.subscribe((c) => o.onCandidate(c?.candidate));
  pc.connectionStateChange.subscribe((s) => {
    if (s === "connected") o.onPath(true);
    if (s === "failed" || s === "disconnected") o.onPath(false);
  });
  return {
    createOffer: async () => {
      await pc.setLocalDescription(await pc.createOffer());
      return pc.localDescription!.sdp;
    },
    acceptOffer: async (sdp) => {
      await pc.setRemoteDescription({ type: "offer", sdp });
      await pc.setLocalDescription(await pc.createAnswer());
      return pc.localDescription!.sdp;
    },
    setServers: (servers) => pc.setConfiguration({ iceServers: [...servers] }),
    restart: async () => {
      pc.restartIce();
      await pc.setLocalDescription(await pc.createOffer());
      return pc.localDescription!.sdp;
    },
    acceptAnswer: (sdp) => pc.setRemoteDescription({ type: "answer", sdp }),
    addCandidate: async (line) => {
      if (line !== undefined) await pc.addIceCandidate({ candidate: line, sdpMLineIndex: 0, sdpMid: "0" });
    },
    peerFingerprint: async () => {
      const der = pc.dtlsTransports[0]!.dtls!.cipher.remoteCertificate!;
      return new Uint8Array(createHash("sha256").update(der).digest());
    },
    sendControl: (b) => control.send(Buffer.from(b)),
    sendFile: async (b) => {
      file.send(Buffer.from(b));
      await new Promise((r) => setImmediate(r));
    },
    close: () => void pc.close(),
  };
};

/** The channel of two cards over the same stack. */
export const weriftCardPeer: CardPeerFactory = (o): CardPeer => {
  const pc = new RTCPeerConnection({ iceServers: [...o.servers], iceTransportPolicy: o.relayOnly ? "relay" : "all", iceUseIpv6: false, dtls: dtls() });
  const dc = pc.createDataChannel("card", { negotiated: true, id: 0, ordered: true });
  dc.onMessage.subscribe((m) => {
    o.onOpen();
    if (typeof m === "string" || m.length === 0) o.onEnded(new TrunklineError("malformed", "a message that a card's channel has no room for"));
    else o.onMessage(new Uint8Array(m));
  });
  dc.stateChanged.subscribe((s) => {
    if (s === "open") o.onOpen();
    if (s === "closed") o.onEnded(new TrunklineError("unreachable", "the other side has gone"));
  });
  return {
    local: async (offer) => {
      if (offer !== undefined) await pc.setRemoteDescription({ type: "offer", sdp: offer });
      await pc.setLocalDescription(offer === undefined ? await pc.createOffer() : await pc.createAnswer());
      if (pc.iceGatheringState !== "complete") await pc.iceGatheringStateChange.watch((s) => s === "complete");
      return pc.localDescription!.sdp;
    },
    accept: (sdp) => pc.setRemoteDescription({ type: "answer", sdp }),
    again: () => undefined,
    peerFingerprint: async () => new Uint8Array(createHash("sha256").update(pc.dtlsTransports[0]!.dtls!.cipher.remoteCertificate!).digest()),
    send: (b) => dc.send(Buffer.from(b)),
    close: () => void pc.close(),
  };
};
