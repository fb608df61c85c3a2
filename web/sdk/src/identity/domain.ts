// Nodes and domains (docs/spec/identity.md, section 11).

import { copy, equal, utf8, type Bytes } from "../bytes.ts";
import { decode, encode } from "../canon.ts";
import { sha256 } from "../crypto/hash.ts";
import { refuse } from "../errors.ts";
import { succession, type Change } from "./device.ts";
import { checkX25519, mustVerify, PeerId, PublicKey, signObject, splitSigned, type Signer } from "./key.ts";
import { checkDomain } from "./text.ts";
import { checkEpoch, checkPrevious, checkVersion, descriptorLifetime, domainLifetime, span, within } from "./times.ts";
import { DomainDocumentMessage, DomainHandoverMessage, NodeDescriptorMessage } from "./wire.ts";

export const maxDescriptor = 512;
export const maxDocument = 6144;
const maxHandover = 512;

/** A node's statement of the routing key that hops and queries to it are sealed to. */
export interface NodeDescriptor {
  readonly peerId: PeerId;
  readonly domain: string;
  readonly routingKey: Bytes;
  readonly notBefore: number;
  readonly notAfter: number;
  readonly signed: Bytes;
}

export async function parseDescriptor(signed: Uint8Array): Promise<NodeDescriptor> {
  const { signature, message } = splitSigned(signed, maxDescriptor);
  const m = decode(NodeDescriptorMessage, message, maxDescriptor);
  checkVersion(m.version);
  const peerId = PeerId.fromBytes(m.peerId);
  checkDomain(m.domain);
  const { begin, end } = span(m.notBefore, m.notAfter, descriptorLifetime);
  await mustVerify(peerId.key, "descriptor", message, signature);
  checkX25519(m.routingKey);
  return { peerId, domain: m.domain, routingKey: m.routingKey, notBefore: begin, notAfter: end, signed: copy(signed) };
}

export async function signDescriptor(
  host: Signer, d: { domain: string; routingKey: Uint8Array; notBefore: number; notAfter: number },
): Promise<NodeDescriptor> {
  return parseDescriptor(await signObject(host, "descriptor", encode(NodeDescriptorMessage, {
    version: 1, peerId: host.publicKey.peerId().bytes, domain: d.domain, routingKey: d.routingKey,
    notBefore: BigInt(d.notBefore), notAfter: BigInt(d.notAfter),
  })));
}

export function descriptorValidAt(d: NodeDescriptor, nowMs: number): void {
  within(nowMs, d.notBefore, d.notAfter);
}

/** Whether d may replace last, the newest descriptor seen of the same node. Throws where it may not. */
export function checkFollows(d: NodeDescriptor, last: NodeDescriptor | undefined): void {
  if (last === undefined) return;
  if (!d.peerId.equals(last.peerId)) throw refuse("other_identity", "descriptor of another node");
  if (d.notBefore < last.notBefore) throw refuse("rollback", "an older descriptor");
  if (d.notBefore === last.notBefore) {
    if (!equal(d.routingKey, last.routingKey)) throw refuse("equivocation", "two routing keys from one moment");
    if (d.notAfter < last.notAfter) throw refuse("rollback", "an older descriptor");
  }
}

export interface Handover {
  readonly domain: string;
  readonly oldKey: PublicKey;
  readonly newKey: PublicKey;
  readonly epoch: number;
  readonly signed: Bytes;
}

export async function parseHandover(signed: Uint8Array): Promise<Handover> {
  const { signature, message } = splitSigned(signed, maxHandover);
  const m = decode(DomainHandoverMessage, message, maxHandover);
  checkVersion(m.version);
  checkDomain(m.domain);
  const oldKey = PublicKey.check(m.oldKey);
  const newKey = PublicKey.check(m.newKey);
  if (oldKey.equals(newKey)) throw refuse("malformed", "the new key is the old one");
  const epoch = checkEpoch(m.epoch);
  if (epoch < 2) throw refuse("malformed", "epoch 1 has no key before it");
  await mustVerify(oldKey, "handover", message, signature);
  return { domain: m.domain, oldKey, newKey, epoch, signed: copy(signed) };
}

export async function signHandover(old: Signer, h: { domain: string; newKey: PublicKey; epoch: number }): Promise<Handover> {
  return parseHandover(await signObject(old, "handover", encode(DomainHandoverMessage, {
    version: 1, domain: h.domain, oldKey: old.publicKey.bytes, newKey: h.newKey.bytes, epoch: BigInt(h.epoch),
  })));
}

export interface DomainNode { readonly peerId: PeerId; readonly addresses: readonly string[] }

/** Says which nodes speak for a domain. That the key belongs to the domain is not in it. */
export interface DomainDocument {
  readonly domain: string;
  readonly key: PublicKey;
  readonly epoch: number;
  readonly previous: Bytes | undefined;
  readonly issued: number;
  readonly expires: number;
  readonly nodes: readonly DomainNode[];
  readonly directoryKey: PublicKey | undefined;
  readonly contact: string;
  readonly services: readonly string[];
  readonly handovers: readonly Handover[];
  readonly signed: Bytes;
  readonly hash: Bytes;
}

export async function parseDomain(signed: Uint8Array): Promise<DomainDocument> {
  const { signature, message } = splitSigned(signed, maxDocument);
  const m = decode(DomainDocumentMessage, message, maxDocument);
  checkVersion(m.version);
  const key = PublicKey.check(m.domainKey);
  await mustVerify(key, "domain", message, signature);
  checkDomain(m.domain);
  const epoch = checkEpoch(m.epoch);
  const previous = checkPrevious(epoch, m.previous);
  const { begin, end } = span(m.issued, m.expires, domainLifetime);
  if (m.nodes.length === 0 || m.nodes.length > 16) throw refuse("malformed", `it has ${m.nodes.length} nodes`);
  const nodes: DomainNode[] = [];
  for (const n of m.nodes) {
    const peerId = PeerId.fromBytes(n.peerId);
    if (nodes.some((x) => x.peerId.equals(peerId))) throw refuse("malformed", "it has a node twice");
    if (n.addresses.length > 8) throw refuse("malformed", "a node has too many addresses");
    n.addresses.forEach(checkMultiaddr);
    nodes.push({ peerId, addresses: n.addresses });
  }
  const directoryKey = m.directoryKey.length === 0 ? undefined : PublicKey.check(m.directoryKey);
  checkWords(m.contact, m.services);
  const handovers = await readHandovers(m.handovers, m.domain, epoch, key);
  return {
    domain: m.domain, key, epoch, previous, issued: begin, expires: end, nodes, directoryKey, contact: m.contact,
    services: m.services, handovers, signed: copy(signed), hash: sha256(signed),
  };
}

function checkMultiaddr(a: string): void {
  if (!/^\/[\x21-\x7e]{0,255}$/.test(a)) throw refuse("malformed", "an address is no multiaddress");
  if (a.split("/").some((part) => part === "p2p" || part === "ipfs")) throw refuse("malformed", "an address names a peer id");
}

// Both are shown to administrators, so nothing in them may steer a terminal or reorder text.
function checkWords(contact: string, services: readonly string[]): void {
  if (utf8(contact).length > 256) throw refuse("malformed", "its contact is too long");
  if (!/^[\p{L}\p{M}\p{N}\p{P}\p{S} ]*$/u.test(contact)) throw refuse("malformed", "its contact has a character that does not print");
  if (services.length > 8) throw refuse("malformed", "it has too many services");
  services.forEach((s, i) => {
    if (!/^[a-z0-9-]{1,32}$/.test(s)) throw refuse("malformed", "the name of a service is malformed");
    if (services.indexOf(s) !== i) throw refuse("malformed", "it has a service twice");
  });
}

async function readHandovers(signed: readonly Bytes[], domain: string, epoch: number, key: PublicKey): Promise<Handover[]> {
  if (signed.length > 4) throw refuse("malformed", "it has too many handovers");
  const out: Handover[] = [];
  for (const b of signed) {
    const h = await parseHandover(b);
    if (h.domain !== domain || h.epoch > epoch) throw refuse("malformed", "a handover is of another domain or a later epoch");
    const before = out.at(-1);
    if (before !== undefined && (!before.newKey.equals(h.oldKey) || before.epoch >= h.epoch)) {
      throw refuse("malformed", "its handovers are no chain");
    }
    out.push(h);
  }
  const last = out.at(-1);
  if (last !== undefined && !last.newKey.equals(key)) throw refuse("malformed", "its handovers do not lead to its key");
  return out;
}

export interface DomainInit {
  readonly domain: string;
  readonly epoch: number;
  readonly previous?: Uint8Array | undefined;
  readonly issued: number;
  readonly expires: number;
  readonly nodes: readonly DomainNode[];
  readonly directoryKey?: PublicKey | undefined;
  readonly contact?: string;
  readonly services?: readonly string[];
  readonly handovers?: readonly Handover[];
}

export async function signDomain(domainKey: Signer, d: DomainInit): Promise<DomainDocument> {
  return parseDomain(await signObject(domainKey, "domain", encode(DomainDocumentMessage, {
    version: 1, domain: d.domain, domainKey: domainKey.publicKey.bytes, epoch: BigInt(d.epoch),
    previous: d.previous ?? new Uint8Array(0), issued: BigInt(d.issued), expires: BigInt(d.expires),
    nodes: d.nodes.map((n) => ({ peerId: n.peerId.bytes, addresses: n.addresses })),
    directoryKey: d.directoryKey?.bytes ?? new Uint8Array(0), contact: d.contact ?? "", services: d.services ?? [],
    handovers: (d.handovers ?? []).map((h) => h.signed),
  })));
}

/** What a verifier remembers of a domain. Epoch 0 with a key is a key that policy pins; no key: prove it in another way. */
export interface DomainPin {
  readonly domain: string;
  readonly key: PublicKey | undefined;
  readonly epoch: number;
  readonly hash: Bytes;
}

export function pinDomain(d: DomainDocument): DomainPin {
  return { domain: d.domain, key: d.key, epoch: d.epoch, hash: d.hash };
}

export interface DomainVerdict { readonly change: Change; readonly keyChanged: boolean }

export function checkDomainPin(pin: DomainPin, d: DomainDocument, nowMs: number): DomainVerdict {
  if (d.domain !== pin.domain) throw refuse("other_identity", "document of another domain");
  const pinned = pin.key;
  const keyChanged = pinned !== undefined && !pinned.equals(d.key);
  // An old key that handed over before the pinned epoch had nothing more to say when that document was signed.
  if (keyChanged && !d.handovers.some((h) => h.oldKey.equals(pinned) && h.epoch > pin.epoch)) {
    throw refuse("key_changed", "the domain has another key, and the old one did not hand over to it");
  }
  const change = pin.epoch > 0 ? succession(pin, d) : "first";
  within(nowMs, d.issued, d.expires);
  return { change, keyChanged };
}
