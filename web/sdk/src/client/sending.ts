// The way out: whom of a contact's devices a letter goes to, sealed for each, with leave to deliver or as a knock.

import { type Bytes, hex, unhex } from "../bytes.ts";
import { type Body, Type } from "../envelope/bodies.ts";
import type { Bundle } from "../envelope/prekey.ts";
import { type Sealed, sealMessage } from "../envelope/seal.ts";
import { knockSize, Ttl } from "../envelope/types.ts";
import { refuse, TrunklineError } from "../errors.ts";
import type { DeviceList } from "../identity/device.ts";
import { type DeviceId, PeerId, type PublicKey } from "../identity/key.ts";
import { isTemporary } from "../link/wire.ts";
import { key } from "./contacts.ts";
import { type Core, weekMs } from "./core.ts";
import type { Person } from "./directory.ts";
import { Seldom } from "./events.ts";
import type { ContactRecord, Fate, GrantRecord } from "./records.ts";

/** One sealed message before it is sealed: the same for every device it goes to. */
export interface Letter {
  readonly body: Body;
  readonly lifeMs: number;
  readonly ttl: Ttl;
  readonly id?: Bytes;
  readonly sessionId?: Bytes;
  readonly collapse?: Bytes;
  /** Carries the own grant: only to people we said yes to. */
  readonly withGrant?: boolean;
  /** Goes as a knock whatever grant there is. */
  readonly knock?: boolean;
  readonly fate?: (device: DeviceId, f: Fate, code: string) => void;
}

/** One device with what is needed to write to it. */
export interface Addressee {
  readonly contact: ContactRecord;
  readonly list: DeviceList;
  readonly bundle: Bundle;
  /** Absent: only a knock reaches it. */
  readonly grant: GrantRecord | undefined;
}

const knockAgainMs = 3_600_000;

export class Sending {
  readonly #c: Core;
  readonly #refusedTokens = new Map<string, string>(); // by device: a token that a node did not take
  readonly #knocking = new Seldom();

  constructor(c: Core) {
    this.#c = c;
  }

  /** The devices of a contact that can be written to: only those that the pinned, signed list names. */
  async addressees(k: ContactRecord, signal?: AbortSignal): Promise<Addressee[]> {
    if (k.evidence.length > 0) throw refuse("key_alarm", "the keys of this contact contradict what was seen before");
    const p: Person = await this.#c.directory.person(key(k.root), k.domain, k.home === "" ? undefined : PeerId.fromBytes(unhex(k.home)), signal);
    const fresh = this.#c.contacts.get(k.root) ?? k;
    return p.list.devices.flatMap((cert) => {
      const bundle = p.bundles.get(cert.deviceId.hex);
      if (bundle === undefined || cert.deviceId.equals(this.#c.deviceId)) return [];
      const tag = hex(bundle.route.tag);
      const grant = fresh.grants.find((g) => g.device === cert.deviceId.hex && g.tag === tag && this.#refusedTokens.get(g.device) !== g.token);
      return [{ contact: fresh, list: p.list, bundle, grant }];
    });
  }

  /** Seals a letter to one device and posts it. */
  async deliver(a: Addressee, l: Letter): Promise<Sealed> {
    const now = this.#c.now();
    const sealed = await sealMessage(this.#c.device, this.#c.ownCert(), a.bundle, {
      body: l.body, createdMs: now, expiresMs: now + l.lifeMs, ...(l.id === undefined ? {} : { id: l.id }),
      ...(l.sessionId === undefined ? {} : { sessionId: l.sessionId }), grant: l.withGrant ? await this.#c.mailbox.ownGrant() : undefined,
      ownList: this.#c.mustOwnList(), theirList: a.list,
    });
    await this.dispatch(a, l, hex(sealed.id), sealed.payload);
    return sealed;
  }

  /**
   * Posts a sealed payload, with the token where there is one. When the token is no longer taken the same payload
   * goes once more as a knock, which an accepted contact's device answers with a new token.
   */
  async dispatch(a: Addressee, l: Letter, message: string, payload: Bytes): Promise<string> {
    const knock = l.knock === true || a.grant === undefined;
    if (knock && payload.length !== knockSize) throw refuse("policy", "what is longer than a knock needs leave to deliver first");
    const { bundle, grant } = a;
    return this.#c.ledger.post({
      to: bundle.root, device: bundle.deviceId, home: bundle.route.home, ttl: l.ttl, payload, message,
      hop: {
        tag: bundle.route.tag, hint: bundle.prekeyId.slice(0, 2), ...(l.collapse === undefined ? {} : { collapse: l.collapse }),
        ...(knock ? { knock: true } : { token: unhex(grant!.token) }),
      },
      fate: (f, code) => {
        if (f === "refused" && code === "refused" && !knock) {
          this.#refusedTokens.set(grant!.device, grant!.token);
          if (l.ttl !== Ttl.live && payload.length === knockSize) {
            this.#c.background("send as a knock", async () => void (await this.dispatch(a, { ...l, knock: true }, message, payload)));
            return;
          }
          this.#askForToken(a);
        }
        l.fate?.(bundle.deviceId, f, code);
        this.#c.fate(a.contact.root, message, f, code);
      },
    });
  }

  // What is to be sent is too long for a knock itself.
  #askForToken(a: Addressee): void {
    if (!this.#knocking.allow(a.bundle.deviceId.hex, this.#c.now(), knockAgainMs)) return;
    this.#c.background("ask for a delivery token", async () => {
      await this.deliver({ ...a, grant: undefined }, {
        body: { type: Type.knock, text: "", name: "", home: this.#c.homeOf() }, lifeMs: weekMs, ttl: Ttl.week, withGrant: true, knock: true,
      });
    });
  }

  async toDevice(root: PublicKey, device: DeviceId, l: Letter): Promise<void> {
    const k = this.#c.contacts.get(root);
    if (k === undefined) return;
    const a = (await this.addressees(k)).find((a) => a.bundle.deviceId.equals(device));
    if (a === undefined) throw refuse("unreachable", "this device of a contact offers no key to write to");
    await this.deliver(a, l);
  }

  /** Sends a letter to every device of a contact. It fails only when no device could be written to. */
  async deliverAll(k: ContactRecord, l: Letter): Promise<void> {
    let sent = 0;
    let failed: unknown = refuse("unreachable", "no device of this contact offers a key to write to");
    for (const a of await this.addressees(k)) {
      try {
        await this.deliver(a, l);
        sent++;
      } catch (err) {
        if (!(err instanceof TrunklineError) || err.code === "storage") throw err;
        failed = err;
      }
    }
    if (sent === 0) throw failed;
  }
}

/** Waits and hides errors that end by themselves: what was to be done is still to be done. */
export async function passing(work: Promise<void>, ...also: readonly string[]): Promise<void> {
  try {
    await work;
  } catch (err) {
    if (!isTemporary(err) && !(err instanceof TrunklineError && also.includes(err.code))) throw err;
  }
}
