// What a participant does that no call needs: notes and their history, the own devices, what is decided about people,
// plugins, and the work that is behind all of it. It is fetched with the first thing that needs it (Core.later), which
// keeps it off the way from a link into a call.

import { Plugins } from "../plugin/plugins.ts";
import type { Core } from "./core.ts";
import { History } from "./history.ts";
import { LedgerWork } from "./ledgerwork.ts";
import { Letters } from "./letters.ts";
import { Notes } from "./notes.ts";
import { OwnList } from "./ownlist.ts";
import { People } from "./people.ts";
import { Renewal } from "./renewal.ts";

export { deviceRequest, join } from "./devices.ts";
export { sealOldTexts } from "./history.ts";

export class Later {
  readonly history: History;
  readonly notes: Notes;
  readonly own: OwnList;
  readonly people: People;
  readonly letters: Letters;
  readonly plugins: Plugins;
  readonly renewal: Renewal;
  readonly ledger: LedgerWork;

  constructor(c: Core) {
    this.history = new History(c);
    this.notes = new Notes(c, this);
    this.own = new OwnList(c, this);
    this.people = new People(c, this);
    this.letters = new Letters(c, this);
    this.plugins = new Plugins({ timers: c.timers, tell: (e) => c.tell(e) });
    this.renewal = new Renewal(c);
    this.ledger = new LedgerWork(c);
  }

  /** Does with a new link what waited for one. */
  async catchUp(): Promise<void> {
    this.notes.attempts.again();
    await this.own.greet();
    await this.people.giveTokens();
    this.notes.acknowledgeOld();
    await this.notes.resend();
    await this.renewal.upkeep();
  }
}
