// The prekeys of this device: a new one each week, and the old ones for as long as something may be sealed to them.

import { equal, hex, unhex, utf8 } from "../bytes.ts";
import { Prekey, prekeyDeletedMs, prekeyRotationMs } from "../envelope/prekey.ts";
import type { Core } from "./core.ts";
import type { Vault } from "./store.ts";

interface PrekeyRecord { readonly seed: string; readonly createdMs: number }

export class Prekeys {
  /** Oldest first. */
  all: Prekey[];
  readonly #c: Core;

  constructor(c: Core, all: Prekey[]) {
    this.#c = c;
    this.all = all;
  }

  get newest(): Prekey { return this.all.at(-1)!; }

  /** Makes a new one when the newest has served its time. */
  async rotate(): Promise<void> {
    if (this.#c.now() >= this.newest.createdMs + prekeyRotationMs) await this.#make();
  }

  async #make(): Promise<void> {
    let p = await Prekey.generate(this.#c.now());
    // Two live prekeys with one hint would make a device try both.
    while (this.all.some((x) => equal(x.hint, p.hint))) p = await Prekey.generate(this.#c.now());
    this.#c.records.setRaw(`secret/prekey/${hex(p.id)}`, await wrapPrekey(this.#c.options.vault, p));
    await this.#c.records.commit();
    this.all.push(p);
  }

  /** Deletes the dead ones for good. */
  async dropDead(): Promise<void> {
    const now = this.#c.now();
    const gone = this.all.filter((p) => now >= p.createdMs + prekeyDeletedMs);
    if (gone.length === 0) return;
    for (const p of gone) this.#c.records.delete(`secret/prekey/${hex(p.id)}`);
    await this.#c.records.commit();
    this.all = this.all.filter((p) => !gone.includes(p));
  }
}

/** Reads those of a store. */
export async function loadPrekeys(vault: Vault, map: ReadonlyMap<string, Uint8Array>): Promise<Prekey[]> {
  const prekeys: Prekey[] = [];
  for (const [key, wrapped] of map) {
    if (!key.startsWith("secret/prekey/")) continue;
    const r = JSON.parse(new TextDecoder().decode(await vault.unwrap(wrapped))) as PrekeyRecord;
    prekeys.push(await Prekey.from(unhex(r.seed), r.createdMs));
  }
  return prekeys.sort((a, b) => a.createdMs - b.createdMs);
}

export async function wrapPrekey(vault: Vault, p: Prekey): Promise<Uint8Array> {
  const r: PrekeyRecord = { seed: hex(p.seed()), createdMs: p.createdMs };
  return vault.wrap(utf8(JSON.stringify(r)));
}
