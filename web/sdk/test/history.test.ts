// The history: pages, bounds, deletion, and that no text lies in the storage in the clear.

import { afterEach, describe, expect, it } from "vitest";
import { random, text, utf8 } from "../src/bytes.ts";
import { maxConversation } from "../src/client/history.ts";
import { Client, createIdentity, MemoryStore, type ClientEvent, type Vault } from "../src/index.ts";
import { StoreVault } from "../src/index.ts";
import { Puppet } from "./puppet.ts";
import { refusal } from "./vectors.ts";

const open: Client[] = [];
afterEach(async () => { await Promise.all(open.splice(0).map((c) => c.close())); });

/** Seals with a key that is not in the store, as a browser's vault does. */
class SealingVault extends StoreVault implements Vault {
  readonly #key = crypto.subtle.generateKey({ name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
  override async wrap(secret: Uint8Array): Promise<Uint8Array> {
    const iv = random(12);
    const sealed = new Uint8Array(await crypto.subtle.encrypt({ name: "AES-GCM", iv }, await this.#key, new Uint8Array(secret)));
    return new Uint8Array([...iv, ...sealed]);
  }
  override async unwrap(b: Uint8Array): Promise<Uint8Array> {
    return new Uint8Array(await crypto.subtle.decrypt({ name: "AES-GCM", iv: new Uint8Array(b.slice(0, 12)) }, await this.#key, new Uint8Array(b.slice(12))));
  }
}

async function someone(node: Puppet) {
  const store = new MemoryStore();
  const vault = new SealingVault(store);
  const options = { store, vault, socket: node.socket };
  const { client } = await createIdentity(options);
  open.push(client);
  await client.register(node.invite);
  const heard: ClientEvent[] = [];
  let wake: (() => void)[] = [];
  client.listen((e) => {
    heard.push(e);
    for (const f of wake.splice(0)) f();
  });
  const hear = async (match: (e: ClientEvent) => boolean): Promise<void> => {
    while (!heard.some(match)) await new Promise<void>((resolve) => wake.push(resolve));
  };
  await client.connect();
  return { client, store, options, hear };
}

async function friends() {
  const node = await Puppet.make();
  const [a, b] = [await someone(node), await someone(node)];
  await a.client.knock(b.client.address, "hi", "A");
  await b.hear((e) => e.type === "knock");
  await b.client.accept(a.client.id);
  await a.hear((e) => e.type === "knock-accepted");
  return { node, a, b };
}

const clear = (s: MemoryStore) => [...s.entries].map(([k, v]) => k + text(v.map((x) => x & 0x7f))).join("\n");

describe("the history", () => {
  it("is read in pages, from the newest on, and survives the end of the program", async () => {
    const { a, b } = await friends();
    const to = b.client.id;
    const ids: string[] = [];
    for (let i = 0; i < 7; i++) ids.push(await a.client.sendMessage(to, `note ${i}`));
    await a.hear((e) => e.type === "note-state" && e.id === ids[6] && e.state === "read");
    const last = await a.client.history(to, { limit: 3 });
    expect(last.notes.map((n) => n.text)).toEqual(["note 4", "note 5", "note 6"]);
    expect(last.more).toBe(true);
    await a.client.stop();
    const again = await Client.open(a.options);
    open.push(again);
    const before = await again.history(to, { limit: 3, before: last.notes[0]!.place });
    expect(before.notes.map((n) => n.text)).toEqual(["note 1", "note 2", "note 3"]);
    const first = await again.history(to, { limit: 3, before: before.notes[0]!.place });
    expect([first.notes.map((n) => n.text), first.more]).toEqual([["note 0"], false]);
    expect((await refusal(() => again.history(to, { limit: 201 }))).code).toBe("malformed");
    expect((await refusal(() => again.history(to, { limit: 0 }))).code).toBe("malformed");
  });

  it("keeps no text in the clear, on either side, and none in memory before it is asked for", async () => {
    const { a, b } = await friends();
    const id = await a.client.sendMessage(b.client.id, "planted marker of the history");
    await a.hear((e) => e.type === "note-state" && e.id === id && e.state === "read");
    for (const p of [a, b]) {
      expect(clear(p.store)).toContain(id);
      expect(clear(p.store)).not.toContain("planted marker");
      expect([...(await p.store.load()).keys()].filter((k) => k.startsWith("text/"))).toEqual([]);
    }
    expect((await b.client.history(a.client.id)).notes.map((n) => n.text)).toEqual(["planted marker of the history"]);
  });

  it("deletes one conversation and no other, and what is deleted stays away", async () => {
    const { node, a, b } = await friends();
    const c = await someone(node);
    await a.client.knock(c.client.address);
    await c.hear((e) => e.type === "knock");
    await c.client.accept(a.client.id);
    await a.hear((e) => e.type === "knock-accepted" && e.from === c.client.id);
    for (const to of [b, c]) {
      const id = await a.client.sendMessage(to.client.id, "hello");
      await a.hear((e) => e.type === "note-state" && e.id === id && e.state === "read");
    }
    await a.client.deleteHistory(b.client.id);
    expect((await a.client.history(b.client.id)).notes).toEqual([]);
    expect((await a.client.history(c.client.id)).notes).toHaveLength(1);
    expect([...a.store.entries.keys()].filter((k) => k.startsWith("text/") || k.startsWith("note/"))).toHaveLength(2);
    // The other side answers into the conversation that was deleted: it begins anew.
    await b.client.sendMessage(a.client.id, "still there?");
    await a.hear((e) => e.type === "note" && e.text === "still there?");
    expect((await a.client.history(b.client.id)).notes.map((n) => n.text)).toEqual(["still there?"]);
  });

  it("holds a bounded number of notes: the oldest that have ended go first", async () => {
    const { a, b } = await friends();
    await a.client.stop();
    const root = b.client.self.hex;
    const sealed = await a.options.vault.wrap(utf8("old"));
    for (let i = 0; i < maxConversation; i++) {
      const id = i.toString(16).padStart(32, "0");
      const record = { id, contact: root, out: true, place: i + 1, replyTo: "", createdMs: 1, sealedMs: 1, state: i === 0 ? "stored" : "read", code: "", acked: true };
      a.store.entries.set(`note/${root}/out/${id}`, utf8(JSON.stringify(record)));
      a.store.entries.set(`text/${root}/out/${id}`, sealed);
    }
    const again = await Client.open(a.options);
    open.push(again);
    const id = await again.sendMessage(b.client.id, "one too many");
    const places = [...a.store.entries].filter(([k]) => k.startsWith("note/")).map(([, v]) => (JSON.parse(text(v)) as { place: number }).place).sort((x, y) => x - y);
    expect(places).toHaveLength(maxConversation + 1 - maxConversation / 10);
    // The one that is still on its way stays, and so does the newest.
    expect([places[0], places[1]]).toEqual([1, maxConversation / 10 + 2]);
    expect((await again.history(b.client.id, { limit: 1 })).notes[0]).toMatchObject({ id, text: "one too many" });
    expect([...a.store.entries.keys()].filter((k) => k.startsWith("text/"))).toHaveLength(places.length);
  });

  it("seals the texts of a storage of the first format", async () => {
    const { a, b } = await friends();
    await a.client.stop();
    const root = b.client.self.hex;
    const old = { id: "ab".repeat(16), contact: root, out: true, order: 3, text: "planted of old", replyTo: "", createdMs: 5, sealedMs: 5, state: "read", code: "", acked: true };
    a.store.entries.set(`note/${root}/out/${old.id}`, utf8(JSON.stringify(old)));
    const profile = JSON.parse(text(a.store.entries.get("profile")!)) as object;
    a.store.entries.set("profile", utf8(JSON.stringify({ ...profile, version: 1 })));
    const again = await Client.open(a.options);
    open.push(again);
    expect((await again.history(b.client.id)).notes).toMatchObject([{ id: old.id, text: "planted of old", place: 3, createdMs: 5 }]);
    expect(clear(a.store)).not.toContain("planted of old");
    expect(JSON.parse(text(a.store.entries.get("profile")!))).toMatchObject({ version: 2 });
  });
});
