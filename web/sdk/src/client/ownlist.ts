// The own device list: taken over where another own device has made a newer one, changed where this device holds the
// root key, and told to those whom it concerns.

import { equal, hex, unhex } from "../bytes.ts";
import { type Body, marshalBody, Type } from "../envelope/bodies.ts";
import { AnswerStatus, Operation } from "../envelope/query.ts";
import { Ttl } from "../envelope/types.ts";
import { refuse } from "../errors.ts";
import { type DeviceList, findDevice, parseDeviceList } from "../identity/device.ts";
import { DeviceId, PeerId } from "../identity/key.ts";
import { nextList, renewDue } from "../identity/signing.ts";
import type { Wire } from "../link/wire.ts";
import { type Core, weekMs } from "./core.ts";
import { parseDeviceRequest, sealApproval } from "./devices.ts";
import { askOver } from "./directory.ts";
import type { Later } from "./later.ts";
import { isConflict, publishTries } from "./mailbox.ts";
import { syncBody } from "./people.ts";
import { type Addressee, type Letter, passing } from "./sending.ts";

export class OwnList {
  readonly #c: Core;
  readonly #l: Later;
  #greeting: Promise<void> = Promise.resolve();

  constructor(c: Core, l: Later) {
    this.#c = c;
    this.#l = l;
  }

  async adopt(w: Wire): Promise<void> {
    const answer = await askOver(w, w.node.descriptor, Operation.lookup, this.#c.self.bytes);
    if (answer.status !== AnswerStatus.found) throw refuse("node", "the own node says it has another device list and does not show it");
    const list = await parseDeviceList(answer.list);
    if (!list.root.equals(this.#c.self)) throw refuse("other_identity", "the own node keeps a device list that is not ours");
    await this.take(list);
  }

  /** Keeps a newer own list, wherever it came from. It counts by the root key and by what is kept here. */
  async take(list: DeviceList): Promise<void> {
    const own = this.#c.ownList();
    if (own !== undefined) {
      if (list.epoch < own.epoch) throw refuse("rollback", "an older device list of this identity was shown");
      const twice = list.epoch === own.epoch && !equal(list.hash, own.hash);
      const recovery = own.recovery !== undefined && (list.recovery === undefined || !equal(own.recovery, list.recovery));
      if (twice || recovery) {
        this.#c.tell({ type: "alarm", from: this.#c.id, what: "there are two device lists of yours that contradict each other: somebody else may hold your root key" });
        throw refuse("key_alarm", "two device lists of this identity contradict each other");
      }
      if (list.epoch === own.epoch) return;
    }
    this.#c.records.set("ownlist", hex(list.signed));
    await this.#c.records.commit();
    this.#c.ownCert();
    if (own === undefined || list.devices.every((c) => findDevice(own, c.deviceId) !== undefined)) return;
    this.#c.background("tell a new own device whom we know", () => this.greet());
    this.#c.background("tell of the new device", () => this.announce());
  }

  /** Makes the next own list, publishes it and keeps it: kept is what the node has taken. */
  async change(change: (own: DeviceList) => Promise<DeviceList>, signal?: AbortSignal): Promise<DeviceList> {
    const w = await this.#c.wire(signal);
    for (let t = 1; ; t++) {
      const own = this.#c.mustOwnList();
      const next = await change(own);
      if (next.epoch === own.epoch) return next;
      try {
        await this.#c.mailbox.publish(w, next, this.#c.home());
        this.#c.records.set("ownlist", hex(next.signed));
        await this.#c.records.commit();
        return next;
      } catch (err) {
        if (!isConflict(err) || t === publishTries) throw err;
        await this.adopt(w);
      }
    }
  }

  /** Signs a device list with the new device in it, publishes it, and gives the approval to carry to it. */
  async approve(request: string, signal?: AbortSignal): Promise<string> {
    const r = parseDeviceRequest(request);
    const root = await this.#c.root();
    const list = await this.change(async (own) => (
      // Approved before: the approval may have been lost on its way.
      findDevice(own, DeviceId.of(r.device)) === undefined ? nextList(root, own, { kind: "add", device: r.device }, this.#c.now()) : own
    ), signal);
    this.#c.background("tell of the new device", () => this.announce());
    const h = this.#c.home();
    const contacts = [...this.#c.contacts.all()].flatMap((k) => {
      const body = syncBody(k);
      return body === undefined ? [] : [marshalBody(body)];
    });
    return sealApproval(r, list, { url: h.url, domain: h.domain, peerId: PeerId.fromBytes(unhex(h.peerId)) }, contacts);
  }

  /** Signs a device list without the device, changes the token that it knew, and tells the contacts. */
  async revoke(device: DeviceId, signal?: AbortSignal): Promise<void> {
    if (device.equals(this.#c.deviceId)) throw refuse("malformed", "this is the device you work on: revoke it from another one");
    const root = await this.#c.root();
    await this.change((own) => nextList(root, own, { kind: "revoke", device }, this.#c.now()), signal);
    await this.#l.renewal.rotateToken(false);
    this.#c.background("tell of the new device list", () => this.announce());
  }

  async announce(): Promise<void> {
    const body: Body = { type: Type.listUpdate, list: this.#c.mustOwnList().signed };
    for (const k of this.#c.contacts.all()) {
      if (k.state === "accepted" && k.evidence.length === 0) await passing(this.#c.sending.deliverAll(k, { body, lifeMs: weekMs, ttl: Ttl.week, withGrant: true }));
    }
    await this.toDevices({ body, lifeMs: weekMs, ttl: Ttl.week });
  }

  /** The own devices that can be written to. */
  async #devices(): Promise<Addressee[]> {
    if (this.#c.mustOwnList().devices.length < 2) return [];
    // A device that has just joined may have published its key a moment ago.
    this.#c.directory.forget(this.#c.self);
    return this.#c.sending.addressees(this.#c.contacts.own());
  }

  /**
   * Sends a letter to the other own devices. Each carries leave to deliver: to a device that is new it goes as a
   * knock, of which few can wait, and once only.
   */
  async toDevices(l: Letter): Promise<void> {
    await passing((async () => {
      for (const a of await this.#devices()) await passing((async () => void (await this.#c.sending.deliver(a, { ...l, withGrant: true })))());
    })());
  }

  /**
   * Tells each own device that does not know of this one of the own list and of every contact: a device that was
   * recovered from the phrase knows nobody. Whom it has told it writes down, so that an end in between does not
   * matter. It is done with every new link, with a list that names a new own device, and when an own device gives
   * leave to deliver.
   */
  greet(): Promise<void> {
    return (this.#greeting = this.#greeting.catch(() => undefined).then(() => passing((async () => {
      for (const a of await this.#devices()) {
        if (this.#c.contacts.own().told[a.bundle.deviceId.hex] === undefined) await passing(this.#greet(a));
      }
    })())));
  }

  async #greet(a: Addressee): Promise<void> {
    const send = (body: Body) => this.#c.sending.deliver(a, { body, lifeMs: weekMs, ttl: Ttl.week, withGrant: true });
    await send({ type: Type.listUpdate, list: this.#c.mustOwnList().signed });
    // That was a knock, which is answered with leave to deliver, and that comes back here. Of knocks ten can wait, so
    // contacts are not told by them.
    if (a.grant === undefined) return;
    for (const k of this.#c.contacts.all()) {
      const body = syncBody(k);
      if (body !== undefined) await send(body);
    }
    this.#c.contacts.own();
    this.#c.contacts.update(this.#c.self, (k) => { k.told[a.bundle.deviceId.hex] = this.#c.now(); });
    await this.#c.records.commit();
  }

  /** Renews a list that has ended, before the link is dialled: the node would refuse it. */
  async renewEnded(): Promise<void> {
    const own = this.#c.mustOwnList();
    if (this.#c.records.raw("secret/root") === undefined) return; // the node's refusal says the rest
    const next = await nextList(await this.#c.root(), own, { kind: "renew" }, this.#c.now());
    this.#c.records.set("ownlist", hex(next.signed));
    await this.#c.records.commit();
  }

  /** Renews the list where it is time and the root key is here. */
  async renewDue(): Promise<void> {
    if (!renewDue(this.#c.mustOwnList(), this.#c.now()) || this.#c.records.raw("secret/root") === undefined) return;
    const root = await this.#c.root();
    await this.change(async (own) => (renewDue(own, this.#c.now()) ? nextList(root, own, { kind: "renew" }, this.#c.now()) : own));
    this.#c.background("tell of the renewed list", () => this.announce());
  }
}
