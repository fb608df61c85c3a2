// Two people meet by cards: two TypeScript participants that no node knows, and one of them with the Go command line,
// both ways round. ICE, DTLS and SCTP are real.

import { execFileSync, spawn, type ChildProcessWithoutNullStreams } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { unhex } from "../src/bytes.ts";
import { call as calling, Client, createIdentity, envelope as env, MemoryStore, StoreVault, type ClientEvent } from "../src/index.ts";
import { codeWord, refusal } from "./vectors.ts";
import { weriftCardPeer, weriftPeer } from "./werift.ts";

const open: Client[] = [];
afterEach(async () => { await Promise.all(open.splice(0).map((c) => c.close())); });

interface Loner { readonly client: Client; readonly cards: calling.Cards; readonly notes: string[]; readonly heard: (match: (e: ClientEvent) => boolean) => Promise<void>; pass(ms: number): void }

async function loner(peer = weriftCardPeer): Promise<Loner> {
  const store = new MemoryStore();
  let skew = 0;
  const { client } = await createIdentity({
    store, vault: new StoreVault(store), socket: () => { throw new Error("there is no node"); },
    timers: { random: () => Math.random(), now: () => Date.now() + skew, after: (ms, f) => { const t = setTimeout(f, ms); return () => clearTimeout(t); } },
  });
  open.push(client);
  const events: ClientEvent[] = [];
  const wake: (() => void)[] = [];
  client.listen((e) => {
    events.push(e);
    for (const f of wake.splice(0)) f();
  });
  const notes: string[] = [];
  const calls = new calling.Calls(client, { peer: weriftPeer, onCall: (c) => { c.onNote = (n) => { notes.push(n.text); for (const f of wake.splice(0)) f(); }; } });
  return {
    client, notes, cards: new calling.Cards(client, calls, peer), pass: (ms) => { skew += ms; },
    heard: async (match) => { while (!events.some(match)) await new Promise<void>((r) => wake.push(r)); },
  };
}

const live = (l: Loner, c: calling.Call) => l.heard((e) => e.type === "call" && e.call === c.id && e.state === "live");
const ended = (l: Loner, c: calling.Call) => l.heard((e) => e.type === "call" && e.call === c.id && e.state === "ended");

describe("two participants without a node", () => {
  it("make a call like any other, and write within it", async () => {
    const [a, b] = [await loner(), await loner()];
    const offer = await a.cards.offerCard({ media: 0, name: "Ada" });
    const seen = await b.cards.read(offer.link("https://acme.example"));
    expect([seen.cert.root.id(), seen.name, seen.media, seen.home]).toEqual([a.client.id, "Ada", 0, undefined]);
    const answer = await b.cards.answerCard(seen, { name: "Bob" });
    const coming = answer.call();
    const call = await offer.accept(await offer.read(answer.link()));
    const there = await coming;
    await Promise.all([live(a, call), live(b, there)]);
    expect([call.contact, there.contact, call.byCards, call.bound, there.bound]).toEqual([b.client.id, a.client.id, true, true, true]);
    const said = call.sendNote("hello");
    await a.client.noteInCall(call.contact, true, said);
    await b.heard(() => b.notes.length > 0);
    expect(b.notes).toEqual(["hello"]);
    await b.client.noteInCall(there.contact, false, said);
    expect((await b.client.history(a.client.id)).notes.map((n) => [n.text, n.out])).toEqual([["hello", false]]);
    expect((await a.client.history(b.client.id)).notes.map((n) => [n.text, n.out])).toEqual([["hello", true]]);
    expect(a.client.contacts().map((c) => [c.id, c.name, c.state, c.verified])).toEqual([[b.client.id, "Bob", "known", false]]);
    call.hangup();
    await Promise.all([ended(a, call), ended(b, there)]);
  }, 60_000);

  it("refuse what was used, what is of the other kind, and what is for somebody else", async () => {
    const [a, b, c] = [await loner(), await loner(), await loner()];
    const offer = await a.cards.offerCard({ media: 0 });
    const other = await a.cards.offerCard({ media: 0 });
    const [first, second] = [await b.cards.answerCard(await b.cards.read(offer.link())), await c.cards.answerCard(await c.cards.read(offer.link()))];
    const words = (...f: (() => unknown)[]) => Promise.all(f.map(codeWord));
    expect(await words(
      () => b.cards.read(offer.link()), () => b.cards.answerCard(offer.card), () => a.cards.read(offer.link()), () => c.cards.read(first.link()),
      () => offer.read(other.link()), () => offer.read(first.link()), () => other.read(first.link()), () => a.cards.read("hello"),
    )).toEqual(["card_replayed", "card_replayed", "card_own", "card_order", "card_own", "", "card_foreign", "card_malformed"]);
    const theirs = await b.cards.offerCard({ media: 0 });
    expect(await codeWord(() => offer.read(theirs.link()))).toBe("card_order");
    // Its text stays; its checks would reach the offer, and the library of these tests takes the first that come.
    second.close();
    const coming = first.call();
    await offer.accept(await offer.read(first.link()));
    await coming;
    expect(await words(() => offer.read(first.link()), () => offer.read(second.link()))).toEqual(["card_replayed", "card_second"]);
    for (const x of [other, theirs]) x.close();
    expect(await codeWord(() => other.read(second.link()))).toBe("card_foreign");
  }, 60_000);

  it("come too late", async () => {
    const [a, b] = [await loner(), await loner()];
    const offer = await a.cards.offerCard({ media: 0 });
    const answer = await b.cards.answerCard(await b.cards.read(offer.link()));
    b.pass(11 * 60_000);
    expect(await codeWord(() => b.cards.read(offer.link()))).toBe("card_expired");
    expect((await refusal(() => answer.call())).code).toBe("card_expired");
    a.pass(11 * 60_000);
    expect(await codeWord(() => offer.read(answer.link()))).toBe("card_expired");
    offer.close();
  }, 60_000);

  it("stop when they are told to", async () => {
    const [a, b] = [await loner(), await loner()];
    const stop = new AbortController();
    const offer = await a.cards.offerCard({ media: 0 });
    const answer = await b.cards.answerCard(await b.cards.read(offer.link()));
    const coming = answer.call({ signal: stop.signal });
    stop.abort();
    expect((await refusal(() => coming)).code).toBe("aborted");
    expect((await refusal(() => a.cards.offerCard({ signal: stop.signal }))).code).toBe("aborted");
    expect((await refusal(() => a.cards.offerCard({ relayOnly: true }))).code).toBe("unreachable");
    offer.close();
  }, 60_000);

  it("keep no company of whoever changes a card on its way, or stands in the middle", async () => {
    const [a, b, eve] = [await loner(), await loner(), await loner()];
    const offer = await a.cards.offerCard({ media: 0 });
    const changed = new Uint8Array(offer.card.signed);
    changed[10]! ^= 1;
    expect(await codeWord(() => b.cards.read(env.cardText(changed)))).toBe("card_tampered");
    // Eve answers in Bob's place; what she cannot do is be Bob.
    const answer = await eve.cards.answerCard(await eve.cards.read(offer.link()));
    expect((await offer.read(answer.link())).cert.root.id()).toBe(eve.client.id);
    answer.close();
    offer.close();
  }, 60_000);

  it.each<[string, (send: (b: Uint8Array<ArrayBuffer>) => void, b: Uint8Array<ArrayBuffer>) => void, string]>([
    ["another binding", (send) => send(env.marshalCardMessage({ case: "binding", value: { mac: new Uint8Array(32).fill(7) } })), "binding"],
    ["a frame in place of the binding", (send) => send(env.marshalCardMessage({ case: "frame", value: { frame: new Uint8Array(1024).fill(7) } })), "binding"],
    ["what is no message", (send) => send(unhex("ffff")), "binding"],
  ])("end a meeting with somebody who sends %s", async (_, play, code) => {
    let played = false;
    const hostile: calling.CardPeerFactory = (o) => {
      const p = weriftCardPeer(o);
      return { ...p, send: (b) => { if (!played) { played = true; play(p.send, b); } } };
    };
    const [a, eve] = [await loner(), await loner(hostile)];
    const offer = await a.cards.offerCard({ media: 0 });
    const answer = await eve.cards.answerCard(await eve.cards.read(offer.link()));
    const coming = answer.call().catch(() => undefined);
    expect((await refusal(async () => offer.accept(await offer.read(answer.link())))).code).toBe(code);
    await coming;
  }, 60_000);
});

describe("with the Go command line", () => {
  const folder = mkdtempSync(join(tmpdir(), "trunkline-cards-"));
  const binary = join(folder, "trunkline");
  const data = join(folder, "bob");
  const running: ChildProcessWithoutNullStreams[] = [];
  let bob = "";
  beforeAll(() => {
    execFileSync("go", ["build", "-o", binary, "./cmd/trunkline"], { cwd: fileURLToPath(new URL("../../../", import.meta.url)), stdio: "inherit" });
    bob = (JSON.parse(execFileSync(binary, ["id", "new", "--data", data, "--json"], { encoding: "utf8" })) as { id: string }).id;
  }, 300_000);
  afterAll(() => {
    for (const p of running) p.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  });

  function card(...args: string[]) {
    const tied = existsSync("/usr/bin/setpriv") ? ["/usr/bin/setpriv", "--pdeathsig", "KILL"] : [];
    const all = [...tied, binary, "card", ...args, "--data", data, "--json"];
    const child = spawn(all[0]!, all.slice(1));
    running.push(child);
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    let errors = "";
    child.stderr.on("data", (b: Buffer) => { errors += b.toString(); });
    const exit = new Promise<number | null>((resolve) => child.once("exit", resolve));
    return {
      event: async (name: string): Promise<Record<string, unknown>> => {
        for (;;) {
          const { value, done } = await lines.next();
          if (done) throw new Error(`trunkline card ${args.join(" ")} ended: ${errors}`);
          const e = JSON.parse(value) as { event: string; what: Record<string, unknown> };
          if (e.event === name) return e.what;
        }
      },
      say: (line: string) => child.stdin.write(`${line}\n`),
      exit,
    };
  }

  it("an offer of this side is answered in a terminal", async () => {
    const a = await loner();
    const offer = await a.cards.offerCard({ media: 0, name: "Ada" });
    const terminal = card("answer", offer.link("https://acme.example"), "--name", "Bob");
    expect((await terminal.event("peer"))["id"]).toBe(a.client.id);
    const answer = await offer.read((await terminal.event("card"))["link"] as string);
    expect([answer.cert.root.id(), answer.name]).toEqual([bob, "Bob"]);
    const call = await offer.accept(answer);
    await live(a, call);
    await terminal.event("connected");
    call.sendNote("from the page");
    expect((await terminal.event("note"))["text"]).toBe("from the page");
    terminal.say("from the terminal");
    await a.heard(() => a.notes.length > 0);
    expect(a.notes).toEqual(["from the terminal"]);
    call.hangup();
    expect(await terminal.exit).toBe(0);
  }, 90_000);

  it("an offer of a terminal is answered on this side", async () => {
    const a = await loner();
    const terminal = card("offer");
    const seen = await a.cards.read((await terminal.event("card"))["qr"] as string);
    const answer = await a.cards.answerCard(seen);
    const coming = answer.call();
    terminal.say(answer.link("https://globex.example"));
    const call = await coming;
    await live(a, call);
    expect([call.contact, call.media]).toEqual([bob, 1]);
    await terminal.event("connected");
    call.hangup();
    expect(await terminal.exit).toBe(0);
  }, 90_000);
});
