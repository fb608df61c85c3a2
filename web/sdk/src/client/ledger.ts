// The account of every envelope that this device sent. It is written down before its bytes leave, stays until
// its fate is known, and a retry sends identical bytes, so that a node recognises it. Retries are in ledgerwork.ts.

import { hex, unhex, type Bytes } from "../bytes.ts";
import { envelopeId, HopSender, marshalEnvelope, newEnvelope, type Hop } from "../envelope/envelope.ts";
import { Ttl } from "../envelope/types.ts";
import { TrunklineError } from "../errors.ts";
import type { Home } from "../identity/device.ts";
import { PeerId, type DeviceId, type PublicKey } from "../identity/key.ts";
import { isPassing, ReceiptClass, type NodeKind } from "../link/frames.ts";
import type { Wire } from "../link/wire.ts";
import type { Directory } from "./directory.ts";
import { Attempts } from "./events.ts";
import type { Fate, LedgerRecord } from "./records.ts";
import type { Records } from "./store.ts";

export interface Outgoing {
  readonly to: PublicKey;
  readonly device: DeviceId;
  readonly home: Home;
  readonly ttl: Ttl;
  readonly hop: Hop;
  readonly payload: Bytes;
  readonly message?: string;
  /** What the frames of one session share; for the class live only. */
  readonly shared?: SharedHop;
  /** Told each step once. */
  readonly fate?: (f: Fate, code: string) => void;
}

/** The encapsulation of one session's frames, made anew when node, routing key, tag or token change. */
export class SharedHop {
  #key = "";
  #sender: HopSender | undefined;

  sender(routingKey: Uint8Array, destination: PeerId, hop: Hop, handle: string): HopSender {
    const key = [hex(routingKey), destination.hex, hex(hop.tag), hex(hop.token ?? hop.tag), handle].join("/");
    if (this.#sender === undefined || key !== this.#key) {
      this.#key = key;
      this.#sender = new HopSender(routingKey, destination, hop);
    }
    return this.#sender;
  }

  renew(): void { this.#sender = undefined; }
}

export interface LedgerHost {
  readonly records: Records;
  readonly directory: Directory;
  now(): number;
  /** The wire of this moment. */
  linked(): Wire | undefined;
  /** Fates of envelopes of an earlier run, which nobody watches. */
  orphan(r: LedgerRecord, f: Fate, code: string): void;
  background(what: string, work: () => Promise<void>): void;
}

const liveDeadlineMs = 10_000;
const ttlMs: Record<number, number> = { 0: liveDeadlineMs, 1: 60_000, 2: 86_400_000, 3: 7 * 86_400_000 };

function isFinal(f: Fate): boolean {
  return f === "delivered" || f === "expired" || f === "refused";
}

/** Order of what can still change: a later step never goes back. */
const rank: Record<Fate, number> = { submitted: 0, accepted: 1, stored: 2, delivered: 3, expired: 3, refused: 3 };

export class Ledger {
  readonly #h: LedgerHost;
  readonly #open = new Map<string, LedgerRecord>();
  /** On their way to the own node, without an answer yet. */
  readonly flying = new Set<string>();
  readonly #watch = new Map<string, (f: Fate, code: string) => void>();
  readonly attempts = new Attempts();

  constructor(h: LedgerHost) {
    this.#h = h;
    for (const [id, r] of h.records.list<LedgerRecord>("ledger/")) this.#open.set(id, r);
  }

  /** Envelopes without a final fate. */
  get open(): readonly LedgerRecord[] { return [...this.#open.values()]; }

  /** Whether an open envelope carries a message. */
  carries(message: string): boolean {
    return this.open.some((r) => r.message === message);
  }

  /** Makes an envelope, writes it down and hands it to the link. Without a link it waits here. */
  async post(o: Outgoing): Promise<string> {
    const node = await this.#h.directory.node(o.home.domain, o.home.peerId);
    let e;
    if (o.shared === undefined) {
      e = await newEnvelope(node.routingKey, node.peerId, o.ttl, o.hop, o.payload);
    } else {
      const handle = hex(o.payload.subarray(0, 8));
      const make = () => o.shared!.sender(node.routingKey, node.peerId, o.hop, handle).envelope(o.payload);
      try {
        e = await make();
      } catch (err) {
        if (!(err instanceof TrunklineError) || err.code !== "exhausted") throw err;
        o.shared.renew();
        e = await make();
      }
    }
    const now = this.#h.now();
    const id = hex(envelopeId(e));
    const r: LedgerRecord = {
      id, message: o.message ?? "", contact: o.to.hex, device: o.device.hex, dest: hex(node.peerId.bytes), domain: o.home.domain, ttl: o.ttl,
      envelope: hex(marshalEnvelope(e)), atMs: now, deadlineMs: now + ttlMs[o.ttl]!, fate: "submitted", code: "",
    };
    this.#open.set(id, r);
    if (o.fate !== undefined) this.#watch.set(id, o.fate);
    // Frames of a call are worth nothing after a crash: their keys are gone.
    if (o.ttl !== Ttl.live) {
      this.#h.records.set(`ledger/${id}`, r);
      await this.#h.records.commit();
    }
    this.send(r);
    return id;
  }

  /** Hands an envelope to the link, unless it is on its way there or there is none. */
  send(r: LedgerRecord): void {
    const w = this.#h.linked();
    if (w === undefined || this.flying.has(r.id)) return;
    this.flying.add(r.id);
    try {
      w.ask({ case: "submit", value: { envelope: unhex(r.envelope) } }, (answer) => this.#receipt(r, answer));
    } catch {
      this.flying.delete(r.id); // the wire has just ended; the next one sends it
    }
  }

  #receipt(r: LedgerRecord, answer: NodeKind | TrunklineError): boolean {
    if (answer instanceof TrunklineError) {
      this.flying.delete(r.id);
      return false;
    }
    if (answer.case === "error") return this.#refused(r, answer.value.code);
    if (answer.case !== "receipt") return true;
    const { class: c, code } = answer.value;
    if (c === ReceiptClass.accepted) {
      this.settle(r, "accepted");
      return true;
    }
    if (c === ReceiptClass.refused) {
      // The routing key has changed, or the own node forgot the way: ask anew next time.
      if (code === "unknown_destination") this.#h.directory.forgetNode(PeerId.fromBytes(unhex(r.dest)).hex);
      return this.#refused(r, code);
    }
    this.flying.delete(r.id);
    if (c === ReceiptClass.delivered) this.settle(r, "delivered");
    if (c === ReceiptClass.stored) this.settle(r, "stored");
    if (c === ReceiptClass.expired) this.settle(r, "expired", code);
    return false;
  }

  // A refusal that time mends does not end a stored envelope; a ring or a frame is of no use later.
  #refused(r: LedgerRecord, code: string): false {
    this.flying.delete(r.id);
    if (!isPassing(code) || r.ttl === Ttl.live || r.ttl === Ttl.ring) this.settle(r, "refused", code);
    return false;
  }

  /** Writes a fate down and tells who waits for it. */
  settle(r: LedgerRecord, fate: Fate, code = ""): void {
    if (!this.#open.has(r.id) || rank[fate] <= rank[r.fate]) return;
    r.fate = fate;
    r.code = code;
    const final = isFinal(fate);
    if (final) {
      this.#open.delete(r.id);
      this.attempts.done(r.id);
      this.#h.records.delete(`ledger/${r.id}`);
    } else if (r.ttl !== Ttl.live) {
      this.#h.records.set(`ledger/${r.id}`, r);
    }
    this.#h.background("write the ledger", () => this.#h.records.commit());
    const tell = this.#watch.get(r.id);
    if (final) this.#watch.delete(r.id);
    if (tell !== undefined) tell(fate, code);
    else this.#h.orphan(r, fate, code);
  }

  /** What was on its way may be sent again. */
  linkLost(): void { this.flying.clear(); }

  linkUp(): void {
    this.attempts.again();
    for (const r of this.open) if (r.fate === "submitted") this.send(r);
  }
}
