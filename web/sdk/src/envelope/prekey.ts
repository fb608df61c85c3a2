// Prekeys and their bundles (docs/spec/envelope.md, section 10).

import { copy, equal, random, type Bytes } from "../bytes.ts";
import { decode, encode } from "../canon.ts";
import { isCode, refuse, TrunklineError } from "../errors.ts";
import { certValidAt, findDevice, listIsStale, sameHome, type DeviceList, type Home } from "../identity/device.ts";
import { DeviceId, hash, mustVerify, PeerId, PublicKey, signObject, type Signer } from "../identity/key.ts";
import { checkDomain } from "../identity/text.ts";
import { suite } from "../identity/times.ts";
import { checkXWing, xwingPublic } from "./hpke.ts";
import { PrekeyBundleMessage } from "./wire.ts";

const dayMs = 86_400_000;
export const prekeyRotationMs = dayMs;
export const prekeyOfferedMs = 7 * dayMs;
export const prekeyDeletedMs = 15 * dayMs;
export const maxBundle = 2048;
const clockAheadMs = 5 * 60_000;
const maxMillis = 9_000_000_000_000n;

export function prekeyIdOf(recipient: Uint8Array): Bytes {
  return hash("prekeyid", recipient).slice(0, 16);
}

/** A secret to which messages for this device are sealed; never derived from anything. */
export class Prekey {
  readonly createdMs: number;
  readonly recipient: Bytes;
  readonly id: Bytes;
  readonly hint: Bytes;
  readonly #seed: Bytes;

  private constructor(seed: Bytes, recipient: Bytes, createdMs: number) {
    this.#seed = seed;
    this.createdMs = createdMs;
    this.recipient = recipient;
    this.id = prekeyIdOf(this.recipient);
    this.hint = this.id.slice(0, 2);
  }

  static async from(seed: Uint8Array, createdMs: number): Promise<Prekey> { return new Prekey(copy(seed), await xwingPublic(seed), createdMs); }

  static generate(nowMs: number): Promise<Prekey> { return Prekey.from(random(32), nowMs); }

  /** The secret, for the key store. */
  seed(): Bytes { return copy(this.#seed); }
  toJSON(): string { return "[redacted]"; }
}

/** Where a device receives. */
export interface Route {
  readonly home: Home;
  readonly tag: Bytes;
  readonly tokenEpoch: bigint;
}

/** A device's signed offer of a prekey and a route. Times are Unix seconds. */
export interface Bundle {
  readonly root: PublicKey;
  readonly device: PublicKey;
  readonly deviceId: DeviceId;
  readonly epoch: bigint;
  readonly prekeyId: Bytes;
  readonly recipient: Bytes;
  readonly notBefore: number;
  readonly notAfter: number;
  readonly route: Route;
  readonly signed: Bytes;
}

/** Signs the offer of a prekey. Its times are whole UTC days, which say little about when the device was awake. */
export async function signBundle(p: Prekey, device: Signer, root: PublicKey, epoch: number, route: Route): Promise<Bundle> {
  const day = Math.floor(p.createdMs / dayMs) * dayMs / 1000;
  const signed = await signObject(device, "prekey", encode(PrekeyBundleMessage, {
    version: 1, rootKey: root.bytes, deviceKey: device.publicKey.bytes, epoch: BigInt(epoch), prekeyId: p.id, recipient: p.recipient,
    notBefore: BigInt(day), notAfter: BigInt(day + prekeyOfferedMs / 1000), suites: [suite],
    route: { peerId: route.home.peerId.bytes, domain: route.home.domain, routeTag: route.tag, tokenEpoch: route.tokenEpoch },
  }));
  return (await readBundle(signed)).bundle;
}

/**
 * Reads a bundle of a device that the list names. The caller has checked the list against its pin. Throws
 * list_epoch when the bundle is newer than the list: then someone holds a list back.
 */
export async function parseBundle(signed: Uint8Array, list: DeviceList, nowMs: number): Promise<Bundle> {
  const { bundle: b, suites } = await readBundle(signed);
  if (!list.root.equals(b.root)) throw refuse("bundle", "list of another identity");
  try {
    if (listIsStale(list, nowMs)) throw refuse("stale", "the device list has ended");
    const cert = findDevice(list, b.deviceId);
    if (cert === undefined || !cert.device.equals(b.device)) throw refuse("not_listed", "the device is not in the list");
    certValidAt(cert, nowMs);
  } catch (err) {
    throw refuse("bundle", "bundle of a device that does not speak for the identity", err);
  }
  if (b.epoch > BigInt(list.epoch)) throw refuse("list_epoch", "bundle is newer than the device list");
  // The list says where its devices live. A hop to any other node is not for this identity.
  if (!list.homes.some((h) => sameHome(h, b.route.home))) throw refuse("bundle", "its route is not a home of the identity");
  if (!suites.includes(suite) || list.lowestSuite > suite) throw refuse("bundle", "suite 1 is not offered", refuse("suite", "suite"));
  if (nowMs + clockAheadMs < b.notBefore * 1000 || nowMs >= b.notAfter * 1000) throw refuse("bundle", "outside its days");
  return b;
}

async function readBundle(signed: Uint8Array): Promise<{ bundle: Bundle; suites: readonly number[] }> {
  try {
    return await checkedBundle(signed);
  } catch (err) {
    if (err instanceof TrunklineError && !isCode(err, "bundle")) throw refuse("bundle", "prekey bundle refused", err);
    throw err;
  }
}

async function checkedBundle(signed: Uint8Array): Promise<{ bundle: Bundle; suites: readonly number[] }> {
  if (signed.length <= 64 || signed.length > maxBundle) throw refuse("bundle", `bundle of ${signed.length} bytes`);
  const message = signed.subarray(64);
  const m = decode(PrekeyBundleMessage, message, maxBundle);
  if (m.version !== 1 || m.route === undefined || m.route.routeTag.length !== 16 || m.epoch === 0n) throw refuse("bundle", "form");
  const root = PublicKey.check(m.rootKey);
  const device = PublicKey.check(m.deviceKey);
  // The key that verifies is inside; the list decides whether it may speak.
  await mustVerify(device, "prekey", message, signed.subarray(0, 64));
  checkXWing(m.recipient);
  const id = prekeyIdOf(m.recipient);
  if (!equal(id, m.prekeyId)) throw refuse("bundle", "prekey id");
  if (m.notBefore > maxMillis / 1000n || m.notBefore % 86400n !== 0n || m.notAfter <= m.notBefore || m.notAfter - m.notBefore > 8n * 86400n) {
    throw refuse("bundle", "times");
  }
  const s = m.suites;
  if (s.length === 0 || s.length > 8 || s.some((v, i) => v === 0 || (i > 0 && v <= s[i - 1]!))) throw refuse("bundle", "suites");
  const peerId = PeerId.fromBytes(m.route.peerId);
  checkDomain(m.route.domain);
  return {
    suites: s,
    bundle: {
      root, device, deviceId: DeviceId.of(device), epoch: m.epoch, prekeyId: id, recipient: m.recipient,
      notBefore: Number(m.notBefore), notAfter: Number(m.notAfter), signed: copy(signed),
      route: { home: { peerId, domain: m.route.domain }, tag: m.route.routeTag, tokenEpoch: m.route.tokenEpoch },
    },
  };
}
