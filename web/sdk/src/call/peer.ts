// What a WebRTC library has to do for a call. Nothing reaches it that was not checked, and what it throws ends the
// call and nothing else.

import type { Bytes } from "../bytes.ts";
import type { Role } from "../envelope/session.ts";
import { refuse, TrunklineError } from "../errors.ts";
import type { CallMedia } from "./media.ts";

export type Media = 0 | 1 | 2;

export interface IceServer { readonly urls: string; readonly username: string; readonly credential: string }

export interface PeerOptions {
  readonly role: Role;
  readonly media: Media;
  readonly relayOnly: boolean;
  readonly servers: readonly IceServer[];
  /** SFrame base keys, a copy each time. */
  readonly mediaKeys: () => { readonly send: Bytes; readonly receive: Bytes };
  /** A local candidate line; absent: there are no more. */
  readonly onCandidate: (line: string | undefined) => void;
  /** The control channel is open. */
  readonly onControlOpen: () => void;
  readonly onControl: (message: Uint8Array) => void;
  readonly onFile: (chunk: Uint8Array) => void;
  /** Whether packets get through, as the library sees it. */
  readonly onPath: (up: boolean) => void;
  /** Packets got through, and for a second none did: the path is still used, and another one is to be looked for. */
  readonly onDoubt?: () => void;
  /**
   * Frames of a slot went past what opens them, for the first time: a fresh section has to take the place of theirs. Found:
   * whether any were shown, or a picture only did not come to be opened.
   */
  readonly onBypassed?: (slot: number, found: "past" | "deaf") => void;
  /** The keys of frames may come after them, as in a room: frames that do not open say nothing. */
  readonly lateKeys?: boolean;
  /** The other side has closed the connection. */
  readonly onGone: () => void;
  /** The connection did what the protocol has no room for. */
  readonly onFailed: (why: TrunklineError) => void;
}

/** One connection of a WebRTC library. Descriptions go in checked and come out as the library wrote them. */
export interface CallPeer {
  /** Sound and picture, where the library has them. */
  readonly media?: CallMedia | undefined;
  createOffer(): Promise<string>;
  acceptOffer(sdp: string): Promise<string>;
  acceptAnswer(sdp: string): Promise<void>;
  /** Servers for the next ICE generation. */
  setServers(servers: readonly IceServer[]): void;
  /** An offer of a new ICE generation under the same certificate, with the sections that are made anew. */
  restart(): Promise<string>;
  /** A line without "a="; absent: the other side has no more. */
  addCandidate(line: string | undefined): Promise<void>;
  /** SHA-256 of the certificate that the other side really uses, once there is one. */
  peerFingerprint(): Promise<Bytes>;
  /** What the library says of the path and of the media. */
  stats?(): Promise<RTCStatsReport>;
  sendControl(message: Bytes): void;
  /** Resolves when the channel has room for more. */
  sendFile(chunk: Bytes): Promise<void>;
  close(): void;
}

export type PeerFactory = (o: PeerOptions) => CallPeer;

/**
 * The same connections, but what the library throws ends the call and nothing else: it may be made to throw by
 * what the other side sends.
 */
export function guarded(make: PeerFactory): PeerFactory {
  const ours = (err: unknown) => (err instanceof TrunklineError ? err : refuse("unreachable", "the connection could not do what the call needs", err));
  const now = <T>(f: () => T): T => {
    try {
      return f();
    } catch (err) {
      throw ours(err);
    }
  };
  const later = async <T>(f: () => Promise<T>): Promise<T> => {
    try {
      return await f();
    } catch (err) {
      throw ours(err);
    }
  };
  return (o) => {
    const p = now(() => make(o));
    const { stats } = p;
    return {
      media: p.media, ...(stats === undefined ? {} : { stats: () => later(() => stats.call(p)) }),
      createOffer: () => later(() => p.createOffer()), acceptOffer: (s) => later(() => p.acceptOffer(s)), acceptAnswer: (s) => later(() => p.acceptAnswer(s)),
      restart: () => later(() => p.restart()), setServers: (s) => now(() => p.setServers(s)),
      // A candidate that the library has no use for is none of the call's business.
      addCandidate: (line) => p.addCandidate(line).catch(() => undefined),
      peerFingerprint: () => later(() => p.peerFingerprint()), sendControl: (b) => now(() => p.sendControl(b)), sendFile: (b) => later(() => p.sendFile(b)),
      close: () => p.close(),
    };
  };
}
