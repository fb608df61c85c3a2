// A store in memory, and secrets kept in a store as they are.

import { SeedSigner, type Signer } from "../identity/key.ts";
import { laterPrefix, type Change, type Store, type Vault } from "./store.ts";

/** A store that lasts as long as the process. */
export class MemoryStore implements Store {
  readonly entries = new Map<string, Uint8Array>();

  async load(): Promise<Map<string, Uint8Array>> {
    return new Map([...this.entries].filter(([k]) => !k.startsWith(laterPrefix)));
  }

  async read(keys: readonly string[]): Promise<readonly (Uint8Array | undefined)[]> {
    return keys.map((k) => this.entries.get(k));
  }

  async write(changes: readonly Change[]): Promise<void> {
    for (const c of changes) {
      if (c.value === undefined) this.entries.delete(c.key);
      else this.entries.set(c.key, new Uint8Array(c.value));
    }
  }

  async close(): Promise<void> {}
}

export const deviceSeedKey = "secret/device";

/** Secrets in the store itself, protected by what protects the store: for Node, where file permissions do. */
export class StoreVault implements Vault {
  readonly #store: Store;
  #device: Promise<Signer> | undefined;

  constructor(store: Store) {
    this.#store = store;
  }

  device(): Promise<Signer> {
    return this.#device ??= (async () => {
      const seed = (await this.#store.load()).get(deviceSeedKey);
      if (seed !== undefined) return SeedSigner.from(seed);
      const fresh = await SeedSigner.generate();
      await this.#store.write([{ key: deviceSeedKey, value: fresh.seed() }]);
      return fresh;
    })();
  }

  async wrap(secret: Uint8Array): Promise<Uint8Array> { return new Uint8Array(secret); }
  async unwrap(wrapped: Uint8Array): Promise<Uint8Array> { return new Uint8Array(wrapped); }
}
