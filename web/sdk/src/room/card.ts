// What a room is (docs/spec/rooms.md, section 5). Its owner signs it; that it is this room's is seen by the id.

import { copy, equal, utf8, type Bytes } from "../bytes.ts";
import { decode, encode, type Fields, type Of, type Schema } from "../canon.ts";
import { refuse } from "../errors.ts";
import { certValidAt, parseDeviceCert, type DeviceCert } from "../identity/device.ts";
import { mustVerify, PublicKey, signObject, splitSigned, type Signer } from "../identity/key.ts";
import type { Context } from "../labels.ts";
import { boxSize, makeRoomId, type RoomKeys } from "./secret.ts";
import type { Entry, Topology } from "./types.ts";
import { CardMessage } from "./wire.ts";

export const maxTitle = 128;
export const maxName = 64;
export const maxModerators = 8;
export const maxMembers = 50;
export const maxSeats = 50;
export const maxLifeMs = 366 * 86_400_000;
export const meshDefault = 4;
export const meshMost = 10;
export const maxCard = 3072;
/** The last second of the year 9999. */
export const maxUnix = 253_402_300_799;

export const entries = ["open", "lobby", "members"] as const satisfies readonly Entry[];
export const topologies = ["auto", "mesh", "sfu"] as const satisfies readonly Topology[];

export interface Card {
  readonly owner: DeviceCert;
  readonly firstGate: Bytes;
  readonly nonce: Bytes;
  readonly serial: number;
  readonly title: string;
  readonly entry: Entry;
  /** Who takes the chair when the owner is away, first first. */
  readonly moderators: readonly PublicKey[];
  readonly members: readonly PublicKey[];
  /** Unix seconds. */
  readonly created: number;
  readonly expires: number;
  readonly topology: Topology;
  readonly meshLimit: number;
  /** The id that it belongs to. */
  readonly room: Bytes;
  readonly signed: Bytes;
}

export type CardInit = Pick<Card, "owner" | "firstGate" | "nonce" | "serial" | "title" | "entry" | "moderators" | "members" | "created" | "expires" | "topology">
  & { readonly meshMost?: number | undefined };

/** Signs a card with the owner's device. It applies the reader's rules. */
export async function signCard(device: Signer, c: CardInit): Promise<Card> {
  return parseCard(await signObject(device, "roomcard", encode(CardMessage, {
    version: 1, ownerCert: c.owner.signed, firstGate: c.firstGate, nonce: c.nonce, serial: c.serial, title: c.title, entry: entries.indexOf(c.entry) + 1,
    moderators: c.moderators.map((k) => k.bytes), members: c.members.map((k) => k.bytes),
    created: BigInt(c.created), expires: BigInt(c.expires), topology: topologies.indexOf(c.topology), meshMost: c.meshMost ?? 0,
  })));
}

/** Reads a signed card and checks everything but that it is the card of a certain room. */
export async function parseCard(signed: Uint8Array): Promise<Card> {
  const { message: m, cert: owner } = await openByDevice(signed, maxCard, "roomcard", CardMessage, (x) => x.ownerCert);
  const bad = (what: string) => refuse("malformed", `room card: ${what}`);
  const entry = entries[m.entry - 1];
  const topology = topologies[m.topology];
  if (m.version !== 1 || m.nonce.length !== 16 || m.serial === 0 || entry === undefined || topology === undefined) throw bad("fields");
  if (m.meshMost !== 0 && (m.meshMost < 2 || m.meshMost > meshMost)) throw bad("mesh");
  if (m.moderators.length > maxModerators || m.members.length > maxMembers || (entry !== "members" && m.members.length > 0)) throw bad("people");
  checkLine(m.title, maxTitle);
  const firstGate = (await PublicKey.check(m.firstGate)).bytes;
  const moderators = await keysOf(m.moderators);
  const members = await keysOf(m.members);
  if (moderators.some((k) => k.equals(owner.root))) throw bad("the owner among the moderators");
  const [created, expires] = [Number(m.created), Number(m.expires)];
  if (created === 0 || m.expires <= m.created || m.expires - m.created > BigInt(maxLifeMs / 1000) || m.expires > BigInt(maxUnix)) throw bad("times");
  // The card outlives the certificate; the certificate had to be good when the room was made.
  certValidAt(owner, created * 1000);
  return {
    owner, firstGate, nonce: m.nonce, serial: m.serial, title: m.title, entry, moderators, members, created, expires, topology,
    meshLimit: m.meshMost === 0 ? meshDefault : m.meshMost, room: makeRoomId(owner.root, owner.device, firstGate, m.nonce), signed: copy(signed),
  };
}

/** The place of an identity in the line for the chair: 0 the owner, then the moderators; undefined: it is none. */
export function positionOf(c: Card, root: PublicKey): number | undefined {
  if (c.owner.root.equals(root)) return 0;
  const i = c.moderators.findIndex((k) => k.equals(root));
  return i < 0 ? undefined : i + 1;
}

/** Whether the card itself lets somebody in. In a lobby the roster says the rest. */
export function mayEnter(c: Card, root: PublicKey): boolean {
  return positionOf(c, root) !== undefined || c.entry === "open" || (c.entry === "members" && c.members.some((k) => k.equals(root)));
}

/** For the node to keep. */
export async function sealCard(k: RoomKeys, c: Card, salt?: Uint8Array): Promise<Bytes> {
  return k.seal(c.room, "room-card-box", c.signed, boxSize, salt);
}

/** Opens what a node keeps for a room, and holds it against the room's id. */
export async function openCard(k: RoomKeys, room: Uint8Array, box: Uint8Array): Promise<Card> {
  if (box.length !== boxSize) throw refuse("malformed", `a card of ${box.length} bytes`);
  const c = await parseCard(await k.open(room, "room-card-box", box));
  if (!equal(c.room, room)) throw refuse("signature", "the card is another room's");
  return c;
}

/** Reads a canonical object that a device signed and that names the device's certificate itself. */
export async function openByDevice<F extends Fields>(
  signed: Uint8Array, max: number, c: Context, s: Schema<F>, certOf: (m: Of<Schema<F>>) => Uint8Array,
): Promise<{ readonly message: Of<Schema<F>>; readonly cert: DeviceCert }> {
  const { signature, message } = splitSigned(signed, max);
  const m = decode(s, message, max) as Of<Schema<F>>;
  const cert = await parseDeviceCert(certOf(m));
  await mustVerify(cert.device, c, message, signature);
  return { message: m, cert };
}

/** Reads roots, each of which may stand once. */
export async function keysOf(list: readonly Uint8Array[]): Promise<PublicKey[]> {
  const out: PublicKey[] = [];
  for (const b of list) {
    const k = await PublicKey.check(b);
    if (out.some((x) => x.equals(k))) throw refuse("malformed", "a root twice");
    out.push(k);
  }
  return out;
}

/** Takes one line of text. */
export function checkLine(s: string, max: number): void {
  if (utf8(s).length > max || /\p{Cc}/u.test(s)) throw refuse("malformed", "not one short line of text");
}
