import { type call, type Client, isCode, transfer, TrunklineError } from '@trunkline/sdk';
import type { BrowserFiles } from '@trunkline/sdk/browser';
import type { TransferEnd } from '../state.ts';
import { type Chosen, mayRead } from './choose.ts';
import { endOf, endOfSend, engineOf, leave as leaveLine, Rate, Watch } from './line.ts';
import { isOver, type Rows } from './rows.ts';
import { type Kept, sameContent, Shelf } from './shelf.ts';

/** How long it waits before it rings again: a little more each time, and not at all when the link comes back. */
const pauseMs = 2_000;
const longestPauseMs = 60_000;

interface Run {
  out: transfer.Outgoing;
  call: call.Call | null;
  engine: transfer.TransferEngine | null;
  stopped: boolean;
  wake: () => void;
}

type End = TransferEnd | 'interrupted' | null;

/** Files that go out: one ring for each attempt, one file at a time to each person, and again until it is there. */
export class Sending {
  private readonly client: Client;
  private readonly calls: call.Calls;
  private readonly rows: Rows;
  private readonly files: BrowserFiles;
  private readonly relayOnly: () => boolean;
  private readonly shelf = new Shelf();
  private readonly runs = new Map<string, Run>();
  /** What this tab can read without asking, to offer it again. */
  private readonly readable = new Map<string, transfer.Outgoing>();
  private readonly turns = new Map<string, { queue: Promise<void>; waiting: number }>();

  constructor(client: Client, calls: call.Calls, rows: Rows, files: BrowserFiles, relayOnly: () => boolean) {
    this.client = client;
    this.calls = calls;
    this.rows = rows;
    this.files = files;
    this.relayOnly = relayOnly;
  }

  /** Goes on with what a reload interrupted, as far as the browser lets it without the person. */
  begin(): void {
    for (const t of this.rows.list()) {
      if (t.out && !isOver(t.state)) this.client.background('go on with a file', () => this.again(t.id, false));
    }
  }

  async send(contact: string, { file, handle }: Chosen): Promise<void> {
    const id = crypto.randomUUID();
    this.rows.show({ id, contact, out: true, name: file.name, size: file.size, created: this.client.now(), place: '', paused: false, done: 0, state: { is: 'queued' } });
    await this.shelf.put({ id, handle, size: file.size, modified: file.lastModified, hashes: undefined });
    await this.rows.keep(id);
    this.start(id, this.files.outgoing(file, file.name));
  }

  /** Takes up a row whose file has to be got first. asked: the person has just tapped, so that the browser may ask. */
  async again(id: string, asked: boolean): Promise<void> {
    const t = this.rows.get(id);
    if (!t || this.runs.has(id)) return;
    const kept = await this.shelf.get(id);
    if (!kept?.handle) return this.rows.state(id, { is: 'choose', why: 'again' });
    if (!(await mayRead(kept.handle, asked))) return this.rows.state(id, { is: 'choose', why: asked ? 'again' : 'tap' });
    let file: File;
    try {
      file = await kept.handle.getFile();
    } catch (error) {
      if (!(error instanceof DOMException)) throw error;
      return this.rows.state(id, { is: 'choose', why: 'moved' });
    }
    // Same size and time: each unit is held against its hash when it is sent, and what is there already is right.
    if (kept.hashes && file.size === kept.size && file.lastModified === kept.modified) return this.start(id, this.files.outgoing(file, t.name, kept.hashes));
    await this.take(id, kept, { file, handle: kept.handle });
  }

  /** A file that was chosen again goes on if it is the one that was offered. */
  async chosen(id: string, c: Chosen): Promise<void> {
    const kept = await this.shelf.get(id);
    if (this.rows.get(id) && !this.runs.has(id)) await this.take(id, kept, c);
  }

  private async take(id: string, kept: Kept | undefined, { file, handle }: Chosen): Promise<void> {
    const t = this.rows.get(id);
    if (!t) return;
    const out = this.files.outgoing(file, t.name);
    // What was never read to its end was never offered either: then name and size are all there is to go by, and
    // nothing where it is offered anew.
    const anew = t.state.is === 'choose' && t.state.why === 'anew';
    let same = anew || (file.size === t.size && (kept?.hashes !== undefined || file.name === t.name));
    if (anew) this.rows.change(id, { size: file.size });
    if (same && kept?.hashes) {
      this.rows.state(id, { is: 'hashing', done: 0 });
      try {
        same = await sameContent(await out.hash((done) => this.rows.state(id, { is: 'hashing', done })), kept.hashes);
      } catch (error) {
        if (!(error instanceof TrunklineError)) throw error;
        return this.rows.state(id, { is: 'choose', why: 'moved' });
      }
    }
    if (!same) return this.rows.state(id, { is: 'choose', why: 'other' });
    await this.shelf.put({ id, handle, size: file.size, modified: file.lastModified, hashes: kept?.hashes });
    this.start(id, out);
  }

  private start(id: string, out: transfer.Outgoing): void {
    if (this.runs.has(id)) return;
    const run: Run = { out, call: null, engine: null, stopped: false, wake: () => undefined };
    this.runs.set(id, run);
    this.readable.set(id, out);
    this.client.background('send a file', () => this.run(id, run));
  }

  private async run(id: string, run: Run): Promise<void> {
    // Read before anybody is rung: nobody waits at the other end while a large file is hashed.
    try {
      await run.out.hash((done) => this.rows.state(id, { is: 'hashing', done }));
    } catch (error) {
      if (!(error instanceof TrunklineError)) throw error;
      this.runs.delete(id);
      this.readable.delete(id);
      return this.rows.end(id, { is: 'failed', why: run.stopped ? 'stopped' : 'changed' });
    }
    await this.remember(id, run.out);
    for (let tries = 1; ; tries++) {
      const t = this.rows.get(id);
      if (!t) return;
      let end: End = 'interrupted';
      if (!t.paused && !run.stopped) {
        const leave = await this.turn(id, t.contact);
        try {
          if (!run.stopped && !this.rows.get(id)?.paused) end = await this.once(id, t.contact, run);
        } finally {
          leave();
          run.call = run.engine = null;
        }
      }
      const now = this.rows.get(id);
      if (!now) return;
      if (end === null) {
        this.runs.delete(id);
        this.readable.delete(id);
        await this.rows.end(id, { is: 'delivered' }, now.size);
        await this.shelf.remove(id);
        return;
      }
      if (run.stopped) end = 'stopped';
      if (end !== 'interrupted') {
        this.runs.delete(id);
        if (end === 'changed') this.readable.delete(id);
        return this.rows.end(id, { is: 'failed', why: end });
      }
      if (now.done > t.done) tries = 1;
      this.rows.state(id, now.paused ? { is: 'paused', by: 'us' } : { is: 'interrupted' });
      await this.rows.keep(id);
      await this.wait(run, now.paused ? Infinity : Math.min(tries * pauseMs, longestPauseMs));
    }
  }

  private wait(run: Run, ms: number): Promise<void> {
    return new Promise((resolve) => {
      const cancel = ms === Infinity ? () => undefined : this.client.timers.after(ms, resolve);
      run.wake = () => {
        cancel();
        resolve();
      };
    });
  }

  /** Files to one person go one after the other: a ring for files ends the one before it. */
  private async turn(id: string, contact: string): Promise<() => void> {
    const turns = this.turns.get(contact) ?? { queue: Promise.resolve(), waiting: 0 };
    this.turns.set(contact, turns);
    const before = turns.queue;
    let leave: () => void = () => undefined;
    turns.queue = new Promise((resolve) => {
      leave = resolve;
    });
    if (turns.waiting++ > 0) this.rows.state(id, { is: 'queued' });
    await before;
    return () => {
      turns.waiting--;
      leave();
    };
  }

  /** One ring and what comes of it. Null: the other side has the file. */
  private async once(id: string, contact: string, run: Run): Promise<End> {
    this.rows.state(id, { is: 'ringing' });
    let c: call.Call;
    try {
      c = await this.calls.startCall(contact, { media: 0, relayOnly: this.relayOnly() });
    } catch (error) {
      if (!(error instanceof TrunklineError)) throw error;
      return isCode(error, 'unreachable') || isCode(error, 'refused') || isCode(error, 'closed') ? 'interrupted' : 'other';
    }
    run.call = c;
    return this.over(id, c, run);
  }

  private async over(id: string, c: call.Call, run: Run): Promise<End> {
    const watch = new Watch(c);
    const answered = await watch.until('answered', 'connecting', 'live');
    if (answered.phase === 'ended') {
      const end = endOf(answered, c);
      // Somebody who has taken a part of it is away, and has not said no.
      const begun = (this.rows.get(id)?.done ?? 0) > 0;
      return end === 'unreachable' || (begun && end !== 'declined') ? 'interrupted' : end;
    }
    this.rows.state(id, { is: 'connecting' });
    const engine = engineOf(this.client, c, { ask: () => Promise.resolve(undefined) });
    watch.onEnd(() => engine.close());
    run.engine = engine;
    if ((await watch.until('live')).phase === 'ended') return 'interrupted';
    const rate = new Rate();
    let why: unknown;
    try {
      await engine.send(run.out, (p) => this.rows.progress(id, rate, p));
    } catch (error) {
      why = error;
      if (!(error instanceof TrunklineError)) throw error;
      return endOfSend(error);
    } finally {
      leaveLine(this.client, c, why);
    }
    return null;
  }

  /** With its hashes the file is known again after a reload. */
  private async remember(id: string, out: transfer.Outgoing): Promise<void> {
    const kept = await this.shelf.get(id);
    if (kept && !kept.hashes) await this.shelf.put({ ...kept, hashes: [...(await out.hash(() => undefined))] as Uint8Array<ArrayBuffer>[] });
  }

  // ---- What the person does ----

  async pause(id: string, on: boolean): Promise<void> {
    const run = this.runs.get(id);
    const t = this.rows.get(id);
    if (!run || !t) return on ? undefined : this.again(id, true);
    this.rows.change(id, { paused: on });
    // Others wait for their turn: the line is theirs.
    if (on && (this.turns.get(t.contact)?.waiting ?? 0) > 1) run.engine?.stopSending(transfer.TransferReason.paused);
    else run.engine?.pauseSending(on);
    if (on && !run.engine) this.rows.state(id, { is: 'paused', by: 'us' });
    run.wake();
    await this.rows.keep(id);
  }

  stop(id: string): void {
    const run = this.runs.get(id);
    if (!run) return this.client.background('stop a file', () => this.rows.end(id, { is: 'failed', why: 'stopped' }));
    run.stopped = true;
    if (run.engine?.active) run.engine.stopSending();
    else run.call?.hangup();
    run.wake();
  }

  /** Offers a file again that was not taken; one that was changed, as it is now. */
  async retry(id: string): Promise<void> {
    this.rows.change(id, { paused: false, done: 0 });
    const out = this.readable.get(id);
    if (out) return this.start(id, out);
    const kept = await this.shelf.get(id);
    if (!kept?.handle || !(await mayRead(kept.handle, true))) {
      if (kept) await this.shelf.put({ ...kept, hashes: undefined });
      return this.rows.state(id, { is: 'choose', why: 'anew' });
    }
    const file = await kept.handle.getFile().catch((error: unknown) => {
      if (error instanceof DOMException) return null;
      throw error;
    });
    if (!file) return this.rows.state(id, { is: 'choose', why: 'moved' });
    await this.shelf.put({ ...kept, size: file.size, modified: file.lastModified, hashes: undefined });
    this.rows.change(id, { size: file.size });
    const t = this.rows.get(id);
    if (t) this.start(id, this.files.outgoing(file, t.name));
  }

  async forget(id: string): Promise<void> {
    this.readable.delete(id);
    await this.shelf.remove(id);
  }

  /** The way to the node is there again. */
  linked(): void {
    for (const run of this.runs.values()) if (!run.call) run.wake();
  }

  close(): void {
    for (const run of this.runs.values()) {
      run.engine?.close();
      run.call?.hangup();
    }
  }
}
