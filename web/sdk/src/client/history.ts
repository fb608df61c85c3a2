// The history: what was written, in both directions. The course of a note (its state, its times) is a record as the
// others are; its text is sealed by the vault and stands apart, so that opening a client reads none of them and a
// page reads only its own.
//
// Limits: a text has at most 16,384 bytes (envelope.md). A conversation holds 5,000 notes; beyond that the oldest go, a
// tenth at a time, but none that is still on its way. What is deleted is gone as far as the storage lets it go: see Store.

import { checkAbort, type Abortable } from "../abort.ts";
import { text, utf8 } from "../bytes.ts";
import { refuse } from "../errors.ts";
import { parseId } from "../identity/address.ts";
import type { Core } from "./core.ts";
import { noteKey, type NoteRecord, type NoteState } from "./records.ts";
import { laterPrefix, type Change, type Store, type Vault } from "./store.ts";

/** One note of a conversation. */
export interface Note {
  /** 32 hexadecimal digits; the same on every device of both people. */
  readonly id: string;
  /** Whether this side wrote it. */
  readonly out: boolean;
  readonly text: string;
  /** Id of the note that it answers, or empty. */
  readonly replyTo: string;
  /** When its writer says that it was written, in milliseconds since 1970. */
  readonly createdMs: number;
  readonly state: NoteState;
  /** Why it was refused, in the node's own word (client-link.md, section 9). */
  readonly code: string;
  /** Its place in the conversation on this device; grows, and is never used again. */
  readonly place: number;
}

/** Which part of a conversation is asked for. */
export interface PageOptions extends Abortable {
  /** Only what stands before this place: the smallest of the page before. Absent: the newest. */
  readonly before?: number;
  /** 1 to 200; 50 where it is absent. */
  readonly limit?: number;
}

/** A part of a conversation, oldest first. */
export interface Page {
  readonly notes: readonly Note[];
  /** Whether there is more before it. */
  readonly more: boolean;
}

/** Notes that a conversation holds; beyond that the oldest go. */
export const maxConversation = 5_000;
const maxPage = 200;

/** What the client does with it. */
export class History {
  readonly #c: Core;
  #place = 0;
  readonly #counts = new Map<string, number>();

  constructor(c: Core) {
    this.#c = c;
    for (const n of this.all()) {
      this.#place = Math.max(this.#place, n.place);
      this.#count(n.contact, 1);
    }
  }

  #count(contact: string, change: number): number {
    const n = (this.#counts.get(contact) ?? 0) + change;
    this.#counts.set(contact, n);
    return n;
  }

  /** The next place. */
  next(): number { return ++this.#place; }

  get(contact: string, out: boolean, id: string): NoteRecord | undefined {
    return this.#c.records.get<NoteRecord>(noteKey(contact, out, id));
  }

  /** Seals a text, for add. It comes before the changes that belong together, because sealing takes a moment. */
  seal(t: string): Promise<Uint8Array> { return this.#c.options.vault.wrap(utf8(t)); }

  /** Writes a note down; commit makes it durable. */
  add(n: NoteRecord, sealed: Uint8Array): void {
    this.#c.records.setLater(noteKey(n.contact, n.out, n.id, laterPrefix), sealed);
    this.#c.records.set(noteKey(n.contact, n.out, n.id), n);
    if (this.#count(n.contact, 1) <= maxConversation) return;
    const ended = this.#conversation(n.contact).filter((n) => !n.out || n.state === "read" || n.state === "refused" || n.state === "expired");
    for (const old of ended.slice(0, maxConversation / 10)) this.#drop(old);
  }

  update(contact: string, out: boolean, id: string, change: (n: NoteRecord) => void): NoteRecord | undefined {
    const n = this.get(contact, out, id);
    if (n === undefined) return undefined;
    change(n);
    this.#c.records.set(noteKey(contact, out, id), n);
    return n;
  }

  /** Every note of every conversation, without its text. */
  all(): NoteRecord[] { return [...this.#c.records.list<NoteRecord>("note/")].map(([, n]) => n); }

  #conversation(contact: string): NoteRecord[] {
    return [...this.#c.records.list<NoteRecord>(`note/${contact}/`)].map(([, n]) => n).sort((a, b) => a.place - b.place);
  }

  async text(n: NoteRecord): Promise<string> {
    const [sealed] = await this.#c.records.readLater([noteKey(n.contact, n.out, n.id, laterPrefix)]);
    return this.#open(sealed);
  }

  async #open(sealed: Uint8Array | undefined): Promise<string> {
    if (sealed === undefined) throw refuse("storage", "the text of a note is gone from this storage");
    return text(await this.#c.options.vault.unwrap(sealed));
  }

  async page(id: string, o: PageOptions = {}): Promise<Page> {
    const { before = Infinity, limit = 50, signal } = o;
    if (!Number.isInteger(limit) || limit < 1 || limit > maxPage) throw refuse("malformed", `a page has 1 to ${maxPage} notes`);
    checkAbort(signal);
    const all = this.#conversation(parseId(id).hex).filter((n) => n.place < before);
    const those = all.slice(-limit);
    const sealed = await this.#c.records.readLater(those.map((n) => noteKey(n.contact, n.out, n.id, laterPrefix)));
    checkAbort(signal);
    const notes: Note[] = [];
    for (const [i, { id, out, replyTo, createdMs, state, code, place, contact }] of those.entries()) {
      // Deleted since it was listed: it is not shown.
      if (sealed[i] === undefined && this.get(contact, out, id) === undefined) continue;
      notes.push({ id, out, text: await this.#open(sealed[i]), replyTo, createdMs, state, code, place });
    }
    return { notes, more: all.length > those.length };
  }

  async delete(id: string): Promise<void> {
    for (const n of this.#conversation(parseId(id).hex)) this.#drop(n);
    await this.#c.records.commit();
  }

  #drop(n: NoteRecord): void {
    this.#count(n.contact, -1);
    this.#c.records.delete(noteKey(n.contact, n.out, n.id));
    this.#c.records.setLater(noteKey(n.contact, n.out, n.id, laterPrefix), undefined);
  }
}

/** Storage of the first format has the texts in the clear, in the records: seals them. */
export async function sealOldTexts(store: Store, vault: Vault, map: Map<string, Uint8Array>): Promise<void> {
  const changes: Change[] = [];
  for (const [key, value] of map) {
    if (!key.startsWith("note/")) continue;
    const { text: t, order, ...rest } = JSON.parse(text(value)) as Omit<NoteRecord, "place"> & { text: string; order: number };
    const record = utf8(JSON.stringify({ ...rest, place: order } satisfies NoteRecord));
    changes.push({ key: laterPrefix + key.slice("note/".length), value: await vault.wrap(utf8(t)) }, { key, value: record });
    map.set(key, record);
  }
  const profile = utf8(JSON.stringify({ ...JSON.parse(text(map.get("profile")!)) as object, version: 2 }));
  map.set("profile", profile);
  await store.write([...changes, { key: "profile", value: profile }]);
}
