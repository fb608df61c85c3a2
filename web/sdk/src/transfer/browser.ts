// Files of a browser: what a person chose, and where what comes is kept. The work is done by the SDK's worker
// (worker.ts), so that neither the size of a file nor its hashing is felt by the page.

import { hex, utf8, type Bytes } from "../bytes.ts";
import { codeOf, refuse, TrunklineError } from "../errors.ts";
import { doneName, folder, type Failure, type FromFiles, type Keeping, type There, type ToFiles } from "./files.ts";
import { changed } from "./local.ts";
import type { Manifest } from "./message.ts";
import { digest } from "./stream.ts";
import type { Cut, Incoming, IncomingEvents, Outgoing } from "./transfer.ts";

/** The largest file that is kept in memory, where there is no other place. */
export const memoryLimit = 256 * 2 ** 20;

type Heard = (m: FromFiles) => void;

/** Something that takes a file out of the browser while it comes: a stream that was opened for it. */
export interface Outlet {
  /** Resolves when the content is taken. */
  write(content: Bytes): Promise<void>;
  close(): Promise<void>;
  abort(): Promise<void>;
}

/** Chosen files to send, and a place for files that come. */
export class BrowserFiles {
  readonly #start: () => Worker;
  readonly #jobs = new Map<number, Heard>();
  readonly #memory = new Map<string, Blob>();
  #worker: Worker | undefined;
  #next = 1;

  /** worker starts transfer/worker.ts; it is called with the first file. */
  constructor(worker: () => Worker) {
    this.#start = worker;
  }

  #say(m: ToFiles, transfer: Transferable[] = []): void {
    if (this.#worker === undefined) {
      this.#worker = this.#start();
      this.#worker.onmessage = ({ data }: MessageEvent<FromFiles>) => this.#jobs.get(data.job)?.(data);
      this.#worker.onerror = () => { for (const job of [...this.#jobs.keys()]) this.#jobs.get(job)?.({ type: "failed", job, why: "storage" }); };
    }
    this.#worker.postMessage(m, transfer);
  }

  /** One question and its answer; on hears what comes in between. */
  #ask<T>(make: (job: number) => ToFiles, bytes: (done: number) => void = () => undefined): Promise<T> {
    const job = this.#next++;
    return new Promise((resolve, reject) => {
      this.#jobs.set(job, (m) => {
        if (m.type === "bytes") return bytes(m.done);
        this.#jobs.delete(job);
        this.#say({ type: "close", job });
        if (m.type === "answer") resolve(m.value as T);
        if (m.type === "failed") reject(errorOf(m.why));
      });
      this.#say(make(job));
    });
  }

  /** A file to send. hashes: those of an earlier reading of the same content, which every unit is held against. */
  outgoing(file: Blob, name: string, hashes?: readonly Bytes[]): Outgoing {
    let known = hashes;
    return {
      name, size: file.size,
      hash: async (done) => known ??= await this.#ask<Bytes[]>((job) => ({ type: "hash", job, file }), done),
      cut: (a) => this.#cut(file, known!, a),
    };
  }

  #cut(file: Blob, hashes: readonly Bytes[], a: Parameters<Outgoing["cut"]>[0]): Cut {
    const job = this.#next++;
    const waiting: { resolve: (b: readonly Bytes[] | undefined) => void; reject: (err: TrunklineError) => void }[] = [];
    let failed: TrunklineError | undefined;
    this.#jobs.set(job, (m) => {
      if (m.type === "answer") waiting.shift()?.resolve(m.value as readonly Bytes[] | undefined);
      if (m.type === "failed") {
        failed = errorOf(m.why);
        for (const w of waiting.splice(0)) w.reject(failed);
      }
    });
    const { key, fileId, attempt, size, from, root } = a;
    this.#say({ type: "cut", job, file, secrets: { key, fileId, attempt, size }, from, root, hashes });
    return {
      next: () => new Promise((resolve, reject) => {
        if (failed !== undefined) return reject(failed);
        waiting.push({ resolve, reject });
        this.#say({ type: "next", job });
      }),
      close: () => {
        this.#jobs.delete(job);
        this.#say({ type: "close", job });
      },
    };
  }

  /** Under which name a file of this person is kept here. Nobody can touch the transfers of another one. */
  async placeOf(owner: string, m: Manifest): Promise<string> {
    return `${hex((await digest(utf8(owner))).subarray(0, 8))}-${hex(m.fileId)}`;
  }

  /**
   * Makes room for a file of so many bytes: on the disk, in memory, or not at all. The room is taken, because what a
   * browser says about how much it has is not what it has.
   */
  async reserve(place: string, size: number): Promise<"disk" | "memory" | "none"> {
    try {
      await navigator.storage.getDirectory();
    } catch {
      return size <= memoryLimit ? "memory" : "none"; // a private window, or a browser without
    }
    try {
      await this.#ask((job) => ({ type: "reserve", job, place, size }));
      return "disk";
    } catch (err) {
      if (codeOf(err) === "full") return "none";
      throw err;
    }
  }

  /** Keeps a file in the browser's own file system, where it survives everything but the browser's own cleaning, or in memory. */
  incoming(place: string, keeping: "disk" | "memory"): Incoming {
    return this.#incoming(place, keeping, undefined);
  }

  /**
   * Takes a file out of the browser while it comes. Given again for another attempt, it goes on where it was; after a
   * kill there is nothing to go on with. Whoever opened the outlet aborts it when the file will not come.
   */
  passing(place: string, outlet: Outlet): Incoming {
    return this.#incoming(place, "page", outlet);
  }

  #incoming(place: string, keeping: Keeping, outlet: Outlet | undefined): Incoming {
    let job = 0;
    const passed: Bytes[] = []; // hashes of what went into the outlet
    let passing: Promise<void> = Promise.resolve();
    const over = () => {
      if (this.#jobs.delete(job)) this.#say({ type: "close", job });
    };
    return {
      open: async (a, on) => {
        await passing; // of the attempt before
        job = this.#next++;
        const mine = job;
        return new Promise<There>((resolve, reject) => {
          let opened = false;
          const fail = (why: TrunklineError) => {
            over();
            if (opened) on.failed(why);
            else reject(why);
          };
          this.#jobs.set(mine, (m) => {
            switch (m.type) {
              case "bytes": return on.reading(m.done);
              case "answer":
                opened = true;
                return resolve(m.value as There);
              case "unit":
                passing = passOn(outlet!, m.content).then(() => {
                  passed.push(m.hash);
                  this.#say({ type: "wrote", job: mine });
                });
                return void (passing = passing.catch((err: TrunklineError) => fail(err)));
              case "kept": return on.kept(m.units);
              case "end": return void this.#ended(place, m.blob, outlet, on).catch(fail);
              case "failed": return fail(errorOf(m.why));
            }
          });
          const { key, fileId, attempt, size, root } = a;
          this.#say({ type: "keep", job: mine, keeping, place, secrets: { key, fileId, attempt, size }, root, have: passed });
        });
      },
      take: (message) => {
        const whole = message.byteLength === message.buffer.byteLength;
        this.#say({ type: "chunk", job, message }, whole ? [message.buffer] : []);
      },
      close: over,
    };
  }

  async #ended(place: string, blob: Blob | undefined, outlet: Outlet | undefined, on: IncomingEvents): Promise<void> {
    if (blob !== undefined) this.#memory.set(place, blob);
    if (outlet !== undefined) await passOn(outlet);
    on.end();
  }

  /** A file that came whole, as the browser's own object: its bytes stay where they are. Undefined: it is not there any more. */
  async file(place: string): Promise<Blob | undefined> {
    const kept = this.#memory.get(place);
    if (kept !== undefined) return kept;
    try {
      const dir = await (await navigator.storage.getDirectory()).getDirectoryHandle(folder);
      return await (await dir.getFileHandle(doneName(place))).getFile();
    } catch (err) {
      if (err instanceof DOMException && (err.name === "NotFoundError" || err.name === "SecurityError")) return undefined;
      throw err;
    }
  }

  /** Ends the worker: files that are open in it are free for another tab. */
  close(): void {
    this.#worker?.terminate();
    this.#worker = undefined;
    this.#jobs.clear();
  }

  /** Removes what there is of a file. */
  async remove(place: string): Promise<void> {
    this.#memory.delete(place);
    await this.#ask((job) => ({ type: "remove", job, place }));
  }
}

async function passOn(outlet: Outlet, content?: Bytes): Promise<void> {
  try {
    await (content === undefined ? outlet.close() : outlet.write(content));
  } catch (err) {
    throw refuse(err instanceof DOMException && err.name === "QuotaExceededError" ? "full" : "storage", "the file could not be written where it was to go", err);
  }
}

function errorOf(why: Failure): TrunklineError {
  switch (why) {
    case "full": return refuse("full", "there is no room for the file");
    case "storage": return refuse("storage", "the browser cannot keep files");
    case "changed": case "gone": return changed();
    case "malformed": return refuse("malformed", "what came is not the file that was offered");
    case "decrypt": return refuse("decrypt", "a chunk does not decrypt");
  }
}
