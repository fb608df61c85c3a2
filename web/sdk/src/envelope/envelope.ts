// The envelope and its hop (docs/spec/envelope.md, sections 2 and 3).

import { concat, empty, isZero, u16, type Bytes } from "../bytes.ts";
import { decode, encode } from "../canon.ts";
import { sha256 } from "../crypto/hash.ts";
import { refuse } from "../errors.ts";
import { hash, PeerId } from "../identity/key.ts";
import { context } from "../labels.ts";
import { openBox, recipientX25519, sealBox, senderX25519, type Context } from "./hpke.ts";
import { isBucket, isTtl, knockSize, maxEnvelope, Ttl } from "./types.ts";
import { EnvelopeMessage } from "./wire.ts";

export const version = 1;
export const hopSize = 101;
const hopHeader = 34;
const hopPlainSize = 51;
export const maxHops = 1 << 16;

/** What nodes carry. Nothing else about the message stands outside the payload. */
export interface Envelope {
  readonly destination: PeerId;
  readonly hop: Bytes;
  readonly ttl: Ttl;
  readonly payload: Bytes;
}

export function parseEnvelope(b: Uint8Array): Envelope {
  const m = decode(EnvelopeMessage, b, maxEnvelope);
  if (m.version !== version) throw refuse("malformed", `envelope: version ${m.version}`);
  if (m.hop.length !== hopSize) throw refuse("malformed", `envelope: hop of ${m.hop.length} bytes`);
  if (!isTtl(m.ttl)) throw refuse("malformed", `envelope: ttl class ${m.ttl}`);
  if (!isBucket(m.payload.length)) throw refuse("size", "envelope: payload of no padded size");
  return { destination: PeerId.fromBytes(m.destination), hop: m.hop, ttl: m.ttl, payload: m.payload };
}

export function marshalEnvelope(e: Envelope): Bytes {
  return encode(EnvelopeMessage, { version, destination: e.destination.bytes, hop: e.hop, ttl: e.ttl, payload: e.payload });
}

/** The same for identical bytes and different for any others; 16 bytes. */
export function envelopeId(e: Envelope): Bytes {
  return hash("envid", e.destination.bytes, new Uint8Array([e.ttl]), e.hop, sha256(e.payload)).slice(0, 16);
}

/** What the destination node learns: where to put the payload, and whether the sender may. */
export interface Hop {
  readonly tag: Uint8Array;
  /** Absent in a knock. */
  readonly token?: Uint8Array;
  readonly collapse?: Uint8Array;
  /** First two bytes of the prekey id; absent in frames and ring answers. */
  readonly hint?: Uint8Array;
  readonly knock?: boolean;
}

const zero16 = new Uint8Array(16);

function hopPlain(h: Hop): Bytes {
  return concat(h.tag, h.token ?? zero16, h.collapse ?? zero16, h.hint ?? zero16.subarray(0, 2), new Uint8Array([h.knock ? 1 : 0]));
}

export function parseHop(plain: Uint8Array): Required<Hop> {
  if (plain.length !== hopPlainSize) throw refuse("malformed", `hop of ${plain.length} bytes`);
  if ((plain[50]! & ~1) !== 0) throw refuse("malformed", "unknown hop flag");
  return {
    tag: plain.slice(0, 16), token: plain.slice(16, 32), collapse: plain.slice(32, 48), hint: plain.slice(48, 50),
    knock: plain[50] === 1,
  };
}

/** Holds for both directions: a knock costs the recipient the most, so it has one size and no token. */
export function checkHop(ttl: number, size: number, h: Hop): void {
  if (!isBucket(size)) throw refuse("size", "payload of no padded size");
  if (!isTtl(ttl)) throw refuse("malformed", `ttl class ${ttl}`);
  if (h.knock) {
    if (size !== knockSize || !isZero(h.token ?? empty)) throw refuse("malformed", `a knock has no token and a payload of ${knockSize} bytes`);
    if (ttl === Ttl.live) throw refuse("malformed", "the live class needs a token");
  }
}

export function hopAad(destination: PeerId, ttl: Ttl, payload: Uint8Array): Bytes {
  return concat(new Uint8Array([version]), destination.bytes, new Uint8Array([ttl]), sha256(payload));
}

function hopNonce(number: number): Bytes {
  return concat(new Uint8Array(10), u16(number));
}

function hopKey(c: Context): Bytes {
  return c.export(context("hopkey"), 32);
}

async function sealHop(key: Uint8Array, enc: Uint8Array, number: number, plain: Uint8Array, destination: PeerId, ttl: Ttl, payload: Uint8Array): Promise<Bytes> {
  return concat(enc, u16(number), await sealBox(key, hopNonce(number), plain, hopAad(destination, ttl, payload)));
}

/** Seals h to a node's routing key and puts the envelope around the payload. */
export async function newEnvelope(routingKey: Uint8Array, destination: PeerId, ttl: Ttl, h: Hop, payload: Bytes): Promise<Envelope> {
  checkHop(ttl, payload.length, h);
  const { enc, context: c } = await senderX25519(routingKey, context("hop"));
  return { destination, ttl, payload, hop: await sealHop(hopKey(c), enc, 0, hopPlain(h), destination, ttl, payload) };
}

/**
 * Seals the hops of one session's frames, which share one encapsulation: they go to one device in the class
 * live. Make another for every session, and after a change of node, routing key, tag, token or handle.
 */
export class HopSender {
  readonly #destination: PeerId;
  readonly #plain: Bytes;
  readonly #shared: Promise<{ readonly enc: Bytes; readonly key: Bytes }>;
  #next = 0;

  constructor(routingKey: Uint8Array, destination: PeerId, h: Hop) {
    if (h.knock) throw refuse("malformed", "the live class needs a token");
    this.#destination = destination;
    this.#plain = hopPlain(h);
    this.#shared = senderX25519(routingKey, context("hop")).then(({ enc, context: c }) => ({ enc, key: hopKey(c) }));
    this.#shared.catch(() => undefined); // whoever asks for an envelope is told
  }

  /** The next envelope; throws exhausted after number 65,535. */
  async envelope(payload: Bytes): Promise<Envelope> {
    checkHop(Ttl.live, payload.length, { tag: this.#plain });
    if (this.#next >= maxHops) throw refuse("exhausted", "the encapsulation has carried all its hops");
    const number = this.#next++;
    const destination = this.#destination;
    const { enc, key } = await this.#shared;
    return { destination, ttl: Ttl.live, payload, hop: await sealHop(key, enc, number, this.#plain, destination, Ttl.live, payload) };
  }
}

/** Opens a hop as its destination does: for tests, and for the page that shows what a node sees. */
export async function openHop(e: Envelope, self: PeerId, routingSecret: Uint8Array): Promise<Required<Hop>> {
  if (!e.destination.equals(self)) throw refuse("malformed", "hop for another node");
  const number = e.hop[32]! << 8 | e.hop[33]!;
  if (e.ttl !== Ttl.live && number !== 0) throw refuse("malformed", "a shared encapsulation outside the live class");
  const c = await recipientX25519(e.hop.subarray(0, 32), routingSecret, context("hop"));
  const h = parseHop(await openBox(hopKey(c), hopNonce(number), e.hop.subarray(hopHeader), hopAad(self, e.ttl, e.payload)));
  checkHop(e.ttl, e.payload.length, h);
  return h;
}

