import { type call, type Client, transfer, TrunklineError } from '@trunkline/sdk';
import type { BrowserFiles } from '@trunkline/sdk/browser';
import type { TransferState } from '../state.ts';
import { endOfReceive, endOfSend, engineOf, Rate } from './line.ts';
import { isOver, type Rows } from './rows.ts';

interface Out {
  file: File;
  stopped: boolean;
}

/** Files within a call that cards made. They go over the call itself, since there is no node to ring through. What comes is
 * kept where every file is: it is there after a reload, and half of one goes on when it is offered again. */
export class InCall {
  readonly call: call.Call;
  private readonly client: Client;
  private readonly rows: Rows;
  private readonly files: BrowserFiles;
  private readonly engine: transfer.TransferEngine;
  /** What goes out, one after the other: a session sends one file at a time. */
  private readonly out = new Map<string, Out>();
  private sending = '';
  private queue: Promise<void> = Promise.resolve();
  /** The file that comes, or is asked about: a session takes one at a time, too. */
  private coming: { id: string; answer: ((yes: boolean) => void) | null; rate: Rate } | null = null;

  constructor(client: Client, c: call.Call, rows: Rows, files: BrowserFiles) {
    this.client = client;
    this.call = c;
    this.rows = rows;
    this.files = files;
    this.engine = engineOf(client, c, {
      ask: (m) => this.asked(m),
      onReceiving: (_, p) => this.came(p),
      onReceiveEnd: (_, why) => client.background('a file that does not come', () => this.ended(why)),
      onReceived: (m) => client.background('a file that is here', () => this.arrived(m)),
    });
  }

  /** Whether a row is one of this call that is not over. */
  has(id: string): boolean {
    return this.out.has(id) || this.coming?.id === id;
  }

  // ---- Out ----

  send(file: File): void {
    const id = crypto.randomUUID();
    this.rows.show({ id, contact: this.call.contact, out: true, name: file.name, size: file.size, created: this.client.now(), place: '', paused: false, done: 0, state: { is: 'queued' } });
    const out = { file, stopped: false };
    this.out.set(id, out);
    this.queue = this.queue.then(() => this.sendOne(id, out));
    this.client.background('send a file', () => this.queue);
  }

  private async sendOne(id: string, out: Out): Promise<void> {
    const rate = new Rate();
    this.sending = id;
    let end: TransferState = { is: 'delivered' };
    try {
      if (out.stopped) end = { is: 'failed', why: 'stopped' };
      else if (!this.call.bound) end = { is: 'failed', why: 'unreachable' };
      else {
        await this.engine.send(this.files.outgoing(out.file, out.file.name), (p) => {
          if (p.state === 'hashing') this.rows.state(id, { is: 'hashing', done: p.done });
          else this.rows.progress(id, rate, p);
        });
      }
    } catch (error) {
      if (!(error instanceof TrunklineError)) throw error;
      const why = out.stopped ? 'stopped' : endOfSend(error);
      end = { is: 'failed', why: why === 'interrupted' ? 'unreachable' : why };
    } finally {
      this.sending = '';
      this.out.delete(id);
    }
    // Only what is there is worth remembering: nobody could go on with the rest.
    if (end.is === 'delivered') await this.rows.end(id, end, out.file.size);
    else this.rows.state(id, end);
  }

  // ---- In ----

  private async asked(m: transfer.Manifest): Promise<transfer.Incoming | undefined> {
    const place = await this.files.placeOf(`${this.client.id} ${this.call.contact}`, m);
    // The same file from before: what is there of it is not sent again.
    const before = this.rows.list().find((t) => !t.out && t.place === place);
    const id = before?.id ?? crypto.randomUUID();
    if (before) this.rows.state(id, { is: 'asking' }, 0);
    // Without its place: who rings is not let in because of a file that nobody has said yes to.
    else this.rows.show({ id, contact: this.call.contact, out: false, name: transfer.cleanName(m.name), size: m.size, created: this.client.now(), place: '', paused: false, done: 0, state: { is: 'asking' } });
    const yes = await new Promise<boolean>((resolve) => {
      this.coming = { id, answer: resolve, rate: new Rate() };
    });
    if (this.coming?.id !== id) return undefined; // it will not come any more
    this.coming.answer = null;
    if (!yes) {
      this.coming = null;
      this.rows.state(id, before && isOver(before.state) ? before.state : { is: 'failed', why: 'stopped' }, before?.done);
      return undefined;
    }
    this.rows.change(id, { place, state: { is: 'connecting' } });
    await this.rows.keep(id);
    const room = await this.files.reserve(place, m.size);
    if (room !== 'none') return this.files.incoming(place, room);
    // The other side hears why.
    this.engine.stopReceiving(transfer.TransferReason.disk);
    return undefined;
  }

  private came(p: transfer.Progress): void {
    const { id, rate } = this.coming ?? {};
    if (id && rate) this.rows.progress(id, rate, p);
  }

  private async arrived(m: transfer.Manifest): Promise<void> {
    const { coming } = this;
    this.coming = null;
    if (coming) await this.rows.end(coming.id, { is: 'arrived' }, m.size);
  }

  private async ended(why: TrunklineError): Promise<void> {
    const { coming } = this;
    this.coming = null;
    if (!coming) return;
    coming.answer?.(false);
    const t = this.rows.get(coming.id);
    const end = endOfReceive(why);
    if (t && end === 'their-change') await this.files.remove(t.place);
    if (end === 'paused') this.rows.state(coming.id, { is: 'paused', by: 'them' });
    else if (end !== 'interrupted') return this.rows.end(coming.id, { is: 'failed', why: end });
    else if (!t?.place) return this.rows.state(coming.id, { is: 'failed', why: 'unreachable' }); // nobody has said yes to it
    else this.rows.state(coming.id, { is: 'interrupted' });
    await this.rows.keep(coming.id);
  }

  // ---- What the person does ----

  receive(): void {
    this.coming?.answer?.(true);
  }

  pause(id: string, on: boolean): void {
    this.rows.change(id, { paused: on });
    if (this.coming?.id === id) this.engine.pauseReceiving(on);
    else if (this.sending === id) this.engine.pauseSending(on);
  }

  stop(id: string): void {
    if (this.coming?.id === id) {
      if (this.coming.answer) this.coming.answer(false);
      else this.engine.stopReceiving();
      return;
    }
    const out = this.out.get(id);
    if (out) out.stopped = true;
    if (this.sending === id) this.engine.stopSending();
    else this.rows.state(id, { is: 'failed', why: 'stopped' });
  }

  /** The call is over: what was under way has failed or waits for the next one, and what came is here to be saved. */
  end(): void {
    this.engine.close();
  }
}
