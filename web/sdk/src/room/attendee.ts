// Who goes into a room: a device of an identity, or a guest whose identity is made on the spot and ends with the room.

import { hex, unhex, type Bytes } from "../bytes.ts";
import { refuse, TrunklineError } from "../errors.ts";
import { admit, type DeviceCert } from "../identity/device.ts";
import { PeerId, SeedSigner, type PublicKey, type Signer } from "../identity/key.ts";
import { signDeviceCert } from "../identity/signing.ts";
import { certLifetime } from "../identity/times.ts";
import { Client } from "../client/client.ts";
import { listOf } from "../client/records.ts";
import { roomFrames, type RoomNodeKind } from "../link/roomframes.ts";
import { systemTimers, Wire, type SocketFactory, type Timers } from "../link/wire.ts";
import type { Self } from "./join.ts";
import type { Entry, Guest } from "./types.ts";

/** What this device remembers of a room; bytes in hexadecimal. */
export interface RoomRecord {
  readonly id: string;
  base: string;
  secret: string;
  owner: boolean;
  /** Seed of the key that runs the room; empty: not ours. */
  steward: string;
  /** The signed card. */
  card: string;
  title: string;
  entry: Entry;
  expiresMs: number;
  seenMs: number;
}

export const roomRecord = (id: string) => `room/${id}`;

export interface Attendee {
  readonly self: Self;
  readonly timers: Timers;
  readonly socket: SocketFactory;
  readonly client: Client | undefined;
  now(): number;
}

export async function attendeeOf(who: Client | Guest, name: string): Promise<Attendee> {
  if (who instanceof Client) {
    return { self: { device: who.device, cert: await certOf(who), name }, timers: who.timers, socket: who.socket, client: who, now: () => who.now() };
  }
  const timers = who.timers ?? systemTimers;
  const [root, device] = await Promise.all([SeedSigner.generate(), SeedSigner.generate()]);
  const cert = await certify(root, device.publicKey, timers.now());
  return { self: { device, cert, name }, timers, socket: who.socket, client: undefined, now: () => timers.now() };
}

/** An identity that is registered nowhere certifies its device on the spot. */
async function certOf(c: Client): Promise<DeviceCert> {
  if (c.ownList() !== undefined) return c.ownCert();
  return certify(await c.root(), c.device.publicKey, c.now());
}

function certify(root: Signer, device: PublicKey, nowMs: number): Promise<DeviceCert> {
  const begin = Math.floor(nowMs / 1000) - 60;
  return signDeviceCert(root, { device, epoch: 1, notBefore: begin, notAfter: begin + certLifetime });
}

/** A link without a device to the node of a room. A node that is a home of ours is held to its key. */
export async function dialRoom(a: Attendee, base: string, o: {
  readonly onRoom: (k: RoomNodeKind) => void; readonly onEnd: (why: TrunklineError) => void; readonly onHint?: (ms: number) => void; readonly signal?: AbortSignal | undefined;
}): Promise<Wire> {
  const home = a.client?.registered === true ? a.client.home() : undefined;
  const pin = home !== undefined && originOf(home.url) === base ? PeerId.fromBytes(unhex(home.peerId)) : undefined;
  const w = await Wire.dial({
    base, pin, socket: a.socket, timers: a.timers, signal: o.signal, onDeliver: () => undefined, onEnd: o.onEnd, onRoom: o.onRoom,
    onDrain: (d) => o.onHint?.(Number(d.reconnectAfterMs) + a.timers.random() * Number(d.jitterMs)),
  });
  w.frames = roomFrames;
  return w;
}

/** The word of the own node for a key at the node of a room (docs/spec/rooms.md, section 3); undefined: there is no own node. */
export async function passOf(a: Attendee, at: Wire["node"], key: PublicKey, signal: AbortSignal | undefined): Promise<Bytes | undefined> {
  if (a.client?.registered !== true) return undefined;
  const wire = await a.client.wire({ signal });
  wire.frames = roomFrames;
  const ask = async () => (await wire.call({ case: "roomPass", value: { node: at.peerId.bytes, key: key.bytes } }, "roomPassed", signal)).pass;
  return ask().catch(async (err: unknown) => {
    if (!(err instanceof TrunklineError) || err.nodeCode !== "unknown_destination") throw err;
    // The own node has to know whose that node is. Whether it is told the truth is its own business.
    await wire.call({ case: "domain", value: { domain: at.domain } }, "domain", signal);
    return ask();
  });
}

/** A node's address as it stands in a link. */
export function originOf(url: string): string {
  const u = new URL(url);
  return `${u.protocol}//${u.host}`;
}

/**
 * Refuses a device that the newest list which is known of its identity does not have: one that was revoked, or that
 * somebody made up. Of a stranger nothing is known.
 */
export function checkKnown(a: Attendee, cert: DeviceCert): void {
  if (a.client === undefined) return;
  const own = cert.root.equals(a.self.cert.root);
  const contact = own ? undefined : a.client.contactRecord(cert.root);
  if (contact?.state === "blocked") throw refuse("policy", "a blocked contact");
  const list = own ? a.client.ownList() : listOf(contact?.list ?? "");
  if (list !== undefined) admit(list, cert, a.now());
}

/** What is known of somebody: its name here, and whether keys were compared. */
export function knownAs(a: Attendee, root: PublicKey): { readonly verified: "verified" | "contact" | "unknown"; readonly name: string } {
  const k = a.client?.contactRecord(root);
  if (root.equals(a.self.cert.root)) return { verified: "verified", name: "" };
  if (k === undefined || k.state !== "accepted") return { verified: "unknown", name: "" };
  return { verified: k.verified ? "verified" : "contact", name: k.petname };
}

export function keptRoom(a: Attendee, id: Uint8Array): RoomRecord | undefined {
  return a.client?.records.get<RoomRecord>(roomRecord(hex(id)));
}

/** Writes down where this device is. Guests remember nothing. */
export async function remember(a: Attendee, id: Uint8Array, change: (r: RoomRecord) => void): Promise<void> {
  if (a.client === undefined) return;
  const r: RoomRecord = keptRoom(a, id) ?? { id: hex(id), base: "", secret: "", owner: false, steward: "", card: "", title: "", entry: "open", expiresMs: 0, seenMs: 0 };
  change(r);
  r.seenMs = a.now();
  a.client.records.set(roomRecord(r.id), r);
  await a.client.records.commit();
}
