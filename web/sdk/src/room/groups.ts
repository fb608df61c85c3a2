// Making rooms, finding them again, ending them (docs/spec/rooms.md, sections 2 to 5).

import { checkAbort, type Abortable } from "../abort.ts";
import { hex, random, unhex } from "../bytes.ts";
import type { Client } from "../client/client.ts";
import { refuse, TrunklineError } from "../errors.ts";
import { parseId } from "../identity/address.ts";
import { SeedSigner } from "../identity/key.ts";
import { roomFrames, signCommand } from "../link/roomframes.ts";
import { attendeeOf, dialRoom, originOf, roomRecord, type RoomRecord } from "./attendee.ts";
import { maxLifeMs, sealCard, signCard } from "./card.ts";
import { LiveRoom } from "./room.ts";
import { formatRoomLink, idText, readRoomLink, RoomKeys } from "./secret.ts";
import type { CloseGroup, CreateGroup, ForgetGroup, JoinGroup, ListGroups, ParseRoomLink, RoomInfo } from "./types.ts";

const defaultLifeMs = 86_400_000;
const prefix = "room/";

export const parseRoomLink: ParseRoomLink = (text) => {
  const l = readRoomLink(text);
  return { base: l.base, id: idText(l.room) };
};

function infoOf(r: RoomRecord, nowMs: number): RoomInfo {
  const link = { base: r.base, room: unhex(r.id), secret: unhex(r.secret) };
  return {
    id: idText(link.room), link: formatRoomLink(link), title: r.title, entry: r.entry, owner: r.owner, runs: r.steward !== "", expiresMs: r.expiresMs, seenMs: r.seenMs,
    over: r.expiresMs <= nowMs,
  };
}

export const createGroup: CreateGroup = async (client, s, o: Abortable = {}) => {
  checkAbort(o.signal);
  const life = s.lifeMs ?? defaultLifeMs;
  if (!(life > 0 && life <= maxLifeMs)) throw refuse("too_large", "a room lasts 366 days at most");
  const wire = await client.wire(o);
  const secret = random(32);
  const keys = await RoomKeys.of(secret);
  const now = Math.floor(client.now() / 1000);
  const topology = s.topology ?? "auto";
  const card = await signCard(client.device, {
    owner: client.ownCert(), firstGate: keys.gate.publicKey.bytes, nonce: random(16), serial: 1, title: s.title, entry: s.entry ?? "open",
    moderators: (s.moderators ?? []).map((x) => parseId(x)), members: (s.members ?? []).map((x) => parseId(x)), created: now, expires: now + Math.floor(life / 1000), topology, meshMost: s.meshMost,
  });
  const steward = random(32);
  const record: RoomRecord = {
    id: hex(card.room), base: originOf(client.home().url), secret: hex(secret), owner: true, steward: hex(steward), card: hex(card.signed), title: card.title, entry: card.entry, expiresMs: card.expires * 1000, seenMs: client.now(),
  };
  // Written down first: a room whose keys nobody has would stand there until its end.
  client.records.set(roomRecord(record.id), record);
  await client.records.commit();
  // In a mesh that is pinned nobody gets in who would make it larger.
  const most = topology === "mesh" ? card.meshLimit : undefined;
  const seats = most === undefined ? s.seats ?? 0 : Math.min(s.seats ?? most, most);
  try {
    wire.frames = roomFrames;
    await wire.call({
      case: "roomCreate", value: {
        room: card.room, gateKey: keys.gate.publicKey.bytes, stewardKey: (await SeedSigner.from(steward)).publicKey.bytes, card: await sealCard(keys, card),
        seats, expires: BigInt(card.expires), lobby: card.entry === "lobby",
      },
    }, "roomCreated", o.signal);
  } catch (err) {
    client.records.delete(roomRecord(record.id));
    await client.records.commit();
    throw err;
  }
  return infoOf(record, client.now());
};

export const joinGroup: JoinGroup = async (who, link, o) => {
  const l = readRoomLink(link);
  return LiveRoom.join(await attendeeOf(who, o.name), l, o);
};

function* kept(client: Client): Generator<RoomRecord> {
  for (const [, r] of client.records.list<RoomRecord>(prefix)) yield r;
}

export const listGroups: ListGroups = (client) => [...kept(client)]
  .map((r) => infoOf(r, client.now())).sort((a, b) => b.seenMs - a.seenMs);

function recordOf(client: Client, id: string): RoomRecord | undefined {
  for (const r of kept(client)) if (idText(unhex(r.id)) === id) return r;
  return undefined;
}

export const forgetGroup: ForgetGroup = async (client, id) => {
  const r = recordOf(client, id);
  if (r === undefined) return;
  client.records.delete(roomRecord(r.id));
  await client.records.commit();
};

export const closeGroup: CloseGroup = async (client, id, o: Abortable = {}) => {
  const r = recordOf(client, id);
  if (r === undefined || r.steward === "") throw refuse("policy", "this device does not run the room: its owner and the moderators do");
  const a = await attendeeOf(client, "");
  const w = await dialRoom(a, r.base, { onRoom: () => undefined, onEnd: () => undefined, signal: o.signal });
  try {
    await w.call(await signCommand(await SeedSigner.from(unhex(r.steward)), w, unhex(r.id), { case: "close", value: {} }), "roomDone", o.signal);
  } catch (err) {
    // It is over already.
    if (!(err instanceof TrunklineError) || err.nodeCode !== "no_room") throw err;
  } finally {
    w.close();
  }
  await forgetGroup(client, id);
};

