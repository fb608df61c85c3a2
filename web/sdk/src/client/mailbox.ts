// Where this device can be reached: its home node, the mailbox there, the keys that are published for it, and the
// delivery token that contacts are given.

import { checkAbort } from "../abort.ts";
import { type Bytes, concat, hex, random, u64, unhex } from "../bytes.ts";
import { hmac, sha256 } from "../crypto/hash.ts";
import type { Grant } from "../envelope/bodies.ts";
import { signBundle } from "../envelope/prekey.ts";
import { AnswerStatus, Operation } from "../envelope/query.ts";
import { refuse, TrunklineError } from "../errors.ts";
import { formatAddress } from "../identity/address.ts";
import { type DeviceList, findDevice, firstList, hasHome, nextList, parseDeviceList, signDeviceCert } from "../identity/device.ts";
import type { SeedSigner } from "../identity/key.ts";
import { certLifetime } from "../identity/times.ts";
import { context } from "../labels.ts";
import { parseInvite } from "../link/handshake.ts";
import { Wire } from "../link/wire.ts";
import type { Core } from "./core.ts";
import { askOver } from "./directory.ts";
import type { HomeRecord } from "./records.ts";

/** Another own device may publish a list at the same time. */
export const publishTries = 3;

export class Mailbox {
  readonly #c: Core;
  #shown = "";

  constructor(c: Core) {
    this.#c = c;
  }

  /** Makes the identity known at a node and opens a mailbox for this device. Before start. */
  async register(invite: string, signal?: AbortSignal, confirmed?: string): Promise<string> {
    if (this.#c.running) throw refuse("malformed", "register before the client runs: a second link of this device would end the first");
    const { base, invitation } = parseInvite(invite);
    const root = await this.#c.root();
    const now = this.#c.now();
    const s = Math.floor(now / 1000);
    const cert = await signDeviceCert(root, { device: this.#c.device.publicKey, epoch: 1, notBefore: s, notAfter: s + certLifetime });
    const w = await Wire.dial({
      base, socket: this.#c.options.socket, timers: this.#c.timers, who: { device: this.#c.device, cert }, tap: this.#c.options.tap, onDeliver: () => undefined, onEnd: () => undefined, signal, confirmed,
    });
    try {
      const home = await this.#newHome(w, base);
      const list = await this.#listFor(w, root, home, signal);
      checkAbort(signal); // from here on the node knows the identity and the invitation is used
      await this.publish(w, list, home, invitation);
      this.#c.records.set("home", home);
      this.#c.records.set("ownlist", hex(list.signed));
      await this.#c.records.commit();
      await this.#open(w, home);
    } finally {
      w.close();
    }
    return formatAddress({ root: this.#c.self, domain: this.#c.home().domain });
  }

  async #newHome(w: Wire, url: string): Promise<HomeRecord> {
    const old = this.#c.records.get<HomeRecord>("home");
    if (old !== undefined && old.domain === w.node.domain && old.peerId === hex(w.node.peerId.bytes)) return { ...old, url };
    this.#c.records.setRaw("secret/mailbox", await this.#c.options.vault.wrap(random(32)));
    return { peerId: hex(w.node.peerId.bytes), domain: w.node.domain, url, tag: hex(random(16)), tokenEpoch: 1, grace: false };
  }

  async #listFor(w: Wire, root: SeedSigner, home: HomeRecord, signal: AbortSignal | undefined): Promise<DeviceList> {
    const homes = [this.#c.homeOf(home)];
    let own = this.#c.ownList();
    const answer = await askOver(w, w.node.descriptor, Operation.lookup, this.#c.self.bytes, signal);
    if (answer.status === AnswerStatus.found) {
      const theirs = await parseDeviceList(answer.list);
      if (!theirs.root.equals(this.#c.self)) throw refuse("other_identity", "the node keeps a device list that is not ours");
      if (own === undefined || theirs.epoch > own.epoch) own = theirs;
    }
    const now = this.#c.now();
    if (own === undefined) return firstList(root, this.#c.device.publicKey, homes, now);
    if (findDevice(own, this.#c.deviceId) === undefined) own = await nextList(root, own, { kind: "add", device: this.#c.device.publicKey }, now);
    if (!hasHome(own, homes[0]!.peerId)) own = await nextList(root, own, { kind: "homes", homes }, now);
    return own;
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
    const bundle = await signBundle(prekey, this.#c.device, this.#c.self, list.epoch, { home: this.#c.homeOf(home), tag: unhex(home.tag), tokenEpoch: BigInt(home.tokenEpoch) });
    await w.call({ case: "publish", value: { list: list.signed, bundles: [bundle.signed], invitation } }, "published");
    this.#shown = `${hex(prekey.id)}/${list.epoch}/${home.tokenEpoch}`;
  }

  async #open(w: Wire, home: HomeRecord): Promise<number> {
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
        await this.#c.own.adopt(w);
      }
    }
  }

  async join(w: Wire): Promise<void> {
    await this.#c.directory.learn(w.node.descriptor);
    await this.publishOwn(w);
    const waiting = await this.#open(w, this.#c.home());
    this.#c.inbox.begin(w, waiting);
  }

  /** Changes the delivery token of this device's mailbox. With grace the node takes the one before, too. */
  async rotateToken(grace: boolean, signal?: AbortSignal): Promise<void> {
    const home = this.#c.home();
    home.tokenEpoch++;
    home.grace = grace;
    this.#c.records.set("home", home);
    await this.#c.records.commit();
    const w = await this.#c.wire(signal); // without one, the next link begins with the new token
    await this.#open(w, home); // first: it is what stops the old token
    await this.publishOwn(w);
    this.#c.background("hand out the new delivery token", () => this.#c.contacts.giveTokens());
  }

  /** Publishes again where keys, list or token are not those that the node was shown last. */
  async refresh(w: Wire): Promise<void> {
    if (this.#shown !== `${hex(this.#c.prekeys.newest.id)}/${this.#c.mustOwnList().epoch}/${this.#c.home().tokenEpoch}`) await this.publishOwn(w);
  }
}

export function isConflict(err: unknown): boolean {
  return err instanceof TrunklineError && err.nodeCode === "epoch_conflict";
}
