// A room's link, and what its secret opens (docs/spec/rooms.md, section 2). What stands behind "#" never goes to the
// node: from it come the key of the gate, the key by which members recognise each other, and what card and JOINs are
// sealed under; never a key of media.

import { base64url } from "../base.ts";
import { concat, copy, equal, random, u16, type Bytes } from "../bytes.ts";
import { hkdf, hmac } from "../crypto/hash.ts";
import { openBox, sealBox } from "../envelope/hpke.ts";
import { pad, unpad } from "../envelope/types.ts";
import { refuse } from "../errors.ts";
import { hash, SeedSigner, type PublicKey, type Signer } from "../identity/key.ts";
import { context, type Context } from "../labels.ts";

export const maxLink = 512;
/** Size of a sealed card, of an announcement and of a welcome. */
export const boxSize = 4096;
const saltSize = 32;
const tagSize = 16;

export interface RoomLink {
  /** "https://node.example", with a port if need be and no slash at the end. */
  readonly base: string;
  readonly room: Bytes;
  readonly secret: Bytes;
}

/** The text of 32 bytes in a link. */
export function idText(b: Uint8Array): string { return base64url.encode(b); }

/** The one function whose result holds a secret in readable form. */
export function formatRoomLink(l: RoomLink): string {
  return `${l.base}/r/${idText(l.room)}#${idText(l.secret)}`;
}

export function readRoomLink(text: string): RoomLink {
  const s = text.trim();
  const bad = (why: string) => refuse("malformed", why);
  if (s.length > maxLink || /[^\x21-\x7e]/.test(s)) throw bad("this is not the link of a room: copy the whole link");
  const m = /^(https?|HTTPS?):\/\/([^/?#@\\]+)\/r\/([A-Za-z0-9_-]{43})#([A-Za-z0-9_-]{43})$/.exec(s);
  if (m === null) throw bad("a link looks like https://node.example/r/ROOM#SECRET: copy the whole link");
  const base = `${m[1]!.toLowerCase()}://${m[2]!.toLowerCase()}`;
  try {
    if (new URL(base).host === "") throw bad("no host");
  } catch (err) {
    throw refuse("malformed", "the link does not name a node", err);
  }
  const part = (t: string): Bytes => {
    let b: Bytes;
    try {
      b = copy(base64url.decode(t));
    } catch (err) {
      throw refuse("malformed", "the link is damaged: copy the whole link", err);
    }
    // The last two bits are zero, so that a value has one text.
    if (b.length !== 32 || idText(b) !== t) throw bad("the link is damaged: copy the whole link");
    return b;
  };
  return { base, room: part(m[3]!), secret: part(m[4]!) };
}

/** Names who made the room, so that nobody can make one in somebody else's name. */
export function makeRoomId(owner: PublicKey, device: PublicKey, firstGate: Uint8Array, nonce: Uint8Array): Bytes {
  return hash("room", owner.bytes, device.bytes, firstGate, nonce);
}

/** Stands in a pair's session where a mailbox's route tag stands in a call's: binds each frame to the seat it goes to. */
export function seatTag(room: Uint8Array, index: number): Bytes {
  return hash("room-seat", room, u16(index)).slice(0, 16);
}

/** What a secret gives. */
export class RoomKeys {
  readonly gate: Signer;
  /** What every announcement begins with. */
  readonly door: Bytes;
  readonly #join: Bytes;
  readonly #hall: Bytes;

  private constructor(gate: Signer, door: Bytes, join: Bytes, hall: Bytes) {
    this.gate = gate;
    this.door = door;
    this.#join = join;
    this.#hall = hall;
  }

  static async of(secret: Uint8Array): Promise<RoomKeys> {
    const k = (c: Context, n = 32) => hkdf(secret, undefined, context(c), n);
    return new RoomKeys(await SeedSigner.from(k("room-gate")), k("room-door", 8), k("room-join"), k("room-hall"));
  }

  /** salt || ChaCha20-Poly1305(padded content) || tag. The key is another one for each salt: so the nonce may be zero. */
  async seal(room: Uint8Array, c: Context, content: Uint8Array, size: number, salt: Uint8Array = random(saltSize)): Promise<Bytes> {
    return concat(salt, await sealBox(this.#key(salt, c), new Uint8Array(12), pad(size - saltSize - tagSize, content), room));
  }

  async open(room: Uint8Array, c: Context, box: Uint8Array): Promise<Bytes> {
    if (box.length < saltSize + tagSize) throw refuse("malformed", "box of a room");
    return copy(unpad(await openBox(this.#key(box.subarray(0, saltSize), c), new Uint8Array(12), box.subarray(saltSize), room)));
  }

  #key(salt: Uint8Array, c: Context): Bytes { return hkdf(this.#hall, salt, context(c), 32); }

  /** MAC || signed: shows that whoever made a signed object has the link. A signature alone, anybody can make. */
  withMac(signed: Uint8Array): Bytes { return concat(this.#mac(signed), signed); }

  checkMac(b: Uint8Array): Bytes {
    if (b.length <= 32) throw refuse("malformed", "nothing is signed");
    const signed = copy(b.subarray(32));
    if (!equal(this.#mac(signed), b.subarray(0, 32))) throw refuse("decrypt", "made with another link");
    return signed;
  }

  #mac(signed: Uint8Array): Bytes { return hmac(this.#join, concat(context("room-mac"), signed)); }

  toJSON(): string { return "[redacted]"; }
}
