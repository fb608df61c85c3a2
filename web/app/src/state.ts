import type { CardView } from './cards/view.ts';
import type { CallView } from './call/view.ts';
import type { Translator } from './i18n.ts';
import type { Prefs } from './prefs.ts';
import type { RoomView } from './rooms/view.ts';
import type { Route } from './route.ts';
import type { BundleState } from './sw/protocol.ts';

// What the page shows. Every connection state is a discriminated union, and nothing here holds a
// key. Reducers are in reduce.ts, effects in engine.ts.

/** Why something did not work, as far as the person can do something about it. */
export type Problem =
  | 'address' // it is no address, or a character in it is wrong
  | 'own-address'
  | 'invite' // no invitation, or one that is used up
  | 'closed' // the node registers nobody
  | 'not-found'
  | 'unreachable'
  | 'refused'
  | 'alarm' // keys contradict what was pinned
  | 'verification'
  | 'not-accepted'
  | 'too-long'
  | 'limited' // too much in too short a time
  | 'storage' // the browser keeps nothing, or what it kept went away under us
  | 'full' // its disk has no room
  | 'phrase'
  | 'camera'
  | 'other';

export type Me =
  | { is: 'opening' }
  | { is: 'elsewhere'; others: Identity[] } // another tab has this identity open
  | { is: 'broken'; problem: Problem }
  | { is: 'unregistered'; id: string; registering: boolean; problem: Problem | null; lost?: boolean; strange?: Strange } // lost: this browser had an identity, and its data is gone
  | { is: 'ready'; self: Self };

/** Another identity of this browser. */
export interface Identity {
  name: string;
  /** What its person is called; empty if nobody said. */
  person: string;
}

/** A node that speaks for another name than the one in the address bar, before the person has confirmed it. */
export interface Strange {
  domain: string;
  /** Its peer id. */
  node: string;
  invite: string;
}

export interface Self {
  id: string;
  address: string;
  /** The address with the home's peer id: whoever gets it in a link need not believe any node
   * about which node that is. */
  contact: string;
  domain: string;
  /** The invitation that brought this person here, where it serves others on this computer too. */
  invite: string;
  fingerprint: string;
  devices: Device[];
}

export interface Device {
  id: string;
  own: boolean;
  expires: number | null;
}

export type Link =
  | { is: 'down' }
  | { is: 'connecting'; attempt: number }
  | { is: 'up' }
  | { is: 'ended'; why: 'replaced' | 'removed' | 'refused' | 'verification' };

export type Standing = 'known' | 'asked' | 'asks' | 'accepted' | 'blocked';

export type Trust =
  | { is: 'unverified' }
  | { is: 'verified' }
  | { is: 'changed' }; // keys contradict what was seen: nothing is sent until the person decides

export interface Contact {
  id: string;
  address: string;
  name: string;
  standing: Standing;
  trust: Trust;
  /** When the other side said that it read this person's code and that it matched. */
  compared: number | null;
  /** The devices were exchanged over a gap; worth a look, no alarm. */
  devicesChanged: boolean;
  devices: number;
  knock: string;
}

export type Fate = 'queued' | 'accepted' | 'stored' | 'delivered' | 'read' | 'expired' | 'refused';

export interface Note {
  id: string;
  out: boolean;
  text: string;
  created: number;
  fate: Fate;
  unread: boolean;
}

export interface Chat {
  notes: Note[];
  /** Whether there are earlier ones that are not loaded. */
  more: boolean;
  draft: string;
}

export type Phrase =
  | { is: 'hidden' }
  | { is: 'shown'; words: string[] }
  | { is: 'confirming'; words: string[]; asked: number[]; wrong: boolean }
  | { is: 'confirmed' }
  | { is: 'absent' };

export interface Toast {
  id: number;
  text: string;
}

/** Why a file did not arrive: what this side did, and what the other one did. */
export type TransferEnd =
  | 'declined'
  | 'no-answer'
  | 'busy'
  | 'unreachable'
  | 'changed'
  | 'their-change'
  | 'corrupt'
  | 'too-large'
  | 'disk'
  | 'their-disk'
  | 'stopped'
  | 'their-stop'
  | 'other';

export type TransferState =
  | { is: 'asking' } // it waits for this person
  | { is: 'room' } // there is no room for it here: the person says where it goes
  | { is: 'queued' } // another file to the same person comes first
  | { is: 'choose'; why: 'tap' | 'again' | 'moved' | 'other' | 'anew' } // the browser has to be given the file again
  | { is: 'ringing' } // it waits for the other one
  | { is: 'connecting' }
  | { is: 'hashing'; done: number }
  | { is: 'waiting' }
  | { is: 'moving'; rate: number }
  | { is: 'paused'; by: 'us' | 'them'; ring?: string } // ring: the sender is there and waits
  | { is: 'verifying' } // out: all of it was sent; in: what is there is read back
  | { is: 'interrupted' } // what is there is kept, and goes on in another session
  | { is: 'arrived' } // whole and checked, in this browser
  | { is: 'saving' } // being copied out of the browser
  | { is: 'saved'; how: 'place' | 'downloads' } // out of the browser; to its downloads is all that a page can know
  | { is: 'lost' } // it was here, and the browser has cleared it
  | { is: 'delivered' } // the other side said that it is whole
  | { is: 'failed'; why: TransferEnd };

export interface Transfer {
  id: string;
  contact: string;
  out: boolean;
  name: string;
  size: number;
  created: number;
  /** Under which name it is kept in this browser; empty until a file that comes is known. */
  place: string;
  /** The person has paused it. */
  paused: boolean;
  /** Bytes that the receiver has, as far as this side knows. */
  done: number;
  state: TransferState;
}

export interface State {
  t: Translator;
  prefs: Prefs;
  route: Route;
  me: Me;
  link: Link;
  contacts: ReadonlyMap<string, Contact>;
  chats: ReadonlyMap<string, Chat>;
  transfers: ReadonlyMap<string, Transfer>;
  /** The call that this tab is in, looks forward to, or has just ended. */
  call: CallView | null;
  /** The meeting that this tab is in, stands before, or has just left. */
  room: RoomView | null;
  /** Meeting without a server. */
  card: CardView;
  /** With whom this tab is in a call that cards made: what is written and sent goes over it. */
  met: string;
  bundle: BundleState | null;
  /** The offered bundle was looked at and put off. */
  bundlePutOff: string;
  phrase: Phrase;
  toasts: Toast[];
  version: string;
}

export type Action =
  | { type: 'language'; t: Translator }
  | { type: 'prefs'; prefs: Prefs }
  | { type: 'route'; route: Route }
  | { type: 'me'; me: Me }
  | { type: 'link'; link: Link }
  | { type: 'contacts'; contacts: Contact[] }
  | { type: 'notes'; id: string; notes: Note[]; more: boolean }
  | { type: 'note'; id: string; note: Note }
  | { type: 'fate'; id: string; note: string; fate: Fate }
  | { type: 'seen'; id: string }
  | { type: 'transfer'; transfer: Transfer }
  | { type: 'call'; call: CallView | null }
  | { type: 'room'; room: RoomView | null }
  | { type: 'card'; card: CardView }
  | { type: 'met'; id: string }
  | { type: 'transfer-gone'; id: string }
  | { type: 'draft'; id: string; text: string }
  | { type: 'bundle'; bundle: BundleState }
  | { type: 'bundle-later' }
  | { type: 'phrase'; phrase: Phrase }
  | { type: 'toast'; text: string }
  | { type: 'dismiss'; id: number };
