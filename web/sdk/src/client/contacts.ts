// People: found, asked, accepted, blocked, verified; their devices pinned, and who of them holds leave to deliver.

import { checkAbort } from "../abort.ts";
import { hex, unhex } from "../bytes.ts";
import { type BodyOf, marshalBody, Type } from "../envelope/bodies.ts";
import type { Known, Standing } from "../envelope/open.ts";
import { Ttl } from "../envelope/types.ts";
import { isCode, refuse } from "../errors.ts";
import { type Address, formatAddress, parseAddress, parseId } from "../identity/address.ts";
import { advancePin, checkPin, type DeviceList, findDevice, type Home } from "../identity/device.ts";
import { DeviceId, PeerId, PublicKey } from "../identity/key.ts";
import { type Core, weekMs } from "./core.ts";
import {
  type ContactRecord, type ContactState, grantOf, grantRecord, type HomeRecord, type KnockRecord, listOf, pinOf, pinRecord, setGrant,
} from "./records.ts";
import { passing } from "./sending.ts";

/** Somebody we know of. */
export interface Contact {
  readonly id: string;
  readonly address: string;
  /** Ours for it, else its own words; never a proof. */
  readonly name: string;
  readonly state: ContactState | "asks";
  readonly verified: boolean;
  /** When it said that it read our code and that it matched. Ask the person whether the other screen shows it: this alone proves nothing. */
  readonly comparedMs: number | undefined;
  /** What it said when it knocked. */
  readonly knock: string;
  readonly devices: number;
  readonly changed: boolean;
  /** Contradicting lists are kept as evidence; sending is stopped. */
  readonly alarm: boolean;
}

const maxEvidence = 4;

export class Contacts {
  readonly #c: Core;

  constructor(c: Core) {
    this.#c = c;
  }

  get(root: PublicKey | string): ContactRecord | undefined {
    return this.#c.records.get<ContactRecord>(`contact/${typeof root === "string" ? root : root.hex}`);
  }

  /**
   * This identity as its own devices see each other: where they live, the leave to deliver that they gave each other,
   * and which of them know of this one (told). It is written down as a contact is, and is none.
   */
  own(): ContactRecord {
    const h = this.#c.home();
    const k = this.get(this.#c.self) ?? newContact(this.#c.self.hex, h.domain, h.peerId, this.#c.now());
    if (k.domain !== h.domain || k.home !== h.peerId || this.get(this.#c.self) === undefined) this.#c.records.set(`contact/${k.root}`, { ...k, domain: h.domain, home: h.peerId });
    return { ...k, domain: h.domain, home: h.peerId };
  }

  *all(): Generator<ContactRecord> {
    for (const [, k] of [...this.#c.records.list<ContactRecord>("contact/")]) yield k;
  }

  update(root: PublicKey | string, change: (k: ContactRecord) => void): ContactRecord {
    const k = this.get(root);
    if (k === undefined) throw refuse("no_contact", "no such contact");
    change(k);
    this.#c.records.set(`contact/${k.root}`, k);
    return k;
  }

  /** Everybody we know of, and the strangers who wait for an answer. */
  list(): Contact[] {
    const asks = [...this.#c.records.list<KnockRecord>("knock/")].map(([, n]): Contact => ({
      id: key(n.root).id(), address: addressText(n.root, n.domain), name: n.name, state: "asks", verified: false, comparedMs: undefined, knock: n.text, devices: 0, changed: false, alarm: false,
    }));
    const others = [...this.all()].filter((k) => k.root !== this.#c.self.hex); // see own
    return [...others.map(contactOf), ...asks];
  }

  standing(root: PublicKey): Known {
    const k = this.get(root);
    const standing: Record<ContactState, Standing> = { known: "stranger", pending: "knocked", accepted: "accepted", blocked: "blocked" };
    return { standing: k === undefined ? "stranger" : standing[k.state], list: k === undefined ? undefined : listOf(k.list) };
  }

  /** Whoever was met by cards is known from then on, and unverified until the people compare. */
  met(root: PublicKey, name: string, home: Home | undefined): void {
    if (this.get(root) !== undefined || root.equals(this.#c.self)) return;
    const k = newContact(root.hex, home?.domain ?? "", home === undefined ? "" : hex(home.peerId.bytes), this.#c.now());
    k.name = name;
    this.#c.records.set(`contact/${k.root}`, k);
    this.#c.background("write down who was met", () => this.#c.records.commit());
    this.#c.tell({ type: "met", id: root.id() });
  }

  /** Asks for an identity at its domain and pins its devices. Nobody but the node that is asked learns for whom. */
  async find(address: string | Address, signal?: AbortSignal): Promise<Contact> {
    return contactOf(await this.#lookUp(typeof address === "string" ? parseAddress(address) : address, signal));
  }

  async #lookUp(a: Address, signal: AbortSignal | undefined): Promise<ContactRecord> {
    if (a.root.equals(this.#c.self)) throw refuse("malformed", "this is your own address");
    const p = await this.#c.directory.lookup(a.root, a.domain, a.home, signal);
    checkAbort(signal);
    const home = a.home ?? p.list.homes.find((h) => h.domain === a.domain)?.peerId;
    const homeHex = home === undefined ? "" : hex(home.bytes);
    let k = this.get(a.root);
    if (k === undefined) {
      const now = this.#c.now();
      checkPin(undefined, p.list, now);
      k = newContact(a.root.hex, a.domain, homeHex, now);
      k.pin = pinRecord(advancePin(undefined, p.list, now));
      k.list = hex(p.list.signed);
      this.#c.records.set(`contact/${k.root}`, k);
    } else {
      k = this.update(a.root, (k) => {
        k.domain = a.domain;
        k.home = homeHex;
      });
    }
    await this.#c.records.commit();
    return k;
  }

  /** Asks somebody to be a contact. It carries leave to answer us. */
  async knock(address: string, text = "", name = "", signal?: AbortSignal): Promise<Contact> {
    const a = parseAddress(address);
    marshalBody({ type: Type.knock, text, name, home: this.#c.homeOf() }); // what cannot be said is refused before anything is written down
    await this.#lookUp(a, signal);
    const k = this.update(a.root, (k) => {
      if (k.state === "blocked") throw refuse("policy", "this contact is blocked: unblock it first");
      if (k.state !== "accepted") k.state = "pending"; // knocking again asks for a lost grant
    });
    await this.#c.records.commit();
    const home = this.#c.home();
    await this.#c.sending.deliverAll(k, { body: { type: Type.knock, text, name, home: this.#c.homeOf(home) }, lifeMs: weekMs, ttl: Ttl.week, withGrant: true, knock: true });
    await this.#gave(k.root, home);
    return contactOf(this.get(a.root)!);
  }

  /** Says yes to somebody who knocked. Only now its devices are looked up and the knock is held against them. Also unblocks. */
  async accept(id: string, signal?: AbortSignal): Promise<void> {
    const root = parseId(id);
    const n = this.#c.records.get<KnockRecord>(`knock/${root.hex}`);
    if (n === undefined) return this.#unblock(root);
    await this.#lookUp({ root, domain: n.domain, home: PeerId.fromBytes(unhex(n.home)) }, signal);
    const list = listOf(this.get(root)!.list)!;
    if (findDevice(list, DeviceId.fromBytes(unhex(n.device))) === undefined) throw refuse("not_listed", "the device that knocked is not in the identity's own list");
    const k = this.update(root, (k) => {
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
    this.sync(k.root);
  }

  async sendKnockAccept(k: ContactRecord): Promise<void> {
    const home = this.#c.home();
    await this.#c.sending.deliverAll(k, { body: { type: Type.knockAccept, text: "", name: "", home: this.#c.homeOf(home) }, lifeMs: weekMs, ttl: Ttl.week, withGrant: true });
    await this.#gave(k.root, home);
  }

  /** Remembers that the contact holds the token of that time. */
  async #gave(root: string, home: HomeRecord): Promise<void> {
    this.update(root, (k) => { k.given[home.domain] = home.tokenEpoch; });
    await this.#c.records.commit();
  }

  async #unblock(root: PublicKey): Promise<void> {
    const k = this.get(root);
    if (k?.state === "accepted") return;
    if (k?.state !== "blocked") throw refuse("no_contact", "nobody with this id has knocked");
    const now = this.update(root, (k) => {
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
    this.update(root, (k) => {
      k.state = "blocked";
      k.given = {};
    });
    await this.#c.records.commit();
    this.#c.calls?.endWith(root);
    this.sync(root.hex);
    await this.#c.mailbox.rotateToken(false, signal);
  }

  async giveTokens(): Promise<void> {
    const home = this.#c.home();
    for (const k of this.all()) {
      if (k.state !== "accepted" || k.evidence.length > 0 || (k.given[home.domain] ?? 0) >= home.tokenEpoch) continue;
      if ((k.given[home.domain] ?? 0) === 0) {
        await passing(this.sendKnockAccept(k));
        continue;
      }
      await passing((async () => {
        await this.#c.sending.deliverAll(k, { body: { type: Type.tokenUpdate }, lifeMs: weekMs, ttl: Ttl.week, withGrant: true });
        await this.#gave(k.root, home);
      })());
    }
  }

  /** Our own name for a contact, which stays on this device. */
  async rename(id: string, petname: string): Promise<void> {
    this.update(parseId(id), (k) => { k.petname = petname; });
    await this.#c.records.commit();
  }

  /** What two people compare to be sure of each other's root keys: 60 digits. */
  async safetyNumber(id: string): Promise<string> {
    return (await import("../identity/safety.ts")).safetyNumber(this.#c.self, parseId(id));
  }

  /** Compares what the other person read out, or what a scan gave, with the safety number. */
  async verify(id: string, spoken: string): Promise<void> {
    const digits = (s: string) => s.replace(/[^0-9]/g, "");
    if (digits(spoken) !== digits(await this.safetyNumber(id))) throw refuse("key_alarm", "the numbers differ; somebody may stand between you, or one of you has another contact in mind");
    this.update(parseId(id), (k) => {
      k.verified = true;
      k.changed = false;
      delete k.comparedMs;
    });
    await this.#c.records.commit();
  }

  /** Counts a contact as verified whose code was read and matched, and tells it so (docs/spec/identity.md, section 7). */
  async compared(id: string): Promise<void> {
    await this.verify(id, await this.safetyNumber(id));
    await this.#c.sending.deliverAll(this.writable(parseId(id)), { body: { type: Type.compared }, lifeMs: weekMs, ttl: Ttl.week });
  }

  /** Ends an alarm after the person decided to go on with the pinned devices. */
  async resolve(id: string): Promise<void> {
    this.update(parseId(id), (k) => {
      k.evidence = [];
      k.changed = false;
    });
    await this.#c.records.commit();
  }

  /** A contact to whom something may be sent now. */
  writable(root: PublicKey): ContactRecord {
    const k = this.get(root);
    if (k === undefined) throw refuse("no_contact", "no such contact");
    if (k.state !== "accepted") throw refuse("policy", "the contact is not accepted on both sides");
    if (k.evidence.length > 0) throw refuse("key_alarm", "the keys of this contact contradict what was seen before");
    return k;
  }

  /** Holds a list against what is pinned for its identity and keeps the newer one. A contradiction is an alarm. */
  async pin(list: DeviceList): Promise<void> {
    if (list.root.equals(this.#c.self)) return; // own lists have their own door
    const now = this.#c.now();
    const k = this.get(list.root);
    if (k === undefined) {
      checkPin(undefined, list, now); // nobody we know: the caller decides whether it becomes a contact
      return;
    }
    let verdict;
    try {
      verdict = checkPin(pinOf(k.pin), list, now);
    } catch (err) {
      if (!isCode(err, "equivocation") && !isCode(err, "recovery_changed")) throw err;
      this.update(list.root, (k) => {
        k.changed = true;
        const evidence = hex(list.signed);
        if (k.evidence.length < maxEvidence && !k.evidence.includes(evidence)) k.evidence.push(evidence);
      });
      await this.#c.records.commit();
      this.#c.tell({ type: "alarm", from: list.root.id(), what: "two device lists of the same epoch, or a changed recovery key" });
      throw refuse("key_alarm", "the keys of this contact contradict what was seen before", err);
    }
    if (verdict.change === "same") return;
    this.update(list.root, (k) => {
      k.changed ||= verdict.change === "jumped";
      k.pin = pinRecord(advancePin(pinOf(k.pin), list, now));
      k.list = hex(list.signed);
    });
    await this.#c.records.commit();
    if (verdict.change !== "first") this.#c.tell({ type: "devices-changed", from: list.root.id() });
  }

  /** Tells the own other devices what was decided about a contact. */
  sync(root: string): void {
    this.#c.background("tell the own devices of a contact", async () => {
      const k = this.get(root);
      const body = k === undefined ? undefined : syncBody(k);
      if (body !== undefined) await this.#c.own.toDevices({ body, lifeMs: weekMs, ttl: Ttl.week });
    });
  }
}

export function key(h: string): PublicKey {
  return PublicKey.check(unhex(h));
}

function addressText(root: string, domain: string): string {
  // Whom one met without a node may have none.
  return domain === "" ? key(root).id() : formatAddress({ root: key(root), domain });
}

export function newContact(root: string, domain: string, home: string, addedMs: number): ContactRecord {
  return {
    root, domain, home, state: "known", name: "", petname: "", text: "", verified: false, changed: false, pin: null, list: "", evidence: [], grants: [],
    given: {}, told: {}, addedMs,
  };
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

function contactOf(k: ContactRecord): Contact {
  return {
    id: key(k.root).id(), address: addressText(k.root, k.domain), name: k.petname || k.name, state: k.state, verified: k.verified, comparedMs: k.comparedMs, knock: k.text,
    devices: listOf(k.list)?.devices.length ?? 0, changed: k.changed, alarm: k.evidence.length > 0,
  };
}
