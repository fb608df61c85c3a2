import type { TrunklineError } from '@trunkline/sdk';
import type { Reaction, RoomEnd, RoomState, SlotName } from '@trunkline/sdk/room';
import type { DeviceProblem } from '../devices.ts';
import type { Floor } from './speaker.ts';

// What the page shows of a meeting: the SDK's state of the room, and beside it what is this screen's own affair.

/** How it ended, or why it did not begin, as far as a person can make something of it. */
export type RoomOver =
  | 'left'
  | 'removed'
  | 'denied'
  | 'closed'
  | 'expired'
  | 'gate' // the link was replaced, or is of another room
  | 'link' // half a link, or none
  | 'gone' // the node knows no such room
  | 'full'
  | 'quota' // as many of the person's domain are in rooms here as may be
  | 'members' // only who is listed gets in
  | 'policy'
  | 'pass' // the node takes no guests
  | 'word' // nor this person, for whom the own node does not speak
  | 'limited'
  | 'unreachable'
  | 'alarm'
  | 'failed';

export type RoomStage =
  | { is: 'prejoin' }
  | { is: 'joining' }
  | { is: 'waiting' } // in the lobby
  | { is: 'live'; since: number }
  | { is: 'ended'; why: RoomOver; lasted: number };

export type Recording =
  | { is: 'off' }
  | { is: 'starting' }
  | { is: 'on'; since: number }
  | { is: 'saving' };

export type Panel = 'none' | 'chat' | 'people';
export type Own = 'microphone' | 'camera';
export type Content = 'text' | 'motion';

export interface RoomView {
  /** The link that was opened; the room may have another one by now. */
  link: string;
  stage: RoomStage;
  room: RoomState | null;
  /** Goes in without an account. */
  guest: boolean;
  sending: Record<Own, boolean>;
  tracks: Partial<Record<SlotName, MediaStreamTrack>>;
  problems: Partial<Record<Own | 'screen', DeviceProblem>>;
  content: Content;
  relayOnly: boolean;
  hand: boolean;

  /** All tiles alike; else whoever speaks is large. */
  grid: boolean;
  pinned: string | null;
  page: number;
  /** Keys of people's tiles, as they stand. */
  order: readonly string[];
  floor: Floor;
  panel: Panel;
  /** Lines of the chat that came while it was closed. */
  unread: number;

  /** Who came or went last: read out, and not put over the faces. */
  news: string;
  reactions: readonly { id: number; person: number; what: Reaction }[];
  /** By whoever points. */
  pointers: ReadonlyMap<number, { screen: number; x: number; y: number }>;
  /** A moderator asks for something to be switched off. */
  asked: { person: number; what: 'microphone' | 'camera' | 'screen' } | null;
  recording: Recording;
}

export const cameraKey = (person: number) => `p${person}`;
export const screenKey = (person: number) => `s${person}`;
export const personOf = (key: string) => Number(key.slice(1));

export function freshRoom(link: string, guest: boolean, relayOnly: boolean, floor: Floor): RoomView {
  return {
    link, guest, relayOnly, floor,
    stage: { is: 'prejoin' }, room: null,
    sending: { microphone: true, camera: true }, tracks: {}, problems: {}, content: 'text', hand: false,
    grid: true, pinned: null, page: 0, order: [], panel: 'none', unread: 0, news: '',
    reactions: [], pointers: new Map(), asked: null, recording: { is: 'off' },
  };
}

const byCode: Partial<Record<string, RoomOver>> = {
  no_room: 'gone',
  gate: 'gate',
  room_full: 'full',
  removed: 'removed',
  closed: 'closed',
  expired: 'expired',
  policy: 'policy',
  not_registered: 'policy',
  quota: 'quota',
  rate: 'limited',
  unavailable: 'unreachable',
  unreachable: 'unreachable',
};

/** Why nobody came in. */
export function overOf(error: TrunklineError, guest = false): RoomOver {
  switch (error.code) {
    case 'malformed':
    case 'not_canonical':
      return 'link';
    case 'not_listed':
      return 'members';
    case 'signature':
    case 'other_identity':
      return 'alarm';
    case 'unreachable':
    case 'aborted':
      return 'unreachable';
    case 'refused':
      return shut(error.nodeCode, guest);
    default:
      return 'failed';
  }
}

function shut(code: string | undefined, guest: boolean): RoomOver {
  if (code === 'pass') return guest ? 'pass' : 'word';
  return byCode[code ?? ''] ?? 'failed';
}

/** Why it is over. */
export function endOf(end: RoomEnd | undefined, guest: boolean): RoomOver {
  if (!end) return 'failed';
  if (end.why === 'refused' || end.why === 'failed') return shut(end.code, guest);
  return end.why;
}
