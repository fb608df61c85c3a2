import type { Client, transfer } from '@trunkline/sdk';
import type { Rate } from './line.ts';
import { recordPrefix as prefix } from './record.ts';
import type { Action, Transfer, TransferState } from '../state.ts';

/** The rows of both directions: what is shown of them, and what a reload would lose. */
export class Rows {
  private readonly client: Client;
  private readonly dispatch: (action: Action) => void;
  private readonly all = new Map<string, Transfer>();

  constructor(client: Client, dispatch: (action: Action) => void) {
    this.client = client;
    this.dispatch = dispatch;
    for (const [, kept] of client.records.list<Transfer>(prefix)) this.show(kept);
  }

  get(id: string): Transfer | undefined {
    return this.all.get(id);
  }

  list(): Transfer[] {
    return [...this.all.values()];
  }

  show(t: Transfer): void {
    this.all.set(t.id, t);
    this.dispatch({ type: 'transfer', transfer: t });
  }

  change(id: string, change: Partial<Transfer>): void {
    const t = this.all.get(id);
    if (t) this.show({ ...t, ...change });
  }

  state(id: string, state: TransferState, done?: number): void {
    this.change(id, done === undefined ? { state } : { state, done });
  }

  /** What the engine of a transfer says of it. */
  progress(id: string, rate: Rate, p: transfer.Progress): void {
    const { done } = p;
    if (p.state === 'waiting') this.state(id, { is: 'waiting' });
    else if (p.state === 'paused') this.state(id, { is: 'paused', by: p.by }, done);
    else if (p.state === 'verifying') this.state(id, { is: 'verifying' }, done);
    else if (p.state === 'sending') {
      // After a reload nobody knows how much is here before the other side is back: what was here then is shown until it is.
      const marks = (n: number) => ((n * 32) / p.size) | 0;
      const passed = marks(done) > marks(this.get(id)?.done ?? 0);
      this.state(id, { is: 'moving', rate: rate.of(done) }, done);
      if (passed && this.client.records.raw(prefix + id)) this.client.background('a file', () => this.keep(id));
    }
  }

  /** Writes a row down. What is under way is interrupted when it is read again. */
  keep(id: string): Promise<void> {
    const t = this.all.get(id);
    if (!t) return Promise.resolve();
    this.client.records.set(prefix + id, isOver(t.state) ? t : { ...t, state: { is: 'interrupted' } satisfies TransferState });
    return this.client.records.commit();
  }

  async end(id: string, state: TransferState, done?: number): Promise<void> {
    this.state(id, state, done);
    await this.keep(id);
  }

  /** Takes a row off the screen that was never written down. */
  hide(id: string): void {
    this.all.delete(id);
    this.dispatch({ type: 'transfer-gone', id });
  }

  remove(id: string): Promise<void> {
    this.hide(id);
    this.client.records.delete(prefix + id);
    return this.client.records.commit();
  }
}

/** Nothing more happens by itself. */
export function isOver(s: TransferState): boolean {
  return s.is === 'arrived' || s.is === 'saved' || s.is === 'lost' || s.is === 'delivered' || s.is === 'failed';
}
