// The prekeys of this device: a new one each week (renewal.ts), and the old ones for as long as something may be sealed
// to them.

import { hex, unhex, utf8 } from "../bytes.ts";
import { Prekey } from "../envelope/prekey.ts";
import type { Vault } from "./store.ts";

interface PrekeyRecord { readonly seed: string; readonly createdMs: number }

export class Prekeys {
  /** Oldest first. */
  all: Prekey[];

  constructor(all: Prekey[]) {
    this.all = all;
  }

  get newest(): Prekey { return this.all.at(-1)!; }
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
