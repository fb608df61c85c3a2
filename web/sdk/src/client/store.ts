// Where a client keeps what must survive: a map from text to bytes whose writes are durable and all or nothing.

import { refuse } from "../errors.ts";
import type { Signer } from "../identity/key.ts";

export interface Change {
  readonly key: string;
  /** Absent: the key is removed. */
  readonly value?: Uint8Array;
}

/** Keys that begin with this are not loaded at the beginning but read when they are asked for. */
export const laterPrefix = "text/";

export interface Store {
  /** Everything that is there but what is read later. Called once, when the client is opened. */
  load(): Promise<Map<string, Uint8Array>>;
  /** The values of keys that were not loaded, in their order. */
  read(keys: readonly string[]): Promise<readonly (Uint8Array | undefined)[]>;
  /** Durable, and all of it or nothing, when it resolves. */
  write(changes: readonly Change[]): Promise<void>;
  /** Gives the storage free for another user. */
  close(): Promise<void>;
}

/**
 * Keeps secrets. In a browser the device key never leaves WebCrypto, and what wrap gives is sealed under a key
 * that does not leave it either.
 */
export interface Vault {
  /** The key of this device; made on the first call. */
  device(): Promise<Signer>;
  wrap(secret: Uint8Array): Promise<Uint8Array>;
  unwrap(wrapped: Uint8Array): Promise<Uint8Array>;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/**
 * The client's records in memory, with what has to be written. Whoever changes records does it without waiting
 * in between, then calls commit: so what belongs together is written together. A write that fails ends the
 * client, because memory is then ahead of the disk.
 */
export class Records {
  readonly #store: Store;
  readonly #map: Map<string, Uint8Array>;
  readonly #onFailure: (err: Error) => void;
  #dirty = new Map<string, Uint8Array | undefined>();
  #writing: Promise<void> | undefined;
  #failed: Error | undefined;

  constructor(store: Store, map: Map<string, Uint8Array>, onFailure: (err: Error) => void) {
    this.#store = store;
    this.#map = map;
    this.#onFailure = onFailure;
  }

  get<T>(key: string): T | undefined {
    const b = this.#map.get(key);
    return b === undefined ? undefined : JSON.parse(decoder.decode(b)) as T;
  }

  raw(key: string): Uint8Array | undefined { return this.#map.get(key); }

  *list<T>(prefix: string): Generator<readonly [string, T]> {
    for (const [k, v] of this.#map) {
      if (k.startsWith(prefix)) yield [k.slice(prefix.length), JSON.parse(decoder.decode(v)) as T];
    }
  }

  set(key: string, value: unknown): void {
    this.setRaw(key, encoder.encode(JSON.stringify(value)));
  }

  setRaw(key: string, value: Uint8Array): void {
    this.#map.set(key, value);
    this.#dirty.set(key, value);
  }

  /** A value that is not held in memory once it is written; undefined removes it. */
  setLater(key: string, value: Uint8Array | undefined): void {
    this.#dirty.set(key, value);
  }

  async readLater(keys: readonly string[]): Promise<readonly (Uint8Array | undefined)[]> {
    // What waits to be written is not there yet.
    while (this.#writing !== undefined) await this.#writing;
    const waiting = keys.map((k) => [this.#dirty.has(k), this.#dirty.get(k)] as const);
    const there = await this.#store.read(keys);
    return keys.map((_, i) => (waiting[i]![0] ? waiting[i]![1] : there[i]));
  }

  delete(key: string): void {
    if (this.#map.delete(key)) this.#dirty.set(key, undefined);
  }

  /** Resolves when everything that was set before is durable. */
  async commit(): Promise<void> {
    // What waits while a write runs goes out in one write after it.
    while (this.#writing !== undefined) await this.#writing;
    if (this.#failed !== undefined) throw this.#failed;
    if (this.#dirty.size === 0) return;
    const changes = [...this.#dirty].map(([key, value]) => (value === undefined ? { key } : { key, value }));
    this.#dirty = new Map();
    const write = this.#store.write(changes).catch((err: unknown) => {
      this.#failed = refuse("storage", "what has to be kept could not be written", err);
      this.#onFailure(this.#failed);
    });
    this.#writing = write;
    await write;
    this.#writing = undefined;
    if (this.#failed !== undefined) throw this.#failed;
  }
}
