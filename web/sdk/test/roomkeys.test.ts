// When members of a room are told of keys and rosters, and when again: over a time that the test moves.

import { expect, it } from "vitest";
import { random, type Bytes } from "../src/bytes.ts";
import { codeOf } from "../src/errors.ts";
import { parseDeviceCert } from "../src/identity/device.ts";
import { SeedSigner } from "../src/identity/key.ts";
import { openCard } from "../src/room/card.ts";
import { Chair } from "../src/room/chair.ts";
import { freshKey, GroupReceiver, newGroupKey } from "../src/room/group.ts";
import type { Self } from "../src/room/join.ts";
import { Keys } from "../src/room/keys.ts";
import type { RoomMessageInit } from "../src/room/message.ts";
import { KeyRing, type KeyCall } from "../src/room/ring.ts";
import { Rosters, seatOf, signRoster, type Roster } from "../src/room/roster.ts";
import { RoomKeys } from "../src/room/secret.ts";
import { Serial } from "../src/room/serial.ts";
import type { Member, Stay } from "../src/room/stay.ts";
import { unbase64, unhex, vectors } from "./vectors.ts";

const v = vectors<{ now_ms: number; people: { name: string; device_seed: string; cert: string }[]; link: { secret: string }; room: string; card: { box_b64: string } }>("room.json");
const room = unhex(v.room);

async function person(i: number): Promise<Self> {
  const p = v.people[i]!;
  return { device: await SeedSigner.from(unhex(p.device_seed)), cert: await parseDeviceCert(unhex(p.cert)), name: p.name };
}

/** The owner's side of a room with one other member, and what it says to it. */
class Scene {
  now = v.now_ms;
  readonly said: { readonly to: number; readonly msg: RoomMessageInit }[] = [];
  readonly ring = new KeyRing();
  rekeyed = 0;
  readonly keys: Keys;
  readonly chair: Chair;
  readonly member: Member;
  readonly #self: Self;
  readonly #rosters: Rosters;
  readonly #serial: Serial;
  #timers: { readonly at: number; readonly f: () => void }[] = [];

  private constructor(self: Self, other: Self, rosters: Rosters) {
    this.#self = self;
    this.#rosters = rosters;
    this.member = { index: 2, cert: other.cert, joinHash: random(32), name: other.name, join: undefined, session: undefined, in: true, gave: 0, held: false, told: undefined, roster: undefined };
    this.#serial = new Serial((ms, f) => {
      const t = { at: this.now + ms, f };
      this.#timers.push(t);
      return () => void (this.#timers = this.#timers.filter((x) => x !== t));
    }, (err) => { throw err; });
    const scene = this;
    const stay = {
      get now() { return scene.now; }, rosters, serial: this.#serial, o: { keys: async (c: KeyCall) => this.ring.call(c), rekeyed: () => void this.rekeyed++ }, sorted: () => [this.member],
      say: async (m: Member, msg: RoomMessageInit) => void this.said.push({ to: m.index, msg }),
      get chair() { return scene.chair; },
    };
    this.chair = new Chair(stay as unknown as Stay); // of which it uses these alone to give a roster
    this.keys = new Keys(stay);
  }

  static async begin(): Promise<Scene> {
    const rosters = new Rosters(await openCard(await RoomKeys.of(unhex(v.link.secret)), room, unbase64(v.card.box_b64)));
    const s = new Scene(await person(0), await person(1), rosters);
    await s.roster();
    await s.keys.begin(1);
    return s;
  }

  /** The next roster, held by this side. */
  async roster(): Promise<Roster> {
    const r = await signRoster(this.#self, room, this.#rosters.current, [seatOf({ index: 1, cert: this.#self.cert, joinHash: new Uint8Array(32) as Bytes, name: "" }), seatOf(this.member)], [], this.now);
    expect(this.#rosters.take(r, this.now)).toBe("newer");
    return r;
  }

  /** Time goes by, and what it brings is done. */
  async pass(ms: number): Promise<void> {
    for (const end = this.now + ms; ;) {
      const next = this.#timers.filter((t) => t.at <= end).sort((a, b) => a.at - b.at)[0];
      if (next === undefined) {
        this.now = end;
        return;
      }
      this.#timers = this.#timers.filter((t) => t !== next);
      this.now = next.at;
      next.f();
      await this.#serial.ask(async () => undefined);
    }
  }

  /** Time goes by while the machine sleeps: what was due by then happens once, at the end. */
  async sleep(ms: number): Promise<void> {
    this.now += ms;
    const due = this.#timers.filter((t) => t.at <= this.now).sort((a, b) => a.at - b.at);
    this.#timers = this.#timers.filter((t) => !due.includes(t));
    for (const t of due) {
      t.f();
      await this.#serial.ask(async () => undefined);
    }
  }

  take(): string[] { return this.said.splice(0).map(({ msg }) => msg.case); }
}

it("tells a key once however often it is asked to, and again once the member had three seconds to answer", async () => {
  const s = await Scene.begin();
  await s.keys.give([s.member]);
  expect(s.take()).toEqual(["key"]);
  for (let i = 0; i < 5; i++) await s.keys.again();
  await s.pass(2_999);
  expect(s.take()).toEqual([]);
  await s.pass(1);
  expect(s.take()).toEqual(["key"]);
  await s.pass(6_000);
  expect(s.take()).toEqual(["key", "key"]);
  const { generation } = newGroupKey();
  await s.keys.isHeld(s.member, generation);
  await s.pass(60_000);
  expect(s.take()).toEqual([]);
});

it("tells another key, and the same key under another roster, at once", async () => {
  const s = await Scene.begin();
  await s.keys.give([s.member]);
  await s.keys.rekey();
  expect(s.take()).toEqual(["key", "key"]);
  await s.keys.again();
  expect(s.take()).toEqual([]);
  await s.roster();
  await s.keys.again();
  expect(s.take()).toEqual(["key"]);
});

it("rolls a key each day, and what is sealed before, meanwhile and after opens", async () => {
  const s = await Scene.begin();
  const dayMs = 86_400_000;
  const sound = new TextEncoder().encode("sound");
  const seal = () => s.ring.sender!.seal(0, "opus", sound);
  const open = (r: GroupReceiver, sealed: Uint8Array) => r.open(0, "opus", sealed).then(() => "opened", (err: unknown) => codeOf(err));
  const member = new GroupReceiver(1);
  const old = new GroupReceiver(1); // hears of no key but the first
  const hears = async () => {
    for (const { msg } of s.said.splice(0)) if (msg.case === "key") member.give({ generation: msg.value.generation!, base: msg.value.key as Bytes });
    await s.keys.isHeld(s.member, member.generation!);
  };
  await s.keys.give([s.member]);
  const first = s.said[0]!.msg;
  if (first.case !== "key") throw new Error(first.case);
  old.give({ generation: first.value.generation!, base: first.value.key as Bytes });
  await hears();
  expect(await open(member, await seal())).toBe("opened");

  await s.sleep(dayMs - 1);
  expect(s.take()).toEqual([]);
  const before = await seal();
  await s.pass(1);
  const meanwhile = await seal(); // the member does not hold the fresh one yet
  expect(s.said.map(({ msg }) => msg.case)).toEqual(["key"]);
  expect(s.rekeyed).toBe(0);
  await hears();
  expect(s.rekeyed).toBe(1);
  const after = await seal();
  for (const sealed of [after, meanwhile, before]) expect(await open(member, sealed)).toBe("opened");
  expect([await open(old, before), await open(old, after)]).toEqual(["opened", "decrypt"]); // a step of the first is not it

  // The next day nobody answers: it is used after two seconds all the same.
  await s.sleep(dayMs);
  expect(s.take()).toEqual(["key"]);
  await s.pass(1_999);
  expect(s.rekeyed).toBe(1);
  await s.pass(1);
  expect(s.rekeyed).toBe(2);
  expect(await open(member, await seal())).toBe("decrypt");
});

it("does not answer each word of an older key with the newest, which is on its way", async () => {
  const s = await Scene.begin();
  await s.keys.give([s.member]);
  await s.keys.rekey();
  s.take();
  for (let i = 0; i < 4; i++) await s.keys.isHeld(s.member, 0);
  expect(s.take()).toEqual([]);
  await s.pass(3_000);
  expect(s.take()).toEqual(["key"]);
});

it("gives the same roster once in three seconds", async () => {
  const s = await Scene.begin();
  for (let i = 0; i < 5; i++) await s.chair.giveRoster(s.member);
  expect(s.take()).toEqual(["roster"]);
  await s.pass(3_000);
  await s.chair.giveRoster(s.member);
  expect(s.take().filter((x) => x === "roster")).toEqual(["roster"]);
  await s.roster();
  await s.chair.giveRoster(s.member);
  expect(s.take()).toEqual(["roster"]);
});

it("asks once for a newer roster than it has, and again when none came", async () => {
  const s = await Scene.begin();
  const epoch = BigInt((await s.roster()).epoch);
  s.member.held = true;
  const key = { generation: 0, key: newGroupKey().base, rosterEpoch: epoch + 1n, rosterHash: random(32) };
  for (let i = 0; i < 5; i++) await s.keys.got(s.member, key);
  expect(s.take().filter((x) => x === "rosterWanted")).toEqual(["rosterWanted"]);
  await s.keys.again();
  await s.pass(3_000);
  expect(s.take().filter((x) => x !== "keyHeld")).toEqual(["rosterWanted"]);
  expect(s.keys.stale).toBe(true);
  const { generation } = freshKey(newGroupKey());
  await s.keys.got(s.member, { ...key, generation, rosterEpoch: epoch - 1n });
  expect(s.take()).toEqual(["roster"]);
});
