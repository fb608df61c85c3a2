// What grows old and is made anew: the delivery token, prekeys, the device list.

import { equal, hex } from "../bytes.ts";
import { Prekey, prekeyDeletedMs, prekeyRotationMs } from "../envelope/prekey.ts";
import type { Core } from "./core.ts";
import { wrapPrekey } from "./prekeys.ts";

export class Renewal {
  readonly #c: Core;

  constructor(c: Core) {
    this.#c = c;
  }

  /** Changes the delivery token of this device's mailbox. With grace the node takes the one before, too. */
  async rotateToken(grace: boolean, signal?: AbortSignal): Promise<void> {
    const c = this.#c;
    const home = c.home();
    home.tokenEpoch++;
    home.grace = grace;
    c.records.set("home", home);
    await c.records.commit();
    const w = await c.wire(signal); // without one, the next link begins with the new token
    await c.mailbox.open(w, home); // first: it is what stops the old token
    await c.mailbox.publishOwn(w);
    c.background("hand out the new delivery token", async () => (await c.later()).people.giveTokens());
  }

  /** Rotates prekeys, deletes dead ones for good, renews the device list, and keeps the clock. */
  async upkeep(): Promise<void> {
    const c = this.#c;
    c.records.set("clock", c.now());
    c.inbox.dropOld();
    await c.records.commit();
    if (c.now() >= c.prekeys.newest.createdMs + prekeyRotationMs) await this.#newPrekey();
    const w = c.link.wire;
    if (w === undefined) return; // the next link begins with publishing
    await (await c.later()).own.renewDue();
    if (c.mailbox.stale) await c.mailbox.publishOwn(w);
    if (c.inbox.busy) return; // what waited in the mailbox may be sealed to the old ones
    await this.#dropDead();
  }

  async #newPrekey(): Promise<void> {
    const { prekeys, options, records } = this.#c;
    let p = await Prekey.generate(this.#c.now());
    // Two live prekeys with one hint would make a device try both.
    while (prekeys.all.some((x) => equal(x.hint, p.hint))) p = await Prekey.generate(this.#c.now());
    records.setRaw(`secret/prekey/${hex(p.id)}`, await wrapPrekey(options.vault, p));
    await records.commit();
    prekeys.all.push(p);
  }

  async #dropDead(): Promise<void> {
    const { prekeys, records } = this.#c;
    const now = this.#c.now();
    const gone = prekeys.all.filter((p) => now >= p.createdMs + prekeyDeletedMs);
    if (gone.length === 0) return;
    for (const p of gone) records.delete(`secret/prekey/${hex(p.id)}`);
    await records.commit();
    prekeys.all = prekeys.all.filter((p) => !gone.includes(p));
  }
}
