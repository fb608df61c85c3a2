import { type call, TrunklineError } from '@trunkline/sdk';

type Bytes = Parameters<call.CallPeer['sendControl']>[0];

/** Above this a channel is not written to; below the other value it is again. */
const highWater = 1 << 20;
const lowWater = 256 << 10;

/** The browser's connection for a call without sound and picture: the two channels of the
 * specification, and nothing else gets through. */
export function dataPeer(o: call.PeerOptions): call.CallPeer {
  if (o.media !== 0) throw new TrunklineError('policy', 'this connection carries files alone');
  const pc = new RTCPeerConnection({
    iceServers: o.servers.map((s) => ({ urls: s.urls, username: s.username, credential: s.credential })),
    iceTransportPolicy: o.relayOnly ? 'relay' : 'all',
  });
  let closed = false;
  const broken = (code: 'malformed' | 'unreachable', what: string) => {
    if (!closed) o.onFailed(new TrunklineError(code, what));
  };
  const open = (label: string, id: number, take: (b: Uint8Array) => void): RTCDataChannel => {
    const channel = pc.createDataChannel(label, { negotiated: true, id, ordered: true });
    channel.binaryType = 'arraybuffer';
    channel.bufferedAmountLowThreshold = lowWater;
    channel.onmessage = ({ data }) => {
      if (!(data instanceof ArrayBuffer) || data.byteLength === 0) broken('malformed', 'a message that no channel has room for');
      else take(new Uint8Array(data));
    };
    channel.onclose = () => broken('unreachable', 'the other side closed a channel');
    return channel;
  };
  const control = open('control', 0, o.onControl);
  const file = open('file', 1, o.onFile);
  control.onopen = () => o.onControlOpen();
  pc.ondatachannel = () => broken('malformed', 'a third channel');
  pc.ontrack = () => broken('malformed', 'a track in a call for files');
  pc.onicecandidate = ({ candidate }) => o.onCandidate(candidate && candidate.candidate !== '' ? candidate.candidate : undefined);
  pc.onconnectionstatechange = () => {
    if (pc.connectionState === 'failed') broken('unreachable', 'no path to the other side');
  };
  const sdp = () => pc.localDescription?.sdp ?? '';
  return {
    async createOffer() {
      await pc.setLocalDescription(await pc.createOffer());
      return sdp();
    },
    async acceptOffer(offer) {
      await pc.setRemoteDescription({ type: 'offer', sdp: offer });
      await pc.setLocalDescription(await pc.createAnswer());
      return sdp();
    },
    acceptAnswer: (answer) => pc.setRemoteDescription({ type: 'answer', sdp: answer }),
    async addCandidate(line) {
      if (line !== undefined) await pc.addIceCandidate({ candidate: line, sdpMLineIndex: 0 });
    },
    async peerFingerprint() {
      return fingerprint(pc);
    },
    sendControl: (message) => control.send(message),
    async sendFile(chunk) {
      while (file.readyState === 'open' && file.bufferedAmount > highWater) await room(file);
      file.send(chunk);
    },
    close() {
      closed = true;
      pc.close();
    },
  };
}

/** Resolves when the channel has sent enough, or is closed. */
function room(channel: RTCDataChannel): Promise<void> {
  if (channel.readyState !== 'open') return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      channel.removeEventListener('bufferedamountlow', done);
      channel.removeEventListener('close', done);
      resolve();
    };
    channel.addEventListener('bufferedamountlow', done);
    channel.addEventListener('close', done);
  });
}

/** The certificate that the other side really used. Where the browser does not show it (Firefox),
 * it is the one in the description, which the browser has held the connection to. */
async function fingerprint(pc: RTCPeerConnection): Promise<Bytes> {
  const dtls = pc.sctp?.transport as (RTCDtlsTransport & { getRemoteCertificates?: () => ArrayBuffer[] }) | undefined;
  const [certificate] = dtls?.getRemoteCertificates?.() ?? [];
  if (certificate) return new Uint8Array(await crypto.subtle.digest('SHA-256', certificate));
  const match = /^a=fingerprint:sha-256 ((?:[0-9A-F]{2}:){31}[0-9A-F]{2})\s*$/im.exec(pc.remoteDescription?.sdp ?? '');
  if (!match?.[1]) throw new TrunklineError('binding', 'there is no certificate to compare');
  return new Uint8Array(match[1].split(':').map((pair) => Number.parseInt(pair, 16)));
}
