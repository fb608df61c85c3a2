// Calls between a TypeScript participant and the Go client: rings, answers, frames, ICE, DTLS, the channel
// binding and files, over two federated nodes that are real processes.

import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, expect, it } from "vitest";
import { call as calling, createIdentity, type Client } from "../src/index.ts";
import { inFolder } from "../src/node.ts";
import { GoPerson, Organisations } from "./organisations.ts";
import { weriftPeer } from "./werift.ts";

let w: Organisations;
let alice: Client;
let bob: GoPerson;
let calls: calling.Calls;
const rung: calling.Call[] = [];
const wake: (() => void)[] = [];

beforeAll(async () => {
  w = await Organisations.start();
  ({ client: alice } = await createIdentity(inFolder(join(w.folder, "alice"))));
  await alice.register(w.acme.invite());
  calls = new calling.Calls(alice, {
    peer: weriftPeer,
    onCall: (c) => {
      rung.push(c);
      for (const f of wake.splice(0)) f();
    },
  });
  alice.start();
  bob = new GoPerson(w, "bob");
  await bob.join(w.globex.invite(), "globex.example");
  await alice.knock(bob.address, "hello", "Alice");
  await bob.run("inbox");
  await bob.run("contact", "accept", alice.id);
  await new Promise<void>((resolve) => {
    const stop = alice.listen((e) => { if (e.type === "knock-accepted") { stop(); resolve(); } });
    if (alice.contacts()[0]?.state === "accepted") resolve();
  });
}, 300_000);

afterAll(async () => {
  await alice.close();
  await w.stop();
}, 60_000);

async function nextCall(): Promise<calling.Call> {
  for (;;) {
    const c = rung.shift();
    if (c !== undefined) return c;
    await new Promise<void>((resolve) => wake.push(resolve));
  }
}

function phase(c: calling.Call, ...phases: calling.CallState["phase"][]): Promise<calling.CallState> {
  return new Promise((resolve, reject) => {
    const look = (s: calling.CallState) => {
      if (phases.includes(s.phase)) resolve(s);
      else if (s.phase === "ended") reject(new Error(`the call ended: ${JSON.stringify(s)} ${c.why?.message ?? ""}`));
    };
    c.onState = look;
    look(c.state);
  });
}

/** Files of a call, kept in memory. */
function engineOf(c: calling.Call) {
  const units = new Map<string, Uint8Array[]>();
  const received: { name: string; content: Buffer }[] = [];
  let got: () => void = () => undefined;
  const engine = calling.filesOf(calls, c, {
    ask: async () => ({
      have: async () => [],
      write: async (m, unit, content) => {
        const list = units.get(m.name) ?? [];
        list[unit] = content;
        units.set(m.name, list);
      },
      finish: async () => undefined, discard: async () => undefined,
    }),
    onReceived: (m) => {
      received.push({ name: m.name, content: Buffer.concat(units.get(m.name) ?? []) });
      got();
    },
  });
  return { engine, received, arrival: new Promise<void>((resolve) => { got = resolve; }) };
}

const digest = (b: Uint8Array) => createHash("sha256").update(b).digest("hex");

it("a Go client rings, is declined, and hears it", async () => {
  const failed = bob.run("call", alice.id, "--seconds", "1").then(() => "", (err: Error) => err.message);
  const c = await nextCall();
  expect([c.contact, c.media, c.state.phase]).toEqual([bob.id, 1, "ringing"]);
  c.decline();
  expect(await failed).toContain("declined");
  expect((await phase(c, "ended")).phase).toBe("ended");
  expect(calls.active).toEqual([]);
}, 120_000);

it("a Go client sends a file to a TypeScript client", async () => {
  const content = randomBytes(2_500_000);
  const path = join(w.folder, "report.bin");
  writeFileSync(path, content);
  const sent = bob.run("file", "send", alice.id, path);
  const c = await nextCall();
  expect(c.media).toBe(0);
  c.accept();
  await phase(c, "answered", "connecting", "live");
  const { received, arrival } = engineOf(c);
  await phase(c, "live");
  await arrival;
  expect(received.map((f) => [f.name, f.content.length, digest(f.content)])).toEqual([["report.bin", content.length, digest(content)]]);
  expect(JSON.stringify(await sent)).toContain("report.bin");
}, 180_000);

it("a TypeScript client sends a file to a Go client", async () => {
  const folder = join(w.folder, "taken");
  mkdirSync(folder);
  const child = spawn(w.binary, ["file", "receive", "--dir", folder, "--data", bob.data, "--json"], { stdio: ["ignore", "pipe", "pipe"] });
  const lines: string[] = [];
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  createInterface({ input: child.stdout }).on("line", (l) => lines.push(l));
  try {
    const content = randomBytes(1_300_000);
    const states: string[] = [];
    const source = { name: "from alice.bin", size: content.length, read: async (a: number, b: number) => content.subarray(a, b) };
    await calling.sendFile(calls, bob.id, source, { onProgress: (p) => { if (states.at(-1) !== p.state) states.push(p.state); } });
    expect(states).toEqual(["hashing", "waiting", "sending", "verifying", "saved"]);
    expect(digest(readFileSync(join(folder, "from alice.bin")))).toBe(digest(content));
    expect(calls.active).toEqual([]);

    // An abort in the middle hangs up, and the same file goes on from what has arrived.
    const large = randomBytes(8_000_000);
    const stop = new AbortController();
    const slow = { name: "aborted.bin", size: large.length, read: async (a: number, b: number) => large.subarray(a, b) };
    const err = await calling.sendFile(calls, bob.id, slow, { signal: stop.signal, onProgress: (p) => { if (p.state === "sending") stop.abort(); } }).then(() => undefined, (e: unknown) => e);
    expect(err).toMatchObject({ code: "aborted" });
    expect(calls.active).toEqual([]);
    expect(existsSync(join(folder, "aborted.bin"))).toBe(false);
    await calling.sendFile(calls, bob.id, slow);
    expect(digest(readFileSync(join(folder, "aborted.bin")))).toBe(digest(large));
  } finally {
    child.kill("SIGTERM");
    await ended;
  }
}, 180_000);
