// What a room's members and its node say, with changed, cut and lengthened bytes: see fuzz.test.ts.

import { describe } from "vitest";
import { utf8 } from "../src/bytes.ts";
import * as frames from "../src/link/roomframes.ts";
import { openCard, parseCard } from "../src/room/card.ts";
import { ownerOf } from "../src/room/group.ts";
import { openJoin, parseJoin } from "../src/room/join.ts";
import { parseRoomMessage } from "../src/room/message.ts";
import { beginsAnew } from "../src/room/pair.ts";
import { parseRoster } from "../src/room/roster.ts";
import { readRoomLink, RoomKeys } from "../src/room/secret.ts";
import type { SFrameCodec } from "../src/sframe.ts";
import { draw, fuzz, seed, text } from "./fuzzing.ts";
import { unbase64, unhex, vectors } from "./vectors.ts";

interface Named { readonly name: string; readonly body: string }
interface Framed { readonly name: string; readonly bytes: string }

describe(`readers of rooms, seed ${seed}`, async () => {
  const v = vectors<{
    now_ms: number; room: string; link: { secret: string; text: string; refused: string[] }; card: { signed: string; box_b64: string }; join: { signed_b64: string; payload_b64: string };
    rosters: { signed: string }[]; messages: Named[]; media_frames: { codec: SFrameCodec; sealed: string }[]; refused: { cards: Named[]; joins: Named[]; rosters: Named[]; messages: Named[] };
  }>("room.json");
  const room = unhex(v.room);
  const keys = await RoomKeys.of(unhex(v.link.secret));
  const bodies = (list: readonly Named[]) => list.map((x) => unhex(x.body));
  fuzz("link", text(readRoomLink), [v.link.text, ...v.link.refused].map(utf8));
  fuzz("card", parseCard, [unhex(v.card.signed), ...bodies(v.refused.cards)], 600);
  fuzz("sealed card", (b) => openCard(keys, room, b), [unbase64(v.card.box_b64)], 150);
  fuzz("JOIN", (b) => parseJoin(b, room, v.now_ms), [unbase64(v.join.signed_b64), ...bodies(v.refused.joins)], 600);
  fuzz("sealed JOIN", (b) => openJoin(keys, room, b, v.now_ms), [unbase64(v.join.payload_b64)], 150);
  fuzz("roster", parseRoster, [...v.rosters.map((r) => unhex(r.signed)), ...bodies(v.refused.rosters)], 600);
  fuzz("message", parseRoomMessage, [...bodies(v.messages), ...bodies(v.refused.messages)], 6000);
  for (const m of v.messages) fuzz(`message ${m.name}`, parseRoomMessage, [unhex(m.body)], 150);
  fuzz("message of a connection", beginsAnew, vectors<{ session_messages: Named[] }>("bodies.json").session_messages.map((m) => unhex(m.body)));
  const codecs = ["opus", "vp8", "vp9"] as const;
  fuzz("owner of a frame", (b) => ownerOf(codecs[draw(3)]!, b), v.media_frames.map((f) => unhex(f.sealed)), 6000);

  const l = vectors<Record<"client_frames" | "node_frames" | "commands" | "client_frames_refused" | "node_frames_refused" | "commands_refused", readonly Framed[]>>("room_link.json");
  const bytes = (...lists: readonly (readonly Framed[])[]) => lists.flat().map((x) => unhex(x.bytes));
  fuzz("frame of the node", frames.roomFrames.parse, bytes(l.node_frames, l.node_frames_refused), 6000);
  fuzz("frame of a client", frames.parseAnyClientFrame, bytes(l.client_frames, l.client_frames_refused), 3000);
  fuzz("command", frames.parseCommand, bytes(l.commands, l.commands_refused));
});
