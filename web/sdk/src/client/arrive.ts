// How a participant comes to be: written down in an empty store, made known at a node, and introduced to somebody. Who
// is at home already fetches none of it.

import { checkAbort } from "../abort.ts";
import { hex, random, utf8 } from "../bytes.ts";
import { marshalBody, Type } from "../envelope/bodies.ts";
import { Prekey } from "../envelope/prekey.ts";
import { AnswerStatus, Operation } from "../envelope/query.ts";
import { Ttl } from "../envelope/types.ts";
import { refuse } from "../errors.ts";
import { formatAddress, parseAddress } from "../identity/address.ts";
import { type DeviceList, findDevice, hasHome, parseDeviceList } from "../identity/device.ts";
import type { SeedSigner } from "../identity/key.ts";
import { firstList, nextList, signDeviceCert } from "../identity/signing.ts";
import { certLifetime } from "../identity/times.ts";
import { parseInvite } from "../link/handshake.ts";
import { systemTimers, Wire } from "../link/wire.ts";
import { type Contact, contactOf } from "./contacts.ts";
import { type ClientOptions, type Core, weekMs } from "./core.ts";
import { askOver } from "./directory.ts";
import { wrapPrekey } from "./prekeys.ts";
import { formatVersion, type HomeRecord, type ProfileRecord } from "./records.ts";


/** Writes a new identity into an empty store. */
export async function create(o: ClientOptions, root: SeedSigner): Promise<void> {
  if ((await o.store.load()).has("profile")) throw refuse("storage", "this storage holds an identity already");
  const now = (o.timers ?? systemTimers).now();
  await o.vault.device();
  const prekey = await Prekey.generate(now);
  const profile: ProfileRecord = { version: formatVersion, root: root.publicKey.hex, createdMs: now };
  await o.store.write([
    { key: "profile", value: utf8(JSON.stringify(profile)) },
    { key: "secret/root", value: await o.vault.wrap(root.seed()) },
    { key: `secret/prekey/${hex(prekey.id)}`, value: await wrapPrekey(o.vault, prekey) },
  ]);
}

/** Makes the identity known at a node and opens a mailbox for this device. Before start. */
export async function register(c: Core, invite: string, signal?: AbortSignal, confirmed?: string): Promise<string> {
  if (c.running) throw refuse("malformed", "register before the client runs: a second link of this device would end the first");
  const { base, invitation } = parseInvite(invite);
  const root = await c.root();
  const now = c.now();
  const s = Math.floor(now / 1000);
  const cert = await signDeviceCert(root, { device: c.device.publicKey, epoch: 1, notBefore: s, notAfter: s + certLifetime });
  const w = await Wire.dial({
    base, socket: c.options.socket, timers: c.timers, who: { device: c.device, cert }, tap: c.options.tap, onDeliver: () => undefined, onEnd: () => undefined, signal, confirmed,
  });
  try {
    const home = await newHome(c, w, base);
    const list = await listFor(c, w, root, home, signal);
    checkAbort(signal); // from here on the node knows the identity and the invitation is used
    await c.mailbox.publish(w, list, home, invitation);
    c.records.set("home", home);
    c.records.set("ownlist", hex(list.signed));
    await c.records.commit();
    await c.mailbox.open(w, home);
  } finally {
    w.close();
  }
  return formatAddress({ root: c.self, domain: c.home().domain });
}

async function newHome(c: Core, w: Wire, url: string): Promise<HomeRecord> {
  const old = c.records.get<HomeRecord>("home");
  if (old !== undefined && old.domain === w.node.domain && old.peerId === hex(w.node.peerId.bytes)) return { ...old, url };
  c.records.setRaw("secret/mailbox", await c.options.vault.wrap(random(32)));
  return { peerId: hex(w.node.peerId.bytes), domain: w.node.domain, url, tag: hex(random(16)), tokenEpoch: 1, grace: false };
}

async function listFor(c: Core, w: Wire, root: SeedSigner, home: HomeRecord, signal: AbortSignal | undefined): Promise<DeviceList> {
  const homes = [c.homeOf(home)];
  let own = c.ownList();
  const answer = await askOver(w, w.node.descriptor, Operation.lookup, c.self.bytes, signal);
  if (answer.status === AnswerStatus.found) {
    const theirs = await parseDeviceList(answer.list);
    if (!theirs.root.equals(c.self)) throw refuse("other_identity", "the node keeps a device list that is not ours");
    if (own === undefined || theirs.epoch > own.epoch) own = theirs;
  }
  const now = c.now();
  if (own === undefined) return firstList(root, c.device.publicKey, homes, now);
  if (findDevice(own, c.deviceId) === undefined) own = await nextList(root, own, { kind: "add", device: c.device.publicKey }, now);
  if (!hasHome(own, homes[0]!.peerId)) own = await nextList(root, own, { kind: "homes", homes }, now);
  return own;
}

/** Asks somebody to be a contact. It carries leave to answer us. */
export async function knock(c: Core, address: string, text = "", name = "", signal?: AbortSignal): Promise<Contact> {
  const a = parseAddress(address);
  marshalBody({ type: Type.knock, text, name, home: c.homeOf() }); // what cannot be said is refused before anything is written down
  await c.contacts.lookUp(a, signal);
  const k = c.contacts.update(a.root, (k) => {
    if (k.state === "blocked") throw refuse("policy", "this contact is blocked: unblock it first");
    if (k.state !== "accepted") k.state = "pending"; // knocking again asks for a lost grant
  });
  await c.records.commit();
  const home = c.home();
  await c.sending.deliverAll(k, { body: { type: Type.knock, text, name, home: c.homeOf(home) }, lifeMs: weekMs, ttl: Ttl.week, withGrant: true, knock: true });
  await c.contacts.gave(k.root, home);
  return contactOf(c.contacts.get(a.root)!);
}
