// People: who is known, and their devices pinned. What is decided about them is in people.ts, and how one asks them in arrive.ts.

import { checkAbort } from "../abort.ts";
import { hex, unhex } from "../bytes.ts";
import type { Known, Standing } from "../envelope/open.ts";
import { isCode, refuse } from "../errors.ts";
import { type Address, formatAddress, parseAddress, parseId } from "../identity/address.ts";
import { advancePin, checkPin, type DeviceList, type Home } from "../identity/device.ts";
import { PublicKey } from "../identity/key.ts";
import type { Core } from "./core.ts";
import { type ContactRecord, type ContactState, type HomeRecord, type KnockRecord, listOf, pinOf, pinRecord } from "./records.ts";

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
    return contactOf(await this.lookUp(typeof address === "string" ? parseAddress(address) : address, signal));
  }

  async lookUp(a: Address, signal: AbortSignal | undefined): Promise<ContactRecord> {
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

  /** Remembers that the contact holds the token of that time. */
  async gave(root: string, home: HomeRecord): Promise<void> {
    this.update(root, (k) => { k.given[home.domain] = home.tokenEpoch; });
    await this.#c.records.commit();
  }

  /** Our own name for a contact, which stays on this device. Whoever opened a link gives the name that stands in it. */
  async rename(id: string, petname: string): Promise<void> {
    this.update(parseId(id), (k) => { k.petname = petname; });
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

export function contactOf(k: ContactRecord): Contact {
  return {
    id: key(k.root).id(), address: addressText(k.root, k.domain), name: k.petname || k.name, state: k.state, verified: k.verified, comparedMs: k.comparedMs, knock: k.text,
    devices: listOf(k.list)?.devices.length ?? 0, changed: k.changed, alarm: k.evidence.length > 0,
  };
}
