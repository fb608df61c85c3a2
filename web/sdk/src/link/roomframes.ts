// The frames of rooms on the client link, and the signatures at a room's gate (docs/spec/rooms.md, sections 3 and 4).
// They are apart from the others so that a page that has no rooms does not fetch them.

import { concat, type Bytes } from "../bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { bool, bytes, decode, encode, enumeration, message, messages, oneof, packed32, schema, string, uint32, uint64, type Init, type Of } from "../canon.ts";
import { refuse } from "../errors.ts";
import { sign, type Signer } from "../identity/key.ts";
import { chars, checkClient, checkNode, clientCases, exact, limit, maxFrame, nodeCases, upTo, type FrameCodec } from "./frames.ts";
import type { Wire } from "./wire.ts";

const cardSize = 4096;
const maxCommand = 8192;
const maxLegSdp = 65_536;
export const maxWants = 200;
const maxPresent = 50;
const passSize = 181;

export const RoomLegKind = { offer: 1, want: 2, speaking: 3, end: 4 } as const;
export const RoomEventKind = { joined: 1, left: 2, frame: 3, waiting: 4, admitted: 5, closed: 6 } as const;
export const RoomLegEventKind = { published: 1, unpublished: 2, speaker: 3, allocated: 4, closed: 5 } as const;

const RoomWant = schema("RoomWant", { mid: string(1), publisher: uint32(2), slot: uint32(3), priority: uint32(4), height: uint32(5), paused: bool(6) });
const RoomLegEvent = schema("RoomLegEvent", {
  kind: enumeration(1), publisher: uint32(2), slot: uint32(3), codec: string(4), mid: string(5), sent: bool(6), reason: string(7), order: packed32(8),
});

const roomClientCases = {
  roomCreate: [14, schema("RoomCreate", { room: bytes(1), gateKey: bytes(2), stewardKey: bytes(3), card: bytes(4), seats: uint32(5), expires: uint64(6), lobby: bool(7) })],
  roomJoin: [15, schema("RoomJoin", { room: bytes(1), joinId: bytes(2), gateSignature: bytes(3), stewardSignature: bytes(4), pass: bytes(5), passSignature: bytes(6) })],
  roomSend: [16, schema("RoomSend", { to: uint32(1), payload: bytes(2) })],
  roomControl: [17, schema("RoomControl", { room: bytes(1), command: bytes(2), signature: bytes(3) })],
  roomLeave: [18, schema("RoomLeave", {})],
  roomLeg: [19, schema("RoomLeg", { kind: enumeration(1), sdp: string(2), wants: messages(3, RoomWant), lastN: uint32(4), speaking: bool(5) })],
  roomPass: [20, schema("RoomPass", { node: bytes(1), key: bytes(2) })],
} as const;

const roomNodeCases = {
  roomCreated: [14, schema("RoomCreated", { seats: uint32(1), expires: uint64(2) })],
  roomJoined: [15, schema("RoomJoined", { index: uint32(1), present: packed32(2), card: bytes(3), expires: uint64(4), seats: uint32(5), waiting: bool(6), sfu: bool(7) })],
  roomEvent: [16, schema("RoomEvent", { kind: enumeration(1), index: uint32(2), payload: bytes(3), code: string(4), present: packed32(5) })],
  roomDone: [17, schema("RoomDone", {})],
  roomLeg: [19, schema("RoomLegAnswer", { sdp: string(1), event: message(2, RoomLegEvent) })],
  roomPassed: [20, schema("RoomPassed", { pass: bytes(1) })],
} as const;

const ClientRoomFrame = schema("ClientFrame", { id: uint64(1), kind: oneof(roomClientCases) });
const NodeRoomFrame = schema("NodeFrame", { id: uint64(1), kind: oneof(roomNodeCases) });
const AnyClientFrame = schema("ClientFrame", { id: uint64(1), kind: oneof({ ...clientCases, ...roomClientCases }) });
const AnyNodeFrame = schema("NodeFrame", { id: uint64(1), kind: oneof({ ...nodeCases, ...roomNodeCases }) });

export type RoomClientKind = NonNullable<Init<typeof ClientRoomFrame>["kind"]>;
export type RoomNodeKind = NonNullable<Of<typeof NodeRoomFrame>["kind"]>;
export type RoomEvent = Extract<RoomNodeKind, { readonly case: "roomEvent" }>["value"];
export type RoomLegEvent = Of<typeof RoomLegEvent>;

const index = (n: number) => limit(n <= 65_535);

function checkAnyClient(k: NonNullable<Of<typeof AnyClientFrame>["kind"]>): void {
  switch (k.case) {
    case "roomCreate": exact(k.value.room, 32); exact(k.value.gateKey, 32); exact(k.value.stewardKey, 32); exact(k.value.card, cardSize); index(k.value.seats); break;
    case "roomJoin": exact(k.value.room, 32); exact(k.value.joinId, 16); exact(k.value.gateSignature, 64); exact(k.value.stewardSignature, 64); exact(k.value.pass, passSize); exact(k.value.passSignature, 64); break;
    case "roomSend": index(k.value.to); upTo(k.value.payload, 16_384); break;
    case "roomControl": exact(k.value.room, 32); upTo(k.value.command, maxCommand); exact(k.value.signature, 64); break;
    case "roomLeave": break;
    case "roomPass": exact(k.value.node, 38); exact(k.value.key, 32); break;
    case "roomLeg":
      limit(k.value.kind <= 64 && k.value.wants.length <= maxWants);
      chars(k.value.sdp, maxLegSdp);
      for (const w of k.value.wants) {
        chars(w.mid, 16);
        index(w.publisher);
        limit(w.slot <= 7 && w.priority <= 255);
        index(w.height);
      }
      index(k.value.lastN);
      break;
    default: checkClient(k);
  }
}

function checkAnyNode(k: NonNullable<Of<typeof AnyNodeFrame>["kind"]>): void {
  switch (k.case) {
    case "roomCreated": index(k.value.seats); break;
    case "roomJoined":
      index(k.value.index); exact(k.value.card, cardSize); index(k.value.seats);
      limit(k.value.present.length <= maxPresent);
      k.value.present.forEach(index);
      break;
    case "roomEvent":
      limit(k.value.kind <= 64 && k.value.present.length <= maxPresent);
      index(k.value.index); upTo(k.value.payload, 16_384); chars(k.value.code, 32);
      k.value.present.forEach(index);
      break;
    case "roomDone": break;
    case "roomPassed": exact(k.value.pass, passSize); break;
    case "roomLeg": {
      chars(k.value.sdp, maxLegSdp);
      const e = k.value.event;
      if (e === undefined) break;
      limit(e.kind <= 64 && e.slot <= 7 && e.order.length <= maxPresent);
      index(e.publisher); chars(e.codec, 16); chars(e.mid, 16); chars(e.reason, 32);
      e.order.forEach(index);
      break;
    }
    default: checkNode(k);
  }
}

/** Reads one message of a client, as a node does. */
export function parseAnyClientFrame(b: Uint8Array): { readonly id: bigint; readonly kind: NonNullable<Of<typeof AnyClientFrame>["kind"]> } {
  const { id, kind } = decode(AnyClientFrame, b, maxFrame);
  if (kind === undefined) throw refuse("malformed", "frame without a kind");
  checkAnyClient(kind);
  return { id, kind };
}

/** The frames of a wire that has to do with rooms. */
export const roomFrames: FrameCodec = {
  marshal(id, kind) {
    const b = encode(AnyClientFrame, { id, kind });
    parseAnyClientFrame(b);
    return b;
  },
  parse(b) {
    const { id, kind } = decode(AnyNodeFrame, b, maxFrame);
    if (kind === undefined) throw refuse("malformed", "frame without a kind");
    checkAnyNode(kind);
    return { id, kind };
  },
};

/** Writes what a node says, for tests of a reader. */
export function marshalAnyNodeFrame(f: Of<typeof AnyNodeFrame>): Bytes { return encode(AnyNodeFrame, f); }

// ---- The gate, and those who run a room ----

const RoomCommand = schema("RoomCommand", {
  kind: oneof({
    admit: [1, schema("RoomAdmit", { index: uint32(1) })], remove: [2, schema("RoomRemove", { index: uint32(1) })],
    gate: [3, schema("RoomGate", { gateKey: bytes(1), card: bytes(2), keep: packed32(3) })],
    extend: [4, schema("RoomExtend", { expires: uint64(1), card: bytes(2) })], close: [5, schema("RoomClose", {})],
  }),
});
export type RoomCommand = NonNullable<Init<typeof RoomCommand>["kind"]>;

/** Reads a command, as a node does. */
export function parseCommand(b: Uint8Array): NonNullable<Of<typeof RoomCommand>["kind"]> {
  const { kind } = decode(RoomCommand, b, maxCommand);
  if (kind === undefined) throw refuse("malformed", "a command that says nothing");
  switch (kind.case) {
    case "admit": case "remove": index(kind.value.index); break;
    case "gate": exact(kind.value.gateKey, 32); exact(kind.value.card, cardSize); limit(kind.value.keep.length <= maxPresent); kind.value.keep.forEach(index); break;
    case "extend": exact(kind.value.card, cardSize); break;
    case "close": break;
  }
  return kind;
}

export function marshalCommand(kind: RoomCommand): Bytes {
  const b = encode(RoomCommand, { kind });
  parseCommand(b);
  return b;
}

/** What of a link is signed. */
export type Challenged = Pick<Wire, "node" | "nonce">;

/** What signatures at the gate cover: this very link's challenge, so that one that was seen elsewhere is of no use. */
export function gateBody(c: Challenged, room: Uint8Array, what: Uint8Array): Bytes {
  return concat(c.node.peerId.bytes, room, c.nonce, what);
}

export function signGate(gate: Signer, c: Challenged, room: Uint8Array, joinId: Uint8Array): Promise<Bytes> { return sign(gate, "gate", gateBody(c, room, joinId)); }
export function signSteward(steward: Signer, c: Challenged, room: Uint8Array, joinId: Uint8Array): Promise<Bytes> { return sign(steward, "steward", gateBody(c, room, joinId)); }

/** The signature of who shows a pass, with the key that the pass names. */
export function signHolder(key: Signer, c: Challenged, room: Uint8Array, joinId: Uint8Array): Promise<Bytes> { return sign(key, "room-holder", gateBody(c, room, joinId)); }

/** A steward's command, as it is sent. */
export async function signCommand(steward: Signer, c: Challenged, room: Uint8Array, command: RoomCommand): Promise<Extract<RoomClientKind, { readonly case: "roomControl" }>> {
  const b = marshalCommand(command);
  return { case: "roomControl", value: { room, command: b, signature: await sign(steward, "steward", gateBody(c, room, sha256(b))) } };
}
