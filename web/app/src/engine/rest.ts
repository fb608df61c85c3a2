// What a person can do that is not on the way from a link into a call, a story in each file. It is fetched with the first
// screen that is not a call's (lazy.tsx), and for somebody who comes for the first time.

import { addIcons, moreIcons } from '@trunkline/ui';
import type { Live } from '../live.ts';
import { problemOf } from '../problems.ts';
import { Chats } from './chats.ts';
import { Devices } from './devices.ts';
import { Files } from './files.ts';
import { Newcomer } from './newcomer.ts';
import { People } from './people.ts';
import { PhraseDesk } from './phrase.ts';
import { Tabs } from './tabs.ts';

export class Rest {
  readonly problemOf = problemOf;
  private readonly live: Live;
  readonly chats: Chats;
  readonly devices: Devices;
  files: Files;
  readonly newcomer: Newcomer;
  readonly people: People;
  readonly phrase: PhraseDesk;
  readonly tabs: Tabs;

  constructor(live: Live) {
    addIcons(moreIcons);
    this.live = live;
    this.chats = new Chats(live);
    this.devices = new Devices(live);
    this.files = new Files(live);
    this.newcomer = new Newcomer(live);
    this.people = new People(live);
    this.phrase = new PhraseDesk(live);
    this.tabs = new Tabs(live);
  }

  /** Another client is the one of this tab: what was under way with the one before is its own. */
  opened(): void {
    this.files = new Files(this.live);
  }
}
