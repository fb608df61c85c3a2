// A partner's people in a room, over two federated nodes that are real processes (docs/spec/rooms.md, section 3). Where
// sound and picture go then is the browser test's.

import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Client, createIdentity, TrunklineError } from "../src/index.ts";
import { inFolder, nodeSocket } from "../src/node.ts";
import { createGroup, joinGroup, type Room, type RoomState } from "../src/room/index.ts";
import { Organisations, type Node } from "./organisations.ts";
import { until } from "./roomstates.ts";
import { refusal } from "./vectors.ts";

const noGuests = "\n[rooms]\nguests = false\n";
const meet = (direction: "in" | "out", limit = "") => `\n[[rule]]\nname = "meet"\nlevel = "partner"\ndirection = "${direction}"\nactions = ["sfu"]\n${limit}\n`;

let w: Organisations;
let olga: Client;
let bob: Client;
let carol: Client;
const opened: Client[] = [];
const rooms: Room[] = [];

beforeAll(async () => {
  w = await Organisations.start();
  olga = await someone("olga", w.acme);
  bob = await someone("bob", w.globex);
  carol = await someone("carol", w.globex);
}, 300_000);
afterAll(async () => {
  await Promise.all(rooms.map((r) => r.leave()));
  await Promise.all(opened.map((c) => c.close()));
  await w.stop();
}, 60_000);

async function someone(name: string, home: Node): Promise<Client> {
  const { client } = await createIdentity(inFolder(join(w.folder, name)));
  opened.push(client);
  await client.register(home.invite());
  client.start();
  return client;
}

async function enter(who: Client | { readonly socket: typeof nodeSocket }, link: string, name: string): Promise<Room> {
  const r = await joinGroup(who, link, { name });
  rooms.push(r);
  return r;
}

const names = (s: RoomState) => s.people.map((p) => p.name).sort().join(" ");
/** How often a node was asked for its word. */
const asked = (n: Node) => n.counts("trunkline_room_passes_total");
/** Why a join was refused: the code of the room's node, and the one of the own node where that gave no word. */
async function why(who: Client | { readonly socket: typeof nodeSocket }, link: string): Promise<readonly (string | undefined)[]> {
  const { nodeCode, cause } = await refusal(() => enter(who, link, "Nobody"));
  return [nodeCode, cause instanceof TrunklineError ? cause.nodeCode : undefined];
}

it("lets a partner's people in with the word of their node, as far as both policies let them, and as long as they do", async () => {
  const { link } = await createGroup(olga, { title: "Partners" });

  // Where guests may come nobody is asked who they are.
  const visit = await enter(bob, link, "Bob");
  expect([visit.state.phase, await asked(w.globex)]).toEqual(["in", 0]);
  await visit.leave();

  w.acme.rules(noGuests);
  expect(await why({ socket: nodeSocket }, link)).toEqual(["pass", undefined]);
  const owner = await enter(olga, link, "Olga");
  expect([owner.state.phase, await asked(w.acme)]).toEqual(["in", 1]);
  expect(await why(bob, link)).toEqual(["pass", "policy"]);
  w.globex.rules(meet("out"));
  expect(await why(bob, link)).toEqual(["policy", undefined]);
  expect(await asked(w.globex)).toBe(2);

  w.acme.rules(noGuests + meet("in", "limit = { concurrent = 1 }"));
  const partner = await enter(bob, link, "Bob");
  for (const r of [owner, partner]) expect(names(await until(r, (s) => s.people.length === 2))).toBe("Bob Olga");
  owner.chat("welcome");
  expect((await until(partner, (s) => s.chat.length === 1)).chat[0]).toMatchObject({ text: "welcome", name: "Olga" });
  expect(await why(carol, link)).toEqual(["quota", undefined]);

  const left = new Promise<unknown>((resolve) => owner.listen((e) => { if (e.type === "went") resolve([e.person.name, e.code]); }));
  w.acme.rules(noGuests);
  expect((await until(partner, (s) => s.phase === "ended")).end).toMatchObject({ why: "refused", code: "policy" });
  expect(await left).toEqual(["Bob", "policy"]);
  expect([owner.state.phase, names(owner.state)]).toEqual(["in", "Olga"]);
  expect(await why(bob, link)).toEqual(["policy", undefined]);
}, 120_000);

it("shows no word twice: whoever comes in again asks for another one", async () => {
  w.acme.rules(noGuests + meet("in"));
  w.globex.rules(meet("out"));
  const { link } = await createGroup(olga, { title: "Again" });
  const before = await asked(w.globex);
  const partner = await enter(bob, link, "Bob");
  expect(await asked(w.globex)).toBe(before + 1);
  const was = partner.state.me;
  const gone = until(partner, (s) => s.phase === "again");
  await w.acme.stop("SIGKILL");
  await gone;
  w.acme.configure(w.globex, noGuests + meet("in"));
  await w.acme.start();
  expect((await until(partner, (s) => s.phase === "in")).me).toBeGreaterThan(was);
  expect(await asked(w.globex)).toBe(before + 2);
}, 120_000);
