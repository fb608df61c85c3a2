// Two engines over a line in memory: what holds a sender, what goes on where, and what each side hears of an end.

import { expect, it } from "vitest";
import { hex, type Bytes } from "../src/bytes.ts";
import { refuse, type TrunklineError } from "../src/errors.ts";
import { waterFor } from "../src/call/webrtc.ts";
import * as file from "../src/transfer/index.ts";

function content(size: number): Bytes {
  const b = new Uint8Array(size);
  let x = size | 1;
  for (let i = 0; i < size; i++) b[i] = (x = Math.imul(x, 1664525) + 1013904223 >>> 0) >>> 24;
  return b;
}

const source = (name: string, data: Bytes): file.Source => ({ name, size: data.length, read: async (a, b) => data.slice(a, b) });

/** What a receiver keeps, over sessions. */
class Disk implements file.Sink {
  units: Bytes[] = [];
  hashes: Bytes[] = [];
  finished = 0;
  discarded = 0;
  /** The unit that does not fit any more. */
  full = Infinity;

  /** How many units each attempt began with. */
  readonly begun: number[] = [];

  async have(): Promise<Bytes[]> {
    this.begun.push(this.hashes.length);
    return this.hashes;
  }
  async write(_: file.Manifest, unit: number, b: Bytes, hash: Bytes): Promise<void> {
    if (unit >= this.full) throw refuse("full", "there is no room for the file");
    this.units[unit] = b;
    this.hashes[unit] = hash;
  }
  async finish(): Promise<void> { this.finished++; }
  async discard(): Promise<void> { this.discarded++; }
  get size(): number { return this.units.reduce((n, u) => n + u.length, 0); }
}

/** A session: Alice sends, Bob takes. Timers fire when they are told to. */
class Session {
  readonly alice: file.TransferEngine;
  readonly bob: file.TransferEngine;
  readonly heard: file.Progress[] = []; // by Bob
  readonly ends: TrunklineError[] = []; // that Bob heard
  readonly words: string[] = []; // control messages, in order
  chunks = 0;
  /** Control messages to Alice wait while it is true. */
  deaf = false;
  readonly #unheard: Bytes[] = [];
  readonly #timers = new Set<() => void>();
  #looks: (() => void)[] = [];

  constructor(disk: file.Sink | file.Incoming | undefined) {
    const make = (role: 0 | 1, to: () => file.TransferEngine, ask: file.EngineOptions["ask"]) => new file.TransferEngine({
      fileKey: new Uint8Array(32).fill(9), role, ask,
      channels: {
        sendControl: (m) => {
          this.words.push(file.parseControl(m).kind);
          if (role === 1 && this.deaf) this.#unheard.push(m);
          else queueMicrotask(() => to().takeControl(m));
          this.#look();
        },
        sendChunk: async (m) => {
          this.chunks++;
          to().takeChunk(m);
          this.#look();
        },
      },
      after: (_, f) => {
        this.#timers.add(f);
        return () => { this.#timers.delete(f); };
      },
      run: (work) => void work(),
      onReceiving: (_, p) => {
        this.heard.push(p);
        this.#look();
      },
      onReceiveEnd: (_, why) => this.ends.push(why),
    });
    this.alice = make(0, () => this.bob, async () => undefined);
    this.bob = make(1, () => this.alice, async (m) => (disk === undefined || "open" in disk ? disk : file.localIncoming(disk, m)));
  }

  #look(): void { for (const f of this.#looks.splice(0)) f(); }
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.#looks.push(resolve));
  }
  hear(): void {
    this.deaf = false;
    for (const m of this.#unheard.splice(0)) this.alice.takeControl(m);
  }
  /** Two seconds go by. */
  tick(): void { for (const f of [...this.#timers]) { this.#timers.delete(f); f(); } }
  cut(): void {
    this.alice.close();
    this.bob.close();
  }
}

const unit = file.unitSize;
const chunksOf = (units: number) => units * 18;

it("never sends more than the window ahead of the receiver's disk, and does not wait before", async () => {
  const data = content(20 * unit + 7);
  const disk = new Disk();
  const s = new Session(disk);
  s.deaf = true;
  const seen: file.Progress[] = [];
  const sent = s.alice.send(file.localOutgoing(source("a", data)), (p) => seen.push(p));
  await s.until(() => s.words.includes("accept"));
  s.hear();
  s.deaf = true; // not one Kept arrives
  await s.until(() => disk.units.length === file.windowUnits && s.words.filter((w) => w === "kept").length === file.windowUnits);
  expect(s.chunks).toBe(chunksOf(file.windowUnits));
  s.hear();
  await sent;
  expect([disk.size, disk.finished, s.ends.length]).toEqual([data.length, 1, 0]);
  expect(Buffer.compare(Buffer.concat(disk.units), data)).toBe(0);
  expect(seen.at(-1)).toEqual({ state: "saved", done: data.length, size: data.length });
});

it("nothing waits behind the units, however long the padding is", async () => {
  // A file of 1 GiB and a little is padded by 32 MiB: its cut is told here, and its content is not.
  const size = 2 ** 30 + 1;
  const layout = new file.Layout(size);
  expect(layout.zeros).toBeGreaterThan(2 * file.windowUnits * unit);
  const hash = new Uint8Array(32);
  let pieces = layout.units + Math.ceil(layout.zeros / unit) + 1;
  const s = new Session({
    open: async () => ({ units: layout.units, done: false }), take: () => undefined, close: () => undefined,
  });
  const ended = s.alice.send({
    name: "padded", size, hash: async () => Array<Bytes>(layout.units).fill(hash),
    cut: ({ from }) => {
      pieces -= from;
      return { next: async () => (pieces-- > 0 ? [] : undefined), close: () => undefined };
    },
  }).catch((err: TrunklineError) => err.code);
  await s.until(() => s.words.includes("accept"));
  while (pieces >= 0) await new Promise((resolve) => setImmediate(resolve));
  s.cut();
  expect(await ended).toBe("unreachable");
});

it("goes on at the unit that the receiver has, and reads the file once for all attempts", async () => {
  const data = content(5 * unit + 100);
  const disk = new Disk();
  const first = new Session(disk);
  const reads: number[] = [];
  const out = file.localOutgoing({ ...source("b", data), read: async (a, b) => {
    reads.push(a);
    return data.slice(a, b);
  } });
  const broken = first.alice.send(out).catch((err: TrunklineError) => err.code);
  await first.until(() => disk.units.length >= 2);
  first.cut();
  expect(await broken).toBe("unreachable");
  expect(first.ends.map((e) => e.code)).toEqual(["unreachable"]);
  const second = new Session(disk);
  await second.alice.send(out);
  expect(Buffer.compare(Buffer.concat(disk.units), data)).toBe(0);
  expect(disk.begun[1]).toBeGreaterThanOrEqual(2);
  expect(reads.filter((at) => at === 0)).toHaveLength(2); // to hash it, and to send it the first time
});

it("is held by either person, tells the other, and goes on", async () => {
  for (const who of ["alice", "bob"] as const) {
    const disk = new Disk();
    const s = new Session(disk);
    const seen: file.Progress[] = [];
    const data = content(20 * unit);
    const sent = s.alice.send(file.localOutgoing(source("c", data)), (p) => seen.push(p));
    const pause = (on: boolean) => (who === "alice" ? s.alice.pauseSending(on) : s.bob.pauseReceiving(on));
    const there = () => (who === "alice" ? s.heard : seen);
    await s.until(() => disk.units.length >= 3);
    pause(true);
    await s.until(() => there().at(-1)?.state === "paused");
    expect(there().at(-1)).toMatchObject({ state: "paused", by: "them" });
    const ours = who === "alice" ? seen : s.heard;
    expect(ours.some((p) => p.state === "paused" && p.by === "us")).toBe(true);
    const waits = () => s.words.filter((w) => w === "wait").length;
    const before = waits();
    s.tick();
    s.tick();
    expect(waits()).toBe(before + 2);
    expect(disk.units.length).toBeLessThan(20);
    pause(false);
    await sent;
    expect([disk.size, disk.finished]).toEqual([data.length, 1]);
  }
});

it("a full disk is said to the sender as what it is, and what was verified stays", async () => {
  const disk = new Disk();
  disk.full = 2;
  const s = new Session(disk);
  const err = await s.alice.send(file.localOutgoing(source("d", content(4 * unit)))).catch((e: unknown) => e) as file.TransferError;
  expect([err.code, err.reason]).toEqual(["aborted", file.TransferReason.disk]);
  expect(s.ends.map((e) => e.code)).toEqual(["full"]);
  expect([disk.units.length, disk.discarded]).toEqual([2, 0]);
  disk.full = Infinity;
  await new Session(disk).alice.send(file.localOutgoing(source("d", content(4 * unit))));
  expect([disk.size, disk.finished]).toEqual([4 * unit, 1]);
});

it("a file that changes on its way is not finished, and each side hears why", async () => {
  const data = content(6 * unit);
  const disk = new Disk();
  const s = new Session(disk);
  let reads = 0;
  const err = await s.alice.send(file.localOutgoing({ name: "e", size: data.length, read: async (a, b) => {
    const c = data.slice(a, b);
    if (++reads > 8) c[0]! ^= 1;
    return c;
  } })).catch((e: unknown) => e) as file.TransferError;
  await s.until(() => s.words.includes("cancel"));
  expect(err.reason).toBe(file.TransferReason.changed);
  await new Promise((resolve) => setImmediate(resolve));
  expect(s.ends.map((e) => (e as file.TransferError).reason)).toEqual([file.TransferReason.changed]);
  expect(disk.finished).toBe(0);
});

it("either side ends it, and the other hears the reason", async () => {
  const one = new Session(new Disk());
  const stopped = one.alice.send(file.localOutgoing(source("f", content(30 * unit)))).catch((e: unknown) => (e as file.TransferError).reason);
  await one.until(() => one.chunks > 20);
  one.alice.stopSending();
  expect(await stopped).toBe(file.TransferReason.stopped);
  await new Promise((resolve) => setImmediate(resolve));
  expect(one.ends.map((e) => (e as file.TransferError).reason)).toEqual([file.TransferReason.stopped]);
  const two = new Session(new Disk());
  const refused = two.alice.send(file.localOutgoing(source("g", content(30 * unit)))).catch((e: unknown) => (e as file.TransferError).reason);
  await two.until(() => two.chunks > 20);
  two.bob.stopReceiving(file.TransferReason.paused);
  expect(await refused).toBe(file.TransferReason.paused);
  const three = new Session(undefined);
  expect(await three.alice.send(file.localOutgoing(source("h", content(3)))).catch((e: unknown) => (e as file.TransferError).reason)).toBe(file.TransferReason.refused);
});

it("a file that is there whole is answered with Done, and nothing is sent", async () => {
  const s = new Session({
    open: async () => ({ units: 3, done: true }), take: () => undefined, close: () => undefined,
  });
  await s.alice.send(file.localOutgoing(source("i", content(2 * unit + 1))));
  expect([s.chunks, s.words]).toEqual([0, ["manifest", "done"]]);
});

it("what has no place in the order is a breach", async () => {
  const s = new Session(new Disk());
  s.deaf = true;
  const out = s.alice.send(file.localOutgoing(source("k", content(3 * unit)))).catch(() => undefined);
  await s.until(() => s.words.includes("accept"));
  const attempt = new Uint8Array(16).fill(1);
  for (const c of [{ kind: "kept", attempt, unit: 1n }, { kind: "wait", attempt }, { kind: "done", attempt }] as const) {
    expect(() => s.alice.takeControl(file.marshalControl(c))).toThrow("unknown attempt");
  }
  s.hear();
  await out;
  expect(hex(attempt)).toHaveLength(32);
});

it("keeps 1 MiB unsent, and up to 4 MiB where the round trip is long", () => {
  expect([0, 0.01, 0.05, 0.1, 0.2, 3].map((rtt) => waterFor(rtt) / 2 ** 20)).toEqual([1, 1, 1, 2, 4, 4]);
});
