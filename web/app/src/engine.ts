import type { TakeResult } from './sw/protocol.ts';
import type { CallControl } from './call/control.ts';
import type { Desk } from './cards/desk.ts';
import type { Chosen } from './files/choose.ts';
import type { Prefs } from './prefs.ts';
import type { RoomDesk } from './rooms/roomdesk.ts';
import type { Identity, Problem } from './state.ts';
import type { WireTap } from './wiretap.ts';

/** What a person can do. Each method ends in a state that tells the truth: a problem that the
 * person can do something about is returned, and everything else is thrown. */
export interface Engine {
  setPrefs(prefs: Prefs): void;

  /** Takes the identity over from another tab. */
  takeOver(): void;
  /** The identities of this browser that no tab holds, without the one of this tab. */
  otherIdentities(): Promise<Identity[]>;
  /** Makes this tab the one of another identity, or of a new one. False: there are enough. */
  become(name: string | null): boolean;
  register(invite: string): Promise<void>;
  /** The person has compared the node's peer id. */
  confirmNode(): void;
  /** Goes on as somebody new where an identity was lost. */
  beginAnew(): void;
  /** Null when it worked; otherwise what is wrong, and with which word. */
  recover(phrase: string): Promise<{ problem: Problem; word?: string } | null>;

  knock(address: string, text: string, name: string): Promise<{ id: string } | { problem: Problem }>;
  accept(id: string): Promise<Problem | null>;
  decline(id: string): Promise<Problem | null>;
  block(id: string): Promise<Problem | null>;
  rename(id: string, name: string): Promise<Problem | null>;

  /** Marks what somebody wrote as seen. */
  open(id: string): void;
  send(id: string, text: string): Promise<Problem | null>;
  /** Shows what was written before that, too. */
  earlier(id: string): void;
  /** Deletes the history with somebody in this browser. */
  deleteHistory(id: string): Promise<Problem | null>;

  /** Calls with sound and picture; null before there is an identity. */
  readonly call: CallControl | null;

  /** Meeting without a server, as soon as its code is here. */
  cards(): Promise<Desk>;

  /** Meetings of several people, as soon as their code is here. Whoever has no account goes in as a guest. */
  rooms(): Promise<RoomDesk>;

  sendFile(id: string, chosen: Chosen): void;
  /** Says yes to a file that somebody wants to send. */
  receive(transfer: string): void;
  /** Says no, or stops what is on its way. */
  stop(transfer: string): void;
  pause(transfer: string, on: boolean): Promise<void>;
  /** Goes on with a file that the browser has to ask for, or offers one again that was not taken. */
  again(transfer: string): Promise<void>;
  /** Goes on with a file that was chosen again, if it is the one that was offered. */
  chosen(transfer: string, chosen: Chosen): Promise<void>;
  /** Says where a file goes that does not fit into the browser. */
  place(transfer: string): Promise<void>;
  /** Gives a file that arrived out of the browser. */
  save(transfer: string): Promise<void>;
  /** Takes a row off the list, and what lies in this browser for it. */
  forget(transfer: string): Promise<void>;

  safetyNumber(id: string): Promise<string>;
  confirm(id: string, digits: string): Promise<Problem | null>;
  /** Their code was read and matched: they are told. */
  scanned(id: string): Promise<Problem | null>;
  resolve(id: string): Promise<Problem | null>;
  /** What the other side's camera reads, and what to make of what ours read. */
  verifyText(id: string): string;
  matchScan(id: string, text: string): 'same' | 'different' | 'other';

  revealPhrase(): Promise<void>;
  askForWords(): void;
  confirmWords(words: string[]): void;
  lookAgain(): void;

  revokeDevice(id: string): Promise<Problem | null>;
  /** Makes a device of the browser that showed this request; the approval goes back to it. */
  approveDevice(request: string): Promise<{ approval: string } | { problem: Problem }>;
  /** Begins to make this browser a device of an identity elsewhere: the request to show there. */
  requestDevice(): Promise<string>;
  joinDevice(approval: string): Promise<Problem | null>;

  /** Every frame of this tab's link. */
  readonly tap: WireTap;

  lookForBundle(): Promise<void>;
  takeBundle(digest: string): Promise<TakeResult>;
}
