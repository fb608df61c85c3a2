// An abort ends what takes long, at every moment, and leaves a state that tells the truth.

import { afterEach, describe, expect, it } from "vitest";
import * as call from "../src/call/index.ts";
import { Client, connect, createIdentity, MemoryStore, StoreVault } from "../src/index.ts";
import type { SocketFactory } from "../src/link/wire.ts";
import { Puppet } from "./puppet.ts";
import { refusal } from "./vectors.ts";

const open: Client[] = [];
afterEach(async () => { await Promise.all(open.splice(0).map((c) => c.close())); });

const stopped = AbortSignal.abort("by the test");
/** A node that is reached and never says a word. */
const mute: SocketFactory = (_, protocol) => ({ binaryType: "", protocol, onopen: null, onmessage: null, onclose: null, onerror: null, send: () => undefined, close: () => undefined });

async function fresh(socket: SocketFactory) {
  const store = new MemoryStore();
  const options = { store, vault: new StoreVault(store), socket };
  const { client } = await createIdentity(options);
  open.push(client);
  return { client, store, options };
}

async function someone(node: Puppet) {
  const p = await fresh(node.socket);
  await p.client.connect({ invite: node.invite });
  return p;
}

/** Aborts when so many frames have been sent from now on. */
function after(node: Puppet, frames: number): { socket: SocketFactory; signal: AbortSignal } {
  const stop = new AbortController();
  let n = 0;
  return {
    signal: stop.signal,
    socket: (url, protocol) => {
      const s = node.socket(url, protocol);
      const send = s.send.bind(s);
      s.send = (b) => {
        if (n++ === frames) stop.abort("by the test");
        send(b);
      };
      return s;
    },
  };
}

describe("an abort", () => {
  it("is an error with a code and the reason, before anything happens", async () => {
    const node = await Puppet.make();
    const [a, b] = [await someone(node), await someone(node)];
    const { client } = a;
    const calls = new call.Calls(client, { peer: () => { throw new Error("not reached"); } });
    const to = b.client.id;
    const kept = () => [...a.store.entries.keys()].filter((key) => key !== "clock"); // which a client writes by itself now and then
    const before = kept();
    const everything: Record<string, (o: { signal: AbortSignal }) => Promise<unknown>> = {
      find: (o) => client.find(b.client.address, o), knock: (o) => client.knock(b.client.address, "hi", "A", o), history: (o) => client.history(to, o),
      wire: (o) => client.wire(o), connect: (o) => client.connect(o),
    };
    for (const [what, f] of Object.entries(everything)) {
      const err = await refusal(() => f({ signal: stopped }));
      expect([what, err.code, err.cause]).toEqual([what, "aborted", "by the test"]);
    }
    expect(kept()).toEqual(before);
    expect(client.contacts()).toEqual([]);

    await client.knock(b.client.address);
    while (!b.client.contacts().some((c) => c.state === "asks")) await new Promise<void>((resolve) => { const off = b.client.listen(() => { off(); resolve(); }); });
    expect((await refusal(() => b.client.accept(client.id, { signal: stopped }))).code).toBe("aborted");
    expect(b.client.contacts().map((c) => c.state)).toContain("asks");
    await b.client.accept(client.id);
    while (client.contacts()[0]!.state !== "accepted") await new Promise<void>((resolve) => { const off = client.listen(() => { off(); resolve(); }); });
    expect((await refusal(() => client.sendMessage(to, "x", { signal: stopped }))).code).toBe("aborted");
    expect((await client.history(to)).notes).toEqual([]);
    expect((await refusal(() => calls.startCall(to, { signal: stopped }))).code).toBe("aborted");
    expect(calls.active).toEqual([]);
    // What was aborted can be done again.
    expect(await client.sendMessage(to, "x")).toMatch(/^[0-9a-f]{32}$/);
  });

  it("ends the wait for a node that says nothing, and the storage is free for the next try", async () => {
    const { client, options } = await fresh(mute);
    const stop = new AbortController();
    const waiting = refusal(() => client.register("http://127.0.0.1:7/#invite=x", { signal: stop.signal }));
    stop.abort("by the test");
    expect((await waiting).code).toBe("aborted");
    expect(client.registered).toBe(false);
    const node = await Puppet.make();
    const again = await connect({ ...options, socket: node.socket, invite: node.invite });
    open.push(again);
    expect(again.registered).toBe(true);
    await again.stop();
    const late = new AbortController();
    const dialling = refusal(() => connect({ ...options, socket: mute, signal: late.signal }));
    setImmediate(() => late.abort());
    expect((await dialling).code).toBe("aborted");
  });

  it("at every frame of a registration leaves either nothing or a registration that goes on", async () => {
    let ended = 0;
    for (let n = 0; ended < 2 && n < 20; n++) {
      const node = await Puppet.make();
      const { socket, signal } = after(node, n);
      const { client, options } = await fresh(socket);
      const err = await client.register(node.invite, { signal }).then(() => undefined, (e: unknown) => e);
      if (err === undefined) ended++;
      else expect(err).toMatchObject({ code: "aborted" });
      expect([n, client.registered, node.accounts.size]).toEqual([n, err === undefined, err === undefined ? 1 : 0]);
      const again = await connect({ ...options, socket: node.socket, invite: node.invite });
      open.push(again);
      expect(again.address).toContain("@puppet.example");
    }
    expect(ended).toBe(2);
  });

  it("of a knock leaves either no contact or one that was asked", async () => {
    let asked = 0;
    for (let n = 0; asked < 2 && n < 20; n++) {
      const node = await Puppet.make();
      const b = await someone(node);
      const a = await fresh(node.socket);
      await a.client.register(node.invite);
      const { socket, signal } = after(node, n);
      const again = await Client.open({ ...a.options, socket });
      open.push(again);
      const err = await again.connect({ signal }).then(() => again.knock(b.client.address, "hi", "A", { signal })).then(() => undefined, (e: unknown) => e);
      if (err !== undefined) {
        expect([n, (err as { code: string }).code, again.contacts()]).toEqual([n, "aborted", []]);
        continue;
      }
      asked++;
      expect(again.contacts().map((c) => c.state)).toEqual(["pending"]);
      while (b.client.contacts()[0]?.state !== "asks") await new Promise<void>((resolve) => { const off = b.client.listen(() => { off(); resolve(); }); });
    }
    expect(asked).toBe(2);
  });
});
