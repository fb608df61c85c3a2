// The messages of identity/pb/identity.proto.

import { bytes, bytesList, messages, schema, string, stringList, uint32, uint64 } from "../canon.ts";

export const DeviceCertMessage = schema("DeviceCert", {
  version: uint32(1), rootKey: bytes(2), deviceKey: bytes(3), epoch: uint64(4), notBefore: uint64(5), notAfter: uint64(6),
});

export const HomeMessage = schema("Home", { peerId: bytes(1), domain: string(2) });

export const DeviceListMessage = schema("DeviceList", {
  version: uint32(1), rootKey: bytes(2), epoch: uint64(3), previous: bytes(4), issued: uint64(5), expires: uint64(6),
  devices: bytesList(7), revoked: bytesList(8), lowestSuite: uint32(9), recovery: bytes(10),
  homes: messages(11, HomeMessage),
});

export const NodeDescriptorMessage = schema("NodeDescriptor", {
  version: uint32(1), peerId: bytes(2), domain: string(3), routingKey: bytes(4), notBefore: uint64(5), notAfter: uint64(6),
});

export const DomainNodeMessage = schema("DomainNode", { peerId: bytes(1), addresses: stringList(2) });

export const DomainDocumentMessage = schema("DomainDocument", {
  version: uint32(1), domain: string(2), domainKey: bytes(3), epoch: uint64(4), previous: bytes(5), issued: uint64(6),
  expires: uint64(7), nodes: messages(8, DomainNodeMessage), directoryKey: bytes(9), contact: string(10),
  services: stringList(11), handovers: bytesList(12),
});

export const DomainHandoverMessage = schema("DomainHandover", {
  version: uint32(1), domain: string(2), oldKey: bytes(3), newKey: bytes(4), epoch: uint64(5),
});

