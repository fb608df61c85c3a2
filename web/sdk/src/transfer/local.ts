// Files that are hashed, sealed and opened on the thread that asks: in Node, in tests, and wherever there is no worker.

import { equal, type Bytes } from "../bytes.ts";
import { refuse, TrunklineError } from "../errors.ts";
import { TransferError, TransferReason } from "./end.ts";
import type { Manifest } from "./message.ts";
import { Assembler, ChunkBox, Cutter, digest, Layout, parseChunk, unitSize, WrongRoot, type ChunkSecrets } from "./stream.ts";
import { release } from "./release.ts";
import type { Incoming, Outgoing } from "./transfer.ts";

/** Content that can be read twice. */
export interface Source {
  readonly name: string;
  readonly size: number;
  /** The bytes from begin to end, fewer only behind the end of the content. They hold until the next reading. */
  read(begin: number, end: number): Promise<Uint8Array>;
}

/** Where a file that comes goes, a unit at a time. */
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

/** The hashes of a source's units; done hears how many bytes were read. A unit is read while the one before it is hashed. */
export async function hashSource(s: Pick<Source, "size" | "read">, done: (bytes: number) => void): Promise<Bytes[]> {
  const layout = new Layout(s.size);
  const hashes: Bytes[] = [];
  let hashing: Promise<unknown> = Promise.resolve();
  for (let u = 0; u < layout.units; u++) {
    const content = await readUnit(s, layout, u);
    await hashing;
    hashing = digest(content).then((hash) => {
      hashes.push(hash);
      done(Math.min((u + 1) * unitSize, s.size));
    });
    hashing.catch(() => undefined); // whoever awaits it hears of it
  }
  await hashing;
  return hashes;
}

async function readUnit(s: Pick<Source, "read">, layout: Layout, unit: number): Promise<Bytes> {
  const content = await s.read(unit * unitSize, unit * unitSize + layout.unitLength(unit)) as Bytes;
  if (content.length !== layout.unitLength(unit)) throw changed();
  return content;
}

export function changed(cause?: unknown): TransferError {
  return new TransferError(TransferReason.changed, "us", "the file is no longer what was offered", cause);
}

/** Chunk messages of a source, a unit at a time. What is sent is always what was offered. */
export async function* cutSource(s: Pick<Source, "size" | "read">, secrets: ChunkSecrets, from: number, root: Bytes, hashes: readonly Bytes[]): AsyncGenerator<Bytes[], undefined> {
  const layout = new Layout(s.size);
  const cutter = new Cutter(layout, await ChunkBox.make(secrets), from);
  for (let u = from; u < layout.units; u++) {
    const content = await readUnit(s, layout, u);
    const [hash, messages] = await Promise.all([digest(content), cutter.unit(content, hashes[u]!)]);
    if (!equal(hash, hashes[u]!)) throw changed();
    yield messages;
  }
  yield* cutter.end(root);
}

/** A source to send; kept for the next attempt, it is not hashed again. */
export function localOutgoing(s: Source): Outgoing {
  let hashes: readonly Bytes[] | undefined;
  return {
    name: s.name, size: s.size,
    hash: async (done) => hashes ??= await hashSource(s, done),
    cut: (a) => {
      const chunks = cutSource(s, a, a.from, a.root, hashes!);
      return { next: async () => (await chunks.next()).value, close: () => undefined };
    },
  };
}

/** A place on this thread for one file that comes. */
export function localIncoming(sink: Sink, m: Manifest): Incoming {
  let queue: Promise<void> = Promise.resolve();
  let over = false;
  let take: (message: Bytes) => Promise<void>;
  let failed: (why: TrunklineError) => void;
  return {
    open: async (a, on) => {
      const have = await sink.have(m);
      const assembler = new Assembler(new Layout(m.size), await ChunkBox.make(a), m.root, have);
      failed = on.failed;
      take = async (message) => {
        const whole = await assembler.take(parseChunk(message), async (u) => {
          await sink.write(m, u.unit, u.content.slice(), u.hash);
          if (!over) on.kept(u.unit + 1);
        });
        release(message);
        if (!whole) return;
        await sink.finish(m);
        if (!over) on.end();
      };
      return { units: have.length, done: false };
    },
    take: (message) => {
      queue = queue.then(async () => {
        if (over) return;
        try {
          await take(message);
        } catch (err) {
          over = true;
          if (err instanceof WrongRoot) await sink.discard(m);
          failed(err instanceof TrunklineError ? err : refuse("storage", "the file could not be kept", err));
        }
      });
    },
    close: () => { over = true; },
  };
}
