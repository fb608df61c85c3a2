// Rooms of the SDK in Node, with participants of the Go command line, at a node that is a real process. Sound and picture
// are the browser test's.

import { spawn, type ChildProcess } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Client, createIdentity } from "../src/index.ts";
import { inFolder, nodeSocket } from "../src/node.ts";
import { closeGroup, createGroup, joinGroup, listGroups, type Room, type RoomEvent, type RoomState } from "../src/room/index.ts";
import { GoPerson, Organisations } from "./organisations.ts";
import { until } from "./roomstates.ts";
import { refusal } from "./vectors.ts";

let w: Organisations;
let owner: Client;
const opened: Client[] = [];
const rooms: Room[] = [];
const children: ChildProcess[] = [];

beforeAll(async () => {
  w = await Organisations.start();
  owner = await someone("owner");
}, 300_000);
afterAll(async () => {
  for (const c of children) c.kill("SIGKILL");
  await Promise.all(rooms.map((r) => r.leave()));
  await Promise.all(opened.map((c) => c.close()));
  await w.stop();
}, 60_000);

async function someone(name: string): Promise<Client> {
  const { client } = await createIdentity(inFolder(join(w.folder, name)));
  opened.push(client);
  await client.register(w.acme.invite());
  client.start();
  return client;
}

/** A guest of the SDK. */
async function guest(link: string, name: string): Promise<Room> {
  const r = await joinGroup({ socket: nodeSocket }, link, { name });
  rooms.push(r);
  return r;
}

async function enter(c: Client, link: string, name: string): Promise<Room> {
  const r = await joinGroup(c, link, { name });
  rooms.push(r);
  return r;
}

interface Said { event: string; what: Record<string, unknown> }

/** trunkline room join, whose words are read line by line. */
class GoMember {
  readonly said: Said[] = [];
  readonly ended: Promise<number | null>;
  readonly #child: ChildProcess;
  #wake: (() => void)[] = [];

  constructor(link: string, ...args: string[]) {
    this.#child = spawn(w.binary, ["room", "join", link, "--json", ...args], { stdio: ["ignore", "pipe", "ignore"] });
    children.push(this.#child);
    createInterface({ input: this.#child.stdout! }).on("line", (l) => {
      this.said.push(JSON.parse(l) as Said);
      for (const f of this.#wake.splice(0)) f();
    });
    this.ended = new Promise((resolve) => this.#child.once("exit", (code) => {
      resolve(code);
      for (const f of this.#wake.splice(0)) f();
    }));
  }

  async hear(event: string, match: (what: Record<string, unknown>) => boolean = () => true): Promise<Record<string, unknown>> {
    for (;;) {
      const e = this.said.find((x) => x.event === event && match(x.what));
      if (e !== undefined) return e.what;
      if (this.#child.exitCode !== null) throw new Error(`trunkline room join ended before "${event}": ${JSON.stringify(this.said)}`);
      await new Promise<void>((resolve) => this.#wake.push(resolve));
    }
  }

  async stop(): Promise<void> {
    this.#child.kill("SIGINT");
    await this.ended;
  }
}

const names = (s: RoomState) => s.people.map((p) => p.name).sort().join(" ");

it("makes a room that Go participants and guests of both come into, with one list of who is in", async () => {
  const made = await createGroup(owner, { title: "Plans" });
  expect([made.owner, made.runs, listGroups(owner).map((x) => x.title)]).toEqual([true, true, ["Plans"]]);
  const room = await enter(owner, made.link, "Olga");
  expect([room.state.phase, room.state.title, room.state.role]).toEqual(["in", "Plans", "owner"]);
  await until(room, (s) => s.chairIsOurs);
  const go = new GoMember(made.link, "--guest", "--as", "Gopher", "--seconds", "120");
  await go.hear("came", (m) => m["name"] === "Olga");
  const visitor = await guest(made.link, "Vera");
  for (const r of [room, visitor]) expect(names(await until(r, (s) => s.people.length === 3))).toBe("Gopher Olga Vera");
  await go.hear("came", (m) => m["name"] === "Vera");
  // Until somebody has said what it sends it is not known to be muted.
  const said = (name: string) => room.state.people.find((p) => p.name === name)?.presence;
  await until(room, () => said("Vera") !== undefined && said("Gopher") !== undefined);
  expect([said("Vera")?.microphone, said("Gopher")?.microphone]).toEqual([false, false]);
  expect((await until(visitor, (s) => s.chair !== undefined)).chair).toBe(room.state.me);
  expect(visitor.state.people.find((p) => p.me)?.role).toBe("guest");

  // Said beside media.
  room.setHand(true);
  const line = room.chat("Grüße");
  await until(visitor, (s) => s.chat.length === 1 && s.people.find((p) => p.role === "owner")?.hand === 1);
  expect(visitor.state.chat[0]).toMatchObject({ id: line.id, text: "Grüße", name: "Olga", mine: false });
  const asked = new Promise<RoomEvent>((resolve) => visitor.listen((e) => { if (e.type === "mute_asked" || e.type === "reaction") resolve(e); }));
  expect((await refusal(() => visitor.askMute(room.state.me, "microphone"))).code).toBe("policy");
  room.askMute(visitor.state.me, "microphone");
  expect(await asked).toMatchObject({ type: "mute_asked", what: "microphone" });

  // Somebody is sent away: the rest go on under another link and other keys.
  const rekeyed = new Promise<void>((resolve) => room.listen((e) => { if (e.type === "rekeyed") resolve(); }));
  await room.remove(visitor.state.me);
  expect((await until(visitor, (s) => s.phase === "ended")).end).toMatchObject({ why: "removed" });
  await rekeyed;
  expect(names(await until(room, (s) => s.people.length === 2))).toBe("Gopher Olga");
  expect((await go.hear("link"))["link"]).toBe(room.state.link);
  expect(room.state.link).not.toBe(made.link);
  expect((await refusal(() => guest(made.link, "Vera"))).nodeCode).toBe("gate");
  const again = await guest(room.state.link, "Wanda");
  expect(names(await until(again, (s) => s.people.length === 3))).toBe("Gopher Olga Wanda");
  await go.stop();
  await until(room, (s) => s.people.length === 2);
  await room.close();
  for (const r of [room, again]) expect((await until(r, (s) => s.phase === "ended")).end?.why).toBe("closed");
}, 120_000);

it("waits in a lobby until a moderator says yes, of Go or of the SDK", async () => {
  const made = await createGroup(owner, { title: "Door", entry: "lobby" });
  const room = await enter(owner, made.link, "Olga");
  const yes = await guest(made.link, "Yes");
  const no = await guest(made.link, "No");
  expect([yes.state.phase, yes.state.people]).toEqual(["waiting", []]);
  const waiting = (await until(room, (s) => s.lobby.length === 2)).lobby;
  const of = (name: string) => waiting.find((x) => x.name === name)!.index;
  expect((await refusal(() => yes.admit(of("No")))).code).toBe("not_listed");
  await room.admit(of("Yes"));
  await room.deny(of("No"));
  expect((await until(no, (s) => s.phase === "ended")).end?.why).toBe("denied");
  await until(yes, (s) => s.phase === "in" && s.people.length === 2);
  await until(room, (s) => s.people.length === 2 && s.lobby.length === 0);
  const go = new GoMember(made.link, "--guest", "--as", "Gopher", "--seconds", "60");
  await go.hear("waiting");
  const third = (await until(room, (s) => s.lobby.length === 1)).lobby[0]!;
  await room.admit(third.index);
  await go.hear("came", (m) => m["name"] === "Yes");
  await until(yes, (s) => s.people.length === 3);
  await go.stop();
  await room.leave();
  await closeGroup(owner, made.id);
  expect((await until(yes, (s) => s.phase === "ended")).end?.why).toBe("closed");
  expect(listGroups(owner).some((x) => x.id === made.id)).toBe(false);
}, 120_000);

it("knows again who was let in when the owner comes back to its lobby", async () => {
  const made = await createGroup(owner, { title: "Back", entry: "lobby" });
  const room = await enter(owner, made.link, "Olga");
  const visitor = await guest(made.link, "Vera");
  await room.admit((await until(room, (s) => s.lobby.length === 1)).lobby[0]!.index);
  const go = new GoMember(made.link, "--guest", "--as", "Gopher", "--seconds", "120");
  await go.hear("waiting");
  await room.admit((await until(room, (s) => s.lobby.length === 1)).lobby[0]!.index);
  await until(visitor, (s) => s.people.length === 3);
  await room.leave();
  await until(visitor, (s) => s.people.length === 2);
  const back = await enter(owner, made.link, "Olga");
  for (const r of [back, visitor]) expect(names(await until(r, (s) => s.people.length === 3))).toBe("Gopher Olga Vera");
  const events: RoomEvent[] = [];
  back.listen((e) => events.push(e));
  const late = await guest(made.link, "Wanda");
  await back.admit((await until(back, (s) => s.lobby.length === 1)).lobby[0]!.index);
  for (const r of [back, visitor, late]) expect(names(await until(r, (s) => s.people.length === 4))).toBe("Gopher Olga Vera Wanda");
  expect(events.filter((e) => e.type === "alarm")).toEqual([]);
  await go.stop();
  await back.close();
}, 120_000);

it("leaves the chair to a moderator of Go, and takes it back", async () => {
  const ada = new GoPerson(w, "ada");
  await ada.join(w.acme.invite(), "acme.example");
  const made = await createGroup(owner, { title: "Chair", moderators: [ada.id] });
  const room = await enter(owner, made.link, "Olga");
  const go = new GoMember(made.link, "--data", ada.data, "--as", "Ada", "--seconds", "120");
  await go.hear("came", (m) => m["name"] === "Olga" && m["owner"] === true);
  const visitor = await guest(made.link, "Vera");
  const moderator = (await until(visitor, (s) => s.people.length === 3)).people.find((p) => p.role === "moderator")!;
  await until(visitor, (s) => s.chair === room.state.me);
  await room.leave();
  await until(visitor, (s) => s.people.length === 2 && s.chair === moderator.index);
  const back = await enter(owner, made.link, "Olga");
  await until(visitor, (s) => s.people.length === 3 && s.chair === back.state.me);
  await until(back, (s) => s.chairIsOurs);
  await go.stop();
  await back.close();
  await until(visitor, (s) => s.phase === "ended");
}, 120_000);

it("keeps strangers out of a members' room, and says why", async () => {
  const made = await createGroup(owner, { title: "Club", entry: "members", members: [] });
  expect((await refusal(() => guest(made.link, "Vera"))).code).toBe("not_listed");
  const room = await enter(owner, made.link, "Olga");
  await room.extend(made.expiresMs + 3_600_000);
  expect(room.state.expiresMs).toBe(made.expiresMs + 3_600_000);
  await room.close();
  expect((await refusal(() => enter(owner, made.link, "Olga"))).nodeCode).toBe("no_room");
  expect((await refusal(() => createGroup(owner, { title: "a\nb" }))).code).toBe("malformed");
  const early = new AbortController();
  early.abort();
  expect((await refusal(() => joinGroup(owner, made.link, { name: "Olga", signal: early.signal }))).code).toBe("aborted");
}, 60_000);

it("shows what participants of Go send, and which of them records", async () => {
  const made = await createGroup(owner, { title: "Sound" });
  const room = await enter(owner, made.link, "Olga");
  const heard: RoomEvent[] = [];
  room.listen((e) => { if (e.type === "recording") heard.push(e); });
  const sound = ["--guest", "--audio", fileURLToPath(new URL("../../../internal/demo/clip/clip.ogg", import.meta.url)), "--loop", "--seconds", "60"];
  const gopher = new GoMember(made.link, ...sound, "--as", "Gopher");
  await gopher.hear("came", (m) => m["name"] === "Olga");
  const keeper = new GoMember(made.link, ...sound, "--as", "Keeper", "--record", join(w.folder, "kept"));
  const of = (s: RoomState, name: string) => s.people.find((p) => p.name === name);
  const state = await until(room, (s) => ["Gopher", "Keeper"].every((name) => of(s, name)?.presence?.microphone === true));
  expect([of(state, "Gopher")?.presence, of(state, "Keeper")?.presence]).toMatchObject([
    { camera: false, screen: false, hand: false, recording: false }, { camera: false, screen: false, hand: false, recording: true },
  ]);
  expect(state.recording).toEqual([of(state, "Keeper")!.index]);
  expect(heard).toEqual([{ type: "recording", person: of(state, "Keeper")!.index, on: true }]);
  await gopher.hear("presence", (m) => m["name"] === "Keeper" && m["recording"] === true);
  // And what the SDK says is heard in Go.
  await room.announceRecording(true);
  room.setHand(true);
  await gopher.hear("presence", (m) => m["name"] === "Olga" && m["recording"] === true && m["hand"] === true && m["microphone"] === false);
  await Promise.all([gopher.stop(), keeper.stop()]);
  await room.close();
}, 120_000);

it("writes, waves and raises hands with participants of Go", async () => {
  const gus = new GoPerson(w, "gus");
  await gus.join(w.acme.invite(), "acme.example");
  const made = await createGroup(owner, { title: "Talk" });
  const room = await enter(owner, made.link, "Olga");
  const go = new GoMember(made.link, "--data", gus.data, "--as", "Gus", "--seconds", "60");
  await go.hear("came", (m) => m["name"] === "Olga");
  const { index } = (await until(room, (s) => s.people.length === 2)).people.find((p) => p.name === "Gus")!;
  const waved = new Promise<RoomEvent>((resolve) => room.listen((e) => { if (e.type === "reaction") resolve(e); }));
  await gus.run("room", "say", "Grüße an alle");
  await gus.run("room", "react", "applause");
  await gus.run("room", "hand", "up");
  const state = await until(room, (s) => s.chat.length === 1 && s.people.some((p) => p.presence?.hand === true));
  expect(state.chat[0]).toMatchObject({ from: index, name: "Gus", mine: false, text: "Grüße an alle" });
  expect(state.people.find((p) => p.index === index)?.hand).toBe(1);
  expect(await waved).toEqual({ type: "reaction", person: index, kind: "applause" });
  room.chat("Danke");
  room.react("laugh");
  const olga = { index: room.state.me, id: owner.id, name: "Olga" };
  expect(await go.hear("note")).toEqual({ ...olga, text: "Danke" });
  expect(await go.hear("reaction")).toEqual({ ...olga, reaction: "laugh" });
  await gus.run("room", "hand", "down");
  await until(room, (s) => s.people.every((p) => p.presence?.hand !== true));
  await go.stop();
  await room.close();
}, 120_000);

it("comes back by itself when the node was restarted", async () => {
  const made = await createGroup(owner, { title: "Again" });
  const [room, visitor] = [await enter(owner, made.link, "Olga"), await guest(made.link, "Vera")];
  await until(visitor, (s) => s.people.length === 2);
  const was = room.state.me;
  const gone = until(room, (s) => s.phase === "again");
  await w.acme.stop("SIGKILL");
  await gone;
  w.acme.configure(w.globex);
  await w.acme.start();
  for (const r of [room, visitor]) await until(r, (s) => s.phase === "in" && s.people.length === 2);
  expect(room.state.me).toBeGreaterThan(was);
}, 120_000);
