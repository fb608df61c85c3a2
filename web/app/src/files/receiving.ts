import { type call, type Client, transfer, TrunklineError } from '@trunkline/sdk';
import type { BrowserFiles, Outlet } from '@trunkline/sdk/browser';
import type { Transfer, TransferEnd, TransferState } from '../state.ts';
import { endOfReceive, engineOf, leave, Rate, Watch } from './line.ts';
import { isOver, type Rows } from './rows.ts';
import { canChoosePlace, choosePlace, copyTo, download, outletTo, outletToDownloads } from './save.ts';

interface Run {
  call: call.Call;
  engine: transfer.TransferEngine | null;
  stopped: boolean;
  /** Why it will not come, when the engine has said so. */
  why: TrunklineError | undefined;
  /** The file is here whole. */
  whole: boolean;
}

/** Files that come: asked about once, then taken up again whenever their sender rings. */
export class Receiving {
  private readonly client: Client;
  private readonly rows: Rows;
  private readonly files: BrowserFiles;
  private readonly relayOnly: () => boolean;
  private readonly runs = new Map<string, Run>();
  /** Files that go out of the browser while they come, and where to. */
  private readonly outlets = new Map<string, { incoming: transfer.Incoming; outlet: Outlet }>();
  /** Rows that wait for a person to say where a file goes for which there is no room here. */
  private readonly asking = new Map<string, (where: transfer.Incoming | undefined) => void>();

  constructor(client: Client, rows: Rows, files: BrowserFiles, relayOnly: () => boolean) {
    this.client = client;
    this.rows = rows;
    this.files = files;
    this.relayOnly = relayOnly;
  }

  /** Looks whether what came before is there still: the browser may have cleared it. */
  begin(): void {
    for (const t of this.rows.list()) {
      if (!t.out && t.paused && !isOver(t.state)) this.rows.state(t.id, { is: 'paused', by: 'us' });
      if (!t.out && (t.state.is === 'arrived' || t.state.is === 'saved')) this.client.background('look for a file', async () => void (await this.look(t.id)));
    }
  }

  private async look(id: string): Promise<Blob | undefined> {
    const t = this.rows.get(id);
    const file = t && (await this.files.file(t.place));
    if (t && !file && t.state.is === 'arrived') await this.rows.end(id, { is: 'lost' });
    return file;
  }

  /** Rows that a person has said yes to, and that are not here whole. */
  private waiting(contact: string): Transfer[] {
    return this.rows.list().filter((t) => !t.out && t.contact === contact && t.place !== '' && !isOver(t.state));
  }

  /** A ring of this person that waits for an answer. */
  private ringOf(contact: string): string | undefined {
    return [...this.runs].find(([, r]) => r.call.contact === contact && r.call.state.phase === 'ringing')?.[0];
  }

  private paused(t: Transfer): TransferState {
    const ring = this.ringOf(t.contact);
    return ring === undefined ? { is: 'paused', by: 'us' } : { is: 'paused', by: 'us', ring };
  }

  onCall(c: call.Call): void {
    if (c.direction !== 'incoming' || c.media !== 0 || c.state.phase === 'ended') return;
    const id = c.id;
    this.runs.set(id, { call: c, engine: null, stopped: false, why: undefined, whole: false });
    const waiting = this.waiting(c.contact);
    // Somebody to whom the person has said yes comes back; which file it is shows when it is offered.
    const known = waiting.some((t) => !t.paused);
    if (!known) {
      for (const t of waiting) this.rows.state(t.id, this.paused(t));
      if (waiting.length === 0) this.ask(id, c);
    }
    this.client.background('take a file', () => this.take(id, c));
    if (known) c.accept({ relayOnly: this.relayOnly() });
  }

  private ask(id: string, c: call.Call): void {
    this.rows.show({ id, contact: c.contact, out: false, name: '', size: 0, created: this.client.now(), place: '', paused: false, done: 0, state: { is: 'asking' } });
  }

  /** A ring from its beginning to its end. id names the run; the row may turn out to be an older one. */
  private async take(id: string, c: call.Call): Promise<void> {
    const run = this.runs.get(id);
    if (!run) return;
    const watch = new Watch(c);
    const answered = await watch.until('answered', 'connecting', 'live');
    if (answered.phase === 'ended') {
      // A ring that ended before anybody answered leaves nothing to look at.
      this.runs.delete(id);
      if (this.rows.get(id)?.state.is === 'asking') this.rows.hide(id);
      for (const t of this.waiting(c.contact)) if (t.paused && !this.runs.has(t.id)) this.rows.state(t.id, this.paused(t));
      return;
    }
    let row = id;
    if (this.rows.get(id)) this.rows.state(id, { is: 'connecting' });
    const rate = new Rate();
    const engine = engineOf(this.client, c, {
      ask: async (m) => {
        row = await this.rowOf(id, c, m);
        if (row !== id) {
          this.runs.set(row, run);
          this.runs.delete(id);
        }
        return this.where(row, m);
      },
      onReceiving: (_, p) => this.rows.progress(row, rate, p),
      onReceiveEnd: (_, why) => {
        run.why = why;
        leave(this.client, c, why);
      },
      onReceived: () => {
        run.whole = true;
      },
    });
    run.engine = engine;
    engine.pauseReceiving(false);
    watch.onEnd(() => engine.close());
    await watch.until('ended');
    // A sender that was killed may have come back already: then the row is that ring's.
    if (this.runs.get(row) !== run) return;
    this.runs.delete(row);
    this.asking.get(row)?.(undefined);
    await this.ended(row, run);
  }

  /** Which row an offer belongs to: its own one from before, or that of the ring. */
  private async rowOf(id: string, c: call.Call, m: transfer.Manifest): Promise<string> {
    const place = await this.files.placeOf(`${this.client.id} ${c.contact}`, m);
    const before = this.rows.list().find((t) => !t.out && t.place === place);
    const asked = this.rows.get(id) !== undefined;
    if (before) {
      if (asked) this.rows.hide(id);
      if (!isOver(before.state) || asked) this.rows.change(before.id, { state: { is: 'connecting' }, paused: false });
      return before.id;
    }
    // Another file than the one that somebody said yes to is asked about.
    if (!asked) this.ask(id, c);
    this.rows.change(id, { name: transfer.cleanName(m.name), size: m.size, place, state: asked ? { is: 'connecting' } : { is: 'asking' } });
    return id;
  }

  /** Where a file goes. Undefined: it is not wanted. */
  private async where(id: string, m: transfer.Manifest): Promise<transfer.Incoming | undefined> {
    const t = this.rows.get(id);
    if (!t) return undefined;
    if (t.state.is === 'asking' && !(await this.answer(id))) return undefined;
    await this.rows.keep(id);
    const open = this.outlets.get(id);
    if (open) return open.incoming;
    const room = await this.files.reserve(t.place, m.size);
    if (room !== 'none') return this.files.incoming(t.place, room);
    this.rows.state(id, { is: 'room' });
    return new Promise((resolve) => this.asking.set(id, resolve)).then((where) => {
      this.asking.delete(id);
      return where as transfer.Incoming | undefined;
    });
  }

  /** Waits for a yes or no to a file whose name is known. */
  private answer(id: string): Promise<boolean> {
    return new Promise((resolve) => {
      this.answers.set(id, (yes) => {
        this.answers.delete(id);
        if (yes) this.rows.state(id, { is: 'connecting' });
        resolve(yes);
      });
    });
  }

  private readonly answers = new Map<string, (yes: boolean) => void>();

  private async ended(id: string, run: Run): Promise<void> {
    this.answers.get(id)?.(false);
    const t = this.rows.get(id);
    if (!t) return;
    if (run.whole) {
      const passed = this.outlets.delete(id);
      return this.rows.end(id, isOver(t.state) && t.state.is !== 'failed' && t.state.is !== 'lost' ? t.state : passed ? { is: 'saved', how: canChoosePlace() ? 'place' : 'downloads' } : { is: 'arrived' }, t.size);
    }
    if (isOver(t.state)) return;
    const fail = async (why: TransferEnd) => {
      await this.drop(id);
      return this.rows.end(id, { is: 'failed', why });
    };
    if (run.stopped) return fail('stopped');
    if (t.place === '') return fail('unreachable'); // nobody knows even its name
    const end = endOfReceive(run.why ?? run.call.why);
    if (end === 'their-change') await this.files.remove(t.place);
    if (end === 'paused') {
      this.rows.state(id, { is: 'paused', by: 'them' });
      return this.rows.keep(id);
    }
    if (end !== 'interrupted') return fail(end);
    this.rows.state(id, t.paused ? this.paused(t) : { is: 'interrupted' });
    return this.rows.keep(id);
  }

  private async drop(id: string): Promise<void> {
    const open = this.outlets.get(id);
    this.outlets.delete(id);
    await open?.outlet.abort().catch(() => undefined); // it is gone already, which is what is wanted
  }

  // ---- What the person does ----

  receive(id: string): void {
    const answer = this.answers.get(id);
    if (answer) answer(true);
    // Whoever hides the address hides it from those who ring, too.
    else this.runs.get(id)?.call.accept({ relayOnly: this.relayOnly() });
  }

  /** There is no room for it here: it goes where the person says while it comes. */
  async place(id: string): Promise<void> {
    const t = this.rows.get(id);
    if (!t) return;
    const outlet = await this.outlet(t);
    const go = this.asking.get(id);
    if (!outlet || !go) return void (await outlet?.abort());
    const incoming = this.files.passing(t.place, outlet);
    this.outlets.set(id, { incoming, outlet });
    go(incoming);
  }

  /** Into a file of the person's choice, else into the browser's downloads. */
  private async outlet(t: Transfer): Promise<Outlet | undefined> {
    if (!canChoosePlace()) return outletToDownloads(t.name, t.size);
    const handle = await choosePlace(t.name);
    return handle && outletTo(handle);
  }

  async pause(id: string, on: boolean): Promise<void> {
    const t = this.rows.get(id);
    if (!t) return;
    this.rows.change(id, { paused: on });
    const run = this.runs.get(id);
    if (run?.engine) run.engine.pauseReceiving(on);
    else if (on) this.rows.state(id, this.paused(t));
    else {
      this.rows.state(id, { is: 'interrupted' });
      const ring = t.state.is === 'paused' ? t.state.ring : undefined;
      if (ring) this.runs.get(ring)?.call.accept({ relayOnly: this.relayOnly() });
    }
    await this.rows.keep(id);
  }

  stop(id: string): void {
    const run = this.runs.get(id);
    if (!run) return this.client.background('stop a file', () => this.rows.end(id, { is: 'failed', why: 'stopped' }));
    run.stopped = true;
    if (run.call.state.phase === 'ringing') return run.call.decline();
    const answer = this.answers.get(id);
    if (answer) return answer(false);
    // Whoever sends it hears the reason: there is no room here.
    if (this.asking.has(id)) return run.engine?.stopReceiving(transfer.TransferReason.disk);
    if (run.engine) run.engine.stopReceiving();
    else run.call.hangup();
  }

  /** Gives a file that is here to the person: into a file of their choice, else to the browser's downloads. */
  async save(id: string): Promise<void> {
    const t = this.rows.get(id);
    if (t?.state.is !== 'arrived' && t?.state.is !== 'saved') return;
    // The browser asks while the tap is fresh; what it takes long to look for comes after.
    const handle = canChoosePlace() ? await choosePlace(t.name) : null;
    if (handle === undefined) return;
    const file = await this.look(id);
    if (!file) return this.rows.end(id, { is: 'lost' });
    if (handle === null) {
      download(file, t.name);
      return this.rows.end(id, { is: 'saved', how: 'downloads' });
    }
    this.rows.state(id, { is: 'saving' }, 0);
    try {
      await copyTo(handle, file, (done) => this.rows.state(id, { is: 'saving' }, done));
    } catch (error) {
      await this.rows.end(id, { is: 'arrived' }, t.size);
      throw error instanceof DOMException ? new TrunklineError('storage', 'the file could not be written there', { cause: error }) : error;
    }
    await this.rows.end(id, { is: 'saved', how: 'place' }, t.size);
  }

  /** Removes what lies here of a file. */
  async forget(id: string): Promise<void> {
    await this.drop(id);
    const t = this.rows.get(id);
    if (t?.place) await this.files.remove(t.place);
  }

  close(): void {
    for (const run of this.runs.values()) {
      run.engine?.close();
      if (run.call.state.phase !== 'ringing') run.call.hangup();
    }
  }
}
