import type { call, TrunklineError } from '@trunkline/sdk';
import type { DeviceProblem } from '../devices.ts';

// What the page shows of a call. Tracks are in here, keys are not.

/** How a call ended: the reason that was told, and what happened here. */
export interface CallEnd {
  reason: number;
  why: TrunklineError | undefined;
  /** Milliseconds of sound and picture. */
  lasted: number;
  /** It rang here, and nobody had answered. */
  rang: boolean;
}

export type Stage =
  | { is: 'prejoin' } // looking at oneself before ringing
  | { is: 'lobby' } // asked to be let in: whoever was asked rings, and is answered by itself
  | { is: 'calling' }
  | { is: 'incoming' }
  | { is: 'joining' }
  | { is: 'live'; since: number }
  | ({ is: 'ended' } & CallEnd);

export type Own = 'microphone' | 'camera';
export type TileName = 'screen-theirs' | 'screen-mine' | 'them' | 'me';

export interface CallView {
  contact: string;
  out: boolean;
  /** The ring was for a call with cameras. */
  video: boolean;
  stage: Stage;
  /** What this side sends, or is going to. */
  sending: call.Sending;
  tracks: Partial<Record<call.SlotName, MediaStreamTrack>>;
  problems: Partial<Record<Own | 'screen', DeviceProblem>>;
  peer: {
    sending: call.Sending;
    /** Of each a frame has been authenticated. */
    tracks: Partial<Record<call.SlotName, MediaStreamTrack>>;
  };
  /** The other side has been seen, or heard where it shows nothing, or sends neither: what does not have to be there before comes now. */
  seen: boolean;
  code: string;
  route: call.Route | null;
  /** Since when there is no path, by performance.now(). */
  brokenSince: number | null;
  quality: call.Quality | null;
  /** What of the own pictures is given up just now, and why. */
  adapted: call.Adapted | null;
  counts: readonly call.SlotCounts[];
  reactions: { id: number; from: 'me' | 'them'; what: call.Reaction }[];
  /** Where the other side points, by whose screen it is. */
  pointer: { on: 'mine' | 'theirs'; x: number; y: number } | null;
  relayOnly: boolean;
  /** All tiles alike; else one of them is large: the pinned one, a screen, or the other person. */
  grid: boolean;
  pinned: TileName | null;
  /** Cards made it: there may be no node to ring through again. */
  byCards?: boolean;
}

export const silent: call.Sending = { microphone: false, camera: false, screen: false, screenAudio: false, hand: false };

export function freshView(contact: string, out: boolean, video: boolean, stage: Stage, relayOnly: boolean): CallView {
  return {
    contact, out, video, stage, relayOnly,
    sending: { ...silent, microphone: true, camera: video },
    tracks: {}, problems: {}, peer: { sending: silent, tracks: {} },
    seen: false, code: '', route: null, brokenSince: null, quality: null, adapted: null, counts: [], reactions: [], pointer: null, grid: false, pinned: null,
  };
}
