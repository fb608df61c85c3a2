// Certificates and device lists as the holder of a root key makes them (docs/spec/identity.md, sections 8 to 10).

import { copy } from "../bytes.ts";
import { encode } from "../canon.ts";
import { refuse } from "../errors.ts";
import { findDevice, maxDevices, maxRevoked, parseDeviceCert, parseDeviceList, type DeviceCert, type DeviceList, type Home } from "./device.ts";
import { DeviceId, signObject, type PublicKey, type Signer } from "./key.ts";
import { certLifetime, listLifetime, pastHalf, suite } from "./times.ts";
import { DeviceCertMessage, DeviceListMessage } from "./wire.ts";

export interface CertInit { readonly device: PublicKey; readonly epoch: number; readonly notBefore: number; readonly notAfter: number }

export async function signDeviceCert(root: Signer, c: CertInit): Promise<DeviceCert> {
  // Reading it back applies the rules of the reader to what we write.
  return parseDeviceCert(await signObject(root, "devcert", encode(DeviceCertMessage, {
    version: 1, rootKey: root.publicKey.bytes, deviceKey: c.device.bytes, epoch: BigInt(c.epoch),
    notBefore: BigInt(c.notBefore), notAfter: BigInt(c.notAfter),
  })));
}

export interface ListInit {
  readonly epoch: number;
  readonly previous?: Uint8Array | undefined;
  readonly issued: number;
  readonly expires: number;
  readonly devices: readonly DeviceCert[];
  readonly revoked?: readonly DeviceId[];
  readonly lowestSuite?: number;
  readonly recovery?: Uint8Array | undefined;
  readonly homes: readonly Home[];
}

/** Signs a list as it stands, whatever came before it. */
export async function signDeviceList(root: Signer, l: ListInit): Promise<DeviceList> {
  return parseDeviceList(await signObject(root, "devicelist", encode(DeviceListMessage, {
    version: 1, rootKey: root.publicKey.bytes, epoch: BigInt(l.epoch), previous: l.previous ?? new Uint8Array(0),
    issued: BigInt(l.issued), expires: BigInt(l.expires), devices: l.devices.map((c) => c.signed),
    revoked: (l.revoked ?? []).map((d) => d.bytes), lowestSuite: l.lowestSuite ?? suite,
    recovery: l.recovery ?? new Uint8Array(0),
    homes: l.homes.map((h) => ({ peerId: h.peerId.bytes, domain: h.domain })),
  })));
}

/** The list of epoch 1: one device and the identity's homes. */
export async function firstList(root: Signer, device: PublicKey, homes: readonly Home[], nowMs: number): Promise<DeviceList> {
  const now = Math.floor(nowMs / 1000);
  const cert = await signDeviceCert(root, { device, epoch: 1, notBefore: now, notAfter: now + certLifetime });
  return signDeviceList(root, { epoch: 1, issued: now, expires: now + listLifetime, devices: [cert], homes });
}

/** What changes from one list to the next. */
export type ListChange =
  | { readonly kind: "add"; readonly device: PublicKey }
  | { readonly kind: "revoke"; readonly device: DeviceId }
  | { readonly kind: "homes"; readonly homes: readonly Home[] }
  | { readonly kind: "recovery"; readonly commitment: Uint8Array }
  | { readonly kind: "renew" };

/** The list after l. A renewal has new certificates for the devices whose certificate is past half of its life. */
export async function nextList(root: Signer, l: DeviceList, change: ListChange, nowMs: number): Promise<DeviceList> {
  if (!l.root.equals(root.publicKey)) throw refuse("other_identity", "list of another identity");
  const now = Math.floor(nowMs / 1000);
  const epoch = l.epoch + 1;
  const certify = (device: PublicKey) => signDeviceCert(root, { device, epoch, notBefore: now, notAfter: now + certLifetime });
  let devices = [...l.devices];
  let revoked = [...l.revoked];
  let homes = l.homes;
  let recovery = l.recovery;
  switch (change.kind) {
    case "add": {
      const id = DeviceId.of(change.device);
      if (findDevice(l, id) !== undefined) throw refuse("malformed", "the device is listed already");
      if (revoked.some((d) => d.equals(id))) throw refuse("revoked", "the device was revoked: make a new device key");
      if (devices.length === maxDevices) throw refuse("too_large", `an identity has at most ${maxDevices} devices: revoke one first`);
      devices.push(await certify(change.device));
      break;
    }
    case "revoke":
      if (findDevice(l, change.device) === undefined) throw refuse("not_listed", "the device is not listed");
      if (devices.length === 1) throw refuse("malformed", "an identity has at least one device: add another first");
      devices = devices.filter((c) => !c.deviceId.equals(change.device));
      revoked = [...revoked, change.device].slice(-maxRevoked);
      break;
    case "homes":
      homes = change.homes;
      break;
    case "recovery":
      if (recovery !== undefined) throw refuse("recovery_changed", "the recovery key was set before and never changes");
      recovery = copy(change.commitment);
      break;
    case "renew":
      devices = await Promise.all(devices.map((c) => (pastHalf(c.notBefore, c.notAfter, nowMs) ? certify(c.device) : c)));
      break;
  }
  return signDeviceList(root, {
    epoch, previous: l.hash, issued: now, expires: now + listLifetime, devices, revoked, lowestSuite: l.lowestSuite, recovery, homes,
  });
}

export function renewDue(l: DeviceList, nowMs: number): boolean {
  return pastHalf(l.issued, l.expires, nowMs) || l.devices.some((c) => pastHalf(c.notBefore, c.notAfter, nowMs));
}
