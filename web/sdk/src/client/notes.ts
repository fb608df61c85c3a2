// Notes: written down first, sent until their fate is known, acknowledged when they came.

import { checkAbort, type Abortable } from "../abort.ts";
import { hex, random, unhex, utf8 } from "../bytes.ts";
import { type Body, maxNoteText, Type } from "../envelope/bodies.ts";
import { Ttl } from "../envelope/types.ts";
import { refuse, TrunklineError } from "../errors.ts";
import { parseId } from "../identity/address.ts";
import { PeerId } from "../identity/key.ts";
import { isTemporary } from "../link/wire.ts";
import { key } from "./contacts.ts";
import { type Core, weekMs } from "./core.ts";
import { Attempts } from "./events.ts";
import type { Later } from "./later.ts";
import type { ContactRecord, Fate, NoteRecord, NoteState } from "./records.ts";
import { passing } from "./sending.ts";

/** How a note is sent. */
export interface MessageOptions extends Abortable {
  /** Id of the note that this one answers. */
  readonly replyTo?: string;
}

const noteGivenUpMs = 30 * 86_400_000;
const resealAfterMs = 3_600_000;
const maxReadIds = 32;

export class Notes {
  readonly attempts = new Attempts();
  readonly #c: Core;
  readonly #l: Later;
  readonly #writing = new Set<string>(); // being sealed

  constructor(c: Core, l: Later) {
    this.#c = c;
    this.#l = l;
  }

  /**
   * Writes a note into the history and sends it to every device of an accepted contact. It resolves with the id
   * when the note is durable here; note-state tells the rest. What cannot go out now is sent later by itself.
   */
  async send(to: string, written: string, o: MessageOptions = {}): Promise<string> {
    const { replyTo = "", signal } = o;
    const root = parseId(to);
    if (written === "") throw refuse("malformed", "the note is empty");
    const n = utf8(written).length;
    if (n > maxNoteText) throw refuse("too_large", `the note has ${n} bytes, ${maxNoteText} are the most: send it as a file`);
    this.#c.contacts.writable(root);
    const text = await this.#l.plugins.compose(root.hex, written);
    const sealed = await this.#l.history.seal(text);
    checkAbort(signal);
    const now = this.#c.now();
    const note: NoteRecord = {
      id: hex(random(16)), contact: root.hex, out: true, place: this.#l.history.next(), replyTo, createdMs: now, sealedMs: 0, state: "queued", code: "", acked: true,
    };
    this.#writing.add(note.id);
    try {
      this.#l.history.add(note, sealed);
      await this.#c.records.commit();
    } finally {
      this.#writing.delete(note.id);
    }
    this.#c.background("send a note", () => this.#sendOne(note));
    this.#l.plugins.message(root.hex, { out: true, text, createdMs: now });
    return note.id;
  }

  /** Keeps what was written within a call that no node carries. */
  async inCall(contact: string, out: boolean, { id, text }: { readonly id: string; readonly text: string }): Promise<void> {
    const root = parseId(contact);
    if (this.#l.history.get(root.hex, out, id) !== undefined) return;
    const sealed = await this.#l.history.seal(text);
    const now = this.#c.now();
    this.#l.history.add({
      id, contact: root.hex, out, place: this.#l.history.next(), replyTo: "", createdMs: now, sealedMs: now, state: "delivered", code: "", acked: true,
    }, sealed);
    await this.#c.records.commit();
    if (!out) this.#c.tell({ type: "note", from: contact, id, text });
  }

  async #sendOne(n: NoteRecord): Promise<void> {
    if (this.#writing.has(n.id)) return;
    this.#writing.add(n.id);
    try {
      const k = this.#c.contacts.writable(key(n.contact));
      const text = await this.#l.history.text(n);
      const body: Body = { type: Type.note, text, ...(n.replyTo === "" ? {} : { replyTo: unhex(n.replyTo) }) };
      await this.#c.sending.deliverAll(k, { body, lifeMs: weekMs, ttl: Ttl.week, id: unhex(n.id), withGrant: true });
      this.#l.history.update(n.contact, true, n.id, (n) => { n.sealedMs = this.#c.now(); });
      await this.#c.records.commit();
    } finally {
      this.#writing.delete(n.id);
    }
  }

  async resend(): Promise<void> {
    for (const n of this.#l.history.all()) {
      if (!n.out || n.state === "read" || n.state === "refused" || this.#writing.has(n.id)) continue;
      if (this.#l.history.get(n.contact, true, n.id) === undefined) continue; // deleted while others were sent
      const k = this.#c.contacts.get(n.contact);
      const now = this.#c.now();
      if (k?.state !== "accepted" || k.evidence.length > 0 || now - n.createdMs > noteGivenUpMs) continue;
      if (n.state === "queued" || n.state === "expired") {
        if (this.#c.ledger.carries(n.id)) continue; // the ledger sends the same envelope again
      } else if (n.state !== "delivered" || !(await this.#resealDue(k, n))) {
        continue;
      }
      if (this.attempts.ready(n.id, now)) await passing(this.#sendOne(n), "policy");
    }
  }

  // A note that was fetched and not acknowledged is sealed anew when its reader has a younger prekey. The reader
  // knows the message id, so a note that it has is acknowledged once more and nothing else.
  async #resealDue(k: ContactRecord, n: NoteRecord): Promise<boolean> {
    if (this.#c.now() - n.sealedMs < resealAfterMs) return false;
    const p = await this.#c.directory.person(key(k.root), k.domain, k.home === "" ? undefined : PeerId.fromBytes(unhex(k.home)));
    return [...p.bundles.values()].some((b) => b.notBefore * 1000 > n.sealedMs);
  }

  // A note goes to several devices; the furthest of them counts, and an end counts only when nothing else came of it.
  fate(contact: string, id: string, fate: Exclude<Fate, "submitted">, code: string): void {
    const mends = code === "refused" || code === "unknown_destination" || isTemporary(new TrunklineError("refused", "", { nodeCode: code }));
    const to: NoteState = fate === "refused" ? (mends ? "queued" : "refused") : fate;
    const ended = to === "expired" || to === "refused" || to === "queued";
    if (ended && this.#c.ledger.carries(id)) return; // another device's envelope is still on its way
    const way: Partial<Record<NoteState, number>> = { queued: 0, accepted: 1, stored: 2, delivered: 3 };
    let moved = false;
    const n = this.#l.history.update(contact, true, id, (n) => {
      if (n.state === "read" || n.state === to || (ended && n.state === "delivered")) return;
      if (!ended && n.state in way && way[to]! < way[n.state]!) return;
      n.state = to;
      n.code = code;
      moved = true;
    });
    if (n === undefined || !moved) return;
    this.#c.background("write the history", () => this.#c.records.commit());
    this.#c.tell({ type: "note-state", to: key(contact).id(), id, state: n.state, code });
  }

  acknowledge(root: string, ids: readonly string[]): void {
    this.#c.background("acknowledge notes", async () => {
      await this.#c.sending.deliverAll(this.#c.contacts.writable(key(root)), { body: { type: Type.read, ids: ids.map(unhex) }, lifeMs: weekMs, ttl: Ttl.week, withGrant: true });
      for (const id of ids) this.#l.history.update(root, false, id, (n) => { n.acked = true; });
      await this.#c.records.commit();
    });
  }

  acknowledgeOld(): void {
    const due = new Map<string, string[]>();
    for (const n of this.#l.history.all()) {
      if (n.out || n.acked || this.#c.now() - n.createdMs > noteGivenUpMs || this.#c.contacts.get(n.contact)?.state !== "accepted") continue;
      due.set(n.contact, [...(due.get(n.contact) ?? []), n.id]);
    }
    for (const [root, ids] of due) for (let i = 0; i < ids.length; i += maxReadIds) this.acknowledge(root, ids.slice(i, i + maxReadIds));
  }
}
