import type { TakeResult } from './sw/protocol.ts';
import type { CallControl } from './call/control.ts';
import type { Desk } from './cards/desk.ts';
import type { Rest } from './engine/rest.ts';
import type { Prefs } from './prefs.ts';
import type { RoomDesk } from './rooms/roomdesk.ts';
import type { WireTap } from './tap.ts';

/** What a person can do. Each method ends in a state that tells the truth: a problem that the
 * person can do something about is returned, and everything else is thrown. */
export interface Engine {
  setPrefs(prefs: Prefs): void;

  /** Calls with sound and picture; null before there is an identity. */
  readonly call: CallControl | null;

  /** What no call needs: people, notes, files, devices. It is here for every screen that comes by lazy(). */
  readonly rest: Rest;
  /** The same for the others, as soon as its code is here. */
  whole(): Promise<Rest>;

  /** Meeting without a server, as soon as its code is here. */
  cards(): Promise<Desk>;

  /** Meetings of several people, as soon as their code is here. Whoever has no account goes in as a guest. */
  rooms(): Promise<RoomDesk>;

  /** Every frame of this tab's link. */
  readonly tap: WireTap;

  lookForBundle(): Promise<void>;
  takeBundle(digest: string): Promise<TakeResult>;
}
