// The worker that files go through: those that go out are read, hashed and sealed here, those that come are opened,
// checked and written into the browser's own file system, a unit at a time. Memory holds a few units however large a
// file is, and the page's thread none. It is a worker because only there a file can be written in place and flushed.

import { equal, type Bytes } from "../bytes.ts";
import { TrunklineError } from "../errors.ts";
import { TransferError } from "./end.ts";
import { doneName, folder, hashesName, partName, type Failure, type FromFiles, type There, type ToFiles } from "./files.ts";
import { cutSource, hashSource } from "./local.ts";
import { release } from "./release.ts";
import { Assembler, ChunkBox, digest, hashSize, Layout, parseChunk, rootOf, unitSize, unitsIn, WrongRoot, type ChunkSecrets, type Unit } from "./stream.ts";

/** A file that this worker alone has open. */
interface SyncHandle {
  read(buffer: Uint8Array, options: { at: number }): number;
  write(buffer: Uint8Array, options: { at: number }): number;
  flush(): void;
  close(): void;
  truncate(size: number): void;
  getSize(): number;
}

const scope = globalThis as unknown as {
  onmessage: (e: MessageEvent<ToFiles>) => void;
  postMessage(m: FromFiles, transfer?: Transferable[]): void;
};

/** Units that are written before the disk is told to keep them; the sender hears of none before. */
const flushUnits = 8;
const flushMs = 100;
/** A tab that was killed keeps its files open for a moment. */
const openTries = 50;
const openPauseMs = 100;

const pause = (ms: number) => new Promise<void>((resolve) => { setTimeout(resolve, ms); });

async function dir(): Promise<FileSystemDirectoryHandle> {
  return (await navigator.storage.getDirectory()).getDirectoryHandle(folder, { create: true });
}

async function openSync(name: string): Promise<SyncHandle> {
  const file = await (await dir()).getFileHandle(name, { create: true }) as FileSystemFileHandle & { createSyncAccessHandle(): Promise<SyncHandle> };
  for (let t = 1; ; t++) {
    try {
      return await file.createSyncAccessHandle();
    } catch (err) {
      if (!(err instanceof DOMException) || err.name !== "NoModificationAllowedError" || t === openTries) throw err;
      await pause(openPauseMs);
    }
  }
}

function writeAll(h: SyncHandle, b: Uint8Array, at: number): void {
  if (h.write(b, { at }) < b.length) throw new DOMException("the disk is full", "QuotaExceededError");
}

/** Where the units of one attempt go. */
interface Keeper {
  have(reading: (bytes: number) => void): Promise<Bytes[]>;
  write(u: Unit): Promise<void> | void;
  /** What was written before is safe when it returns. */
  flush(): void;
  finish(): Promise<Blob | undefined>;
  discard(): Promise<void>;
  close(): void;
}

/** In the browser's own file system: bytes, then hashes, so that a unit counts when it is whole. */
class DiskKeeper implements Keeper {
  readonly #place: string;
  readonly #size: number;
  #open: { readonly part: SyncHandle; readonly hashes: SyncHandle } | undefined;
  #waiting: Unit[] = [];

  constructor(place: string, size: number) {
    this.#place = place;
    this.#size = size;
  }

  async have(reading: (bytes: number) => void): Promise<Bytes[]> {
    const hashes = await openSync(hashesName(this.#place));
    try {
      this.#open = { part: await openSync(partName(this.#place)), hashes };
    } catch (err) {
      hashes.close();
      throw err;
    }
    const found: Bytes[] = [];
    const layout = new Layout(this.#size);
    const buffer = new Uint8Array(unitSize);
    for (let unit = 0; unit < layout.units; unit++) {
      const hash = new Uint8Array(hashSize);
      if (hashes.read(hash, { at: unit * hashSize }) < hashSize) break;
      const content = buffer.subarray(0, layout.unitLength(unit));
      // A page of the disk may have gone: each unit is read back.
      if (this.#open.part.read(content, { at: unit * unitSize }) < content.length || !equal(await digest(content), hash)) break;
      found.push(hash);
      reading(Math.min((unit + 1) * unitSize, this.#size));
    }
    hashes.truncate(found.length * hashSize);
    return found;
  }

  write(u: Unit): void {
    writeAll(this.#open!.part, u.content, u.unit * unitSize);
    this.#waiting.push({ ...u, content: new Uint8Array(0) });
  }

  flush(): void {
    const { part, hashes } = this.#open!;
    part.flush();
    for (const u of this.#waiting.splice(0)) writeAll(hashes, u.hash, u.unit * hashSize);
    hashes.flush();
  }

  async finish(): Promise<undefined> {
    this.#open!.part.truncate(this.#size);
    this.#open!.part.flush();
    this.close();
    const where = await dir();
    const part = await where.getFileHandle(partName(this.#place)) as FileSystemFileHandle & { move(name: string): Promise<void> };
    await part.move(doneName(this.#place));
    await where.removeEntry(hashesName(this.#place));
    return undefined;
  }

  async discard(): Promise<void> {
    this.close();
    await remove(this.#place);
  }

  close(): void {
    this.#open?.part.close();
    this.#open?.hashes.close();
    this.#open = undefined;
  }
}

/** In memory, for a browser that keeps nothing; the page knows the limit. */
class MemoryKeeper implements Keeper {
  #units: Bytes[] = [];

  async have(): Promise<Bytes[]> { return []; }
  write(u: Unit): void { this.#units.push(u.content.slice()); }
  flush(): void { /* it is as safe as it gets */ }
  async finish(): Promise<Blob> { return new Blob(this.#units); }
  async discard(): Promise<void> { this.close(); }
  close(): void { this.#units = []; }
}

/** By the page, into a stream that leads out of the browser. */
class PageKeeper implements Keeper {
  readonly #job: number;
  readonly #have: readonly Bytes[];
  wrote: () => void = () => undefined;

  constructor(job: number, have: readonly Bytes[]) {
    this.#job = job;
    this.#have = have;
  }

  async have(): Promise<Bytes[]> { return [...this.#have]; }
  async write(u: Unit): Promise<void> {
    const content = u.content.slice();
    const done = new Promise<void>((resolve) => { this.wrote = resolve; });
    scope.postMessage({ type: "unit", job: this.#job, content, hash: u.hash }, [content.buffer]);
    await done;
  }
  flush(): void { /* the page waited for the stream */ }
  async finish(): Promise<undefined> { return undefined; }
  async discard(): Promise<void> { /* the page takes the stream back */ }
  close(): void { this.wrote(); }
}

/** Makes the file as long as it will be: the browser counts what is reserved, and refuses what does not fit. */
async function reserve(place: string, size: number): Promise<void> {
  if (await exists(doneName(place))) return;
  const fresh = !await exists(partName(place));
  const part = await openSync(partName(place));
  try {
    if (part.getSize() < size) part.truncate(size);
  } catch (err) {
    part.close();
    if (fresh) await remove(place);
    throw err;
  }
  part.close();
}

async function exists(name: string): Promise<boolean> {
  try {
    await (await dir()).getFileHandle(name);
    return true;
  } catch (err) {
    if ((err as DOMException).name === "NotFoundError") return false;
    throw err;
  }
}

async function remove(place: string): Promise<void> {
  const where = await dir();
  for (const name of [partName(place), hashesName(place), doneName(place)]) {
    for (let t = 1; ; t++) {
      try {
        await where.removeEntry(name);
        break;
      } catch (err) {
        if ((err as DOMException).name === "NotFoundError") break;
        if ((err as DOMException).name !== "NoModificationAllowedError" || t === openTries) throw err;
        await pause(openPauseMs);
      }
    }
  }
}

/** Whether a file that came whole before is there still, and is it. */
async function isDone(place: string, size: number, root: Uint8Array, reading: (bytes: number) => void): Promise<boolean> {
  let file: File;
  try {
    file = await (await (await dir()).getFileHandle(doneName(place))).getFile();
  } catch (err) {
    if ((err as DOMException).name === "NotFoundError") return false;
    throw err;
  }
  if (file.size === size && equal(await rootOf(await hashFile(file, reading)), root)) return true;
  await (await dir()).removeEntry(doneName(place));
  return false;
}

/** Content of a file, from its beginning or from any unit on to its end. What was read holds until the next reading. */
interface Reader {
  readonly size: number;
  read(begin: number, end: number): Promise<Bytes>;
  close(): void;
}

/**
 * Reads a file in its order into one buffer, again and again. A slice for each unit would cost ten times as much, most of
 * it for memory that is always new.
 */
function readerOf(file: Blob): Reader {
  let buffer = new ArrayBuffer(Math.min(file.size, unitSize));
  let stream: ReadableStreamBYOBReader | undefined;
  let at = -1;
  return {
    size: file.size,
    read: async (begin, end) => {
      if (begin !== at) {
        stream?.cancel().catch(() => undefined); // nobody reads it any more
        stream = bytesOf(file.slice(begin));
      }
      at = end;
      if (stream === undefined) return new Uint8Array(await file.slice(begin, end).arrayBuffer());
      let n = 0;
      while (n < end - begin) {
        const { value, done } = await stream.read(new Uint8Array(buffer, n, end - begin - n));
        if (value === undefined) break; // it was cancelled
        buffer = value.buffer;
        n += value.length;
        if (done) break;
      }
      return new Uint8Array(buffer, 0, n);
    },
    close: () => { stream?.cancel().catch(() => undefined); },
  };
}

async function hashFile(file: Blob, done: (bytes: number) => void): Promise<Bytes[]> {
  const reader = readerOf(file);
  try {
    return await hashSource(reader, done);
  } finally {
    reader.close();
  }
}

/** Undefined: the browser's streams of files read into no buffer of others. */
function bytesOf(file: Blob): ReadableStreamBYOBReader | undefined {
  try {
    return file.stream().getReader({ mode: "byob" });
  } catch (err) {
    if (err instanceof TypeError) return undefined;
    throw err;
  }
}

/** One file that comes, from the moment that it may. */
class Keep {
  readonly #job: number;
  readonly #size: number;
  readonly keeper: Keeper;
  #assembler: Assembler | undefined;
  #unflushed = 0;
  #kept = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  over = false;
  /** The page wants no more of it: what waits is let go. */
  closing = false;

  constructor(job: number, size: number, keeper: Keeper) {
    this.#job = job;
    this.#size = size;
    this.keeper = keeper;
  }

  async begin(secrets: ChunkSecrets, root: Bytes): Promise<There> {
    const have = await this.keeper.have((done) => scope.postMessage({ type: "bytes", job: this.#job, done }));
    this.#assembler = new Assembler(new Layout(this.#size), await ChunkBox.make(secrets), root, have);
    this.#kept = have.length;
    return { units: have.length, done: false };
  }

  async take(message: Bytes): Promise<void> {
    if (this.over || this.closing) return;
    const whole = await this.#assembler!.take(parseChunk(message), async (u) => {
      await this.keeper.write(u);
      this.#kept = u.unit + 1;
      if (++this.#unflushed >= flushUnits) this.#flush();
      else this.#timer ??= setTimeout(() => guard(this.#job, async () => this.#flush()), flushMs);
    });
    release(message);
    if (!whole || this.closing) return;
    this.#flush();
    this.over = true;
    const blob = await this.keeper.finish();
    scope.postMessage({ type: "end", job: this.#job, blob });
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.over || this.#unflushed === 0) return;
    this.#unflushed = 0;
    this.keeper.flush();
    scope.postMessage({ type: "kept", job: this.#job, units: this.#kept });
  }

  close(): void {
    if (this.over) return;
    // What is verified stays: it is made safe as far as the disk lets it.
    try {
      if (this.#unflushed > 0) this.keeper.flush();
    } finally {
      clearTimeout(this.#timer);
      this.over = true;
      this.keeper.close();
    }
  }
}

const cuts = new Map<number, { readonly messages: AsyncGenerator<Bytes[], undefined>; readonly reader: Reader }>();
const keeps = new Map<number, Keep>();
/** What was asked of each job, one after the other: chunks are taken in the order in which they come. */
const queues = new Map<number, Promise<void>>();

async function keepOf(m: Extract<ToFiles, { type: "keep" }>): Promise<There> {
  const { job, place, root, secrets } = m;
  if (m.keeping === "disk" && await isDone(place, secrets.size, root, (done) => scope.postMessage({ type: "bytes", job, done }))) {
    return { units: unitsIn(secrets.size), done: true };
  }
  const keeper = m.keeping === "disk" ? new DiskKeeper(place, secrets.size) : m.keeping === "memory" ? new MemoryKeeper() : new PageKeeper(job, m.have);
  const keep = new Keep(job, secrets.size, keeper);
  keeps.set(job, keep);
  return keep.begin(secrets, root);
}

async function act(m: Exclude<ToFiles, { type: "wrote" }>): Promise<void> {
  const { job } = m;
  const answer = (value: readonly Bytes[] | There | undefined, transfer: Transferable[] = []) => scope.postMessage({ type: "answer", job, value }, transfer);
  switch (m.type) {
    case "hash": return answer(await hashFile(m.file, (done) => scope.postMessage({ type: "bytes", job, done })));
    case "cut": {
      const reader = readerOf(m.file);
      cuts.set(job, { reader, messages: cutSource(reader, m.secrets, m.from, m.root, m.hashes) });
      return;
    }
    case "next": {
      const next = await cuts.get(job)?.messages.next();
      return answer(next?.value, next?.value?.map((b) => b.buffer));
    }
    case "keep": return answer(await keepOf(m));
    case "chunk": return keeps.get(job)?.take(m.message);
    case "reserve":
      await reserve(m.place, m.size);
      return answer(undefined);
    case "remove":
      await remove(m.place);
      return answer(undefined);
    case "close":
      keeps.get(job)?.close();
      keeps.delete(job);
      cuts.get(job)?.reader.close();
      cuts.delete(job);
      queues.delete(job);
      return;
  }
}

async function guard(job: number, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (err) {
    const keep = keeps.get(job);
    if (err instanceof WrongRoot) await keep?.keeper.discard();
    if (keep !== undefined) {
      keep.over = true;
      keep.keeper.close();
    }
    keeps.delete(job);
    scope.postMessage({ type: "failed", job, why: failureOf(err) });
  }
}

function failureOf(err: unknown): Failure {
  if (err instanceof TransferError) return "changed";
  if (err instanceof TrunklineError) return err.code === "decrypt" ? "decrypt" : "malformed";
  const name = err instanceof Error || err instanceof DOMException ? err.name : "";
  if (name === "QuotaExceededError" || name === "NoSpaceError") return "full";
  // The file was moved, removed or written to since it was chosen.
  if (name === "NotReadableError" || name === "NotFoundError") return "gone";
  return "storage";
}

/** Makes this worker the one that files go through. */
export function serveFiles(): void {
  scope.onmessage = ({ data: m }) => {
    if (m.type === "wrote") {
      const keeper = keeps.get(m.job)?.keeper;
      if (keeper instanceof PageKeeper) keeper.wrote();
      return;
    }
    if (m.type === "close") {
      const keep = keeps.get(m.job);
      if (keep !== undefined) keep.closing = true;
      if (keep?.keeper instanceof PageKeeper) keep.keeper.wrote(); // nobody will say so any more
    }
    queues.set(m.job, (queues.get(m.job) ?? Promise.resolve()).then(() => guard(m.job, () => act(m))));
  };
}
