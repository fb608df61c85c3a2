import { describe, expect, it } from "vitest";
import { concat, hex, random } from "../src/bytes.ts";
import { decode } from "../src/canon.ts";
import { xwingPublic } from "../src/envelope/hpke.ts";
import { codeOf, TrunklineError } from "../src/errors.ts";
import { parseDeviceCert } from "../src/identity/device.ts";
import { PeerId, SeedSigner } from "../src/identity/key.ts";
import { context } from "../src/labels.ts";
import { ChallengeMessage } from "../src/link/frames.ts";
import * as frames from "../src/link/roomframes.ts";
import { openCard, parseCard, sealCard } from "../src/room/card.ts";
import { freshKey, GroupReceiver, GroupSender, newGroupKey, ownerOf, ratchet, type GroupKey } from "../src/room/group.ts";
import { Joining, openJoin, parseJoin, welcome, type Self } from "../src/room/join.ts";
import { marshalRoomMessage, parseRoomMessage } from "../src/room/message.ts";
import { parseRoster, Rosters } from "../src/room/roster.ts";
import { formatRoomLink, readRoomLink, RoomKeys } from "../src/room/secret.ts";
import { kidOf, type SFrameCodec } from "../src/sframe.ts";
import { refusal, unbase64, unhex, vectors } from "./vectors.ts";

interface Named { name: string; body: string }
const v = vectors<{
  now_ms: number; people: { name: string; root_seed: string; device_seed: string; cert: string }[];
  link: { base: string; secret: string; text: string; refused: string[] };
  keys: { gate_seed: string; gate_public: string; join_key: string; hall_key: string; door: string };
  room: string; card: { nonce: string; title: string; signed: string; salt: string; box_b64: string };
  join: { ephemeral_seed: string; ephemeral_b64: string; join_id: string; index: number; handle: string; signed_b64: string; hash: string; mac: string; salt: string; payload_b64: string };
  welcome: { index: number; join_hash: string; payload_b64: string; binding_of_initiator: string; own_fingerprint: string; peer_fingerprint: string; handles_to_initiator: string[] };
  rosters: { name: string; signed: string; hash: string; taken: string }[];
  messages: Named[]; ratchet: string[];
  media_frames: { index: number; slot: number; generation: number; base_key: string; kid: number; codec: string; plain: string; sealed: string }[];
  refused: { cards: Named[]; joins: Named[]; rosters: Named[]; messages: Named[] };
}>("room.json");
const fl = vectors<{
  gate_seed: string; steward_seed: string; challenge: string; room: string; join_id: string; gate_signature: string; gate_signed: string; steward_signature: string; control: string;
  control_signed: string; holder_seed: string; holder_signature: string; client_frames: { name: string; bytes: string }[]; node_frames: { name: string; bytes: string }[]; commands: { name: string; bytes: string }[];
  client_frames_refused: { name: string; bytes: string }[]; node_frames_refused: { name: string; bytes: string }[]; commands_refused: { name: string; bytes: string }[];
}>("room_link.json");

const now = v.now_ms;
const room = unhex(v.room);
const keys = await RoomKeys.of(unhex(v.link.secret));
async function person(i: number): Promise<Self> {
  const p = v.people[i]!;
  return { device: await SeedSigner.from(unhex(p.device_seed)), cert: await parseDeviceCert(unhex(p.cert)), name: p.name };
}

describe("a room's link", () => {
  it("is read, and written again", () => {
    const l = readRoomLink(` ${v.link.text}\n`);
    expect([l.base, hex(l.room), hex(l.secret)]).toEqual([v.link.base, v.room, v.link.secret]);
    expect(formatRoomLink(l)).toBe(v.link.text);
  });
  it.each(v.link.refused)("%s is refused", async (s) => void (await refusal(() => readRoomLink(s))));
  it.each(["ftp", "https://a@node.example", "https://"])("one of %s is refused", async (base) => void (await refusal(() => readRoomLink(v.link.text.replace(v.link.base, base)))));
  it("gives the keys of the vector", () => {
    expect(keys.gate.publicKey.hex).toBe(v.keys.gate_public);
    expect(hex(keys.door)).toBe(v.keys.door);
  });
});

describe("a room's card", () => {
  it("opens, belongs to its room, and seals to the same bytes", async () => {
    const c = await openCard(keys, room, unbase64(v.card.box_b64));
    expect([c.title, hex(c.signed), hex(c.nonce)]).toEqual([v.card.title, v.card.signed, v.card.nonce]);
    expect(hex(await sealCard(keys, c, unhex(v.card.salt)))).toBe(hex(unbase64(v.card.box_b64)));
  });
  it("does not open with another link, or for another room", async () => {
    const box = unbase64(v.card.box_b64);
    const other = await RoomKeys.of(random(32));
    expect((await refusal(() => openCard(other, room, box))).code).toBe("decrypt");
    expect((await refusal(() => openCard(keys, random(32), box))).code).toBe("decrypt");
    expect((await refusal(() => openCard(keys, room, box.slice(1)))).code).toBe("malformed");
  });
  it.each(v.refused.cards)("with $name is refused", async (c) => void (await refusal(() => parseCard(unhex(c.body)))));
});

describe("coming in", () => {
  const drawn = { seed: unhex(v.join.ephemeral_seed), handle: unhex(v.join.handle), salt: unhex(v.join.salt) };
  it("announces itself with the bytes of the vector", async () => {
    expect(hex(await xwingPublic(drawn.seed))).toBe(hex(unbase64(v.join.ephemeral_b64)));
    const j = await Joining.create(await person(3), keys, room, unhex(v.join.join_id), v.join.index, now, drawn);
    expect(hex(j.payload)).toBe(hex(unbase64(v.join.payload_b64)));
    expect(hex(j.own.joinHash)).toBe(v.join.hash);
  });
  it("takes the welcome of the vector once, with the keys of the vector", async () => {
    const j = await Joining.create(await person(3), keys, room, unhex(v.join.join_id), v.join.index, now, drawn);
    const { member, session } = await j.finish(unbase64(v.welcome.payload_b64), now);
    expect([member.index, hex(member.joinHash), member.cert.root.hex]).toEqual([v.welcome.index, v.welcome.join_hash, (await person(0)).cert.root.hex]);
    expect(session.handles().slice(0, 1)).toEqual(v.welcome.handles_to_initiator.slice(0, 1));
    expect(hex(session.binding(unhex(v.welcome.own_fingerprint), unhex(v.welcome.peer_fingerprint)))).toBe(v.welcome.binding_of_initiator);
    expect((await refusal(() => j.finish(unbase64(v.welcome.payload_b64), now))).code).toBe("replay");
  });
  it("makes a session of whoever is there and whoever comes, bound to both seats", async () => {
    const there = (await Joining.create(await person(0), keys, room, random(16), 1, now)).own;
    const comes = await Joining.create(await person(3), keys, room, random(16), 2, now);
    const seen = await openJoin(keys, room, comes.payload, now);
    expect([seen.index, seen.name]).toEqual([2, "Bob"]);
    const w = await welcome(seen, await person(0), keys, room, there, now);
    const got = await comes.finish(w.payload, now);
    const text = new TextEncoder().encode("hello");
    expect(hex(await got.session.open(await w.session.seal(text)))).toBe(hex(text));
    expect(hex(await w.session.open(await got.session.seal(text)))).toBe(hex(text));
  });
  it("is seen by nobody without the link", async () => {
    const other = await RoomKeys.of(random(32));
    const j = await Joining.create(await person(3), keys, room, random(16), 2, now);
    expect((await refusal(() => openJoin(other, room, j.payload, now))).code).toBe("malformed");
    const b = j.payload.slice();
    b[100]! ^= 1;
    expect((await refusal(() => openJoin(keys, room, b, now))).code).toBe("decrypt");
    expect((await refusal(() => openJoin(keys, room, j.payload, now + 3_600_000))).code).toBe("time");
  });
  it("takes no more than 200 made-up welcomes", async () => {
    const j = await Joining.create(await person(3), keys, room, random(16), 2, now);
    let last: TrunklineError | undefined;
    for (let i = 0; i < 201; i++) {
      // A base point of X25519 that is right, and a ciphertext that is not.
      const p = new Uint8Array(4096);
      p.set(j.handle);
      p[8 + 1088] = 9;
      p[8] = i;
      p[9] = i >> 8;
      last = await refusal(() => j.finish(p, now));
    }
    expect(last?.code).toBe("closed");
    expect((await refusal(() => j.finish(unbase64(v.welcome.payload_b64), now))).code).toBe("closed");
  });
  it.each(v.refused.joins)("$name is refused", async (j) => void (await refusal(() => parseJoin(unhex(j.body), room, now))));
});

describe("rosters", () => {
  it("become what the vectors say", async () => {
    const l = new Rosters(await openCard(keys, room, unbase64(v.card.box_b64)));
    for (const r of v.rosters) {
      const parsed = await parseRoster(unhex(r.signed));
      expect(hex(parsed.hash)).toBe(r.hash);
      expect(l.take(parsed, now), r.name).toBe(r.taken);
    }
  });
  it.each(v.refused.rosters)("$name is refused", async (r) => void (await refusal(() => parseRoster(unhex(r.body)))));
});

describe("messages between members", () => {
  it.each(v.messages)("$name is read and written again", (m) => expect(hex(marshalRoomMessage(parseRoomMessage(unhex(m.body))))).toBe(m.body));
  it.each(v.refused.messages)("$name is refused", async (m) => void (await refusal(() => parseRoomMessage(unhex(m.body)))));
});

describe("frames of rooms on the link", () => {
  it.each(fl.client_frames)("$name is read and written again", (f) => {
    const { id, kind } = frames.parseAnyClientFrame(unhex(f.bytes));
    expect(hex(frames.roomFrames.marshal(id, kind as frames.RoomClientKind))).toBe(f.bytes);
  });
  it.each(fl.node_frames)("$name is read and written again", (f) => {
    const { id, kind } = frames.roomFrames.parse(unhex(f.bytes));
    expect(hex(frames.marshalAnyNodeFrame({ id, kind }))).toBe(f.bytes);
  });
  it.each(fl.commands)("the command $name is read and written again", (f) => expect(hex(frames.marshalCommand(frames.parseCommand(unhex(f.bytes))))).toBe(f.bytes));
  it.each(fl.client_frames_refused)("$name is refused", async (f) => void (await refusal(() => frames.parseAnyClientFrame(unhex(f.bytes)))));
  it.each(fl.node_frames_refused)("$name is refused", async (f) => void (await refusal(() => frames.roomFrames.parse(unhex(f.bytes)))));
  it.each(fl.commands_refused)("the command $name is refused", async (f) => void (await refusal(() => frames.parseCommand(unhex(f.bytes)))));
  it("are signed as the vectors are", async () => {
    const c = decode(ChallengeMessage, unhex(fl.challenge), 1024);
    const link = { node: { peerId: PeerId.fromBytes(c.node) }, nonce: c.nonce } as unknown as frames.Challenged;
    const [r, j] = [unhex(fl.room), unhex(fl.join_id)];
    expect(hex(concat(context("gate"), frames.gateBody(link, r, j)))).toBe(fl.gate_signed);
    expect(hex(await frames.signGate(await SeedSigner.from(unhex(fl.gate_seed)), link, r, j))).toBe(fl.gate_signature);
    expect(hex(await frames.signSteward(await SeedSigner.from(unhex(fl.steward_seed)), link, r, j))).toBe(fl.steward_signature);
    expect(hex(await frames.signHolder(await SeedSigner.from(unhex(fl.holder_seed)), link, r, j))).toBe(fl.holder_signature);
    const gate = fl.commands.find((x) => x.name === "gate")!;
    expect(hex(frames.roomFrames.marshal(4n, await frames.signCommand(await SeedSigner.from(unhex(fl.steward_seed)), link, r, frames.parseCommand(unhex(gate.bytes)))))).toBe(fl.control);
  });
});

describe("keys of a group", () => {
  it("step as the vectors do, and seal to the same bytes", async () => {
    let k: GroupKey = { generation: 14, base: unhex(v.ratchet[0]!) };
    for (const [i, base] of v.ratchet.entries()) {
      expect(hex(k.base)).toBe(base);
      const sender = new GroupSender(300, k);
      const receiver = new GroupReceiver(300);
      receiver.give(k);
      for (const f of v.media_frames.filter((x) => x.generation === 14 + i)) {
        const codec = f.codec.toLowerCase() as SFrameCodec;
        expect(kidOf(f.index, f.slot, f.generation)).toBe(f.kid);
        expect(hex(await sender.seal(f.slot, codec, unhex(f.plain)))).toBe(f.sealed);
        expect(hex(await receiver.open(f.slot, codec, unhex(f.sealed)))).toBe(f.plain);
        expect(ownerOf(codec, unhex(f.sealed))).toEqual({ index: f.index, slot: f.slot });
      }
      k = ratchet(k);
    }
  });

  const sound = new TextEncoder().encode("sound");
  const open = (r: GroupReceiver, sealed: Uint8Array) => r.open(0, "opus", sealed).then(() => "opened", (err: unknown) => codeOf(err));

  it("take a frame under the next step before the word of it, and once", async () => {
    const first = newGroupKey();
    const s = new GroupSender(7, first);
    const r = new GroupReceiver(7);
    r.give(first);
    expect(s.used).toBe(false);
    const before = await s.seal(0, "opus", sound);
    s.use(ratchet(first));
    const after = await s.seal(0, "opus", sound);
    expect(await open(r, after)).toBe("opened");
    expect(r.generation).toBe(1);
    r.step(1);
    expect(await open(r, after)).toBe("replay");
    expect(await open(r, before)).toBe("opened"); // on its way when the key changed
    r.forget(1);
    expect(await open(r, before)).toBe("key");
  });

  it("take no guess after somebody went, and a key that was given in place of a guessed one", async () => {
    const first = newGroupKey();
    const r = new GroupReceiver(7);
    r.give(first);
    r.expect();
    const guessed = new GroupSender(7, ratchet(first));
    expect(await open(r, await guessed.seal(0, "opus", sound))).toBe("key");
    const fresh = freshKey(first);
    r.give(fresh);
    expect(await open(r, await new GroupSender(7, fresh).seal(0, "opus", sound))).toBe("opened");
    expect((await refusal(() => r.give(first))).code).toBe("replay");
    expect((await refusal(() => r.step(5))).code).toBe("key");
    expect((await refusal(() => new GroupSender(7, fresh).use(first))).code).toBe("replay");
  });

  it("open nothing of another member, another slot, or in plain", async () => {
    const k = newGroupKey();
    const r = new GroupReceiver(7);
    r.give(k);
    expect(await open(r, await new GroupSender(8, k).seal(0, "opus", sound))).toBe("key");
    expect(await open(r, await new GroupSender(7, k).seal(3, "opus", sound))).toBe("key");
    expect(["key", "malformed"]).toContain(await open(r, sound));
  });
});

describe("what strangers send", () => {
  it("is refused without a surprise, however it was changed", async () => {
    const seeds: readonly (readonly [string, Uint8Array, (b: Uint8Array) => unknown])[] = [
      ["card", unhex(v.card.signed), parseCard], ["join", unbase64(v.join.signed_b64), (b) => parseJoin(b, room, now)], ["roster", unhex(v.rosters[0]!.signed), parseRoster],
      ...v.messages.map((m) => ["message", unhex(m.body), parseRoomMessage] as const),
      ...fl.client_frames.map((f) => ["client frame", unhex(f.bytes), frames.parseAnyClientFrame] as const),
      ...fl.node_frames.map((f) => ["node frame", unhex(f.bytes), (b: Uint8Array) => frames.roomFrames.parse(b)] as const),
      ...fl.commands.map((f) => ["command", unhex(f.bytes), frames.parseCommand] as const),
    ];
    let seed = 1;
    const draw = (n: number) => (seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648) % n;
    for (const [name, good, read] of seeds) {
      for (let i = 0; i < 60; i++) {
        const b = good.slice(0, draw(2) === 0 ? good.length : draw(good.length + 1));
        for (let n = draw(4); n >= 0 && b.length > 0; n--) b[draw(b.length)] = draw(256);
        try {
          await read(b);
        } catch (err) {
          if (!(err instanceof TrunklineError)) throw new Error(`${name}: ${String(err)}`, { cause: err });
        }
      }
    }
  });
});

