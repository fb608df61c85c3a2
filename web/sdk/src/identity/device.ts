// Device certificates and device lists (docs/spec/identity.md, sections 8 to 10).

import { copy, equal, isZero, type Bytes } from "../bytes.ts";
import { decode, type Of } from "../canon.ts";
import { sha256 } from "../crypto/hash.ts";
import { refuse } from "../errors.ts";
import { DeviceId, mustVerify, PeerId, PublicKey, splitSigned } from "./key.ts";
import { checkDomain } from "./text.ts";
import {
  certLifetime, checkEpoch, checkPrevious, checkVersion, clockAheadMs, listGrace, listLifetime, span, within,
} from "./times.ts";
import { DeviceCertMessage, DeviceListMessage } from "./wire.ts";

export const maxCert = 256;
export const maxList = 4096;
export const maxDevices = 8;
export const maxRevoked = 16;
const maxHomes = 3;

/** A node at which an identity has its mailboxes. */
export interface Home {
  readonly peerId: PeerId;
  readonly domain: string;
}

export function sameHome(a: Home, b: Home): boolean {
  return a.peerId.equals(b.peerId) && a.domain === b.domain;
}

/** The root key's word that a device speaks for the identity. Times are Unix seconds. */
export interface DeviceCert {
  readonly root: PublicKey;
  readonly device: PublicKey;
  readonly deviceId: DeviceId;
  readonly epoch: number;
  readonly notBefore: number;
  readonly notAfter: number;
  readonly signed: Bytes;
}

/** Reads a signed certificate and checks everything but the clock. */
export async function parseDeviceCert(signed: Uint8Array): Promise<DeviceCert> {
  const cert = readDeviceCert(signed);
  await verifyCert(cert);
  return cert;
}

async function verifyCert(c: DeviceCert): Promise<void> {
  const { signature, message } = splitSigned(c.signed, maxCert);
  await mustVerify(c.root, "devcert", message, signature);
}

/** All but the signature. */
function readDeviceCert(signed: Uint8Array): DeviceCert {
  const { message } = splitSigned(signed, maxCert);
  const m = decode(DeviceCertMessage, message, maxCert);
  checkVersion(m.version);
  const root = PublicKey.check(m.rootKey);
  const device = PublicKey.check(m.deviceKey);
  // The root key signs certificates and lists only. As a device it would sign messages.
  if (root.equals(device)) throw refuse("malformed", "the root key is no device key");
  const epoch = checkEpoch(m.epoch);
  const { begin, end } = span(m.notBefore, m.notAfter, certLifetime);
  return { root, device, deviceId: DeviceId.of(device), epoch, notBefore: begin, notAfter: end, signed: copy(signed) };
}

export function certValidAt(c: DeviceCert, nowMs: number): void {
  within(nowMs, c.notBefore, c.notAfter);
}

/** An identity's signed statement of which devices speak for it and where they live. */
export interface DeviceList {
  readonly root: PublicKey;
  readonly epoch: number;
  readonly previous: Bytes | undefined;
  readonly issued: number;
  readonly expires: number;
  readonly devices: readonly DeviceCert[];
  readonly revoked: readonly DeviceId[];
  readonly lowestSuite: number;
  readonly recovery: Bytes | undefined;
  readonly homes: readonly Home[];
  readonly signed: Bytes;
  readonly hash: Bytes;
}

/** Reads a signed list and checks everything but the clock and the history; checkPin does the rest. */
export async function parseDeviceList(signed: Uint8Array): Promise<DeviceList> {
  const { signature, message } = splitSigned(signed, maxList);
  const { root, m } = listHead(message);
  // The signature comes before the certificates: a forger pays one verification of ours, not nine.
  await mustVerify(root, "devicelist", message, signature);
  const list = listFrom(root, m, signed);
  for (const c of list.devices) await verifyCert(c);
  return list;
}

/** Reads a list whose signatures were checked when it was written down. It is for the own store and for nothing that comes in. */
export function readKeptList(signed: Uint8Array): DeviceList {
  const { root, m } = listHead(splitSigned(signed, maxList).message);
  return listFrom(root, m, signed);
}

function listHead(message: Uint8Array): { root: PublicKey; m: Of<typeof DeviceListMessage> } {
  const m = decode(DeviceListMessage, message, maxList);
  checkVersion(m.version);
  return { root: PublicKey.check(m.rootKey), m };
}

function listFrom(root: PublicKey, m: Of<typeof DeviceListMessage>, signed: Uint8Array): DeviceList {
  const epoch = checkEpoch(m.epoch);
  const previous = checkPrevious(epoch, m.previous);
  const { begin, end } = span(m.issued, m.expires, listLifetime);
  if (m.lowestSuite === 0) throw refuse("malformed", "it names no lowest suite");
  if (m.recovery.length !== 0 && (m.recovery.length !== 32 || isZero(m.recovery))) {
    throw refuse("malformed", "its recovery commitment is malformed");
  }
  if (m.revoked.length > maxRevoked) throw refuse("malformed", "it has too many revoked devices");
  const revoked: DeviceId[] = [];
  for (const b of m.revoked) {
    const id = DeviceId.fromBytes(b);
    if (revoked.some((x) => x.equals(id))) throw refuse("malformed", "it has a revoked device twice");
    revoked.push(id);
  }
  if (m.devices.length === 0 || m.devices.length > maxDevices) throw refuse("malformed", `it has ${m.devices.length} devices`);
  const devices: DeviceCert[] = [];
  for (const b of m.devices) {
    const c = readDeviceCert(b);
    if (!c.root.equals(root)) throw refuse("other_identity", "it has a certificate of another identity");
    if (c.epoch > epoch) throw refuse("malformed", "it has a certificate of a later epoch");
    if (devices.some((x) => x.device.equals(c.device))) throw refuse("malformed", "it has a device twice");
    if (revoked.some((x) => x.equals(c.deviceId))) throw refuse("malformed", "it has a device that it revokes");
    devices.push(c);
  }
  if (m.homes.length === 0 || m.homes.length > maxHomes) throw refuse("malformed", `it has ${m.homes.length} homes`);
  const homes: Home[] = [];
  for (const h of m.homes) {
    const peerId = PeerId.fromBytes(h.peerId);
    checkDomain(h.domain);
    if (homes.some((x) => x.peerId.equals(peerId))) throw refuse("malformed", "it has a home twice");
    homes.push({ peerId, domain: h.domain });
  }
  return {
    root, epoch, previous, issued: begin, expires: end, devices, revoked, lowestSuite: m.lowestSuite,
    recovery: m.recovery.length === 0 ? undefined : m.recovery, homes, signed: copy(signed), hash: sha256(signed),
  };
}

export function findDevice(l: DeviceList, id: DeviceId): DeviceCert | undefined {
  return l.devices.find((c) => c.deviceId.equals(id));
}

export function hasHome(l: DeviceList, id: PeerId): boolean {
  return l.homes.some((h) => h.peerId.equals(id));
}

/** Whether the list is past its end but within its grace. Throws stale or not_yet_valid. */
export function listIsStale(l: DeviceList, nowMs: number): boolean {
  if (nowMs + clockAheadMs < l.issued * 1000) throw refuse("not_yet_valid", "the device list is not valid yet");
  if (nowMs < l.expires * 1000) return false;
  if (nowMs < (l.expires + listGrace) * 1000) return true;
  throw refuse("stale", "the device list ended more than seven days ago");
}

/**
 * Whether the device of the certificate may speak, given that l is the newest list seen. False means
 * that the certificate is newer than the list: fetch the list before anything is shown as verified.
 */
export function admit(l: DeviceList, c: DeviceCert, nowMs: number): boolean {
  if (!l.root.equals(c.root)) throw refuse("other_identity", "certificate of another identity");
  certValidAt(c, nowMs);
  if (l.revoked.some((d) => d.equals(c.deviceId))) throw refuse("revoked", "the device was revoked");
  if (c.epoch > l.epoch) return false;
  if (findDevice(l, c.deviceId) === undefined) throw refuse("not_listed", "the device is not in the list");
  return true;
}

/** What a verifier remembers of an identity. Stored before anything that rests on a newer list is shown. */
export interface Pin {
  readonly epoch: number;
  readonly hash: Bytes;
  readonly seenMs: number;
  readonly recovery: Bytes | undefined;
  readonly suite: number;
}

export type Change = "same" | "first" | "next" | "jumped";

/** The rule that device lists and domain documents share. */
export function succession(
  pinned: { readonly epoch: number; readonly hash: Uint8Array },
  o: { readonly epoch: number; readonly hash: Uint8Array; readonly previous: Uint8Array | undefined },
): Change {
  if (o.epoch < pinned.epoch) throw refuse("rollback", "older than what was seen before");
  if (o.epoch === pinned.epoch) {
    if (!equal(o.hash, pinned.hash)) throw refuse("equivocation", "two different objects of one epoch");
    return "same";
  }
  return o.epoch === pinned.epoch + 1 && o.previous !== undefined && equal(o.previous, pinned.hash) ? "next" : "jumped";
}

export interface Verdict { readonly change: Change; readonly stale: boolean }

/** Whether l may be used now and may replace what is pinned; then store advancePin. */
export function checkPin(pin: Pin | undefined, l: DeviceList, nowMs: number): Verdict {
  const change = pin === undefined ? "first" : succession(pin, l);
  if (pin?.recovery !== undefined && (l.recovery === undefined || !equal(pin.recovery, l.recovery))) {
    throw refuse("recovery_changed", "the recovery key changed, which it never does");
  }
  return { change, stale: listIsStale(l, nowMs) };
}

export function advancePin(pin: Pin | undefined, l: DeviceList, nowMs: number): Pin {
  return {
    epoch: l.epoch, hash: l.hash, seenMs: nowMs, recovery: pin?.recovery ?? l.recovery,
    suite: Math.max(pin?.suite ?? 0, l.lowestSuite),
  };
}
