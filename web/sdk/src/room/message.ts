// What a frame between two members of a room says (envelope/room/pb/room.proto, Message).

import { decode, encode, type Init, type Of } from "../canon.ts";
import { utf8, type Bytes } from "../bytes.ts";
import { maxFrameBody } from "../envelope/session.ts";
import { parseSessionMessage } from "../envelope/sessionmessage.ts";
import { refuse } from "../errors.ts";
import { reactions } from "../call/shown.ts";
import { maxCard, maxUnix } from "./card.ts";
import { maxRoster } from "./roster.ts";
import { RoomMessageMessage } from "./wire.ts";

export type RoomMessage = NonNullable<Of<typeof RoomMessageMessage>["kind"]>;
export type RoomMessageInit = NonNullable<Init<typeof RoomMessageMessage>["kind"]>;

export const maxNote = 4096;
export const Way = { mesh: 1, sfu: 2 } as const;
/** What a member needs the node's SFU for (docs/spec/rooms.md, section 10). */
export const Need = { nothing: 0, uplink: 1, processor: 2, pair: 3 } as const;

export function marshalRoomMessage(kind: RoomMessageInit): Bytes {
  const b = encode(RoomMessageMessage, { kind });
  parseRoomMessage(b);
  return b;
}

export function parseRoomMessage(b: Uint8Array): RoomMessage {
  const { kind } = decode(RoomMessageMessage, b, maxFrameBody);
  if (kind === undefined) throw refuse("malformed", "a room's message that says nothing");
  if (!good(kind)) throw refuse("malformed", "a room's message");
  return kind;
}

function good(k: RoomMessage): boolean {
  switch (k.case) {
    case "key": {
      const { generation, key, rosterEpoch, rosterHash } = k.value;
      return (key.length === 32 || (key.length === 0 && generation > 0)) && rosterHash.length === (rosterEpoch === 0n ? 0 : 32);
    }
    case "roster": return k.value.signed.length > 0 && k.value.signed.length <= maxRoster;
    case "newLink": return k.value.secret.length === 32;
    case "stewardship": return k.value.seed.length === 32;
    case "connection":
      parseSessionMessage(k.value.message);
      return true;
    case "way": return k.value.kind === Way.mesh || k.value.kind === Way.sfu;
    case "need": {
      const { cause, with: other } = k.value;
      return cause >= Need.nothing && cause <= Need.pair && (other !== 0) === (cause === Need.pair) && other <= 65_535;
    }
    case "presence": return k.value.hand <= BigInt(maxUnix) * 1000n;
    case "reaction": return k.value.kind >= 1 && k.value.kind <= reactions.length;
    case "pointer": {
      const { screen, here, x, y } = k.value;
      return screen > 0 && screen <= 65_535 && x <= 65_535 && y <= 65_535 && (here || (x === 0 && y === 0));
    }
    case "note": return k.value.id.length === 16 && k.value.text !== "" && utf8(k.value.text).length <= maxNote && !k.value.text.includes("\0");
    case "muteAsk": return k.value.slot <= 2;
    case "card": return k.value.signed.length > 0 && k.value.signed.length <= maxCard;
    case "keyHeld": case "rosterWanted": case "ended": return true;
  }
}
