// What opened messages do that no call needs: knocks, notes and their receipts, device lists, and what own devices tell.

import { hex } from "../bytes.ts";
import { type Body, type BodyOf, Type } from "../envelope/bodies.ts";
import type { Opened } from "../envelope/open.ts";
import { refuse } from "../errors.ts";
import { parseDeviceList } from "../identity/device.ts";
import type { Core } from "./core.ts";
import { type ClientEvent, Seldom } from "./events.ts";
import { againMs } from "./incoming.ts";
import type { Later } from "./later.ts";
import { syncedContact } from "./people.ts";
import { grantRecord, type KnockRecord, type NoteRecord } from "./records.ts";

export class Letters {
  readonly #c: Core;
  readonly #l: Later;
  readonly #answering = new Seldom();

  constructor(c: Core, l: Later) {
    this.#c = c;
    this.#l = l;
  }

  /** Does what a message asks for; see Incoming.act. */
  async act(o: Opened, body: Body, sealed: Uint8Array | undefined, events: ClientEvent[], after: (() => void)[]): Promise<void> {
    const from = o.sender.id();
    switch (body.type) {
      case Type.knock: return this.#onKnock(o, body, events, after);
      case Type.note: return this.#onNote(o, body, sealed!, events, after);
      case Type.read:
        for (const id of body.ids.map(hex)) {
          const n = this.#l.history.update(o.sender.hex, true, id, (n) => { n.state = "read"; });
          if (n !== undefined) events.push({ type: "note-state", to: from, id, state: "read", code: "" });
        }
        return;
      case Type.listUpdate: return this.#onListUpdate(o, body);
      case Type.contactSync: return this.#onContactSync(body, events, after);
      case Type.compared:
        this.#c.contacts.update(o.sender, (k) => { k.comparedMs = o.createdMs; });
        events.push({ type: "compared", from });
        return;
    }
  }

  #onKnock(o: Opened, body: BodyOf<typeof Type.knock>, events: ClientEvent[], after: (() => void)[]): void {
    if (o.standing === "accepted") {
      // It has lost our answer, or its grant: answer again.
      if (this.#answering.allow(o.sender.hex, this.#c.now(), againMs)) {
        after.push(() => this.#c.background("answer a knock again", async () => (await this.#c.later()).people.sendKnockAccept(this.#c.contacts.get(o.sender)!)));
      }
      return;
    }
    if (o.standing === "knocked") return this.#c.inbox.incoming.becomeAccepted(o, body.home, events, after); // both knocked: a yes on both sides
    const record: KnockRecord = {
      root: o.sender.hex, device: o.cert.deviceId.hex, name: body.name, text: body.text, domain: body.home.domain, home: hex(body.home.peerId.bytes),
      receivedMs: this.#c.now(), grant: o.grant?.device.equals(o.cert.deviceId) ? grantRecord(o.grant) : null,
    };
    this.#c.records.set(`knock/${o.sender.hex}`, record);
    events.push({ type: "knock", from: o.sender.id(), name: body.name, text: body.text, domain: body.home.domain });
  }

  #onNote(o: Opened, body: BodyOf<typeof Type.note>, sealed: Uint8Array, events: ClientEvent[], after: (() => void)[]): void {
    const id = hex(o.id);
    const n: NoteRecord = {
      id, contact: o.sender.hex, out: false, place: this.#l.history.next(), replyTo: body.replyTo === undefined ? "" : hex(body.replyTo),
      createdMs: o.createdMs, sealedMs: 0, state: "delivered", code: "", acked: o.standing !== "accepted",
    };
    this.#l.history.add(n, sealed);
    after.push(() => this.#l.plugins.message(o.sender.hex, { out: false, text: body.text, createdMs: o.createdMs }));
    events.push({ type: "note", from: o.sender.id(), id, text: body.text });
    if (o.standing === "accepted") after.push(() => this.#l.notes.acknowledge(o.sender.hex, [id]));
  }

  async #onListUpdate(o: Opened, body: BodyOf<typeof Type.listUpdate>): Promise<void> {
    const list = await parseDeviceList(body.list);
    if (!list.root.equals(o.sender)) throw refuse("sender", "a list of another identity");
    if (o.standing === "own") return this.#l.own.take(list);
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
        this.#c.background("change the delivery token", () => this.#l.renewal.rotateToken(false));
      });
    } else {
      after.push(() => this.#c.background("hand out the delivery token", () => this.#l.people.giveTokens()));
    }
  }
}
