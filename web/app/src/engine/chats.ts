import type { Note as SdkNote } from '@trunkline/sdk';
import type { Live } from '../live.ts';
import { attempt } from '../problems.ts';
import type { Note, Problem } from '../state.ts';

/** Longest note within a call, of the specification. */
const maxInCall = 8192;
const seenKey = (id: string) => `app/seen/${id}`;

/** What people wrote to each other. */
export class Chats {
  private readonly live: Live;
  private reading: Promise<void> = Promise.resolve();
  private readonly pages = new Map<string, number>(); // of a chat, that are on the screen

  constructor(live: Live) {
    this.live = live;
  }

  /** Reads what a chat shows anew; one after the other, so that an older answer never covers a newer one. */
  show(id: string): void {
    this.reading = this.reading.then(() => this.read(id));
    this.live.run(this.reading);
  }

  private async read(id: string): Promise<void> {
    const client = this.live.opened?.client;
    if (!client) return;
    const wanted = this.pages.get(id) ?? 1;
    const notes: SdkNote[] = [];
    let more = true;
    try {
      for (let n = 0; n < wanted && more; n++) {
        const page = await client.history(id, notes[0] ? { before: notes[0].place } : {});
        notes.unshift(...page.notes);
        more = page.more;
      }
    } catch (error) {
      // Another tab took over while it was read.
      if (this.live.opened?.client !== client) return;
      throw error;
    }
    const seen = client.records.get<number>(seenKey(id)) ?? 0;
    this.live.store.dispatch({ type: 'notes', id, more, notes: notes.map((n) => noteOf(n, seen)) });
  }

  /** Shows what was written before that, too. */
  earlier(id: string): void {
    this.pages.set(id, (this.pages.get(id) ?? 1) + 1);
    this.show(id);
  }

  /** Deletes the history with somebody in this browser. */
  async delete(id: string): Promise<Problem | null> {
    const problem = await attempt(() => this.live.client().deleteHistory(id));
    this.pages.delete(id);
    this.show(id);
    return problem;
  }

  /** Marks what somebody wrote as seen. */
  open(id: string): void {
    const { store } = this.live;
    const chat = store.state.chats.get(id);
    const newest = chat?.notes.reduce((t, n) => (n.out ? t : Math.max(t, n.created)), 0) ?? 0;
    store.dispatch({ type: 'seen', id });
    const { records } = this.live.client();
    if (newest <= (records.get<number>(seenKey(id)) ?? 0)) return;
    records.set(seenKey(id), newest);
    this.live.run(records.commit());
  }

  async send(id: string, text: string): Promise<Problem | null> {
    const client = this.live.client();
    const met = this.live.rest.files.metWith(id);
    if (met) {
      if (new TextEncoder().encode(text).length > maxInCall) return 'too-long';
      await client.noteInCall(id, true, met.sendNote(text));
      this.show(id);
      return null;
    }
    const problem = await attempt(async () => void (await client.sendMessage(id, text)));
    this.show(id);
    this.live.contacts();
    return problem;
  }
}

function noteOf(n: SdkNote, seen: number): Note {
  return { id: n.id, out: n.out, text: n.text, created: n.createdMs, fate: n.state, unread: !n.out && n.createdMs > seen };
}
