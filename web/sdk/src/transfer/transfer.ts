// Sending and taking one file over a bound call (docs/spec/files.md, sections 2, 5 and 6). Where bytes come from
// and where they go is injected; a unit is on the sink before it counts.

import { sha256 } from "@noble/hashes/sha2.js";
import { equal, hex, random, type Bytes } from "../bytes.ts";
import type { Role } from "../envelope/session.ts";
import { refuse, TrunklineError } from "../errors.ts";
import { marshalControl, parseControl, TransferReason, type Manifest, type TransferControl } from "./message.ts";
import { Assembler, ChunkBox, Cutter, fileIdOf, Layout, maxFile, parseChunk, rootOf, unitSize } from "./stream.ts";

/** The two channels of a bound call. sendChunk waits while too much is unsent. */
export interface Channels {
  sendControl(message: Bytes): void;
  sendChunk(message: Bytes): Promise<void>;
}

/** Content that can be read twice. */
export interface Source {
  readonly name: string;
  readonly size: number;
  /** The bytes from begin to end, fewer only behind the end of the content. */
  read(begin: number, end: number): Promise<Uint8Array>;
}

/** Where a file that comes goes. */
export interface Sink {
  /** Hashes of the units that are there already, from the first one on, each read back and right. */
  have(m: Manifest): Promise<readonly Uint8Array[]>;
  /** Keeps a unit whose hash was checked; it is safe when the promise resolves. */
  write(m: Manifest, unit: number, content: Bytes, hash: Bytes): Promise<void>;
  /** Everything is there and the root is right: the file gets its name. */
  finish(m: Manifest): Promise<void>;
  /** Nothing that came can be trusted. */
  discard(m: Manifest): Promise<void>;
}

export type Progress = { readonly state: "hashing" | "waiting" | "sending" | "verifying" | "saved"; readonly done: number; readonly size: number };

const waitMs = 2_000;
const maxEnded = 64;

interface Sending {
  readonly attempt: string;
  readonly accepted: (from: bigint) => void;
  readonly ended: (err: TrunklineError | undefined) => void;
  phase: "offered" | "accepted" | "sent";
}

interface Receiving {
  readonly manifest: Manifest;
  readonly attempt: string;
  assembler: Assembler | undefined;
  cancelWait: () => void;
}

export interface EngineOptions {
  readonly channels: Channels;
  readonly fileKey: Uint8Array;
  readonly role: Role;
  /** Asked once for each offer; undefined refuses it. */
  readonly ask: (m: Manifest) => Promise<Sink | undefined>;
  readonly after: (ms: number, f: () => void) => () => void;
  readonly onReceived?: (m: Manifest) => void;
  readonly onReceiving?: (m: Manifest, p: Progress) => void;
  /** Work that nobody waits for; it must not be lost when it fails. */
  readonly run: (work: () => Promise<void>) => void;
}

/** The files of one session. Errors that take throws are breaches: the session ends. */
export class TransferEngine {
  readonly #o: EngineOptions;
  #sending: Sending | undefined;
  #receiving: Receiving | undefined;
  readonly #over: string[] = [];
  #queue: Promise<void> = Promise.resolve();

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

  /** Offers a file and sends it. It resolves when the other side has it whole, under its name, and not before. */
  async send(s: Source, onProgress: (p: Progress) => void = () => undefined): Promise<void> {
    if (this.#sending !== undefined) throw refuse("policy", "a file is on its way already");
    if (s.size > maxFile) throw refuse("too_large", "the file is larger than one terabyte");
    const layout = new Layout(s.size);
    const hashes: Bytes[] = [];
    for (let u = 0; u < layout.units; u++) {
      onProgress({ state: "hashing", done: u * unitSize, size: s.size });
      hashes.push(sha256(await s.read(u * unitSize, u * unitSize + layout.unitLength(u))) as Bytes);
    }
    const root = rootOf(hashes);
    const attempt = random(16);
    const fileId = fileIdOf(s.name, s.size, root);
    let settle: Sending | undefined;
    const done = new Promise<void>((resolve, reject) => {
      const accepted = (from: bigint) => this.#o.run(async () => {
        try {
          if (from > BigInt(layout.units)) throw refuse("malformed", "accepted behind the end");
          await this.#stream(s, layout, hashes, root, new ChunkBox(this.#o.fileKey, this.#o.role, fileId, attempt, s.size), Number(from), onProgress);
          if (settle !== undefined) settle.phase = "sent";
          onProgress({ state: "verifying", done: s.size, size: s.size });
        } catch (err) {
          if (!(err instanceof TrunklineError)) throw err;
          this.#say({ kind: "cancel", attempt, reason: err.code === "malformed" ? TransferReason.changed : TransferReason.stopped });
          this.#finishSending(err);
        }
      });
      settle = { attempt: hex(attempt), phase: "offered", accepted, ended: (err) => (err === undefined ? resolve() : reject(err)) };
      this.#sending = settle;
    });
    onProgress({ state: "waiting", done: 0, size: s.size });
    this.#say({ kind: "manifest", attempt, manifest: { fileId, attempt, size: s.size, name: s.name, root } });
    await done;
    onProgress({ state: "saved", done: s.size, size: s.size });
  }

  async #stream(s: Source, layout: Layout, hashes: readonly Bytes[], root: Bytes, box: ChunkBox, from: number, onProgress: (p: Progress) => void): Promise<void> {
    const cutter = new Cutter(layout, box, from);
    const mine = this.#sending;
    const push = async (chunks: readonly Bytes[]) => {
      for (const c of chunks) {
        if (this.#sending !== mine) return;
        await this.#o.channels.sendChunk(c);
      }
    };
    for (let u = from; u < layout.units && this.#sending === mine; u++) {
      const content = await s.read(u * unitSize, u * unitSize + layout.unitLength(u));
      // What is sent is always what was offered.
      if (content.length !== layout.unitLength(u) || !equal(sha256(content), hashes[u]!)) throw refuse("malformed", "the file is no longer what was offered");
      await push(cutter.unit(content, hashes[u]!));
      onProgress({ state: "sending", done: Math.min((u + 1) * unitSize, s.size), size: s.size });
    }
    if (this.#sending === mine) await push(cutter.finish(root));
  }

  #finishSending(err: TrunklineError | undefined): void {
    const s = this.#sending;
    if (s === undefined) return;
    this.#sending = undefined;
    this.#end(s.attempt);
    s.ended(err);
  }

  /** The session ended: what was on its way goes on in another one. */
  close(): void {
    this.#finishSending(refuse("unreachable", "the session ended before the file was there"));
    this.#receiving?.cancelWait();
    this.#receiving = undefined;
  }

  /** Takes a message of the control channel's File. */
  takeControl(message: Uint8Array): void {
    const c = parseControl(message);
    const attempt = hex(c.attempt);
    if (c.kind === "manifest") return this.#offered(c.manifest, attempt);
    if (this.#over.includes(attempt)) return;
    const s = this.#sending;
    if (s !== undefined && s.attempt === attempt) return this.#answered(s, c);
    if (this.#receiving?.attempt === attempt) {
      if (c.kind !== "cancel") throw refuse("malformed", "a message of the receiver from the sender");
      this.#stopReceiving();
      return;
    }
    if (c.kind !== "cancel") throw refuse("malformed", "a message of an unknown attempt"); // the offer of a cancel may never have left
  }

  #answered(s: Sending, c: TransferControl): void {
    switch (c.kind) {
      case "accept":
        if (s.phase !== "offered") throw refuse("malformed", "accepted twice");
        s.phase = "accepted";
        s.accepted(c.unit);
        return;
      case "wait":
        if (s.phase !== "offered") throw refuse("malformed", "Wait after Accept");
        return;
      case "refuse":
        if (s.phase !== "offered") throw refuse("malformed", "Refuse after Accept");
        return this.#finishSending(reasonError(c.reason));
      case "done":
        if (s.phase === "accepted") throw refuse("malformed", "Done before the last chunk");
        return this.#finishSending(undefined);
      case "cancel": return this.#finishSending(reasonError(c.reason));
      case "manifest": return;
    }
  }

  #offered(m: Manifest, attempt: string): void {
    if (this.#over.includes(attempt) || this.#sending?.attempt === attempt || this.#receiving?.attempt === attempt) throw refuse("malformed", "an attempt id serves once");
    if (this.#receiving !== undefined) {
      this.#end(attempt);
      return this.#say({ kind: "refuse", attempt: m.attempt, reason: TransferReason.busy });
    }
    const r: Receiving = { manifest: m, attempt, assembler: undefined, cancelWait: () => undefined };
    this.#receiving = r;
    const wait = () => {
      r.cancelWait = this.#o.after(waitMs, () => {
        this.#say({ kind: "wait", attempt: m.attempt });
        wait();
      });
    };
    wait();
    this.#o.run(async () => {
      const sink = await this.#o.ask(m);
      const hashes = sink === undefined ? [] : await sink.have(m);
      r.cancelWait();
      if (this.#receiving !== r) return;
      if (sink === undefined) {
        this.#stopReceiving();
        return this.#say({ kind: "refuse", attempt: m.attempt, reason: TransferReason.refused });
      }
      const sender: Role = this.#o.role === 0 ? 1 : 0;
      r.assembler = new Assembler(new Layout(m.size), new ChunkBox(this.#o.fileKey, sender, m.fileId, m.attempt, m.size), m.root, hashes);
      this.#sink = sink;
      this.#say({ kind: "accept", attempt: m.attempt, unit: BigInt(hashes.length) });
    });
  }

  #sink: Sink | undefined;

  #stopReceiving(): void {
    const r = this.#receiving;
    if (r === undefined) return;
    r.cancelWait();
    this.#receiving = undefined;
    this.#end(r.attempt);
  }

  /** Takes a message of the file channel. Chunks wait for the writing of those before them. */
  takeChunk(message: Uint8Array): void {
    const c = parseChunk(message);
    const attempt = hex(c.attempt);
    if (this.#over.includes(attempt)) return; // it was on its way
    const r = this.#receiving;
    if (r === undefined || r.attempt !== attempt || r.assembler === undefined) throw refuse("malformed", "a chunk of an unknown attempt");
    const { manifest: m, assembler } = r;
    const sink = this.#sink!;
    this.#queue = this.#queue.then(async () => {
      if (this.#receiving !== r) return;
      let pieces;
      try {
        pieces = assembler.take(c);
      } catch (err) {
        if (!(err instanceof TrunklineError)) throw err;
        this.#stopReceiving();
        this.#say({ kind: "cancel", attempt: m.attempt, reason: TransferReason.corrupt });
        return sink.discard(m);
      }
      for (const p of pieces) {
        if (p.kind === "unit") {
          await sink.write(m, p.unit, p.content, p.hash);
          this.#o.onReceiving?.(m, { state: "sending", done: Math.min((p.unit + 1) * unitSize, m.size), size: m.size });
          continue;
        }
        await sink.finish(m);
        if (this.#receiving !== r) return;
        this.#stopReceiving();
        this.#say({ kind: "done", attempt: m.attempt });
        this.#o.onReceiving?.(m, { state: "saved", done: m.size, size: m.size });
        this.#o.onReceived?.(m);
      }
    });
    const last = this.#queue;
    this.#o.run(() => last);
  }
}

function reasonError(reason: number): TrunklineError {
  const words: Record<number, string> = {
    [TransferReason.refused]: "the other side does not want the file", [TransferReason.tooLarge]: "the file is too large for the other side",
    [TransferReason.busy]: "the other side takes another file just now", [TransferReason.disk]: "the other side could not write the file",
    [TransferReason.corrupt]: "the file did not arrive as it was sent", [TransferReason.changed]: "the sender's file has changed",
    [TransferReason.paused]: "the transfer was interrupted and will go on",
  };
  return refuse(reason === TransferReason.refused ? "policy" : "aborted", words[reason] ?? "the transfer was stopped");
}
