import type { call } from '@trunkline/sdk';
import type { Chosen } from '../files/choose.ts';
import { recordPrefix } from '../files/record.ts';
import type { Live } from '../live.ts';
import type { Transfers } from '../transfers.ts';

/** Files, over a node or over the call that two cards made. */
export class Files {
  private readonly live: Live;
  private asked: Promise<Transfers> | null = null;
  private transfers: Transfers | null = null; // once their code is here
  /** The call that cards made. */
  private met: call.Call | null = null;

  constructor(live: Live) {
    this.live = live;
  }

  /** Goes on with what was under way. */
  begin(): void {
    if (!this.live.client().records.list(recordPrefix).next().done) this.with(() => undefined);
  }

  /** A call that carries files rings. */
  came(c: call.Call): void {
    this.with((files) => files.onCall(c));
  }

  linked(): void {
    this.transfers?.linked();
  }

  close(): void {
    this.transfers?.close();
  }

  /** Whoever only talks does not fetch their code. */
  private all(): Promise<Transfers> {
    const { client, calls } = this.live.called();
    return (this.asked ??= this.live.later(import('../transfers.ts')).then((m) => {
      const transfers = new m.Transfers(client, calls, this.live.store.dispatch, () => this.live.store.state.prefs.hideAddress);
      transfers.begin();
      this.transfers = transfers;
      return transfers;
    }));
  }

  private with(f: (files: Transfers) => void): void {
    this.live.run(this.all().then(f));
  }

  // ---- The call of two cards ----

  /** Two cards led to a call: it is the way for what is written and sent, too. */
  meet(c: call.Call): void {
    const { live } = this;
    const client = live.client();
    this.met = c;
    this.with((files) => files.meet(c));
    c.onNote = (n) => live.run(client.noteInCall(c.contact, false, n));
    live.call?.met(c, () => {
      if (c.state.phase === 'live' && this.met === c) return live.store.dispatch({ type: 'met', id: c.contact });
      if (c.state.phase !== 'ended') return;
      this.with((files) => files.parted(c));
      if (this.met === c) live.store.dispatch({ type: 'met', id: '' });
    });
  }

  metWith(id: string): call.Call | null {
    return this.met?.bound && this.met.contact === id ? this.met : null;
  }

  // ---- What a person does ----

  send(id: string, chosen: Chosen): void {
    const within = this.metWith(id) !== null;
    this.with((files) => (within ? files.sendWithin(chosen.file) : this.live.run(files.send(id, chosen))));
  }

  /** Says yes to a file that somebody wants to send. */
  receive(transfer: string): void {
    this.with((files) => files.receive(transfer));
  }

  /** Says no, or stops what is on its way. */
  stop(transfer: string): void {
    this.with((files) => files.stop(transfer));
  }

  async pause(transfer: string, on: boolean): Promise<void> {
    await (await this.all()).pause(transfer, on);
  }

  /** Goes on with a file that the browser has to ask for, or offers one again that was not taken. */
  async again(transfer: string): Promise<void> {
    await (await this.all()).again(transfer);
  }

  /** Goes on with a file that was chosen again, if it is the one that was offered. */
  async chosen(transfer: string, chosen: Chosen): Promise<void> {
    await (await this.all()).chosen(transfer, chosen);
  }

  /** Says where a file goes that does not fit into the browser. */
  async place(transfer: string): Promise<void> {
    await (await this.all()).place(transfer);
  }

  /** Gives a file that arrived out of the browser. */
  async save(transfer: string): Promise<void> {
    await (await this.all()).save(transfer);
  }

  /** Takes a row off the list, and what lies in this browser for it. */
  async forget(transfer: string): Promise<void> {
    await (await this.all()).forget(transfer);
  }
}
