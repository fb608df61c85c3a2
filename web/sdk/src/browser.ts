// What a participant in a browser needs beside the SDK: a store in IndexedDB, keys that WebCrypto does not give
// out, and the browser's sockets.

import { concat, copy, random } from "./bytes.ts";
import { refuse } from "./errors.ts";
import { PublicKey, SeedSigner, type Signer } from "./identity/key.ts";
import type { Socket, SocketFactory } from "./link/wire.ts";
import { laterPrefix, type Change, type Store, type Vault } from "./client/store.ts";

export { processAudio } from "./plugin/audio.ts";

/** Opens the browser's own sockets. */
export const browserSocket: SocketFactory = (url, protocol) => new WebSocket(url, protocol) as unknown as Socket;

function done<T>(r: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    r.onsuccess = () => resolve(r.result);
    r.onerror = () => reject(refuse("storage", "the browser's storage failed", r.error));
  });
}

function finished(t: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    t.oncomplete = () => resolve();
    t.onabort = t.onerror = () => reject(refuse("storage", "the browser's storage failed", t.error));
  });
}

/** A store in IndexedDB. One tab at a time holds it; another one is told so. */
export class BrowserStore implements Store {
  readonly #db: IDBDatabase;
  readonly #release: () => void;

  private constructor(db: IDBDatabase, release: () => void) {
    this.#db = db;
    this.#release = release;
  }

  static async open(name = "trunkline"): Promise<BrowserStore> {
    const release = await exclusive(`trunkline/${name}`);
    try {
      const open = indexedDB.open(name, 1);
      open.onupgradeneeded = () => {
        open.result.createObjectStore("entries");
        open.result.createObjectStore("keys");
      };
      return new BrowserStore(await done(open), release);
    } catch (err) {
      release();
      throw err;
    }
  }

  /** A database that somebody removes under an open page closes, and says so at the next transaction. */
  #begin(store: "entries" | "keys", write = false): IDBTransaction {
    try {
      // strict: the browser has told the disk before it says that the transaction is complete.
      return write ? this.#db.transaction(store, "readwrite", { durability: "strict" }) : this.#db.transaction(store);
    } catch (err) {
      throw refuse("storage", "the browser's storage is closed", err);
    }
  }

  async load(): Promise<Map<string, Uint8Array>> {
    const s = this.#begin("entries").objectStore("entries");
    // Everything before the texts, and everything behind them.
    const ranges = [IDBKeyRange.upperBound(laterPrefix, true), IDBKeyRange.lowerBound(laterPrefix + "\uffff", true)];
    const parts = await Promise.all(ranges.map((r) => Promise.all([done(s.getAllKeys(r)), done(s.getAll(r) as IDBRequest<Uint8Array[]>)])));
    return new Map(parts.flatMap(([keys, values]) => keys.map((k, i) => [String(k), new Uint8Array(values[i]!)] as const)));
  }

  async read(keys: readonly string[]): Promise<readonly (Uint8Array | undefined)[]> {
    const s = this.#begin("entries").objectStore("entries");
    const values = await Promise.all(keys.map((k) => done(s.get(k) as IDBRequest<Uint8Array | undefined>)));
    return values.map((v) => (v === undefined ? undefined : new Uint8Array(v)));
  }

  async write(changes: readonly Change[]): Promise<void> {
    const t = this.#begin("entries", true);
    const s = t.objectStore("entries");
    for (const c of changes) {
      if (c.value === undefined) s.delete(c.key);
      else s.put(c.value, c.key);
    }
    await finished(t);
  }

  /** A key object of WebCrypto; it is stored as it is, without its bytes being seen. */
  async key(name: string): Promise<unknown> {
    return done(this.#begin("keys").objectStore("keys").get(name));
  }

  async putKey(name: string, value: unknown): Promise<void> {
    const t = this.#begin("keys", true);
    t.objectStore("keys").put(value, name);
    await finished(t);
  }

  async close(): Promise<void> {
    this.#db.close();
    this.#release();
  }
}

/** Takes a lock that ends with the tab. */
async function exclusive(name: string): Promise<() => void> {
  return new Promise((resolve, reject) => {
    navigator.locks.request(name, { ifAvailable: true }, (lock) => {
      if (lock === null) {
        reject(refuse("storage", "Trunkline is open in another tab: go on there, or close it"));
        return undefined;
      }
      return new Promise<void>((release) => resolve(release));
    }).catch(reject);
  });
}

/**
 * Secrets of a browser. The device key does not leave WebCrypto where it knows Ed25519, and is sealed under a key
 * that does not leave it elsewhere. The browser decides when what was deleted leaves its disk.
 */
export class BrowserVault implements Vault {
  readonly #store: BrowserStore;
  #device: Promise<Signer> | undefined;
  #seal: Promise<CryptoKey> | undefined;

  constructor(store: BrowserStore) {
    this.#store = store;
  }

  device(): Promise<Signer> {
    return this.#device ??= this.#openDevice();
  }

  async #openDevice(): Promise<Signer> {
    const kept = await this.#store.key("device");
    if (kept instanceof Uint8Array) return SeedSigner.from(await this.unwrap(kept));
    if (kept !== undefined) return webSigner(kept as CryptoKeyPair);
    let pair: CryptoKeyPair;
    try {
      pair = await crypto.subtle.generateKey({ name: "Ed25519" }, false, ["sign", "verify"]) as CryptoKeyPair;
    } catch {
      // A browser without Ed25519.
      const fresh = await SeedSigner.generate();
      await this.#store.putKey("device", await this.wrap(fresh.seed()));
      return fresh;
    }
    await this.#store.putKey("device", pair);
    return webSigner(pair);
  }

  #key(): Promise<CryptoKey> {
    return this.#seal ??= (async () => {
      const kept = await this.#store.key("seal");
      if (kept !== undefined) return kept as CryptoKey;
      const fresh = await crypto.subtle.generateKey({ name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
      await this.#store.putKey("seal", fresh);
      return fresh;
    })();
  }

  async wrap(secret: Uint8Array): Promise<Uint8Array> {
    const iv = random(12);
    return concat(iv, new Uint8Array(await crypto.subtle.encrypt({ name: "AES-GCM", iv }, await this.#key(), copy(secret))));
  }

  async unwrap(wrapped: Uint8Array): Promise<Uint8Array> {
    const b = copy(wrapped);
    try {
      return new Uint8Array(await crypto.subtle.decrypt({ name: "AES-GCM", iv: b.slice(0, 12) }, await this.#key(), b.slice(12)));
    } catch (err) {
      throw refuse("storage", "a secret of this device does not open", err);
    }
  }
}

async function webSigner(pair: CryptoKeyPair): Promise<Signer> {
  const publicKey = PublicKey.check(new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey)));
  return { publicKey, signRaw: async (b) => new Uint8Array(await crypto.subtle.sign("Ed25519", pair.privateKey, copy(b))) };
}

/** Store, vault and sockets of a participant in this browser. */
export async function inBrowser(name?: string): Promise<{ readonly store: Store; readonly vault: Vault; readonly socket: SocketFactory }> {
  const store = await BrowserStore.open(name);
  return { store, vault: new BrowserVault(store), socket: browserSocket };
}

export { BrowserFiles, memoryLimit, type Outlet } from "./transfer/browser.ts";
