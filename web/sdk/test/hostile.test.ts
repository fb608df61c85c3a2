// What the client does when its node, or a contact's, lies; and when its own disk fails.

import { afterEach, describe, expect, it } from "vitest";
import { Prekey, signBundle } from "../src/envelope/index.ts";
import * as id from "../src/identity/index.ts";
import { Client, createIdentity, MemoryStore, StoreVault, type Change, type ClientEvent } from "../src/index.ts";
import { Puppet } from "./puppet.ts";
import { refusal } from "./vectors.ts";

const open: Client[] = [];
afterEach(async () => { await Promise.all(open.splice(0).map((c) => c.close())); });

class FailingStore extends MemoryStore {
  broken = false;
  override async write(changes: readonly Change[]): Promise<void> {
    if (this.broken) throw new Error("no space left on device");
    await super.write(changes);
  }
}

interface Person { readonly client: Client; readonly store: FailingStore; readonly heard: ClientEvent[]; readonly hear: (match: (e: ClientEvent) => boolean) => Promise<ClientEvent>; readonly root: id.SeedSigner }

function listen(client: Client) {
  const heard: ClientEvent[] = [];
  let wake: (() => void)[] = [];
  client.listen((e) => {
    heard.push(e);
    for (const f of wake.splice(0)) f();
  });
  const hear = async (match: (e: ClientEvent) => boolean): Promise<ClientEvent> => {
    for (;;) {
      const e = heard.find(match);
      if (e !== undefined) return e;
      await new Promise<void>((resolve) => wake.push(resolve));
    }
  };
  return { heard, hear };
}

async function someone(node: Puppet): Promise<Person> {
  const store = new FailingStore();
  const { client } = await createIdentity({ store, vault: new StoreVault(store), socket: node.socket });
  open.push(client);
  await client.register(node.invite);
  const ears = listen(client);
  client.start();
  await client.wire();
  return { client, store, ...ears, root: await client.root() };
}

async function friends(): Promise<{ node: Puppet; a: Person; b: Person }> {
  const node = await Puppet.make();
  const a = await someone(node);
  const b = await someone(node);
  await a.client.knock(b.client.address, "hi", "A");
  await b.hear((e) => e.type === "knock");
  await b.client.accept(a.client.id);
  await a.hear((e) => e.type === "knock-accepted");
  return { node, a, b };
}

const read = (n: string) => (e: ClientEvent) => e.type === "note-state" && e.id === n && e.state === "read";

describe("a node that lies", () => {
  it("two lists of one epoch are an alarm, and nothing is sent until the person decides (17)", async () => {
    const { node, a, b } = await friends();
    const list = node.accounts.get(b.client.self.hex)!.list;
    const rival = await id.signDeviceList(b.root, { ...list, expires: list.expires - 1 });
    node.lie = (root, truth) => (root === b.client.self.hex ? { ...truth, list: rival.signed } : truth);
    expect((await refusal(() => a.client.find(b.client.address))).code).toBe("key_alarm");
    await a.hear((e) => e.type === "alarm" && e.from === b.client.id);
    expect(a.client.contacts()[0]).toMatchObject({ alarm: true, changed: true });
    expect((await refusal(() => a.client.sendMessage(b.client.id, "x"))).code).toBe("key_alarm");
    node.lie = undefined;
    await a.client.resolve(b.client.id);
    const n = await a.client.sendMessage(b.client.id, "after all");
    await a.hear(read(n));
  });

  it("an older list is refused, and changes nothing (16)", async () => {
    const { node, a, b } = await friends();
    const first = node.accounts.get(b.client.self.hex)!.list;
    const second = await id.nextList(b.root, first, { kind: "renew" }, Date.now());
    node.lie = (root, truth) => (root === b.client.self.hex ? { ...truth, list: second.signed } : truth);
    await a.client.find(b.client.address);
    node.lie = undefined;
    expect((await refusal(() => a.client.find(b.client.address))).code).toBe("rollback");
    expect(a.client.contacts()[0]).toMatchObject({ alarm: false });
  });

  it("a device that the node adds to an answer is not written to (70)", async () => {
    const { node, a, b } = await friends();
    const ghost = await id.SeedSigner.generate();
    const route = { home: { peerId: node.peerId, domain: node.domain }, tag: new Uint8Array(16).fill(9), tokenEpoch: 1n };
    const extra = await signBundle(await Prekey.generate(Date.now()), ghost, b.client.self, 1, route);
    node.lie = (_, truth) => ({ ...truth, bundles: [extra.signed, ...truth.bundles] });
    a.client.directory.forget(b.client.self);
    const before = node.submitted.length;
    await a.hear(read(await a.client.sendMessage(b.client.id, "to listed devices only")));
    const to = a.client.ledger.open.map((r) => r.device);
    expect(to).not.toContain(id.DeviceId.of(ghost.publicKey).hex);
    // The note, the receipt for it, and nothing else.
    expect(node.submitted.length - before).toBe(2);
  });

  it("a node that is no home of the identity is an alarm", async () => {
    const node = await Puppet.make();
    const a = await someone(node);
    const b = await someone(node);
    const list = node.accounts.get(b.client.self.hex)!.list;
    const elsewhere = await id.signDeviceList(b.root, { ...list, homes: [{ peerId: (await id.SeedSigner.generate()).publicKey.peerId(), domain: "elsewhere.example" }] });
    node.lie = (root, truth) => (root === b.client.self.hex ? { ...truth, list: elsewhere.signed } : truth);
    expect((await refusal(() => a.client.knock(b.client.address))).code).toBe("key_alarm");
    await a.hear((e) => e.type === "alarm");
    expect(a.client.contacts()).toEqual([]);
  });

  it("another identity's list, a foreign descriptor and another domain key are refused", async () => {
    const node = await Puppet.make();
    const a = await someone(node);
    const b = await someone(node);
    node.lie = (root, truth) => (root === b.client.self.hex ? { ...truth, list: node.accounts.get(a.client.self.hex)!.list.signed } : truth);
    expect((await refusal(() => a.client.find(b.client.address))).code).toBe("other_identity");
    node.lie = undefined;
    const other = await Puppet.make();
    node.descriptors = [(await other.descriptor()).signed];
    expect((await refusal(() => a.client.find(b.client.address))).code).toBe("other_identity");
    node.descriptors = undefined;
    await a.client.find(b.client.address);
    node.document = (await node.domainDocument(await id.SeedSigner.generate())).signed;
    expect((await refusal(() => a.client.find(b.client.address))).code).toBe("key_changed");
  });

  it("what is delivered three times is one note, and every copy is acknowledged to the node", async () => {
    const { node, a, b } = await friends();
    node.times = 3;
    const n = await a.client.sendMessage(b.client.id, "once");
    await a.hear(read(n));
    node.times = 1;
    await a.hear(read(await a.client.sendMessage(b.client.id, "done")));
    expect((await b.client.history(a.client.id)).notes.map((x) => x.text)).toEqual(["once", "done"]);
    expect(b.heard.filter((e) => e.type === "note")).toHaveLength(2);
    await node.emptied();
  });

  it("a newer own list that the node holds is taken over, and one that contradicts ours is an alarm", async () => {
    const node = await Puppet.make();
    const a = await someone(node);
    const mine = a.client.mustOwnList();
    const sibling = (await id.SeedSigner.generate()).publicKey;
    const newer = await id.nextList(a.root, mine, { kind: "add", device: sibling }, Date.now());
    node.conflict = (l) => l.epoch < newer.epoch;
    node.lie = (_, truth) => ({ ...truth, list: newer.signed });
    await a.client.rotateToken(true);
    expect(a.client.mustOwnList().devices).toHaveLength(2);

    const rival = await id.signDeviceList(a.root, { ...newer, expires: newer.expires - 1 });
    node.lie = (_, truth) => ({ ...truth, list: rival.signed });
    node.conflict = () => true;
    expect((await refusal(() => a.client.rotateToken(true))).code).toBe("key_alarm");
    await a.hear((e) => e.type === "alarm" && e.from === a.client.id);
  });

  it("a list that leaves this device out ends the client with words", async () => {
    const node = await Puppet.make();
    const a = await someone(node);
    const sibling = (await id.SeedSigner.generate()).publicKey;
    const two = await id.nextList(a.root, a.client.mustOwnList(), { kind: "add", device: sibling }, Date.now());
    const three = await id.nextList(a.root, two, { kind: "revoke", device: a.client.deviceId }, Date.now());
    node.conflict = (l) => l.epoch < three.epoch;
    node.lie = (_, truth) => ({ ...truth, list: three.signed });
    expect((await refusal(() => a.client.rotateToken(true))).code).toBe("revoked");
  });
});

describe("a blocked contact and a changed token", () => {
  it("the old token stops at once, and whoever is left gets the new one", async () => {
    const { node, a, b } = await friends();
    const c = await someone(node);
    await c.client.knock(a.client.address, "", "C");
    await a.hear((e) => e.type === "knock" && e.from === c.client.id);
    await a.client.accept(c.client.id);
    await c.hear((e) => e.type === "knock-accepted");
    await c.hear(read(await c.client.sendMessage(a.client.id, "before")));
    await a.client.block(c.client.id);
    await b.hear(read(await b.client.sendMessage(a.client.id, "still here")));
    const n = await c.client.sendMessage(a.client.id, "after");
    // Its token is refused; as a knock it is taken by the node, opened by nobody, and never read.
    await c.hear((e) => e.type === "note-state" && e.id === n && e.state === "stored");
    await b.hear(read(await b.client.sendMessage(a.client.id, "and here")));
    expect((await a.client.history(c.client.id)).notes.map((x) => x.text)).toEqual(["before"]);
  });
});

describe("a disk that fails", () => {
  it("ends the client, and acknowledges nothing that is not kept", async () => {
    const { node, a, b } = await friends();
    const acked = node.acked.length;
    b.store.broken = true;
    await a.client.sendMessage(b.client.id, "lost?");
    const e = await b.hear((e) => e.type === "ended");
    expect(e.type === "ended" && e.error).toMatchObject({ code: "storage" });
    expect(node.acked.slice(acked).length).toBe(0);

    // Opened again on a disk that works, the note is there: once.
    b.store.broken = false;
    const again = await Client.open({ store: b.store, vault: new StoreVault(b.store), socket: node.socket });
    open.push(again);
    const ears = listen(again);
    again.start();
    await ears.hear((e) => e.type === "note" && e.text === "lost?");
    expect((await again.history(a.client.id)).notes.map((n) => n.text)).toEqual(["lost?"]);
  });

  it("a stop in the middle of anything leaves a state that opens and goes on", async () => {
    const { node, a, b } = await friends();
    const ids = await Promise.all(Array.from({ length: 10 }, (_, i) => a.client.sendMessage(b.client.id, `n${i}`)));
    await a.client.stop(); // whatever was on its way
    const again = await Client.open({ store: a.store, vault: new StoreVault(a.store), socket: node.socket });
    open.push(again);
    const ears = listen(again);
    again.start();
    await Promise.all(ids.map(async (n) => {
      const done = (await again.history(b.client.id)).notes.find((x) => x.id === n)?.state === "read";
      if (!done) await ears.hear(read(n));
    }));
    expect((await b.client.history(a.client.id)).notes.map((n) => n.text).sort()).toEqual(ids.map((_, i) => `n${i}`).sort());
  });
});
