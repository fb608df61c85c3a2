// A TypeScript participant and Go participants, over two federated nodes that are real processes.

import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Client, createIdentity, parseDeviceRequest, recoverIdentity, type ClientEvent } from "../src/index.ts";
import { inFolder } from "../src/node.ts";
import { GoPerson, Organisations } from "./organisations.ts";
import { refusal } from "./vectors.ts";

let w: Organisations;
const open: Client[] = [];

beforeAll(async () => { w = await Organisations.start(); }, 300_000);
afterAll(async () => {
  await Promise.all(open.map((c) => c.close()));
  await w.stop();
  // Nothing in the background may fail unseen. What a blocked contact writes is dropped, and so is what Bob writes to
  // the recovered device of Alice, which has no contacts. A killed node gives again what it heard no acknowledgement of.
  expect(dropped.filter((d) => !allowed.includes(d))).toEqual([]);
}, 60_000);

const dropped: string[] = [];
const allowed: readonly string[] = ["a delivery was dropped: policy", "a delivery came again: replay"];

/** Waits for an event, also for one that has come already. */
class Ear {
  readonly heard: ClientEvent[] = [];
  #wake: (() => void)[] = [];

  constructor(c: Client) {
    c.listen((e) => {
      this.heard.push(e);
      for (const f of this.#wake.splice(0)) f();
    });
  }

  async hear<T extends ClientEvent["type"]>(type: T, match: (e: Extract<ClientEvent, { type: T }>) => boolean = () => true): Promise<Extract<ClientEvent, { type: T }>> {
    for (;;) {
      const e = this.heard.find((e): e is Extract<ClientEvent, { type: T }> => e.type === type && match(e as Extract<ClientEvent, { type: T }>));
      if (e !== undefined) return e;
      const end = this.heard.find((e) => e.type === "ended");
      if (end !== undefined) throw end.error;
      await new Promise<void>((resolve) => this.#wake.push(resolve));
    }
  }
}

async function someone(name: string, invite: string): Promise<{ client: Client; phrase: string; ear: Ear; folder: string }> {
  const folder = join(w.folder, name);
  const { client, phrase } = await createIdentity({ ...inFolder(folder), log: (what, code) => dropped.push(`${what}: ${code}`) });
  open.push(client);
  await client.register(invite);
  const ear = new Ear(client);
  client.start();
  return { client, phrase, ear, folder };
}

describe("Go and TypeScript", () => {
  let alice: Awaited<ReturnType<typeof someone>>;
  let bob: GoPerson;

  beforeAll(async () => {
    alice = await someone("alice", w.acme.invite());
    bob = new GoPerson(w, "bob");
    await bob.join(w.globex.invite(), "globex.example");
  }, 120_000);

  it("a TypeScript client knocks at a Go client, which lets it in", async () => {
    const contact = await alice.client.knock(bob.address, "It is Alice", "Alice");
    expect(contact.state).toBe("pending");
    await bob.run("inbox");
    const listed = JSON.stringify(await bob.run("contact", "list"));
    expect(listed).toContain(alice.client.id);
    await bob.run("contact", "accept", alice.client.id);
    await alice.ear.hear("knock-accepted", (e) => e.from === bob.id);
    expect(alice.client.contacts().map((c) => [c.id, c.state])).toEqual([[bob.id, "accepted"]]);
  }, 120_000);

  it("they write notes both ways, each with its receipt", async () => {
    const id = await alice.client.sendMessage(bob.id, "Grüße aus dem Browser ☎");
    const inbox = JSON.stringify(await bob.run("inbox"));
    expect(inbox).toContain("Grüße aus dem Browser ☎");
    await alice.ear.hear("note-state", (e) => e.id === id && e.state === "read");

    const sent = await bob.run("send", alice.client.id, "Hallo zurück", "--wait", "read") as { state: string };
    expect(JSON.stringify(sent)).toContain("read");
    const got = await alice.ear.hear("note", (e) => e.from === bob.id);
    expect(got.text).toBe("Hallo zurück");
    expect((await alice.client.history(bob.id)).notes.map((n) => [n.out, n.text, n.state])).toEqual([
      [true, "Grüße aus dem Browser ☎", "read"], [false, "Hallo zurück", "delivered"],
    ]);
  }, 120_000);

  it("carries a note of the largest size, which is longer than a knock", async () => {
    const text = "x".repeat(16_384);
    const id = await alice.client.sendMessage(bob.id, text);
    await bob.run("inbox");
    await alice.ear.hear("note-state", (e) => e.id === id && e.state === "read");
    await refusal(() => alice.client.sendMessage(bob.id, text + "x"));
    await bob.run("send", alice.client.id, "y".repeat(16_000), "--wait", "read");
    expect((await alice.ear.hear("note", (e) => e.text.length === 16_000)).from).toBe(bob.id);
  }, 120_000);

  it("shows the same safety number", async () => {
    const shown = JSON.stringify(await bob.run("contact", "verify", alice.client.id));
    const number = await alice.client.safetyNumber(bob.id);
    expect(shown.replace(/\D/g, "")).toContain(number.replace(/\D/g, ""));
    await alice.client.verify(bob.id, number);
    expect(alice.client.contacts()[0]!.verified).toBe(true);
    expect((await refusal(() => alice.client.verify(bob.id, number.replace(/1/g, "2")))).code).toBe("key_alarm");
  }, 60_000);

  it("a Go client knocks at a TypeScript client, which lets it in and keeps it out again", async () => {
    const carol = new GoPerson(w, "carol");
    await carol.join(w.globex.invite(), "globex.example");
    await carol.run("contact", "add", alice.client.address, "--text", "Carol here", "--name", "Carol");
    const knock = await alice.ear.hear("knock", (e) => e.from === carol.id);
    expect([knock.name, knock.text, knock.domain]).toEqual(["Carol", "Carol here", "globex.example"]);
    expect((await refusal(() => alice.client.sendMessage(carol.id, "not yet"))).code).toBe("no_contact");
    await alice.client.accept(carol.id);
    await carol.run("inbox");
    await carol.run("send", alice.client.id, "thank you", "--wait", "read");
    await alice.ear.hear("note", (e) => e.text === "thank you");

    await alice.client.block(carol.id);
    // Bob gets the new token; what Carol still sends is taken by nobody.
    await alice.ear.hear("link", (e) => e.link.state === "up");
    await carol.run("send", alice.client.id, "are you there?", "--wait", "accepted");
    await bob.run("inbox");
    await bob.run("send", alice.client.id, "still friends", "--wait", "read");
    await alice.ear.hear("note", (e) => e.text === "still friends");
    expect((await alice.client.history(carol.id)).notes.map((n) => n.text)).toEqual(["thank you"]);
  }, 180_000);

  it("goes on after a kill of its node, and after its own end, without losing a note", async () => {
    await w.acme.stop("SIGKILL");
    await alice.ear.hear("link", (e) => e.link.state === "waiting");
    const id = await alice.client.sendMessage(bob.id, "written while the node was down");
    await alice.client.close();
    open.splice(open.indexOf(alice.client), 1);
    w.acme.configure(w.globex);
    await w.acme.start();
    w.globex.introduce(w.acme);

    const again = await Client.open({ ...inFolder(alice.folder), log: (what, code) => dropped.push(`${what}: ${code}`) });
    open.push(again);
    const ear = new Ear(again);
    again.start();
    await ear.hear("note-state", (e) => e.id === id && (e.state === "stored" || e.state === "delivered"));
    expect(JSON.stringify(await bob.run("inbox"))).toContain("written while the node was down");
    await ear.hear("note-state", (e) => e.id === id && e.state === "read");
    expect(again.contacts().find((c) => c.id === bob.id)).toMatchObject({ verified: true, state: "accepted" });
    alice = { ...alice, client: again, ear };
  }, 180_000);

  it("recovers an identity from its phrase as another device, and both devices get what is written", async () => {
    const o = { ...inFolder(join(w.folder, "alice2")), log: (what: string, code: string) => dropped.push(`${what}: ${code}`) };
    const second = await recoverIdentity(o, alice.phrase);
    open.push(second);
    expect(second.id).toBe(alice.client.id);
    await second.register(w.acme.invite());
    const ear = new Ear(second);
    second.start();
    await ear.hear("link", (e) => e.link.state === "up");
    expect(second.mustOwnList().devices).toHaveLength(2);
    // The first device hears of its sibling and tells it whom they know; Bob hears of both.
    await ear.hear("contact", (e) => e.id === bob.id && e.state === "accepted");
    await bob.run("inbox");
    await bob.run("send", alice.client.id, "to both of you", "--wait", "read");
    await Promise.all([alice.ear, ear].map((e) => e.hear("note", (n) => n.text === "to both of you")));
    const id = await second.sendMessage(bob.id, "from the second device");
    expect(JSON.stringify(await bob.run("inbox"))).toContain("from the second device");
    await ear.hear("note-state", (e) => e.id === id && e.state === "read");
  }, 180_000);
});

describe("devices of one identity, in both languages", () => {
  it("a Go device that is recovered from the phrase is told by a TypeScript one whom they know", async () => {
    const ivan = await someone("ivan", w.acme.invite());
    const jana = await someone("jana", w.globex.invite());
    await ivan.client.knock(jana.client.address, "it is Ivan", "Ivan");
    await jana.ear.hear("knock");
    await jana.client.accept(ivan.client.id);
    await ivan.ear.hear("knock-accepted");
    const again = new GoPerson(w, "ivan-go");
    const words = join(w.folder, "ivan.phrase");
    writeFileSync(words, ivan.phrase + "\n", { mode: 0o600 });
    await again.run("id", "recover", "--phrase-file", words);
    await again.run("register", w.acme.invite());
    // It says that it is there, is given leave, and hears of the others with one of the next looks.
    const knows = async () => JSON.stringify(await again.run("contact", "list")).includes(jana.client.id);
    for (let n = 0; n < 20 && !(await knows()); n++) await again.run("inbox");
    expect(await knows()).toBe(true);
    await again.run("send", jana.client.id, "from the Go device", "--wait", "read");
    expect((await jana.ear.hear("note", (e) => e.text === "from the Go device")).from).toBe(ivan.client.id);
  }, 180_000);

  it("own devices hold leave for each other: more than ten decisions wait for one that sleeps", async () => {
    const kim = await someone("kim", w.acme.invite());
    const o = { ...inFolder(join(w.folder, "kim2")), log: (what: string, code: string) => dropped.push(`${what}: ${code}`) };
    const request = await Client.requestDevice(o);
    const second = await Client.join(o, request, await kim.client.approveDevice(request.text));
    open.push(second);
    const ear = new Ear(second);
    await second.connect();
    const grants = (c: Client) => c.contactRecord(c.self)?.grants.length ?? 0;
    while (grants(kim.client) === 0 || grants(second) === 0) await new Promise<void>((resolve) => setImmediate(resolve));
    const people: string[] = [];
    for (let n = 0; n < 12; n++) {
      const person = await someone(`person${n}`, w.acme.invite());
      const knocked = kim.ear.hear("knock", (e) => e.from === person.client.id);
      await person.client.knock(kim.client.address);
      await knocked;
      people.push(person.client.id);
      await person.client.close();
      open.splice(open.indexOf(person.client), 1);
    }
    await second.stop();
    for (const id of people) await kim.client.accept(id);
    const mine = () => kim.client.ledger.open.filter((r) => r.contact === kim.client.self.hex);
    while (mine().length < people.length || mine().some((r) => r.fate !== "stored")) {
      await (await kim.client.later()).ledger.work(true);
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
    const again = await Client.open(o);
    open.splice(open.indexOf(second), 1, again);
    const heard = new Ear(again);
    await again.connect();
    await Promise.all(people.map((id) => heard.hear("contact", (e) => e.id === id && e.state === "accepted")));
    expect(ear.heard.filter((e) => e.type === "ended")).toEqual([]);
  }, 300_000);

  it("a Go client approves a TypeScript device, which then speaks for it", async () => {
    const frank = new GoPerson(w, "frank");
    await frank.join(w.acme.invite(), "acme.example");
    const gina = await someone("gina", w.globex.invite());
    await frank.run("contact", "add", gina.client.address, "--name", "Frank");
    await gina.ear.hear("knock", (e) => e.from === frank.id);
    await gina.client.accept(frank.id);
    await frank.run("inbox");

    const o = { ...inFolder(join(w.folder, "frank2")), log: (what: string, code: string) => dropped.push(`${what}: ${code}`) };
    const request = await Client.requestDevice(o);
    const { approval } = await frank.run("device", "add", request.text) as { approval: string };
    expect((await refusal(() => Client.join(o, { secret: new Uint8Array(32).fill(1) }, approval))).code).toBe("other_identity");
    const joined = await Client.join(o, request, approval);
    open.push(joined);
    expect([joined.id, joined.contacts().map((c) => [c.id, c.state])]).toEqual([frank.id, [[gina.client.id, "accepted"]]]);
    const ear = new Ear(joined);
    joined.start();
    const id = await joined.sendMessage(gina.client.id, "from Frank's new device");
    expect((await gina.ear.hear("note", (e) => e.from === frank.id)).text).toBe("from Frank's new device");
    await ear.hear("note-state", (e) => e.id === id && e.state === "read");
    // The root key is not on it.
    expect((await refusal(() => joined.root())).code).toBe("storage");
  }, 180_000);

  it("a TypeScript client approves a Go device, and takes it out again", async () => {
    const hugo = await someone("hugo", w.acme.invite());
    await hugo.ear.hear("link", (e) => e.link.state === "up");
    const child = spawn(w.binary, ["device", "add", "--data", join(w.folder, "hugo2"), "--json"], { stdio: ["pipe", "pipe", "ignore"] });
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const next = async () => JSON.parse(((await lines.next()) as IteratorResult<string>).value as string) as Record<string, string>;
    const { request } = await next();
    child.stdin.end(await hugo.client.approveDevice(request!) + "\n");
    const became = await next();
    expect(became["id"]).toBe(hugo.client.id);
    expect(hugo.client.mustOwnList().devices.map((c) => c.deviceId.hex)).toContain(became["device"]);
    await hugo.client.revokeDevice(hugo.client.mustOwnList().devices[1]!.deviceId);
    expect([hugo.client.mustOwnList().epoch, hugo.client.mustOwnList().devices.length]).toEqual([3, 1]);
  }, 120_000);

  it("a request that is damaged or no request is refused with words", async () => {
    for (const s of ["", "tlda1-x", "tldr1-AAAA", "tldr1-!!!!"]) expect((await refusal(() => parseDeviceRequest(s))).code).toBe("malformed");
  });
});

describe("TypeScript and TypeScript", () => {
  it("two clients in one process meet over two nodes", async () => {
    const dora = await someone("dora", w.acme.invite());
    const emil = await someone("emil", w.globex.invite());
    await dora.client.knock(emil.client.address, "hello", "Dora");
    await emil.ear.hear("knock", (e) => e.from === dora.client.id);
    await emil.client.accept(dora.client.id);
    await dora.ear.hear("knock-accepted");
    const ids = await Promise.all(Array.from({ length: 20 }, (_, i) => dora.client.sendMessage(emil.client.id, `note ${i}`)));
    await Promise.all(ids.map((id) => dora.ear.hear("note-state", (e) => e.id === id && e.state === "read")));
    expect((await emil.client.history(dora.client.id)).notes.map((n) => n.text).sort()).toEqual(ids.map((_, i) => `note ${i}`).sort());
    expect(dora.client.ledger.open.filter((r) => r.fate === "refused")).toEqual([]);
  }, 120_000);

  it("an identity cannot be registered with a used invitation", async () => {
    const invite = w.acme.invite();
    await someone("first", invite);
    const { client } = await createIdentity(inFolder(join(w.folder, "late")));
    open.push(client);
    expect((await refusal(() => client.register(invite))).nodeCode).toBe("invitation_invalid");
  }, 120_000);

  it("a folder is used by one client at a time", async () => {
    expect((await refusal(() => inFolder(join(w.folder, "dora")))).code).toBe("storage");
  });
});
