// Sending and taking one file over a bound call (docs/spec/files.md, sections 2, 5 and 6). Where bytes come from
// and where they go is injected, and so is where they are hashed and sealed: on this thread (local.ts) or in a worker
// (browser.ts). A unit is on the disk before it counts.

import { hex, random, type Bytes } from "../bytes.ts";
import type { Role } from "../envelope/session.ts";
import { refuse, TrunklineError } from "../errors.ts";
import { TransferError, TransferReason } from "./end.ts";
import { chunkKey, fileIdOf } from "./keys.ts";
import { marshalControl, parseControl, type Manifest, type TransferControl } from "./message.ts";
import { Layout, maxFile, parseChunk, rootOf, unitSize, type ChunkSecrets } from "./stream.ts";

/** The two channels of a bound call. sendChunk waits while too much is unsent, and owns the message from then on. */
export interface Channels {
  sendControl(message: Bytes): void;
  sendChunk(message: Bytes): Promise<void>;
}

/** A file to send. */
export interface Outgoing {
  readonly name: string;
  readonly size: number;
  /** The hashes of its units, read once and kept. */
  hash(onDone: (bytes: number) => void): Promise<readonly Bytes[]>;
  /** Begins to cut it, from a unit on. */
  cut(a: ChunkSecrets & { readonly from: number; readonly root: Bytes }): Cut;
}

/** Chunk messages of one attempt, in order. */
export interface Cut {
  /** Those that the next unit fills, or as much of what stands behind them: none, perhaps. Undefined: there are no more. */
  next(): Promise<readonly Bytes[] | undefined>;
  close(): void;
}

/** Where a file that comes goes. */
export interface Incoming {
  /** Makes ready for the chunks of one attempt. units: how many are there already; done: the file is there whole. */
  open(a: ChunkSecrets & { readonly root: Bytes }, on: IncomingEvents): Promise<{ readonly units: number; readonly done: boolean }>;
  /** The message of a chunk, and from now on its owner. */
  take(message: Bytes): void;
  /** The attempt is over; what is verified stays. */
  close(): void;
}

export interface IncomingEvents {
  /** So much of what is there already was read back. */
  readonly reading: (bytes: number) => void;
  /** So many units are verified and on the disk. */
  readonly kept: (units: number) => void;
  /** The file is whole, its root is right, and it has its name. */
  readonly end: () => void;
  readonly failed: (why: TrunklineError) => void;
}

/** paused: by whom. done: what the receiver has on its disk. */
export type Progress =
  | { readonly state: "hashing" | "waiting" | "sending" | "verifying" | "saved"; readonly done: number; readonly size: number }
  | { readonly state: "paused"; readonly by: "us" | "them"; readonly done: number; readonly size: number };

const waitMs = 2_000;
const maxEnded = 64;
/**
 * Units that may be on their way. A browser cannot hold the channel back, so this bounds what a slow disk leaves in
 * the receiver's memory.
 */
export const windowUnits = 16;

interface Sending {
  readonly attempt: string;
  readonly attemptId: Bytes;
  readonly layout: Layout;
  readonly accepted: (from: number) => void;
  readonly ended: (err: TrunklineError | undefined) => void;
  readonly say: (p: Progress) => void;
  phase: "offered" | "accepted" | "sent";
  kept: number;
  wake: () => void;
  stopWaits: () => void;
}

interface Receiving {
  readonly manifest: Manifest;
  readonly attempt: string;
  incoming: Incoming | undefined;
  kept: number;
  told: number;
  stopWaits: () => void;
}

export interface EngineOptions {
  readonly channels: Channels;
  readonly fileKey: Uint8Array;
  readonly role: Role;
  /** Asked once for each offer; undefined refuses it. */
  readonly ask: (m: Manifest) => Promise<Incoming | undefined>;
  readonly after: (ms: number, f: () => void) => () => void;
  readonly onReceived?: (m: Manifest) => void;
  readonly onReceiving?: (m: Manifest, p: Progress) => void;
  /** A file that was asked about will not come in this attempt. */
  readonly onReceiveEnd?: (m: Manifest, why: TrunklineError) => void;
  /** Work that nobody waits for; it must not be lost when it fails. */
  readonly run: (work: () => Promise<void>) => void;
}

/** The files of one session. Errors that take throws are breaches: the session ends. */
export class TransferEngine {
  readonly #o: EngineOptions;
  #sending: Sending | undefined;
  #receiving: Receiving | undefined;
  #closed = false;
  #pausedSending = false;
  #pausedReceiving = false;
  readonly #over: string[] = [];

  constructor(o: EngineOptions) {
    this.#o = o;
  }

  #say(c: TransferControl): void {
    this.#o.channels.sendControl(marshalControl(c));
  }

  #end(attempt: string): void {
    this.#over.push(attempt);
    if (this.#over.length > maxEnded) this.#over.shift();
  }

  /** Says every two seconds that this side is alive and not ready. */
  #waits(attempt: Bytes): () => void {
    let cancel = () => undefined as void;
    const next = () => {
      cancel = this.#o.after(waitMs, () => {
        this.#say({ kind: "wait", attempt });
        next();
      });
    };
    next();
    return () => cancel();
  }

  // ---- Sending ----

  /** Offers a file and sends it. It resolves when the other side has it whole, under its name, and not before. */
  async send(out: Outgoing, onProgress: (p: Progress) => void = () => undefined): Promise<void> {
    if (this.#sending !== undefined) throw refuse("policy", "a file is on its way already");
    if (out.size > maxFile) throw refuse("too_large", "the file is larger than one terabyte");
    const { name, size } = out;
    const layout = new Layout(size);
    onProgress({ state: "hashing", done: 0, size });
    const root = await rootOf(await out.hash((done) => onProgress({ state: "hashing", done, size })));
    if (this.#closed) throw refuse("unreachable", "the session ended before the file was offered");
    const attempt = random(16);
    const fileId = fileIdOf(name, size, root);
    const secrets = { key: chunkKey(this.#o.fileKey, this.#o.role, fileId, attempt), fileId, attempt, size };
    await new Promise<void>((resolve, reject) => {
      const s: Sending = this.#sending = {
        attempt: hex(attempt), attemptId: attempt, layout, phase: "offered", kept: 0, say: onProgress, wake: () => undefined, stopWaits: () => undefined,
        accepted: (from) => this.#o.run(async () => {
          const cut = out.cut({ ...secrets, from, root });
          try {
            await this.#stream(s, cut);
          } catch (err) {
            if (!(err instanceof TrunklineError)) throw err;
            if (this.#sending === s && err.code !== "unreachable") {
              this.#say({ kind: "cancel", attempt, reason: err instanceof TransferError ? err.reason : TransferReason.stopped });
            }
            this.#finishSending(s, err);
          } finally {
            cut.close();
          }
        }),
        ended: (err) => (err === undefined ? resolve() : reject(err)),
      };
      onProgress({ state: "waiting", done: 0, size });
      this.#say({ kind: "manifest", attempt, manifest: { fileId, attempt, size, name, root } });
    });
    onProgress({ state: "saved", done: size, size });
  }

  async #stream(s: Sending, cut: Cut): Promise<void> {
    // The next unit is read and sealed while this one goes out.
    const read = () => {
      const next = cut.next();
      next.catch(() => undefined); // whoever awaits it hears of it
      return next;
    };
    let ahead = read();
    for (let unit = s.kept; ; unit++) {
      // What stands behind the units is not kept by anybody, so that no Kept would ever make room for it.
      const held = () => this.#pausedSending || (unit < s.layout.units && unit - s.kept >= windowUnits);
      while (this.#sending === s && held()) await new Promise<void>((resolve) => { s.wake = resolve; });
      if (this.#sending !== s) return;
      const messages = await ahead;
      if (messages === undefined) break;
      ahead = read();
      for (const m of messages) {
        if (this.#sending !== s) return;
        if (m[24] === 1) s.phase = "sent"; // the last one: the answer may be faster than its sending
        await this.#o.channels.sendChunk(m);
      }
    }
    if (this.#sending === s) s.say({ state: "verifying", done: s.layout.size, size: s.layout.size });
  }

  /** A file is offered or on its way out. */
  get active(): boolean { return this.#sending !== undefined; }

  /** Holds the file that is being sent, or lets it go on; the other side is told. */
  pauseSending(on: boolean): void {
    this.#pausedSending = on;
    const s = this.#sending;
    if (s === undefined) return;
    s.stopWaits();
    if (on && s.phase === "accepted") {
      this.#say({ kind: "wait", attempt: s.attemptId });
      s.stopWaits = this.#waits(s.attemptId);
    }
    s.say(on ? { state: "paused", by: "us", ...this.#doneOf(s.layout, s.kept) } : { state: "sending", ...this.#doneOf(s.layout, s.kept) });
    s.wake();
  }

  /** Ends what is being sent and says why: the person stopped it, or it will go on later. */
  stopSending(reason: number = TransferReason.stopped): void {
    const s = this.#sending;
    if (s === undefined) return;
    this.#say({ kind: "cancel", attempt: s.attemptId, reason });
    this.#finishSending(s, new TransferError(reason, "us", "the transfer was stopped here"));
  }

  #doneOf(layout: Layout, units: number): { done: number; size: number } {
    return { done: Math.min(units * unitSize, layout.size), size: layout.size };
  }

  #finishSending(s: Sending, err: TrunklineError | undefined): void {
    if (this.#sending !== s) return;
    this.#sending = undefined;
    s.stopWaits();
    this.#end(s.attempt);
    s.ended(err);
    s.wake();
  }

  /** The session ended: what was on its way goes on in another one. */
  close(): void {
    this.#closed = true;
    if (this.#sending !== undefined) this.#finishSending(this.#sending, refuse("unreachable", "the session ended before the file was there"));
    const r = this.#receiving;
    this.#stopReceiving();
    if (r !== undefined) this.#o.onReceiveEnd?.(r.manifest, refuse("unreachable", "the session ended before the file was there"));
  }

  // ---- Messages ----

  /** Takes a message of the control channel's File. */
  takeControl(message: Uint8Array): void {
    const c = parseControl(message);
    const attempt = hex(c.attempt);
    if (c.kind === "manifest") return this.#offered(c.manifest, attempt);
    if (this.#over.includes(attempt)) return;
    const s = this.#sending;
    if (s !== undefined && s.attempt === attempt) return this.#answered(s, c);
    const r = this.#receiving;
    if (r?.attempt === attempt) {
      if (c.kind === "wait") {
        this.#o.onReceiving?.(r.manifest, { state: "paused", by: "them", ...this.#doneOf(new Layout(r.manifest.size), r.kept) });
        return;
      }
      if (c.kind !== "cancel") throw refuse("malformed", "a message of the receiver from the sender");
      this.#stopReceiving();
      this.#o.onReceiveEnd?.(r.manifest, reasonError(c.reason));
      return;
    }
    if (c.kind !== "cancel") throw refuse("malformed", "a message of an unknown attempt"); // the offer of a cancel may never have left
  }

  #answered(s: Sending, c: TransferControl): void {
    switch (c.kind) {
      case "accept":
        if (s.phase !== "offered") throw refuse("malformed", "accepted twice");
        if (c.unit > BigInt(s.layout.units)) throw refuse("malformed", "accepted behind the end");
        s.phase = "accepted";
        s.kept = Number(c.unit);
        s.say({ state: "sending", ...this.#doneOf(s.layout, s.kept) });
        if (this.#pausedSending) this.pauseSending(true);
        s.accepted(s.kept);
        return;
      case "kept":
        if (s.phase === "offered" || c.unit > BigInt(s.layout.units) || c.unit <= BigInt(s.kept)) throw refuse("malformed", "Kept out of turn");
        s.kept = Number(c.unit);
        if (!this.#pausedSending) s.say({ state: s.phase === "sent" ? "verifying" : "sending", ...this.#doneOf(s.layout, s.kept) });
        s.wake();
        return;
      case "wait":
        if (s.phase === "offered") s.say({ state: "waiting", done: 0, size: s.layout.size });
        else if (!this.#pausedSending) s.say({ state: "paused", by: "them", ...this.#doneOf(s.layout, s.kept) });
        return;
      case "refuse":
        if (s.phase !== "offered") throw refuse("malformed", "Refuse after Accept");
        return this.#finishSending(s, reasonError(c.reason));
      case "done":
        if (s.phase === "accepted") throw refuse("malformed", "Done before the last chunk");
        return this.#finishSending(s, undefined);
      case "cancel": return this.#finishSending(s, reasonError(c.reason));
      case "manifest": return;
    }
  }

  // ---- Receiving ----

  #offered(m: Manifest, attempt: string): void {
    if (this.#over.includes(attempt) || this.#sending?.attempt === attempt || this.#receiving?.attempt === attempt) throw refuse("malformed", "an attempt id serves once");
    if (this.#receiving !== undefined) {
      this.#end(attempt);
      return this.#say({ kind: "refuse", attempt: m.attempt, reason: TransferReason.busy });
    }
    const r: Receiving = { manifest: m, attempt, incoming: undefined, kept: 0, told: 0, stopWaits: this.#waits(m.attempt) };
    this.#receiving = r;
    this.#o.run(async () => {
      const incoming = await this.#o.ask(m);
      if (this.#receiving !== r) return;
      if (incoming === undefined) return this.#refuse(r, TransferReason.refused);
      const size = m.size;
      const sender: Role = this.#o.role === 0 ? 1 : 0;
      const tell = (p: Progress) => { if (this.#receiving === r) this.#o.onReceiving?.(m, p); };
      let there;
      try {
        there = await incoming.open({ key: chunkKey(this.#o.fileKey, sender, m.fileId, m.attempt), fileId: m.fileId, attempt: m.attempt, size, root: m.root }, {
          reading: (done) => tell({ state: "verifying", done, size }),
          kept: (units) => this.#kept(r, units),
          end: () => this.#whole(r),
          failed: (why) => this.#failed(r, why),
        });
      } catch (err) {
        if (!(err instanceof TrunklineError)) throw err;
        this.#refuse(r, err.code === "too_large" ? TransferReason.tooLarge : TransferReason.disk);
        this.#o.onReceiveEnd?.(m, err);
        return;
      }
      if (this.#receiving !== r) return incoming.close();
      r.stopWaits();
      r.incoming = incoming;
      r.kept = r.told = there.units;
      if (there.done) return this.#whole(r);
      this.#say({ kind: "accept", attempt: m.attempt, unit: BigInt(there.units) });
      tell({ state: "sending", ...this.#doneOf(new Layout(size), there.units) });
      if (this.#pausedReceiving) this.pauseReceiving(true);
    });
  }

  #refuse(r: Receiving, reason: number): void {
    this.#stopReceiving();
    this.#say({ kind: "refuse", attempt: r.manifest.attempt, reason });
  }

  #kept(r: Receiving, units: number): void {
    if (this.#receiving !== r) return;
    r.kept = units;
    // While the person has paused the sender is not told, and stops at the end of its window.
    if (this.#pausedReceiving) return;
    r.told = units;
    this.#say({ kind: "kept", attempt: r.manifest.attempt, unit: BigInt(units) });
    this.#o.onReceiving?.(r.manifest, { state: "sending", ...this.#doneOf(new Layout(r.manifest.size), units) });
  }

  #whole(r: Receiving): void {
    if (this.#receiving !== r) return;
    const { manifest: m } = r;
    this.#stopReceiving();
    this.#say({ kind: "done", attempt: m.attempt });
    this.#o.onReceiving?.(m, { state: "saved", done: m.size, size: m.size });
    this.#o.onReceived?.(m);
  }

  /** What came was not right, or could not be kept. */
  #failed(r: Receiving, why: TrunklineError): void {
    if (this.#receiving !== r) return;
    this.#stopReceiving();
    const ours = why.code === "storage" || why.code === "full";
    this.#say({ kind: "cancel", attempt: r.manifest.attempt, reason: ours ? TransferReason.disk : TransferReason.corrupt });
    this.#o.onReceiveEnd?.(r.manifest, ours ? why : new TransferError(TransferReason.corrupt, "us", "the file did not arrive as it was sent", why));
  }

  /** Holds the file that comes, or lets it go on; the other side is told. */
  pauseReceiving(on: boolean): void {
    this.#pausedReceiving = on;
    const r = this.#receiving;
    if (r?.incoming === undefined) return;
    r.stopWaits();
    const at = this.#doneOf(new Layout(r.manifest.size), r.kept);
    if (on) {
      this.#say({ kind: "wait", attempt: r.manifest.attempt });
      r.stopWaits = this.#waits(r.manifest.attempt);
      this.#o.onReceiving?.(r.manifest, { state: "paused", by: "us", ...at });
      return;
    }
    if (r.kept > r.told) this.#kept(r, r.kept);
    else this.#o.onReceiving?.(r.manifest, { state: "sending", ...at });
  }

  /** Ends what comes and says why. What is verified stays where it is. */
  stopReceiving(reason: number = TransferReason.stopped): void {
    const r = this.#receiving;
    if (r === undefined) return;
    this.#stopReceiving();
    this.#say({ kind: r.incoming === undefined ? "refuse" : "cancel", attempt: r.manifest.attempt, reason });
    this.#o.onReceiveEnd?.(r.manifest, new TransferError(reason, "us", "the transfer was stopped here"));
  }

  #stopReceiving(): void {
    const r = this.#receiving;
    if (r === undefined) return;
    r.stopWaits();
    r.incoming?.close();
    this.#receiving = undefined;
    this.#end(r.attempt);
  }

  /** Takes a message of the file channel. */
  takeChunk(chunk: Uint8Array): void {
    const message = chunk as Bytes; // no channel has shared memory
    const attempt = hex(parseChunk(message).attempt);
    if (this.#over.includes(attempt)) return; // it was on its way
    const r = this.#receiving;
    if (r?.incoming === undefined || r.attempt !== attempt) throw refuse("malformed", "a chunk of an unknown attempt");
    r.incoming.take(message);
  }
}

function reasonError(reason: number): TransferError {
  const words: Record<number, string> = {
    [TransferReason.refused]: "the other side does not want the file", [TransferReason.tooLarge]: "the file is too large for the other side",
    [TransferReason.busy]: "the other side takes another file just now", [TransferReason.disk]: "the other side could not write the file",
    [TransferReason.corrupt]: "the file did not arrive as it was sent", [TransferReason.changed]: "the sender's file has changed",
    [TransferReason.paused]: "the transfer was interrupted and will go on",
  };
  return new TransferError(reason, "them", words[reason] ?? "the transfer was stopped");
}
