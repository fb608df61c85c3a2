// The messages of envelope/pb/envelope.proto.

import { bool, bytes, bytesList, enumeration, message, messages, oneof, packed32, schema, string, stringList, uint32, uint64 } from "../canon.ts";

export const EnvelopeMessage = schema("Envelope", {
  version: uint32(1), destination: bytes(2), hop: bytes(3), ttl: uint32(4), payload: bytes(5),
});

export const RouteMessage = schema("Route", { peerId: bytes(1), domain: string(2), routeTag: bytes(3), tokenEpoch: uint64(4) });

export const PrekeyBundleMessage = schema("PrekeyBundle", {
  version: uint32(1), rootKey: bytes(2), deviceKey: bytes(3), epoch: uint64(4), prekeyId: bytes(5), recipient: bytes(6),
  notBefore: uint64(7), notAfter: uint64(8), suites: packed32(9), route: message(10, RouteMessage),
});

export const GrantMessage = schema("Grant", {
  peerId: bytes(1), domain: string(2), routeTag: bytes(3), token: bytes(4), tokenEpoch: uint64(5), device: bytes(6),
});

export const InnerMessage = schema("Inner", {
  version: uint32(1), type: enumeration(2), senderRoot: bytes(3), senderCert: bytes(4), recipientRoot: bytes(5),
  recipientDevice: bytes(6), prekeyId: bytes(7), routeTag: bytes(8), messageId: bytes(9), created: uint64(10),
  expires: uint64(11), sessionId: bytes(12), body: bytes(13), suite: uint32(14), ownEpoch: uint64(15),
  believedEpoch: uint64(16), believedHash: bytes(17), grant: message(18, GrantMessage),
});

export const KnockMessage = schema("Knock", { text: string(1), name: string(2), domain: string(3), peerId: bytes(4) });
export const NoteMessage = schema("Note", { text: string(1), replyTo: bytes(2) });
export const ReadMessage = schema("Read", { messageIds: bytesList(1) });

export const ReplyAddressMessage = schema("ReplyAddress", {
  peerId: bytes(1), domain: string(2), routeTag: bytes(3), token: bytes(4), handle: bytes(5),
});
export const RingMessage = schema("Ring", {
  ephemeral: bytes(1), media: enumeration(2), reply: message(3, ReplyAddressMessage), collapseKey: bytes(4),
});
export const RingAnswerMessage = schema("RingAnswer", {
  ringHash: bytes(1), encHash: bytes(2), reply: message(3, ReplyAddressMessage), reason: enumeration(4),
});
export const CancelMessage = schema("Cancel", { ringHash: bytes(1), reason: enumeration(2) });
export const ContactSyncMessage = schema("ContactSync", {
  rootKey: bytes(1), domain: string(2), peerId: bytes(3), state: enumeration(4), name: string(5),
  grants: messages(6, GrantMessage),
});
export const ListUpdateMessage = schema("ListUpdate", { list: bytes(1) });

export const SessionMessageMessage = schema("SessionMessage", {
  type: enumeration(1), sdp: bytes(2), fingerprint: bytes(3), ufrag: string(4), setup: uint32(5), candidates: stringList(6),
  reason: enumeration(7), generation: uint32(8),
});

export const CardBody = schema("Card", {
  version: uint32(1), kind: enumeration(2), cert: bytes(3), id: bytes(4), created: uint64(5), expires: uint64(6), ephemeral: bytes(7),
  ufrag: string(8), pwd: string(9), fingerprint: bytes(10), candidates: bytesList(11), media: enumeration(12), relayOnly: bool(13),
  name: string(14), domain: string(15), peerId: bytes(16), offer: bytes(17),
});

const CardBinding = schema("CardBinding", { mac: bytes(1) });
const CardKey = schema("CardKey", { value: bytes(1) });
export const CardMessageMessage = schema("CardMessage", {
  kind: oneof({ binding: [1, CardBinding], key: [2, CardKey], encapsulation: [3, CardKey], upgraded: [4, CardBinding], frame: [5, schema("CardFrame", { frame: bytes(1) })] }),
});

export const QueryMessage = schema("Query", { operation: enumeration(1), responseKey: bytes(2), argument: bytes(3) });
export const AnswerMessage = schema("Answer", {
  status: enumeration(1), list: bytes(2), bundles: bytesList(3), descriptor: bytes(4), fate: enumeration(5),
  retryAfterMs: uint64(6), logProof: bytes(7),
});
