import { type call, type Client, transfer, TrunklineError } from '@trunkline/sdk';
import { recordPrefix } from './files/protocol.ts';
import { FileStore } from './files/store.ts';
import type { Action, Transfer, TransferEnd, TransferState } from './state.ts';

type Call = call.Call;
type CallState = call.CallState;

/** How often a transfer is begun again when its connection breaks, and how long it waits. */
const attempts = 6;
const pauseMs = 2000;

/** Files in both directions: one ring for each, over the data channels of its own call. */
export class Transfers {
  private readonly client: Client;
  private readonly dispatch: (action: Action) => void;
  private readonly relayOnly: () => boolean;
  private readonly calls: call.Calls;
  private readonly store = new FileStore();
  private readonly all = new Map<string, Transfer>();
  private readonly running = new Map<string, { call: Call | null; stopped: boolean }>();

  constructor(client: Client, calls: call.Calls, dispatch: (action: Action) => void, relayOnly: () => boolean) {
    this.client = client;
    this.calls = calls;
    this.dispatch = dispatch;
    this.relayOnly = relayOnly;
    for (const [, kept] of client.records.list<Transfer>(recordPrefix)) this.show(kept);
  }

  private show(t: Transfer): void {
    this.all.set(t.id, t);
    this.dispatch({ type: 'transfer', transfer: t });
  }

  private state(id: string, state: TransferState): void {
    const t = this.all.get(id);
    if (t) this.show({ ...t, state });
  }

  /** Writes down what a reload would lose. What was under way is interrupted then. */
  private keep(id: string): Promise<void> {
    const t = this.all.get(id);
    if (!t) return Promise.resolve();
    const over = t.state.is === 'arrived' || t.state.is === 'delivered' || t.state.is === 'failed';
    this.client.records.set(recordPrefix + id, over ? t : { ...t, state: { is: 'interrupted' } satisfies TransferState });
    return this.client.records.commit();
  }

  private async ended(id: string, state: TransferState): Promise<void> {
    this.running.delete(id);
    this.state(id, state);
    await this.keep(id);
  }

  // ---- Sending ----

  send(contact: string, file: File): void {
    const id = crypto.randomUUID();
    this.show({ id, contact, out: true, name: file.name, size: file.size, created: this.client.now(), state: { is: 'ringing' } });
    this.running.set(id, { call: null, stopped: false });
    this.client.background('send a file', () => this.sendAll(id, contact, file));
  }

  private async sendAll(id: string, contact: string, file: File): Promise<void> {
    await this.keep(id);
    for (let n = 1; ; n++) {
      const why = await this.sendOnce(id, contact, file);
      if (why === null) return this.ended(id, { is: 'delivered' });
      if (this.running.get(id)?.stopped) return this.ended(id, { is: 'failed', why: 'stopped' });
      if (why !== 'interrupted') return this.ended(id, { is: 'failed', why });
      if (n === attempts) return this.ended(id, { is: 'failed', why: 'unreachable' });
      this.state(id, { is: 'interrupted' });
      await new Promise<void>((resolve) => this.client.timers.after(n * pauseMs, resolve));
      if (this.running.get(id)?.stopped) return this.ended(id, { is: 'failed', why: 'stopped' });
      this.state(id, { is: 'ringing' });
    }
  }

  /** One ring and what comes of it. Null: the other side has the file. */
  private async sendOnce(id: string, contact: string, file: File): Promise<TransferEnd | 'interrupted' | null> {
    let c: Call;
    try {
      c = await this.calls.startCall(contact, { media: 0, relayOnly: this.relayOnly() });
    } catch (error) {
      if (!(error instanceof TrunklineError)) throw error;
      return error.code === 'unreachable' ? 'interrupted' : 'other';
    }
    const running = this.running.get(id);
    if (running) running.call = c;
    const watch = new Watch(c);
    const answered = await watch.until('answered', 'connecting', 'live');
    if (answered.phase === 'ended') return endOf(answered, c);
    const engine = this.engine(c, () => Promise.resolve(undefined), () => undefined);
    this.state(id, { is: 'connecting' });
    watch.onEnd(() => engine.close());
    const live = await watch.until('live');
    if (live.phase === 'ended') return 'interrupted';
    const rate = new Rate();
    try {
      await engine.send(
        { name: file.name, size: file.size, read: async (begin, end) => new Uint8Array(await file.slice(begin, end).arrayBuffer()) },
        (p) => {
          if (p.state === 'hashing') this.state(id, { is: 'hashing', done: p.done });
          else if (p.state === 'waiting') this.state(id, { is: 'waiting' });
          else if (p.state === 'sending') this.state(id, { is: 'moving', done: p.done, rate: rate.of(p.done) });
          else if (p.state === 'verifying') this.state(id, { is: 'verifying' });
        },
      );
    } catch (error) {
      if (error instanceof DOMException) return 'changed'; // the file was moved or written to
      if (!(error instanceof TrunklineError)) throw error;
      if (error.code === 'unreachable') return 'interrupted';
      return error.code === 'policy' ? 'declined' : error.code === 'malformed' ? 'changed' : 'other';
    } finally {
      c.hangup();
    }
    return null;
  }

  // ---- Taking ----

  onCall(c: Call): void {
    if (c.direction !== 'incoming' || c.media !== 0 || c.state.phase === 'ended') return;
    // Somebody to whom the person has said yes comes back after a broken connection.
    const before = [...this.all.values()].find((t) => !t.out && t.contact === c.contact && t.state.is === 'interrupted');
    const id = before?.id ?? c.id;
    if (!before) this.show({ id, contact: c.contact, out: false, name: '', size: 0, created: this.client.now(), state: { is: 'asking' } });
    this.running.set(id, { call: c, stopped: false });
    this.client.background('take a file', () => this.takeOnce(id, c));
    if (before) c.accept({ relayOnly: this.relayOnly() });
  }

  private async takeOnce(id: string, c: Call): Promise<void> {
    const watch = new Watch(c);
    const answered = await watch.until('answered', 'connecting', 'live');
    if (answered.phase === 'ended') {
      // A ring that ended before anybody answered leaves nothing to look at.
      this.running.delete(id);
      if (this.all.get(id)?.state.is === 'asking') this.gone(id);
      return;
    }
    this.state(id, { is: 'connecting' });
    const rate = new Rate();
    let file = '';
    const engine = this.engine(
      c,
      async (m) => {
        const t = this.all.get(id);
        if (t) this.show({ ...t, name: transfer.cleanName(m.name), size: m.size, state: { is: 'moving', done: 0, rate: 0 } });
        await this.keep(id);
        return this.store.sink((finished) => {
          file = finished;
        });
      },
      (_, p) => {
        if (p.state === 'sending') this.state(id, { is: 'moving', done: p.done, rate: rate.of(p.done) });
      },
    );
    watch.onEnd(() => engine.close());
    await watch.until('ended');
    if (file) return this.ended(id, { is: 'arrived', file });
    const stopped = this.running.get(id)?.stopped ?? false;
    if (stopped) return this.ended(id, { is: 'failed', why: 'stopped' });
    if (c.why?.code === 'storage') return this.ended(id, { is: 'failed', why: 'disk' });
    const named = this.all.get(id)?.name !== '';
    return this.ended(id, named ? { is: 'interrupted' } : { is: 'failed', why: 'unreachable' });
  }

  private engine(c: Call, ask: (m: transfer.Manifest) => Promise<transfer.Sink | undefined>, onReceiving: (m: transfer.Manifest, p: transfer.Progress) => void): transfer.TransferEngine {
    const session = c.session;
    if (!session) throw new Error('a call was answered without a session');
    const engine = new transfer.TransferEngine({
      channels: {
        sendControl: (message) => c.sendControl({ case: 'file', value: { message } }),
        sendChunk: (chunk) => c.sendFile(chunk),
      },
      fileKey: session.fileKey(),
      role: session.role,
      ask,
      onReceiving,
      after: (ms, f) => this.client.timers.after(ms, f),
      run: (work) =>
        this.client.background('a file', async () => {
          try {
            await work();
          } catch (error) {
            if (!(error instanceof TrunklineError)) throw error;
            c.happen({ type: 'failed' }, { why: error });
          }
        }),
    });
    c.onControl = (m) => {
      if (m.case === 'file') engine.takeControl(m.value.message);
    };
    c.onFile = (chunk) => engine.takeChunk(chunk);
    return engine;
  }

  // ---- What the person does ----

  receive(id: string): void {
    // Whoever hides the address hides it from those who ring, too.
    this.running.get(id)?.call?.accept({ relayOnly: this.relayOnly() });
  }

  stop(id: string): void {
    const running = this.running.get(id);
    if (!running) return;
    running.stopped = true;
    if (running.call?.direction === 'incoming' && running.call.state.phase === 'ringing') running.call.decline();
    else running.call?.hangup();
  }

  async save(id: string): Promise<void> {
    const t = this.all.get(id);
    if (t?.state.is !== 'arrived') return;
    const url = URL.createObjectURL(await this.store.file(t.state.file));
    const link = document.createElement('a');
    link.href = url;
    link.download = t.name;
    link.click();
    // The browser has taken the file over by then; a large one is copied from disk to disk.
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  }

  async forget(id: string): Promise<void> {
    const t = this.all.get(id);
    if (t?.state.is === 'arrived') await this.store.remove(t.state.file);
    this.gone(id);
    this.client.records.delete(recordPrefix + id);
    await this.client.records.commit();
  }

  private gone(id: string): void {
    this.all.delete(id);
    this.dispatch({ type: 'transfer-gone', id });
  }
}

/** Waits for the phases of one call. */
class Watch {
  private readonly call: Call;
  private readonly looks = new Set<(s: CallState) => void>();
  private readonly ends = new Set<() => void>();

  constructor(c: Call) {
    this.call = c;
    c.onState = (s) => {
      for (const look of [...this.looks]) look(s);
      if (s.phase === 'ended') for (const end of this.ends) end();
    };
  }

  onEnd(f: () => void): void {
    if (this.call.state.phase === 'ended') f();
    else this.ends.add(f);
  }

  /** The first of these phases, or the end. */
  until(...phases: CallState['phase'][]): Promise<CallState> {
    return new Promise((resolve) => {
      const look = (s: CallState) => {
        if (!phases.includes(s.phase) && s.phase !== 'ended') return;
        this.looks.delete(look);
        resolve(s);
      };
      this.looks.add(look);
      look(this.call.state);
    });
  }
}

/** Reason of a ring that ended without an answer: session.md, section 2. */
function endOf(s: CallState, c: Call): TransferEnd | 'interrupted' {
  if (s.phase !== 'ended') return 'other';
  switch (s.reason) {
    case 3:
      return 'declined';
    case 4:
      return 'busy';
    case 5:
      return 'no-answer';
    default:
      return c.why?.code === 'unreachable' || c.why?.code === 'refused' ? 'interrupted' : 'stopped';
  }
}

/** Bytes a second over the last five seconds, so that a pause shows. */
class Rate {
  private readonly seen: { at: number; done: number }[] = [];

  of(done: number): number {
    const at = performance.now();
    this.seen.push({ at, done });
    while (this.seen.length > 2 && at - (this.seen[0]?.at ?? at) > 5000) this.seen.shift();
    const first = this.seen[0];
    return first && at > first.at ? ((done - first.done) / (at - first.at)) * 1000 : 0;
  }
}
