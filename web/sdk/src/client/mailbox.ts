// Where this device can be reached: its home node, the mailbox there, the keys that are published for it, and the
// delivery token that contacts are given.

import { type Bytes, concat, hex, u64, unhex } from "../bytes.ts";
import { hmac, sha256 } from "../crypto/hash.ts";
import type { Grant } from "../envelope/bodies.ts";
import { signBundle } from "../envelope/prekey.ts";
import { refuse, TrunklineError } from "../errors.ts";
import type { DeviceList } from "../identity/device.ts";
import { context } from "../labels.ts";
import type { Wire } from "../link/wire.ts";
import type { Core } from "./core.ts";
import type { HomeRecord } from "./records.ts";

/** Another own device may publish a list at the same time. */
export const publishTries = 3;

export class Mailbox {
  readonly #c: Core;
  #shown = "";

  constructor(c: Core) {
    this.#c = c;
  }

  /** Delivery token of an epoch: derived, so that no list of given tokens has to be kept. */
  async #token(epoch: number): Promise<Bytes> {
    const wrapped = this.#c.records.raw("secret/mailbox");
    if (wrapped === undefined) throw refuse("not_registered", "this device has no mailbox");
    return hmac(await this.#c.options.vault.unwrap(wrapped), concat(context("token"), u64(epoch))).slice(0, 16);
  }

  async ownGrant(): Promise<Grant> {
    const h = this.#c.home();
    return { home: this.#c.homeOf(h), tag: unhex(h.tag), token: await this.#token(h.tokenEpoch), tokenEpoch: BigInt(h.tokenEpoch), device: this.#c.deviceId };
  }

  async publish(w: Wire, list: DeviceList, home: HomeRecord, invitation = ""): Promise<void> {
    const prekey = this.#c.prekeys.newest;
    const shown = this.#showing(list, home);
    const bundle = await signBundle(prekey, this.#c.device, this.#c.self, list.epoch, { home: this.#c.homeOf(home), tag: unhex(home.tag), tokenEpoch: BigInt(home.tokenEpoch) });
    await w.call({ case: "publish", value: { list: list.signed, bundles: [bundle.signed], invitation } }, "published");
    this.#shown = shown;
  }

  /** Opens the mailbox of this device, and gives how much waits in it. */
  async open(w: Wire, home: HomeRecord): Promise<number> {
    const tokenHash = sha256(await this.#token(home.tokenEpoch));
    const previous = home.grace && home.tokenEpoch > 1 ? { previousHash: sha256(await this.#token(home.tokenEpoch - 1)) } : {};
    const got = await w.call({ case: "register", value: { routeTag: unhex(home.tag), tokenHash, tokenEpoch: BigInt(home.tokenEpoch), ...previous } }, "registered");
    return got.waiting;
  }

  async publishOwn(w: Wire): Promise<void> {
    for (let t = 1; ; t++) {
      this.#c.ownCert(); // throws where the list leaves this device out
      try {
        return await this.publish(w, this.#c.mustOwnList(), this.#c.home());
      } catch (err) {
        if (!isConflict(err) || t === publishTries) throw err;
        await (await this.#c.later()).own.adopt(w);
      }
    }
  }

  /** Whether keys, list or token are not those that the node was shown last. */
  get stale(): boolean { return this.#shown !== this.#showing(this.#c.mustOwnList(), this.#c.home()); }

  #showing(list: DeviceList, home: HomeRecord): string { return `${hex(this.#c.prekeys.newest.id)}/${list.epoch}/${home.tokenEpoch}`; }

  async join(w: Wire): Promise<void> {
    await this.#c.directory.learn(w.node.descriptor);
    await this.publishOwn(w);
    const waiting = await this.open(w, this.#c.home());
    this.#c.inbox.begin(w, waiting);
  }
}

export function isConflict(err: unknown): boolean {
  return err instanceof TrunklineError && err.nodeCode === "epoch_conflict";
}
