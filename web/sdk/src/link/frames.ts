// The frames that client and node speak (docs/spec/client-link.md, section 2), and their limits.

import { utf8, type Bytes } from "../bytes.ts";
import {
  bool, bytes, bytesList, decode, encode, enumeration, oneof, packed64, schema, string, stringList, uint32, uint64, type Init, type Of,
} from "../canon.ts";
import { refuse } from "../errors.ts";
import type { RoomClientKind, RoomNodeKind } from "./roomframes.ts";

export const linkPath = "/v1/link";
export const subprotocol = "trunkline.v1";
export const maxFrame = 96 << 10;
export const maxBeforeAuth = 1 << 10;
export const maxAcks = 512;

export const ChallengeMessage = schema("Challenge", {
  version: uint32(1), node: bytes(2), domain: string(3), nonce: bytes(4), timeMs: uint64(5), descriptor: bytes(6), signature: bytes(7),
});
export const AuthenticateMessage = schema("Authenticate", { cert: bytes(1), signature: bytes(2), host: string(3) });
const Ping = schema("Ping", { nonce: uint64(1) });

/** The kinds of frames of every client. Rooms have more (roomframes.ts). */
export const clientCases = {
  authenticate: [2, AuthenticateMessage],
  publish: [3, schema("Publish", { list: bytes(1), bundles: bytesList(2), invitation: string(3) })],
  register: [4, schema("Register", { routeTag: bytes(1), tokenHash: bytes(2), previousHash: bytes(3), tokenEpoch: uint64(4), after: uint64(5) })],
  submit: [5, schema("Submit", { envelope: bytes(1) })],
  ack: [6, schema("Ack", { storedIds: packed64(1) })],
  query: [7, schema("Query", { destination: bytes(1), box: bytes(2) })],
  domain: [8, schema("DomainRequest", { domain: string(1) })],
  turn: [9, schema("TurnRequest", { purpose: string(1) })],
  turnRelease: [10, schema("TurnRelease", { handle: bytes(1) })],
  ping: [11, Ping],
} as const;

export const ClientFrameMessage = schema("ClientFrame", { id: uint64(1), kind: oneof(clientCases) });

export const nodeCases = {
  challenge: [2, ChallengeMessage],
  authenticated: [3, schema("Authenticated", { epoch: uint64(1), idleMs: uint64(2) })],
  published: [4, schema("Published", { epoch: uint64(1) })],
  registered: [5, schema("Registered", { waiting: uint32(1), maxEnvelopes: uint32(2), maxBytes: uint64(3) })],
  receipt: [6, schema("Receipt", { envelopeId: bytes(1), class: enumeration(2), durable: bool(3), code: string(4), retryAfterMs: uint64(5) })],
  deliver: [7, schema("Deliver", { storedId: uint64(1), knock: bool(2), hint: bytes(3), payload: bytes(4), envelopeId: bytes(5) })],
  answer: [8, schema("Answer", { box: bytes(1), code: string(2) })],
  domain: [9, schema("DomainAnswer", { document: bytes(1), descriptors: bytesList(2), code: string(3) })],
  turn: [10, schema("TurnCredentials", { urls: stringList(1), username: string(2), credential: string(3), ttlSeconds: uint32(4), handle: bytes(5), code: string(6) })],
  pong: [11, Ping],
  drain: [12, schema("Drain", { reconnectAfterMs: uint64(1), jitterMs: uint64(2), reason: string(3) })],
  error: [13, schema("Error", { code: string(1), retryAfterMs: uint64(2) })],
} as const;

export const NodeFrameMessage = schema("NodeFrame", { id: uint64(1), kind: oneof(nodeCases) });

export type ClientFrame = Of<typeof ClientFrameMessage>;
export type NodeFrame = Of<typeof NodeFrameMessage>;
export type ClientKind = NonNullable<Init<typeof ClientFrameMessage>["kind"]>;
export type NodeKind = NonNullable<NodeFrame["kind"]>;
export type NodeKindOf<C extends NodeKind["case"]> = Extract<NodeKind, { readonly case: C }>["value"];

export const ReceiptClass = { accepted: 1, delivered: 2, stored: 3, expired: 4, refused: 5 } as const;

export function limit(ok: boolean): void {
  if (!ok) throw refuse("malformed", "frame over a limit");
}
export const exact = (b: Uint8Array, n: number) => limit(b.length === 0 || b.length === n);
export const upTo = (b: Uint8Array, n: number) => limit(b.length <= n);
export const chars = (s: string, n: number) => limit(utf8(s).length <= n);
const each = (list: readonly Uint8Array[], many: number, n: number) => limit(list.length <= many && list.every((b) => b.length > 0 && b.length <= n));

export function checkClient(k: NonNullable<ClientFrame["kind"]>): void {
  switch (k.case) {
    case "authenticate": upTo(k.value.cert, 256); exact(k.value.signature, 64); chars(k.value.host, 260); break;
    case "publish": upTo(k.value.list, 4096); each(k.value.bundles, 8, 2048); chars(k.value.invitation, 128); break;
    case "register": exact(k.value.routeTag, 16); exact(k.value.tokenHash, 32); exact(k.value.previousHash, 32); break;
    case "submit": upTo(k.value.envelope, 65792); break;
    case "ack": limit(k.value.storedIds.length <= maxAcks); break;
    case "query": exact(k.value.destination, 38); exact(k.value.box, 560); break;
    case "domain": chars(k.value.domain, 253); break;
    case "turn": chars(k.value.purpose, 16); break;
    case "turnRelease": exact(k.value.handle, 16); break;
    case "ping": break;
  }
}

export function checkNode(k: NodeKind): void {
  switch (k.case) {
    case "challenge":
      exact(k.value.node, 38); chars(k.value.domain, 253); exact(k.value.nonce, 32); upTo(k.value.descriptor, 512); exact(k.value.signature, 64);
      break;
    case "receipt": exact(k.value.envelopeId, 16); limit(k.value.class >= 0 && k.value.class <= 64); chars(k.value.code, 32); break;
    case "deliver": exact(k.value.hint, 2); upTo(k.value.payload, 65536); exact(k.value.envelopeId, 16); break;
    case "answer": upTo(k.value.box, 16384); chars(k.value.code, 32); break;
    case "domain": upTo(k.value.document, 6144); each(k.value.descriptors, 16, 512); chars(k.value.code, 32); break;
    case "turn":
      limit(k.value.urls.length <= 8);
      k.value.urls.forEach((u) => { limit(u !== ""); chars(u, 300); });
      chars(k.value.username, 256); chars(k.value.credential, 256); exact(k.value.handle, 16); chars(k.value.code, 32);
      break;
    case "drain": chars(k.value.reason, 64); break;
    case "error": chars(k.value.code, 32); break;
    case "authenticated": case "published": case "registered": case "pong": break;
  }
}

/** Reads one message of a node. */
export function parseNodeFrame(b: Uint8Array): { readonly id: bigint; readonly kind: NodeKind } {
  const { id, kind } = decode(NodeFrameMessage, b, maxFrame);
  if (kind === undefined) throw refuse("malformed", "frame without a kind");
  checkNode(kind);
  return { id, kind };
}

/** Reads one message of a client, as a node does. */
export function parseClientFrame(b: Uint8Array): { readonly id: bigint; readonly kind: NonNullable<ClientFrame["kind"]> } {
  const { id, kind } = decode(ClientFrameMessage, b, maxFrame);
  if (kind === undefined) throw refuse("malformed", "frame without a kind");
  checkClient(kind);
  return { id, kind };
}

/** Writes one message of a client. A frame over a limit fails where it is made. */
export function marshalClientFrame(id: bigint, kind: ClientKind): Bytes {
  const b = encode(ClientFrameMessage, { id, kind });
  parseClientFrame(b);
  return b;
}

export function marshalNodeFrame(f: NodeFrame): Bytes {
  return encode(NodeFrameMessage, f);
}

/** Codes after which the same frame may succeed later without anyone changing anything. */
const passing = new Set(["quota", "rate", "unreachable", "unavailable", "queue_full", "draining", "slow", "internal"]);

/** Whether a node's code may go away by itself. A code that is not known is final. */
export function isPassing(code: string): boolean {
  return passing.has(code);
}

/** How the frames of a wire are written and read: a page without rooms has no code for theirs. */
export interface FrameCodec {
  marshal(id: bigint, kind: ClientKind | RoomClientKind): Bytes;
  parse(b: Uint8Array): { readonly id: bigint; readonly kind: NodeKind | RoomNodeKind };
}

// A kind of a room's is none here: what is written of it is a frame without a kind, which is refused.
export const plainFrames: FrameCodec = { marshal: (id, kind) => marshalClientFrame(id, kind as ClientKind), parse: parseNodeFrame };
