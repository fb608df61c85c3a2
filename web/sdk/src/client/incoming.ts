// What an opened message does: changes first, then what others may see of it. What no call needs is in letters.ts.

import { hex } from "../bytes.ts";
import { Type } from "../envelope/bodies.ts";
import { type Opened, wantsList } from "../envelope/open.ts";
import { Ttl } from "../envelope/types.ts";
import { refuse } from "../errors.ts";
import { hasHome, type Home } from "../identity/device.ts";
import { type Core, weekMs } from "./core.ts";
import { type ClientEvent, Seldom } from "./events.ts";
import { grantRecord, listOf, setGrant } from "./records.ts";

export const againMs = 60_000;
const updateIntervalMs = 3_600_000;

/** Whether a message of this type can be on the way into a call: for any other, letters.ts has to be here before it counts as seen. */
export function isOfCall(type: number): boolean {
  return ([Type.knockAccept, Type.ring, Type.accept, Type.decline, Type.busy, Type.cancel, Type.tokenUpdate] as number[]).includes(type);
}

export class Incoming {
  readonly #c: Core;
  readonly #seldom = { giving: new Seldom(), asking: new Seldom() };

  constructor(c: Core) {
    this.#c = c;
  }

  /** Does what an opened message asks for. sealed is the text of a note, sealed for the history; what no call needs has been fetched (see isOfCall). */
  async act(o: Opened, sealed: Uint8Array | undefined, events: ClientEvent[], after: (() => void)[]): Promise<void> {
    const from = o.sender.id();
    const known = o.standing === "accepted" || o.standing === "own";
    if (o.echo === "conflict" && known) events.push({ type: "alarm", from, what: "this contact was shown a device list of yours that you did not make" });
    if (o.echo === "ahead" && known && this.#seldom.asking.allow(from, this.#c.now(), againMs)) {
      after.push(() => this.#c.background("ask for the own device list", async () => (await this.#c.later()).own.adopt(await this.#c.wire())));
    }
    if (wantsList(o)) this.#sendOwnList(o, after);
    if (o.list !== "current" && o.standing !== "stranger") this.#c.directory.forget(o.sender);
    if (o.grant !== undefined && (known || o.standing === "knocked")) {
      // It counts for the device that signed the message only.
      if (!o.grant.device.equals(o.cert.deviceId)) throw refuse("policy", "a grant for another device");
      const g = grantRecord(o.grant);
      if (o.standing === "own") this.#c.contacts.own();
      this.#c.contacts.update(o.sender, (k) => setGrant(k, g));
      if (o.standing === "own") after.push(() => this.#c.whenIdle("tell an own device whom we know", (l) => l.own.greet()));
      this.#c.rest?.notes.attempts.again(); // a note may have waited for it
      after.push(() => this.#c.whenIdle("send notes again", (l) => l.notes.resend()));
    }
    if (o.knock && known && o.type !== Type.knock && this.#seldom.giving.allow(o.cert.deviceId.hex, this.#c.now(), againMs)) {
      after.push(() => this.#c.background("give a delivery token again", () => this.#c.sending.toDevice(o.sender, o.cert.deviceId, {
        body: { type: Type.tokenUpdate }, lifeMs: weekMs, ttl: Ttl.week, withGrant: true,
      })));
    }
    const body = o.content;
    switch (body.type) {
      case Type.knockAccept:
        if (o.standing === "knocked") this.becomeAccepted(o, body.home, events, after);
        return;
      case Type.ring: after.push(() => this.#c.calls?.onRing(o, body)); return;
      case Type.cancel: after.push(() => this.#c.calls?.onCancel(o, body)); return;
      case Type.tokenUpdate: case Type.accept: case Type.decline: case Type.busy: return;
      default: return this.#c.rest!.letters.act(o, body, sealed, events, after);
    }
  }

  becomeAccepted(o: Opened, home: Home, events: ClientEvent[], after: (() => void)[]): void {
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
    after.push(() => this.#c.whenIdle("tell the own devices of a contact", (l) => l.people.tellOf(k.root)));
    if ((k.given[own.domain] ?? 0) < own.tokenEpoch) after.push(() => this.#c.whenIdle("hand out the delivery token", (l) => l.people.giveTokens()));
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
}
