// What an opened message does: changes first, then what others may see of it.

import { hex } from "../bytes.ts";
import { type BodyOf, Type } from "../envelope/bodies.ts";
import { type Opened, wantsList } from "../envelope/open.ts";
import { Ttl } from "../envelope/types.ts";
import { refuse } from "../errors.ts";
import { hasHome, type Home, parseDeviceList } from "../identity/device.ts";
import { syncedContact } from "./contacts.ts";
import { type Core, weekMs } from "./core.ts";
import { type ClientEvent, Seldom } from "./events.ts";
import { grantRecord, type KnockRecord, listOf, type NoteRecord, setGrant } from "./records.ts";

const againMs = 60_000;
const updateIntervalMs = 3_600_000;

export class Incoming {
  readonly #c: Core;
  readonly #seldom = { answering: new Seldom(), giving: new Seldom(), asking: new Seldom() };

  constructor(c: Core) {
    this.#c = c;
  }

  /** Does what an opened message asks for. sealed is the text of a note, sealed for the history. */
  async act(o: Opened, sealed: Uint8Array | undefined, events: ClientEvent[], after: (() => void)[]): Promise<void> {
    const from = o.sender.id();
    const known = o.standing === "accepted" || o.standing === "own";
    if (o.echo === "conflict" && known) events.push({ type: "alarm", from, what: "this contact was shown a device list of yours that you did not make" });
    if (o.echo === "ahead" && known && this.#seldom.asking.allow(from, this.#c.now(), againMs)) {
      after.push(() => this.#c.background("ask for the own device list", async () => this.#c.own.adopt(await this.#c.wire())));
    }
    if (wantsList(o)) this.#sendOwnList(o, after);
    if (o.list !== "current" && o.standing !== "stranger") this.#c.directory.forget(o.sender);
    if (o.grant !== undefined && (known || o.standing === "knocked")) {
      // It counts for the device that signed the message only.
      if (!o.grant.device.equals(o.cert.deviceId)) throw refuse("policy", "a grant for another device");
      const g = grantRecord(o.grant);
      if (o.standing === "own") this.#c.contacts.own();
      this.#c.contacts.update(o.sender, (k) => setGrant(k, g));
      if (o.standing === "own") after.push(() => this.#c.background("tell an own device whom we know", () => this.#c.own.greet()));
      this.#c.notes.attempts.again(); // a note may have waited for it
      after.push(() => this.#c.background("send notes again", () => this.#c.notes.resend()));
    }
    if (o.knock && known && o.type !== Type.knock && this.#seldom.giving.allow(o.cert.deviceId.hex, this.#c.now(), againMs)) {
      after.push(() => this.#c.background("give a delivery token again", () => this.#c.sending.toDevice(o.sender, o.cert.deviceId, {
        body: { type: Type.tokenUpdate }, lifeMs: weekMs, ttl: Ttl.week, withGrant: true,
      })));
    }
    const body = o.content;
    switch (body.type) {
      case Type.knock: return this.#onKnock(o, body, events, after);
      case Type.knockAccept:
        if (o.standing === "knocked") this.#becomeAccepted(o, body.home, events, after);
        return;
      case Type.note: return this.#onNote(o, body, sealed!, events, after);
      case Type.read:
        for (const id of body.ids.map(hex)) {
          const n = this.#c.history.update(o.sender.hex, true, id, (n) => { n.state = "read"; });
          if (n !== undefined) events.push({ type: "note-state", to: from, id, state: "read", code: "" });
        }
        return;
      case Type.ring: after.push(() => this.#c.calls?.onRing(o, body)); return;
      case Type.cancel: after.push(() => this.#c.calls?.onCancel(o, body)); return;
      case Type.listUpdate: return this.#onListUpdate(o, body);
      case Type.contactSync: return this.#onContactSync(body, events, after);
      case Type.compared:
        this.#c.contacts.update(o.sender, (k) => { k.comparedMs = o.createdMs; });
        events.push({ type: "compared", from });
        return;
      case Type.tokenUpdate: case Type.accept: case Type.decline: case Type.busy: return;
    }
  }

  #onKnock(o: Opened, body: BodyOf<typeof Type.knock>, events: ClientEvent[], after: (() => void)[]): void {
    if (o.standing === "accepted") {
      // It has lost our answer, or its grant: answer again.
      if (this.#seldom.answering.allow(o.sender.hex, this.#c.now(), againMs)) {
        after.push(() => this.#c.background("answer a knock again", () => this.#c.contacts.sendKnockAccept(this.#c.contacts.get(o.sender)!)));
      }
      return;
    }
    if (o.standing === "knocked") return this.#becomeAccepted(o, body.home, events, after); // both knocked: a yes on both sides
    const record: KnockRecord = {
      root: o.sender.hex, device: o.cert.deviceId.hex, name: body.name, text: body.text, domain: body.home.domain, home: hex(body.home.peerId.bytes),
      receivedMs: this.#c.now(), grant: o.grant?.device.equals(o.cert.deviceId) ? grantRecord(o.grant) : null,
    };
    this.#c.records.set(`knock/${o.sender.hex}`, record);
    events.push({ type: "knock", from: o.sender.id(), name: body.name, text: body.text, domain: body.home.domain });
  }

  #becomeAccepted(o: Opened, home: Home, events: ClientEvent[], after: (() => void)[]): void {
    const own = this.#c.home();
    const k = this.#c.contacts.update(o.sender, (k) => {
      k.state = "accepted";
      // The signed list says which homes it has, the message which one it lives at now.
      const list = listOf(k.list);
      if (list !== undefined && hasHome(list, home.peerId)) {
        k.domain = home.domain;
        k.home = hex(home.peerId.bytes);
      }
    });
    events.push({ type: "knock-accepted", from: o.sender.id() });
    after.push(() => this.#c.contacts.sync(k.root));
    if ((k.given[own.domain] ?? 0) < own.tokenEpoch) after.push(() => this.#c.background("hand out the delivery token", () => this.#c.contacts.giveTokens()));
  }

  #onNote(o: Opened, body: BodyOf<typeof Type.note>, sealed: Uint8Array, events: ClientEvent[], after: (() => void)[]): void {
    const id = hex(o.id);
    const n: NoteRecord = {
      id, contact: o.sender.hex, out: false, place: this.#c.history.next(), replyTo: body.replyTo === undefined ? "" : hex(body.replyTo),
      createdMs: o.createdMs, sealedMs: 0, state: "delivered", code: "", acked: o.standing !== "accepted",
    };
    this.#c.history.add(n, sealed);
    after.push(() => this.#c.plugins.message(o.sender.hex, { out: false, text: body.text, createdMs: o.createdMs }));
    events.push({ type: "note", from: o.sender.id(), id, text: body.text });
    if (o.standing === "accepted") after.push(() => this.#c.notes.acknowledge(o.sender.hex, [id]));
  }

  // Answers a message of somebody who was shown an old list of ours, once per device and hour.
  #sendOwnList(o: Opened, after: (() => void)[]): void {
    const now = this.#c.now();
    const device = o.cert.deviceId;
    const k = this.#c.contacts.get(o.sender);
    if (k === undefined || now - (k.told[device.hex] ?? -updateIntervalMs) < updateIntervalMs) return;
    this.#c.contacts.update(o.sender, (k) => { k.told[device.hex] = now; });
    after.push(() => this.#c.background("send the device list", () => this.#c.sending.toDevice(o.sender, device, {
      body: { type: Type.listUpdate, list: this.#c.mustOwnList().signed }, lifeMs: weekMs, ttl: Ttl.week, withGrant: true,
    })));
  }

  async #onListUpdate(o: Opened, body: BodyOf<typeof Type.listUpdate>): Promise<void> {
    const list = await parseDeviceList(body.list);
    if (!list.root.equals(o.sender)) throw refuse("sender", "a list of another identity");
    if (o.standing === "own") return this.#c.own.take(list);
    this.#c.directory.forget(list.root);
    await this.#c.contacts.pin(list);
  }

  #onContactSync(body: BodyOf<typeof Type.contactSync>, events: ClientEvent[], after: (() => void)[]): void {
    if (body.root.equals(this.#c.self)) throw refuse("malformed", "a contact that is this identity");
    const k = syncedContact(this.#c.contacts.get(body.root), body, this.#c.now());
    this.#c.records.set(`contact/${k.root}`, k);
    this.#c.records.delete(`knock/${k.root}`);
    events.push({ type: "contact", id: body.root.id(), state: body.state });
    if (body.state === "blocked") {
      after.push(() => {
        this.#c.calls?.endWith(body.root);
        this.#c.background("change the delivery token", () => this.#c.mailbox.rotateToken(false));
      });
    } else {
      after.push(() => this.#c.background("hand out the delivery token", () => this.#c.contacts.giveTokens()));
    }
  }
}
