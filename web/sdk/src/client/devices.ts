// Another device joins (docs/spec/client-link.md, section 13). Two texts that the person carries: a request from
// the new device, which is on both screens and holds nothing secret, and an approval sealed to its one-time key.

import { base64url } from "../base.ts";
import { concat, copy, hex, random, readU32, text, u32, utf8, type Bytes } from "../bytes.ts";
import { parseBody, Type, type BodyOf } from "../envelope/bodies.ts";
import { recipientX25519, senderX25519, x25519Public } from "../envelope/hpke.ts";
import { Prekey } from "../envelope/prekey.ts";
import { refuse } from "../errors.ts";
import { findDevice, hasHome, parseDeviceList, type DeviceList } from "../identity/device.ts";
import { checkX25519, DeviceId, PeerId, PublicKey } from "../identity/key.ts";
import { checkDomain } from "../identity/text.ts";
import { context } from "../labels.ts";
import { linkAddress } from "../link/handshake.ts";
import { systemTimers } from "../link/wire.ts";
import type { ClientOptions } from "./core.ts";
import { syncedContact } from "./people.ts";
import { wrapPrekey } from "./prekeys.ts";
import { formatVersion, type HomeRecord, type ProfileRecord } from "./records.ts";

const requestPrefix = "tldr1-";
const approvalPrefix = "tlda1-";
const maxApproval = 256 << 10;
const none = new Uint8Array(0);

function body(prefix: string, s: string, what: string, most: number): Uint8Array {
  const t = s.trim();
  if (!t.startsWith(prefix)) throw refuse("malformed", `this is not ${what}: it begins with ${prefix}`);
  if (t.length > most) throw refuse("too_large", `${what} is too long`);
  try {
    return base64url.decode(t.slice(prefix.length));
  } catch (err) {
    throw refuse("malformed", `${what} is damaged: copy it whole`, err);
  }
}

/** Begins on a new device. Show the text; keep the secret until the approval is there. */
export async function deviceRequest(device: PublicKey): Promise<{ readonly text: string; readonly secret: Bytes }> {
  const secret = random(32);
  return { text: requestPrefix + base64url.encode(concat(device.bytes, await x25519Public(secret))), secret };
}

export interface DeviceRequest { readonly device: PublicKey; readonly once: Bytes }

export function parseDeviceRequest(s: string): DeviceRequest {
  const b = body(requestPrefix, s, "a device request", 256);
  if (b.length !== 64) throw refuse("malformed", "the device request is damaged: copy it whole");
  const once = copy(b.subarray(32));
  checkX25519(once);
  return { device: PublicKey.check(b.subarray(0, 32)), once };
}

/** What a new device needs. */
export interface Pack {
  readonly list: DeviceList;
  readonly url: string;
  readonly domain: string;
  readonly peerId: PeerId;
  readonly contacts: readonly BodyOf<typeof Type.contactSync>[];
}

export async function sealApproval(r: DeviceRequest, list: DeviceList, home: { readonly url: string; readonly domain: string; readonly peerId: PeerId }, contacts: readonly Uint8Array[]): Promise<string> {
  const pieces = [list.signed, utf8(home.url), utf8(home.domain), home.peerId.bytes, ...contacts];
  const plain = concat(...pieces.flatMap((p) => [u32(p.length), p]));
  if (plain.length > maxApproval) throw refuse("too_large", "there are too many contacts to hand over at once");
  const { enc, context: c } = await senderX25519(r.once, context("pairing"));
  return approvalPrefix + base64url.encode(concat(enc, await c.seal(plain, none)));
}

/** Opens an approval for the device that made the request. */
export async function openApproval(s: string, device: PublicKey, secret: Uint8Array): Promise<Pack> {
  const box = body(approvalPrefix, s, "an approval", 2 * maxApproval);
  if (box.length < 48) throw refuse("malformed", "the approval is damaged: copy it whole");
  let plain: Bytes;
  try {
    plain = await (await recipientX25519(box.subarray(0, 32), secret, context("pairing"))).open(box.subarray(32), none);
  } catch (err) {
    throw refuse("other_identity", "the approval was made for another request", err);
  }
  const pieces: Bytes[] = [];
  for (let at = 0; at < plain.length;) {
    if (plain.length - at < 4) throw refuse("malformed", "approval");
    const n = readU32(plain, at);
    if (n > plain.length - at - 4) throw refuse("malformed", "approval");
    pieces.push(plain.slice(at + 4, at + 4 + n));
    at += 4 + n;
  }
  const [signed, url, domain, peer, ...syncs] = pieces;
  if (signed === undefined || url === undefined || domain === undefined || peer === undefined) throw refuse("malformed", "approval");
  const list = await parseDeviceList(signed);
  if (findDevice(list, DeviceId.of(device)) === undefined) throw refuse("not_listed", "the device list does not name this device");
  const peerId = PeerId.fromBytes(peer);
  if (!hasHome(list, peerId)) throw refuse("other_identity", "the home is not in the device list");
  checkDomain(text(domain));
  linkAddress(text(url));
  return {
    list, url: text(url), domain: text(domain), peerId,
    contacts: syncs.map((b) => parseBody(Type.contactSync, b) as BodyOf<typeof Type.contactSync>),
  };
}

/** Writes into an empty store what an approval gives a new device of an identity. The root key stays where it was. */
export async function join(o: ClientOptions, request: { readonly secret: Uint8Array }, approval: string): Promise<void> {
  if ((await o.store.load()).has("profile")) throw refuse("storage", "this storage holds an identity already");
  const p = await openApproval(approval, (await o.vault.device()).publicKey, request.secret);
  const now = (o.timers ?? systemTimers).now();
  const prekey = await Prekey.generate(now);
  const json = (v: unknown) => utf8(JSON.stringify(v));
  const profile: ProfileRecord = { version: formatVersion, root: p.list.root.hex, createdMs: now };
  const home: HomeRecord = { peerId: hex(p.peerId.bytes), domain: p.domain, url: p.url, tag: hex(random(16)), tokenEpoch: 1, grace: false };
  await o.store.write([
    { key: "profile", value: json(profile) }, { key: "ownlist", value: json(hex(p.list.signed)) }, { key: "home", value: json(home) },
    { key: "secret/mailbox", value: await o.vault.wrap(random(32)) },
    { key: `secret/prekey/${hex(prekey.id)}`, value: await wrapPrekey(o.vault, prekey) },
    ...p.contacts.map((c) => ({ key: `contact/${c.root.hex}`, value: json(syncedContact(undefined, c, now)) })),
  ]);
}
