// What comes over the link: taken in order, opened, done, and acknowledged when it is safely kept.

import { type Bytes, copy, equal, hex, unhex } from "../bytes.ts";
import { type BodyOf, Type } from "../envelope/bodies.ts";
import { type Opened, Opener, ReplayError } from "../envelope/open.ts";
import { MemoryReplay } from "../envelope/replay.ts";
import { isSealed } from "../envelope/seal.ts";
import { isCode, refuse, TrunklineError } from "../errors.ts";
import type { PublicKey } from "../identity/key.ts";
import { maxAcks, type NodeKindOf } from "../link/frames.ts";
import type { Wire } from "../link/wire.ts";
import type { Core } from "./core.ts";
import { type ClientEvent, Seldom } from "./events.ts";
import { noteKey } from "./records.ts";
import { Incoming, isOfCall } from "./incoming.ts";

/** What calls need of the client; see calls.ts. */
export interface CallHandler {
  onRing(o: Opened, body: BodyOf<typeof Type.ring>): void;
  onCancel(o: Opened, body: BodyOf<typeof Type.cancel>): void;
  /** A payload that is no sealed message. */
  onFrame(payload: Bytes): void;
  endWith(root: PublicKey): void;
  stop(): void;
}

const againMs = 60_000;

interface ReplayRecord { readonly untilMs: number; readonly stranger: boolean }

export class Inbox {
  readonly opener: Opener;
  opening: Promise<void> | undefined;
  readonly #c: Core;
  readonly incoming: Incoming;
  readonly #replay: MemoryReplay;
  readonly #acking = new Seldom();
  #replayed: { key: string; record: ReplayRecord } | undefined; // recorded with the effect of its message
  #waiting: { readonly d: NodeKindOf<"deliver">; readonly over: Wire }[] = [];
  #early = new Map<Wire, number>(); // acknowledged before the wire became the link
  #backlog = 0;
  #over: Wire | undefined; // the wire that the backlog belongs to

  constructor(c: Core) {
    this.#c = c;
    this.incoming = new Incoming(c);
    this.#replay = new MemoryReplay(() => this.#c.now());
    for (const [key, r] of c.records.list<ReplayRecord>("replay/")) {
      const [dev, id] = key.split("/");
      if (this.#c.now() >= r.untilMs) c.records.delete(`replay/${key}`);
      else this.#replay.restore(dev!, id!, r.untilMs, r.stranger);
    }
    this.opener = new Opener({
      root: this.#c.self, device: this.#c.deviceId, tag: () => unhex(this.#c.home().tag), now: () => this.#c.now(), ownList: () => this.#c.ownList(),
      prepare: async (type) => { if (!isOfCall(type)) await this.#c.later(); },
      prekey: (hint) => this.#c.prekeys.all.find((p) => equal(p.hint, hint)), contact: (root) => this.#c.contacts.standing(root),
      replay: {
        seen: async (dev, id, untilMs, stranger) => {
          const dup = this.#replay.check(dev, id, untilMs, stranger);
          // Written with what the message does, so that neither is without the other after a crash.
          if (!dup) this.#replayed = { key: `replay/${dev.hex}/${hex(id)}`, record: { untilMs, stranger } };
          return dup;
        },
      },
    });
  }

  deliver(d: NodeKindOf<"deliver">, over: Wire): void {
    // A mailbox holds 128 envelopes and a call a few dozen frames; what does not fit comes again with the next link.
    if (this.#waiting.length >= 1024) return over.close(refuse("unreachable", "more came than could be taken"));
    this.#waiting.push({ d, over });
    this.opening ??= this.#openAll().catch((err: unknown) => this.#c.end(err instanceof Error ? err : new Error(String(err)))).finally(() => { this.opening = undefined; });
  }

  /** Opens what arrived, one after the other, and acknowledges what is safely kept. */
  async #openAll(): Promise<void> {
    while (this.#waiting.length > 0) {
      const { over } = this.#waiting[0]!;
      const acks: bigint[] = [];
      const late: NodeKindOf<"deliver">[] = [];
      while (this.#waiting.length > 0 && this.#waiting[0]!.over === over && acks.length < maxAcks) {
        const { d } = this.#waiting.shift()!;
        try {
          await this.#handle(d);
        } catch (err) {
          if (!(err instanceof TrunklineError) || err.code === "storage") throw err;
          if ((err.code === "rate" || err.code === "unreachable") && d.storedId !== 0n) {
            late.push(d); // it must not be acknowledged unread; unreachable is what takes it (see prepare)
            continue;
          }
          // The mailbox gives again what it heard no acknowledgement of, as when the link ended before it.
          this.#c.options.log?.(err instanceof ReplayError && d.storedId !== 0n ? "a delivery came again" : "a delivery was dropped", err.code);
        }
        if (d.storedId !== 0n) acks.push(d.storedId);
      }
      if (late.length > 0) {
        this.#c.cancels.push(this.#c.timers.after(500, () => {
          for (const d of late) this.deliver(d, over);
        }));
      }
      // Where the wire has ended they come again with the next one, and are recognised.
      if (acks.length === 0 || over.ended !== undefined) continue;
      over.send({ case: "ack", value: { storedIds: acks } });
      if (this.#over === over) this.#backlog -= acks.length;
      else this.#early.set(over, (this.#early.get(over) ?? 0) + acks.length);
    }
  }

  /** Whether everything that waited in the mailbox when the link began has been taken. */
  get fetched(): boolean {
    return this.#c.link.wire !== undefined && this.#backlog <= 0;
  }

  async #handle(d: NodeKindOf<"deliver">): Promise<void> {
    const payload = copy(d.payload);
    if (!isSealed(payload)) return this.#c.calls?.onFrame(payload);
    this.#replayed = undefined;
    const events: ClientEvent[] = [];
    const after: (() => void)[] = [];
    try {
      const o = await this.opener.open(payload, d.hint, d.knock);
      // Before the entry that recognises a replay: nothing may come between that and what the message does.
      const sealed = o.content.type === Type.note ? await this.#c.rest!.history.seal(o.content.text) : undefined;
      this.#record();
      await this.incoming.act(o, sealed, events, after);
    } catch (err) {
      if (err instanceof ReplayError) this.#again(err);
      if (isCode(err, "storage")) this.#replayed = undefined; // it was not kept: it shall come again
      throw err;
    } finally {
      this.#record();
      await this.#c.records.commit();
    }
    for (const e of events) this.#c.tell(e);
    for (const f of after) f();
  }

  // Called with the first change that a message makes, or when it makes none.
  #record(): void {
    if (this.#replayed === undefined) return;
    this.#c.records.set(this.#replayed.key, this.#replayed.record);
    this.#replayed = undefined;
  }

  /** A note that came twice is acknowledged again: the first receipt may be lost. */
  #again(r: ReplayError): void {
    const id = hex(r.id);
    if (r.type !== Type.note || r.standing !== "accepted" || !this.#acking.allow(id, this.#c.now(), againMs)) return;
    if (this.#c.records.raw(noteKey(r.sender.hex, false, id)) !== undefined) this.#c.rest!.notes.acknowledge(r.sender.hex, [id]);
  }

  /** A wire has become the link: so many envelopes waited in the mailbox. */
  begin(w: Wire, waiting: number): void {
    this.#backlog = waiting - (this.#early.get(w) ?? 0);
    this.#early = new Map();
    this.#over = w;
  }

  /** Whether what waited in the mailbox may still need old prekeys. */
  get busy(): boolean { return this.#backlog > 0 || this.#waiting.length > 0; }

  /** Forgets messages that are too old to be taken for new. */
  dropOld(): void {
    for (const [key, r] of this.#c.records.list<ReplayRecord>("replay/")) if (this.#c.now() >= r.untilMs) this.#c.records.delete(`replay/${key}`);
  }
}
