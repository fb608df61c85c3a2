// The one worker of a room, as the page sees it: it holds all media keys, and every encoded frame of every connection goes
// through it. A connection has a port, whose lines it numbers from 0.

import type { SFrameCodec } from "../sframe.ts";
import { newTransform, slotNames, type FramesWorker, type SlotName } from "../call/media.ts";
import type { FrameCounts, FromFrames, ToFrames } from "../call/frames.ts";
import { refuse, type TrunklineError } from "../errors.ts";
import type { KeyAnswer, KeyCall, KeyCaller } from "./ring.ts";

/** What a transform is made with. of: whose frames are taken on a line that opens; 0: nobody's yet. */
export interface RoomLine { readonly id: number; readonly way: "seal" | "open"; readonly slot: number; readonly of: number }

export type ToRoomFrames =
  | { readonly type: "keys"; readonly question: number; readonly call: KeyCall }
  /** From now on frames of this member and slot are taken on a line, and no others. */
  | { readonly type: "line"; readonly id: number; readonly of: number; readonly slot: number }
  | { readonly type: "codecs"; readonly port: number; readonly codecs: readonly (readonly [number, SFrameCodec])[] }
  | { readonly type: "keyframes"; readonly port: number }
  | { readonly type: "count"; readonly port: number; readonly question: number }
  | { readonly type: "close"; readonly port: number };

export type FromRoomFrames =
  | { readonly type: "ready" }
  | { readonly type: "keys"; readonly question: number; readonly answer: KeyAnswer }
  /** The first frame of this member and slot on a line was authentic and went on. */
  | { readonly type: "first"; readonly id: number; readonly of: number; readonly slot: number }
  | { readonly type: "counts"; readonly question: number; readonly counts: readonly (readonly [number, FrameCounts])[] };

/** Lines of one port: more than any description has sections. */
export const portSize = 1_000;

/** One connection's lines. */
export interface RoomPort extends FramesWorker {
  /** Says whose frames a line takes; first is called once they open. */
  retarget(id: number, of: number, slot: number): void;
  /** For lines of others than the port's member. */
  line(o: { readonly id: number; readonly way: "seal" | "open"; readonly slot: SlotName; readonly of: number }): unknown;
  onFirst: (id: number, of: number, slot: number) => void;
  count(): Promise<ReadonlyMap<number, FrameCounts>>;
}

export class RoomFrames {
  readonly #worker: Worker;
  readonly #answers = new Map<number, (a: KeyAnswer) => void>();
  readonly #counts = new Map<number, (c: readonly (readonly [number, FrameCounts])[]) => void>();
  readonly #ports = new Map<number, { hear(m: FromFrames): void; first(id: number, of: number, slot: number): void; fail(): void }>();
  #question = 0;
  #port = 0;
  #ready = false;
  #closed = false;

  constructor(worker: Worker, failed: (why: TrunklineError) => void) {
    this.#worker = worker;
    worker.onmessage = (e: MessageEvent<FromRoomFrames>) => this.#heard(e.data);
    worker.onerror = () => { if (!this.#closed) failed(refuse("closed", "the room's worker has ended")); };
  }

  #say(m: ToRoomFrames): void { if (!this.#closed) this.#worker.postMessage(m); }

  readonly keys: KeyCaller = (call) => new Promise((resolve) => {
    if (this.#closed) return resolve({});
    const question = ++this.#question;
    this.#answers.set(question, resolve);
    this.#say({ type: "keys", question, call });
  });

  #heard(m: FromRoomFrames): void {
    switch (m.type) {
      case "ready":
        this.#ready = true;
        for (const p of this.#ports.values()) p.hear(m);
        return;
      case "keys":
        this.#answers.get(m.question)?.(m.answer);
        this.#answers.delete(m.question);
        return;
      case "counts":
        this.#counts.get(m.question)?.(m.counts);
        this.#counts.delete(m.question);
        return;
      case "first": this.#ports.get(Math.floor(m.id / portSize))?.first(m.id % portSize, m.of, m.slot);
    }
  }

  #ask(port: number): Promise<readonly (readonly [number, FrameCounts])[]> {
    return new Promise((resolve) => {
      if (this.#closed) return resolve([]);
      const question = ++this.#question;
      this.#counts.set(question, (all) => resolve(all.map(([id, c]) => [id % portSize, c] as const)));
      this.#say({ type: "count", port, question });
    });
  }

  /** For a connection with this member; 0: with the SFU, whose lines say of whom they are. */
  port(member: number): RoomPort {
    const port = ++this.#port;
    const base = port * portSize;
    const line: RoomPort["line"] = ({ id, way, slot, of }) =>
      newTransform(this.#worker, { id: base + id, way, slot: slotNames.indexOf(slot), of } satisfies RoomLine);
    const hear = (m: FromFrames) => out.onmessage?.({ data: m } as MessageEvent<FromFrames>);
    const out: RoomPort = {
      onmessage: null, onerror: null, onFirst: () => undefined, line,
      transform: ({ id, slot, way }) => line({ id, way, slot, of: member }),
      retarget: (id, of, slot) => this.#say({ type: "line", id: base + id, of, slot }),
      count: async () => new Map(await this.#ask(port)),
      postMessage: (m: ToFrames) => {
        if (m.type === "count") void this.#ask(port).then((counts) => hear({ type: "counts", question: m.question, counts }));
        else this.#say({ ...m, port });
      },
      terminate: () => {
        this.#ports.delete(port);
        this.#say({ type: "close", port });
      },
    };
    this.#ports.set(port, {
      hear, fail: () => out.onerror?.(new ErrorEvent("error")),
      first: (id, of, slot) => {
        hear({ type: "first", id });
        out.onFirst(id, of, slot);
      },
    });
    if (this.#ready) queueMicrotask(() => hear({ type: "ready" }));
    return out;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#worker.terminate();
    for (const a of this.#answers.values()) a({});
    for (const c of this.#counts.values()) c([]);
  }
}
