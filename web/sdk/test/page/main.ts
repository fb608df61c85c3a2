// What the browser test's page knows: the SDK, and a few steps that the test calls by name.

import * as sdk from "../../src/index.ts";
import { inBrowser } from "../../src/browser.ts";
import { hex } from "../../src/bytes.ts";

let client: sdk.Client;
let calls: sdk.call.Calls;
const heard: sdk.ClientEvent[] = [];
const received: { name: string; size: number; digest: string }[] = [];
let wake: (() => void)[] = [];

async function until<T>(look: () => T | undefined): Promise<T> {
  for (;;) {
    const found = look();
    if (found !== undefined) return found;
    const end = heard.find((e) => e.type === "ended");
    if (end !== undefined) throw end.error;
    await new Promise<void>((resolve) => wake.push(resolve));
  }
}

function woken(): void {
  for (const f of wake.splice(0)) f();
}

async function digest(b: Uint8Array<ArrayBuffer>): Promise<string> {
  return hex(new Uint8Array(await crypto.subtle.digest("SHA-256", b)));
}

function run(): void {
  client.listen((e) => {
    heard.push(e);
    woken();
  });
  calls = new sdk.call.Calls(client, { peer: sdk.call.browserPeer(), onCall: (c) => { if (c.direction === "incoming") take(c); } });
  client.start();
}

function engineOf(c: sdk.call.Call): sdk.transfer.TransferEngine {
  const units: Uint8Array[] = [];
  const engine = new sdk.transfer.TransferEngine({
    channels: { sendControl: (message) => c.sendControl({ case: "file", value: { message } }), sendChunk: (chunk) => c.sendFile(chunk) },
    fileKey: c.session!.fileKey(), role: c.session!.role, after: (ms, f) => client.timers.after(ms, f), run: (work) => client.background("a file", work),
    ask: async (m) => sdk.transfer.localIncoming({
      have: async () => [], write: async (_, unit, content) => { units[unit] = content; }, discard: async () => undefined,
      finish: async (m) => {
        const all = new Uint8Array(await new Blob(units as Uint8Array<ArrayBuffer>[]).arrayBuffer());
        received.push({ name: m.name, size: all.length, digest: await digest(all) });
        woken();
      },
    }, m),
  });
  c.onControl = (m) => { if (m.case === "file") engine.takeControl(m.value.message); };
  c.onFile = (chunk) => engine.takeChunk(chunk);
  return engine;
}

function take(c: sdk.call.Call): void {
  let made = false;
  c.onState = () => {
    if (made || c.session === undefined) return;
    made = true;
    engineOf(c);
  };
  c.accept();
}

const steps = {
  create: async (invite: string) => {
    const made = await sdk.createIdentity(await inBrowser());
    client = made.client;
    const address = await client.register(invite);
    run();
    await client.wire();
    return { address, words: made.phrase.split(" ").length };
  },
  open: async () => {
    client = await sdk.Client.open(await inBrowser());
    run();
    await client.wire();
    return { address: client.address, contacts: client.contacts().map((c) => c.state) };
  },
  refused: async () => {
    try {
      await inBrowser();
      return "";
    } catch (err) {
      return sdk.codeOf(err) ?? String(err);
    }
  },
  knock: async (address: string) => { await client.knock(address, "from a browser", "Page"); },
  accepted: async () => (await until(() => heard.find((e) => e.type === "knock-accepted"))).type,
  note: async (to: string, text: string) => client.sendMessage(to, text),
  read: async (id: string) => until(() => (heard.some((e) => e.type === "note-state" && e.id === id && e.state === "read") ? true : undefined)),
  heard: async (text: string) => until(() => (heard.some((e) => e.type === "note" && e.text === text) ? true : undefined)),
  history: async (id: string) => (await client.history(id)).notes.map((n) => [n.out, n.text, n.state]),
  received: async () => until(() => received[0]),
  send: async (to: string, size: number) => {
    const content = new Uint8Array(size);
    for (let i = 0; i < size; i += 65_536) crypto.getRandomValues(content.subarray(i, i + 65_536));
    const c = await calls.startCall(to, { media: 0 });
    const live = new Promise<sdk.transfer.TransferEngine>((resolve, reject) => {
      let engine: sdk.transfer.TransferEngine | undefined;
      c.onState = (s) => {
        if (engine === undefined && c.session !== undefined && s.phase !== "ended") engine = engineOf(c);
        if (s.phase === "live") resolve(engine!);
        if (s.phase === "ended") reject(c.why ?? new Error("the call ended"));
      };
    });
    await (await live).send(sdk.transfer.localOutgoing({ name: "from page.bin", size, read: async (a, b) => content.slice(a, b) }));
    c.hangup();
    return digest(content);
  },
  keys: async () => {
    const db = await new Promise<IDBDatabase>((resolve, reject) => {
      const r = indexedDB.open("trunkline", 1);
      r.onsuccess = () => resolve(r.result);
      r.onerror = () => reject(r.error);
    });
    const all = await new Promise<(CryptoKey | CryptoKeyPair)[]>((resolve, reject) => {
      const r = db.transaction("keys").objectStore("keys").getAll() as IDBRequest<(CryptoKey | CryptoKeyPair)[]>;
      r.onsuccess = () => resolve(r.result);
      r.onerror = () => reject(r.error);
    });
    db.close();
    return all.map((k) => ("privateKey" in k ? [k.privateKey.algorithm.name, k.privateKey.extractable] : [k.algorithm.name, k.extractable]));
  },
};

export type Steps = typeof steps;

(globalThis as unknown as { steps: Steps }).steps = steps;
