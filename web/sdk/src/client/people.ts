// What is decided about people: accepted, declined, blocked, named, verified; and who of them holds leave to deliver.

import { hex, unhex } from "../bytes.ts";
import { type BodyOf, Type } from "../envelope/bodies.ts";
import { Ttl } from "../envelope/types.ts";
import { refuse } from "../errors.ts";
import { parseId } from "../identity/address.ts";
import { findDevice } from "../identity/device.ts";
import { DeviceId, PeerId, type PublicKey } from "../identity/key.ts";
import { key, newContact } from "./contacts.ts";
import { type Core, weekMs } from "./core.ts";
import type { Later } from "./later.ts";
import { type ContactRecord, grantOf, grantRecord, type KnockRecord, listOf, setGrant } from "./records.ts";
import { passing } from "./sending.ts";

export class People {
  readonly #c: Core;
  readonly #l: Later;

  constructor(c: Core, l: Later) {
    this.#c = c;
    this.#l = l;
  }

  /** Says yes to somebody who knocked. Only now its devices are looked up and the knock is held against them. Also unblocks. */
  async accept(id: string, signal?: AbortSignal): Promise<void> {
    const root = parseId(id);
    const n = this.#c.records.get<KnockRecord>(`knock/${root.hex}`);
    if (n === undefined) return this.#unblock(root);
    await this.#c.contacts.lookUp({ root, domain: n.domain, home: PeerId.fromBytes(unhex(n.home)) }, signal);
    const list = listOf(this.#c.contacts.get(root)!.list)!;
    if (findDevice(list, DeviceId.fromBytes(unhex(n.device))) === undefined) throw refuse("not_listed", "the device that knocked is not in the identity's own list");
    const k = this.#c.contacts.update(root, (k) => {
      k.state = "accepted";
      k.name = n.name;
      k.text = n.text;
      if (n.grant !== null) setGrant(k, n.grant);
    });
    this.#c.records.delete(`knock/${root.hex}`);
    await this.#c.records.commit();
    await this.#sayYes(k);
  }

  // The yes is written down already; what fails now for a while is done by giveTokens later.
  async #sayYes(k: ContactRecord): Promise<void> {
    await passing(this.sendKnockAccept(k));
    this.#sync(k.root);
  }

  async sendKnockAccept(k: ContactRecord): Promise<void> {
    const home = this.#c.home();
    await this.#c.sending.deliverAll(k, { body: { type: Type.knockAccept, text: "", name: "", home: this.#c.homeOf(home) }, lifeMs: weekMs, ttl: Ttl.week, withGrant: true });
    await this.#c.contacts.gave(k.root, home);
  }

  async #unblock(root: PublicKey): Promise<void> {
    const k = this.#c.contacts.get(root);
    if (k?.state === "accepted") return;
    if (k?.state !== "blocked") throw refuse("no_contact", "nobody with this id has knocked");
    const now = this.#c.contacts.update(root, (k) => {
      k.state = "accepted";
      k.given = {};
    });
    await this.#c.records.commit();
    await this.#sayYes(now);
  }

  /** Drops a knock without an answer: the stranger learns nothing. */
  async decline(id: string): Promise<void> {
    this.#c.records.delete(`knock/${parseId(id).hex}`);
    await this.#c.records.commit();
  }

  /** Ends a contact's leave to deliver: the token changes at once, and all other contacts get the new one. */
  async block(id: string, signal?: AbortSignal): Promise<void> {
    const root = parseId(id);
    this.#c.records.delete(`knock/${root.hex}`);
    this.#c.contacts.update(root, (k) => {
      k.state = "blocked";
      k.given = {};
    });
    await this.#c.records.commit();
    this.#c.calls?.endWith(root);
    this.#sync(root.hex);
    await this.#l.renewal.rotateToken(false, signal);
  }

  async giveTokens(): Promise<void> {
    const home = this.#c.home();
    for (const k of this.#c.contacts.all()) {
      if (k.state !== "accepted" || k.evidence.length > 0 || (k.given[home.domain] ?? 0) >= home.tokenEpoch) continue;
      if ((k.given[home.domain] ?? 0) === 0) {
        await passing(this.sendKnockAccept(k));
        continue;
      }
      await passing((async () => {
        await this.#c.sending.deliverAll(k, { body: { type: Type.tokenUpdate }, lifeMs: weekMs, ttl: Ttl.week, withGrant: true });
        await this.#c.contacts.gave(k.root, home);
      })());
    }
  }

  /** What two people compare to be sure of each other's root keys: 60 digits. */
  async safetyNumber(id: string): Promise<string> {
    return (await import("../identity/safety.ts")).safetyNumber(this.#c.self, parseId(id));
  }

  /** Compares what the other person read out, or what a scan gave, with the safety number. */
  async verify(id: string, spoken: string): Promise<void> {
    const digits = (s: string) => s.replace(/[^0-9]/g, "");
    if (digits(spoken) !== digits(await this.safetyNumber(id))) throw refuse("key_alarm", "the numbers differ; somebody may stand between you, or one of you has another contact in mind");
    this.#c.contacts.update(parseId(id), (k) => {
      k.verified = true;
      k.changed = false;
      delete k.comparedMs;
    });
    await this.#c.records.commit();
  }

  /** Counts a contact as verified whose code was read and matched, and tells it so (docs/spec/identity.md, section 7). */
  async compared(id: string): Promise<void> {
    await this.verify(id, await this.safetyNumber(id));
    await this.#c.sending.deliverAll(this.#c.contacts.writable(parseId(id)), { body: { type: Type.compared }, lifeMs: weekMs, ttl: Ttl.week });
  }

  /** Ends an alarm after the person decided to go on with the pinned devices. */
  async resolve(id: string): Promise<void> {
    this.#c.contacts.update(parseId(id), (k) => {
      k.evidence = [];
      k.changed = false;
    });
    await this.#c.records.commit();
  }

  #sync(root: string): void {
    this.#c.background("tell the own devices of a contact", () => this.tellOf(root));
  }

  /** Tells the own other devices what was decided about a contact. */
  async tellOf(root: string): Promise<void> {
    const k = this.#c.contacts.get(root);
    const body = k === undefined ? undefined : syncBody(k);
    if (body !== undefined) await this.#l.own.toDevices({ body, lifeMs: weekMs, ttl: Ttl.week });
  }
}

/** What own devices are told of a contact; nothing where there is nothing decided. */
export function syncBody(k: ContactRecord): BodyOf<typeof Type.contactSync> | undefined {
  if (k.home === "" || (k.state !== "accepted" && k.state !== "blocked")) return undefined;
  return {
    type: Type.contactSync, root: key(k.root), home: { peerId: PeerId.fromBytes(unhex(k.home)), domain: k.domain }, state: k.state, name: k.name,
    grants: k.grants.map(grantOf),
  };
}

/** Another own device's decision taken over. The contact's list is fetched and pinned here before anything is sent. */
export function syncedContact(old: ContactRecord | undefined, b: BodyOf<typeof Type.contactSync>, nowMs: number): ContactRecord {
  const k = old ?? newContact(b.root.hex, b.home.domain, hex(b.home.peerId.bytes), nowMs);
  if (k.name === "") k.name = b.name;
  k.state = b.state;
  for (const g of b.grants) setGrant(k, grantRecord(g));
  return k;
}
