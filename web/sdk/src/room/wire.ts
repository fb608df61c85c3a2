// The messages of envelope/room/pb/room.proto.

import { bool, bytes, bytesList, enumeration, messages, oneof, schema, string, uint32, uint64 } from "../canon.ts";

export const CardMessage = schema("Card", {
  version: uint32(1), ownerCert: bytes(2), firstGate: bytes(3), nonce: bytes(4), serial: uint32(5), title: string(6), entry: enumeration(7),
  moderators: bytesList(8), members: bytesList(9), created: uint64(10), expires: uint64(11), topology: enumeration(12), meshMost: uint32(13),
});

export const JoinMessage = schema("Join", {
  version: uint32(1), room: bytes(2), cert: bytes(3), ephemeral: bytes(4), joinId: bytes(5), index: uint32(6), expires: uint64(7), handle: bytes(8), name: string(9),
});

export const WelcomeMessage = schema("Welcome", {
  version: uint32(1), room: bytes(2), cert: bytes(3), answers: bytes(4), encHash: bytes(5), joinHash: bytes(6), index: uint32(7), expires: uint64(8), name: string(9),
});

export const RosterMessage = schema("Roster", {
  version: uint32(1), room: bytes(2), epoch: uint64(3), previous: bytes(4), chairCert: bytes(5), created: uint64(6),
  seats: messages(7, schema("Seat", { index: uint32(1), root: bytes(2), device: bytes(3), joinHash: bytes(4) })), banned: bytesList(8),
});

export const RoomMessageMessage = schema("Message", {
  kind: oneof({
    key: [1, schema("Key", { generation: uint32(1), key: bytes(2), rosterEpoch: uint64(3), rosterHash: bytes(4) })],
    keyHeld: [2, schema("KeyHeld", { generation: uint32(1) })],
    roster: [3, schema("RosterUpdate", { signed: bytes(1) })],
    rosterWanted: [4, schema("RosterWanted", {})],
    newLink: [5, schema("NewLink", { secret: bytes(1) })],
    stewardship: [6, schema("Stewardship", { seed: bytes(1) })],
    connection: [7, schema("Connection", { message: bytes(1) })],
    way: [8, schema("Way", { kind: enumeration(1) })],
    ended: [9, schema("Ended", {})],
    presence: [10, schema("Presence", { microphone: bool(1), camera: bool(2), screen: bool(3), screenAudio: bool(4), hand: uint64(5), recording: bool(6) })],
    reaction: [11, schema("Reaction", { kind: uint32(1) })],
    pointer: [12, schema("Pointer", { screen: uint32(1), here: bool(2), x: uint32(3), y: uint32(4) })],
    note: [13, schema("Note", { id: bytes(1), text: string(2) })],
    muteAsk: [14, schema("MuteAsk", { slot: uint32(1) })],
    card: [15, schema("CardUpdate", { signed: bytes(1) })],
    need: [16, schema("Need", { cause: enumeration(1), with: uint32(2) })],
  }),
});
