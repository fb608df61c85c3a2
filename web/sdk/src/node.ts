// What a participant in Node needs beside the SDK: a store in a folder and sockets of the package ws.

import { closeSync, fsyncSync, ftruncateSync, mkdirSync, openSync, readFileSync, renameSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import WebSocket from "ws";
import { refuse } from "./errors.ts";
import { maxFrame } from "./link/frames.ts";
import type { Socket, SocketFactory } from "./link/wire.ts";
import { StoreVault } from "./client/memory.ts";
import { laterPrefix, type Change, type Store, type Vault } from "./client/store.ts";

/** Opens sockets of the package ws. */
export const nodeSocket: SocketFactory = (url, protocol) => new WebSocket(url, protocol, {
  perMessageDeflate: false, maxPayload: maxFrame, handshakeTimeout: 5_000,
}) as unknown as Socket;

/**
 * A store in one file of a folder: a log of changes, each line one write, synced before it counts. Opening and
 * every removal of a secret or a text write it anew without what is gone. One process at a time; the folder is 0700.
 */
export class FileStore implements Store {
  readonly #path: string;
  readonly #lock: string;
  readonly #entries = new Map<string, string>();
  #fd: number;
  #end: number;

  constructor(folder: string) {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    this.#path = join(folder, "client.log");
    this.#lock = join(folder, "lock");
    this.#takeLock();
    let text = "";
    try {
      text = readFileSync(this.#path, "utf8");
    } catch (err) {
      if ((err as NodeJS.ErrnoException).code !== "ENOENT") throw refuse("storage", "the client's file cannot be read", err);
    }
    // A line without its end was being written when the process was killed: nobody was told that it counts.
    const lines = text.slice(0, text.lastIndexOf("\n") + 1).split("\n").slice(0, -1);
    for (const line of lines) {
      for (const [k, v] of JSON.parse(line) as [string, string | null][]) {
        if (v === null) this.#entries.delete(k);
        else this.#entries.set(k, v);
      }
    }
    ({ fd: this.#fd, end: this.#end } = this.#writeAnew());
  }

  #takeLock(): void {
    for (let t = 0; t < 2; t++) {
      try {
        writeFileSync(this.#lock, String(process.pid), { flag: "wx", mode: 0o600 });
        return;
      } catch (err) {
        if ((err as NodeJS.ErrnoException).code !== "EEXIST") throw refuse("storage", "the client's folder cannot be written", err);
      }
      const pid = Number(readFileSync(this.#lock, "utf8"));
      if (pid !== process.pid && isAlive(pid)) break;
      if (pid === process.pid) break;
      renameSync(this.#lock, `${this.#lock}.old`); // of a process that was killed
    }
    throw refuse("storage", "another process works with this folder");
  }

  #writeAnew(): { fd: number; end: number } {
    const next = `${this.#path}.new`;
    const line = Buffer.from(JSON.stringify([...this.#entries]) + "\n");
    const fd = openSync(next, "w", 0o600);
    writeAll(fd, line, 0);
    fsyncSync(fd);
    renameSync(next, this.#path);
    const folder = openSync(join(this.#path, ".."), "r");
    fsyncSync(folder);
    closeSync(folder);
    return { fd, end: line.length };
  }

  async load(): Promise<Map<string, Uint8Array>> {
    return new Map([...this.#entries].filter(([k]) => !k.startsWith(laterPrefix)).map(([k, v]) => [k, bytesOf(v)]));
  }

  async read(keys: readonly string[]): Promise<readonly (Uint8Array | undefined)[]> {
    return keys.map((k) => {
      const v = this.#entries.get(k);
      return v === undefined ? undefined : bytesOf(v);
    });
  }

  async write(changes: readonly Change[]): Promise<void> {
    const record = changes.map((c) => [c.key, c.value === undefined ? null : Buffer.from(c.value).toString("base64")] as const);
    for (const [k, v] of record) {
      if (v === null) this.#entries.delete(k);
      else this.#entries.set(k, v);
    }
    if (record.some(([k, v]) => v === null && (k.startsWith("secret/") || k.startsWith(laterPrefix)))) {
      const old = this.#fd;
      ({ fd: this.#fd, end: this.#end } = this.#writeAnew());
      closeSync(old);
      return;
    }
    const line = Buffer.from(JSON.stringify(record) + "\n");
    try {
      writeAll(this.#fd, line, this.#end);
      fsyncSync(this.#fd);
    } catch (err) {
      ftruncateSync(this.#fd, this.#end);
      throw err;
    }
    this.#end += line.length;
  }

  async close(): Promise<void> {
    closeSync(this.#fd);
    renameSync(this.#lock, `${this.#lock}.old`);
  }
}

function bytesOf(base64: string): Uint8Array {
  return new Uint8Array(Buffer.from(base64, "base64"));
}

function writeAll(fd: number, b: Buffer, at: number): void {
  for (let n = 0; n < b.length;) n += writeSync(fd, b, n, b.length - n, at + n);
}

function isAlive(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (err) {
    return (err as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** Store, vault and sockets of a participant whose data lie in a folder. */
export function inFolder(folder: string): { readonly store: Store; readonly vault: Vault; readonly socket: SocketFactory } {
  const store = new FileStore(folder);
  return { store, vault: new StoreVault(store), socket: nodeSocket };
}
