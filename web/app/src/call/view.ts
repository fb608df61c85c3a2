import { type call, isAlarm, type TrunklineError } from '@trunkline/sdk';
import type { DeviceProblem } from '../devices.ts';

// What the page shows of a call. Tracks are in here, keys are not.

/** How a call ended, as far as a person can make something of it. */
export type CallEnd =
  | 'ended'
  | 'declined'
  | 'busy'
  | 'no-answer'
  | 'elsewhere' // another device of this person answered
  | 'unreachable'
  | 'lost' // there was a connection, and it did not come back
  | 'alarm' // somebody stands between the two, or frames were not sealed
  | 'told' // the other side says so of its end
  | 'failed-there'
  | 'no-relay'
  | 'failed';

export type Stage =
  | { is: 'prejoin' } // looking at oneself before ringing
  | { is: 'lobby' } // asked to be let in: whoever was asked rings, and is answered by itself
  | { is: 'calling' }
  | { is: 'incoming' }
  | { is: 'joining' }
  | { is: 'live'; since: number }
  | { is: 'ended'; why: CallEnd; lasted: number };

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

/** Why a call ended, from the reason that was told and what happened here. */
export function endOf(reason: number, why: TrunklineError | undefined, was: { live: boolean; relayOnly: boolean }): CallEnd {
  if (isAlarm(why)) return 'alarm';
  const code = why?.code;
  switch (reason) {
    case 1:
      return 'ended';
    case 2:
      return 'elsewhere';
    case 3:
      return 'declined';
    case 4:
      return 'busy';
    case 5:
      return 'no-answer';
    case 7:
      return 'told';
    default:
      if (was.live) return code === 'peer_failed' ? 'failed-there' : 'lost';
      if (code === 'unreachable' || code === 'refused') return was.relayOnly ? 'no-relay' : 'unreachable';
      return 'failed';
  }
}
