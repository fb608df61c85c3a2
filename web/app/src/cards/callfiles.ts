import { type call, type Client, transfer, TrunklineError } from '@trunkline/sdk';
import type { Action, Transfer, TransferState } from '../state.ts';

/** Files within a call that cards made. They go over the call itself, since there is no node to ring through, and stay in
 * memory: what comes is given to the person at once. */
const largest = 256 * 1024 * 1024;

interface Row {
  transfer: Transfer;
  answer: ((yes: boolean) => void) | null;
  content: Blob | null;
}

export class CallFiles {
  private readonly client: Client;
  private readonly call: call.Call;
  private readonly dispatch: (action: Action) => void;
  private readonly rows = new Map<string, Row>();
  private engine: transfer.TransferEngine | null = null;
  private queue: Promise<void> = Promise.resolve();

  constructor(client: Client, c: call.Call, dispatch: (action: Action) => void) {
    this.client = client;
    this.call = c;
    this.dispatch = dispatch;
    c.onControl = (m) => {
      if (m.case === 'file') this.over().takeControl(m.value.message);
    };
    c.onFile = (chunk) => this.over().takeChunk(chunk);
  }

  private over(): transfer.TransferEngine {
    const { session } = this.call;
    if (!session) throw new Error('a call of cards has no session');
    this.engine ??= new transfer.TransferEngine({
      channels: { sendControl: (message) => this.call.sendControl({ case: 'file', value: { message } }), sendChunk: (chunk) => this.call.sendFile(chunk) },
      fileKey: session.fileKey(),
      role: session.role,
      ask: (m) => this.asked(m),
      onReceiving: (m, p) => this.progress(hexOf(m.fileId), p),
      after: (ms, f) => this.client.timers.after(ms, f),
      run: (work) =>
        this.client.background('a file', async () => {
          try {
            await work();
          } catch (error) {
            if (!(error instanceof TrunklineError)) throw error;
            this.call.happen({ type: 'failed' }, { why: error });
          }
        }),
    });
    return this.engine;
  }

  private show(id: string, change: Partial<Transfer>): void {
    const row = this.rows.get(id);
    if (!row) return;
    row.transfer = { ...row.transfer, ...change };
    this.dispatch({ type: 'transfer', transfer: row.transfer });
  }

  private state(id: string, state: TransferState): void {
    this.show(id, { state });
  }

  private add(id: string, out: boolean, name: string, size: number, state: TransferState): Row {
    const row: Row = { transfer: { id, contact: this.call.contact, out, name, size, created: this.client.now(), place: '', paused: false, done: 0, state }, answer: null, content: null };
    this.rows.set(id, row);
    this.dispatch({ type: 'transfer', transfer: row.transfer });
    return row;
  }

  private progress(id: string, p: transfer.Progress): void {
    if (p.state === 'hashing') this.state(id, { is: 'hashing', done: p.done });
    else if (p.state === 'waiting') this.state(id, { is: 'waiting' });
    else if (p.state === 'sending') this.show(id, { done: p.done, state: { is: 'moving', rate: 0 } });
    else if (p.state === 'verifying') this.state(id, { is: 'verifying' });
  }

  // ---- Out ----

  send(file: File): void {
    const id = crypto.randomUUID();
    this.add(id, true, file.name, file.size, { is: 'waiting' });
    // One after the other: a session sends one file at a time.
    this.queue = this.queue.then(() => this.sendOne(id, file));
    this.client.background('send a file', () => this.queue);
  }

  private async sendOne(id: string, file: File): Promise<void> {
    try {
      await this.over().send({ name: file.name, size: file.size, read: async (begin, end) => new Uint8Array(await file.slice(begin, end).arrayBuffer()) }, (p) => this.progress(id, p));
      this.state(id, { is: 'delivered' });
    } catch (error) {
      if (error instanceof DOMException) return this.state(id, { is: 'failed', why: 'changed' }); // it was moved or written to
      if (!(error instanceof TrunklineError)) throw error;
      this.state(id, { is: 'failed', why: error.code === 'policy' ? 'declined' : error.code === 'unreachable' || error.code === 'closed' ? 'unreachable' : 'other' });
    }
  }

  // ---- In ----

  private async asked(m: transfer.Manifest): Promise<transfer.Sink | undefined> {
    if (m.size > largest) return undefined;
    const id = hexOf(m.fileId);
    const row = this.add(id, false, transfer.cleanName(m.name), m.size, { is: 'asking' });
    const yes = await new Promise<boolean>((resolve) => {
      row.answer = resolve;
    });
    row.answer = null;
    if (!yes) {
      this.state(id, { is: 'failed', why: 'stopped' });
      return undefined;
    }
    const units: Uint8Array<ArrayBuffer>[] = [];
    this.state(id, { is: 'moving', rate: 0 });
    return {
      have: async () => [],
      write: async (_, unit, content) => {
        units[unit] = content;
      },
      finish: async () => {
        row.content = new Blob(units);
        this.state(id, { is: 'arrived' });
      },
      discard: async () => this.state(id, { is: 'failed', why: 'corrupt' }),
    };
  }

  /** Says yes to a file of this call; false: it is none of its. */
  receive(id: string): boolean {
    this.rows.get(id)?.answer?.(true);
    return this.rows.has(id);
  }

  stop(id: string): boolean {
    this.rows.get(id)?.answer?.(false);
    return this.rows.has(id);
  }

  save(id: string): boolean {
    const row = this.rows.get(id);
    if (!row?.content) return row !== undefined;
    const url = URL.createObjectURL(row.content);
    const link = document.createElement('a');
    link.href = url;
    link.download = row.transfer.name;
    link.click();
    // The browser has taken the file over by then.
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
    return true;
  }

  forget(id: string): boolean {
    if (!this.rows.delete(id)) return false;
    this.dispatch({ type: 'transfer-gone', id });
    return true;
  }

  /** The call is over: what was under way has failed, and what came is still here to be saved. */
  end(): void {
    this.engine?.close();
    for (const [id, { transfer: t, answer }] of this.rows) {
      answer?.(false);
      if (t.state.is !== 'arrived' && t.state.is !== 'delivered' && t.state.is !== 'failed') this.state(id, { is: 'failed', why: 'unreachable' });
    }
  }
}

function hexOf(b: Uint8Array): string {
  return [...b].map((x) => x.toString(16).padStart(2, '0')).join('');
}
