// Cards: what two people hand each other to meet without a node (docs/spec/cards.md, sections 1 to 4).

import { base32, base64url } from "../base.ts";
import { copy, equal, hex, isZero, random, type Bytes } from "../bytes.ts";
import { decode, encode, type Of } from "../canon.ts";
import { sha256 } from "../crypto/hash.ts";
import { isCode, refuse, TrunklineError, type Code } from "../errors.ts";
import { admit, certValidAt, parseDeviceCert, type DeviceCert, type DeviceList, type Home } from "../identity/device.ts";
import { checkX25519, mustVerify, PeerId, signObject, type DeviceId, type PublicKey, type Signer } from "../identity/key.ts";
import { checkDomain } from "../identity/text.ts";
import { clockAheadMs, maxUnix } from "../identity/times.ts";
import { checkName } from "./bodies.ts";
import { CardBody } from "./wire.ts";

export const maxCard = 1024;
export const cardLifetime = 10 * 60;
export const maxCardLifetime = 30 * 60;
export const maxCardCandidates = 12;
export const maxCardText = 4096;

export const CardKind = { offer: 1, answer: 2 } as const;
export type CardKind = (typeof CardKind)[keyof typeof CardKind];

/** How an address was found. */
export type CardCandidateType = "host" | "srflx" | "relay";
const types: readonly CardCandidateType[] = ["host", "srflx", "relay"];

/** One way to a device over UDP. The address is IPv4, IPv6, or the name "….local" that a browser hides one behind. */
export interface CardCandidate { readonly type: CardCandidateType; readonly address: string; readonly port: number }

/** One side's half of a meeting. Times are Unix seconds. */
export interface Card {
  readonly kind: CardKind;
  readonly cert: DeviceCert;
  readonly id: Bytes;
  readonly created: number;
  readonly expires: number;
  /** X25519 public key. */
  readonly ephemeral: Bytes;
  readonly ufrag: string;
  readonly pwd: string;
  /** SHA-256 of the DTLS certificate. */
  readonly fingerprint: Bytes;
  readonly candidates: readonly CardCandidate[];
  /** Of an offer: what it is for. */
  readonly media: 0 | 1 | 2;
  /** The sender hides its addresses. */
  readonly relayOnly: boolean;
  /** What the person calls itself; nothing proves it. */
  readonly name: string;
  readonly home: Home | undefined;
  /** Of an answer: the hash of the offer. */
  readonly offer: Bytes | undefined;
  readonly signed: Bytes;
  readonly hash: Bytes;
}

export interface CardInit {
  readonly kind: CardKind;
  readonly cert: DeviceCert;
  readonly nowMs: number;
  /** Seconds; 10 minutes if absent. */
  readonly life?: number;
  readonly id?: Uint8Array;
  readonly ephemeral: Uint8Array;
  readonly ufrag: string;
  readonly pwd: string;
  readonly fingerprint: Uint8Array;
  readonly candidates: readonly CardCandidate[];
  readonly media?: 0 | 1 | 2;
  readonly relayOnly?: boolean;
  readonly name?: string;
  readonly home?: Home | undefined;
  readonly offer?: Uint8Array | undefined;
}

/** Writes and signs a card. */
export async function signCard(device: Signer, c: CardInit): Promise<Card> {
  if (!c.cert.device.equals(device.publicKey)) throw refuse("card_malformed", "the certificate is not this device's");
  const created = Math.floor(c.nowMs / 1000);
  const signed = await signObject(device, "card", encode(CardBody, {
    version: 1, kind: c.kind, cert: c.cert.signed, id: c.id ?? random(16), created: BigInt(created), expires: BigInt(created + (c.life ?? cardLifetime)),
    ephemeral: c.ephemeral, ufrag: c.ufrag, pwd: c.pwd, fingerprint: c.fingerprint, candidates: c.candidates.map(marshalCardCandidate),
    media: c.media ?? 0, relayOnly: c.relayOnly ?? false, name: c.name ?? "",
    ...(c.home === undefined ? {} : { domain: c.home.domain, peerId: c.home.peerId.bytes }),
    ...(c.offer === undefined ? {} : { offer: c.offer }),
  }));
  // Reading it back applies the rules of the reader to what we write.
  return parseCard(signed);
}

function bad(why: string, cause?: unknown): TrunklineError {
  return refuse("card_malformed", `not a card: ${why}`, cause);
}

/** What f gives; what it refuses is refused with this code. */
function as<T>(code: Code, why: string, f: () => T): T {
  try {
    return f();
  } catch (err) {
    throw recoded(code, why, err);
  }
}

async function asLater<T>(code: Code, why: string, f: () => Promise<T>): Promise<T> {
  try {
    return await f();
  } catch (err) {
    throw recoded(code, why, err);
  }
}

function recoded(code: Code, why: string, err: unknown): unknown {
  return !(err instanceof TrunklineError) || err.code.startsWith("card_") ? err : refuse(code, why, err);
}

/** Reads a signed card and checks everything but the clock and what the reader expects; checkCard does the rest. */
export async function parseCard(signed: Uint8Array): Promise<Card> {
  if (signed.length > maxCard || signed.length < 66) throw bad(`${signed.length} bytes`);
  const message = signed.subarray(64);
  // A later version may have fields that this one does not know, and is told apart first.
  if (message[0] === 8 && message[1]! > 1 && message[1]! < 0x80) throw refuse("card_version", "card of another version");
  const m = as("card_malformed", "not a card", () => decode(CardBody, message, maxCard));
  const c = await cardFrom(m, signed);
  await asLater("card_tampered", "the card was changed, or is not its sender's", () => mustVerify(c.cert.device, "card", message, signed.subarray(0, 64)));
  return c;
}

async function cardFrom(m: Of<typeof CardBody>, signed: Uint8Array): Promise<Card> {
  if (m.version !== 1) throw bad(`version ${m.version}`);
  if (m.kind !== CardKind.offer && m.kind !== CardKind.answer) throw bad(`kind ${m.kind}`);
  const isAnswer = m.kind === CardKind.answer;
  if (m.id.length !== 16 || m.fingerprint.length !== 32 || m.ephemeral.length !== 32) throw bad("a field of another length");
  if (m.offer.length !== (isAnswer ? 32 : 0)) throw bad("hash of the offer");
  if ((m.media !== 0 && m.media !== 1 && m.media !== 2) || (isAnswer && m.media !== 0)) throw bad("media");
  if (!/^[A-Za-z0-9+/]{4,32}$/.test(m.ufrag) || !/^[A-Za-z0-9+/]{22,64}$/.test(m.pwd)) throw bad("ICE credentials");
  if (m.created === 0n || m.expires > maxUnix || m.created >= m.expires || m.expires - m.created > BigInt(maxCardLifetime)) throw bad("times");
  if (m.candidates.length === 0 || m.candidates.length > maxCardCandidates) throw bad(`${m.candidates.length} candidates`);
  const seen = new Set<string>();
  const candidates = m.candidates.map((b) => {
    const c = parseCardCandidate(b);
    if (seen.size === seen.add(hex(b)).size) throw bad("a candidate twice");
    if (m.relayOnly && c.type !== "relay") throw bad("an address of who hides its addresses");
    return c;
  });
  as("card_malformed", "not a card: name", () => checkName(m.name));
  const home = m.domain === "" && m.peerId.length === 0 ? undefined : as("card_malformed", "not a card: home", () => {
    const peerId = PeerId.fromBytes(m.peerId);
    checkDomain(m.domain);
    return { peerId, domain: m.domain };
  });
  as("card_tampered", "the card's ephemeral key is none", () => checkX25519(m.ephemeral));
  const cert = await asLater("card_tampered", "the card's device is not certified", () => parseDeviceCert(m.cert));
  return {
    kind: m.kind, cert, id: m.id, created: Number(m.created), expires: Number(m.expires), ephemeral: m.ephemeral, ufrag: m.ufrag, pwd: m.pwd,
    fingerprint: m.fingerprint, candidates, media: m.media, relayOnly: m.relayOnly, name: m.name, home, offer: isAnswer ? m.offer : undefined,
    signed: copy(signed), hash: sha256(signed),
  };
}

export interface CardWant {
  readonly kind: CardKind;
  readonly nowMs: number;
  /** This device. */
  readonly own: DeviceId;
  /** The newest list of the card's root, where one is known: without one a device is believed as long as its certificate lasts. */
  readonly pinned?: DeviceList | undefined;
  /** The own card that an answer is wanted for. */
  readonly offer?: Card | undefined;
}

/** Holds a card against what is expected of it. Whether it was used before is for the caller, who remembers its hash. */
export function checkCard(c: Card, w: CardWant): void {
  if (c.cert.deviceId.equals(w.own)) throw refuse("card_own", "the card is this device's own");
  if (c.kind !== w.kind) throw refuse("card_order", c.kind === CardKind.offer ? "an answer is wanted here, and this is an offer" : "an offer is wanted here, and this is an answer");
  if (w.nowMs + clockAheadMs < c.created * 1000) throw refuse("card_not_yet", "the card is not valid yet: a clock is wrong");
  if (w.nowMs >= c.expires * 1000) throw refuse("card_expired", "the card has expired");
  try {
    certValidAt(c.cert, w.nowMs);
  } catch (err) {
    throw isCode(err, "not_yet_valid") ? refuse("card_not_yet", "the certificate of the card's device is not valid yet", err) : refuse("card_expired", "the certificate of the card's device has expired", err);
  }
  const { pinned } = w;
  if (pinned !== undefined) as("card_device", "the device of the card is not one of its owner's", () => admit(pinned, c.cert, w.nowMs));
  if (c.kind === CardKind.answer && (w.offer === undefined || !equal(c.offer!, w.offer.hash))) throw refuse("card_foreign", "the answer is to another card");
}

// ---- Addresses ----

const families = { v4: 0x00, v6: 0x10, name: 0x20 } as const;
const named = /^([0-9a-f]{8})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{12})\.local$/;

/** The UUID of an mDNS name that a browser makes; undefined: it is no such name. */
export function uuidOf(name: string): Bytes | undefined {
  const m = named.exec(name.toLowerCase());
  return m === null ? undefined : Uint8Array.from(m.slice(1).join("").match(/../g)!, (x) => parseInt(x, 16));
}

function bytesOfAddress(address: string): { readonly family: number; readonly bytes: Bytes } | undefined {
  const uuid = uuidOf(address);
  if (uuid !== undefined) return { family: families.name, bytes: uuid };
  if (/^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}$/.test(address)) return { family: families.v4, bytes: Uint8Array.from(address.split("."), Number) };
  if (!address.includes(":") || !/^[0-9A-Fa-f:.]+$/.test(address)) return undefined;
  let host: string;
  try {
    host = new URL(`http://[${address}]/`).hostname.slice(1, -1);
  } catch {
    return undefined;
  }
  const [head, tail] = host.split("::") as [string, string | undefined];
  const words = (s: string | undefined) => (s === undefined || s === "" ? [] : s.split(":"));
  const before = words(head);
  const after = words(tail);
  const all = [...before, ...Array<string>(8 - before.length - after.length).fill("0"), ...after];
  return { family: families.v6, bytes: Uint8Array.from(all.flatMap((w) => { const n = parseInt(w, 16); return [n >> 8, n & 255]; })) };
}

export function marshalCardCandidate(c: CardCandidate): Bytes {
  const at = bytesOfAddress(c.address);
  if (at === undefined) throw bad("an address that is none");
  return Uint8Array.from([(types.indexOf(c.type) + 1) | at.family, ...at.bytes, c.port >> 8, c.port & 255]);
}

export function parseCardCandidate(b: Uint8Array): CardCandidate {
  if (b.length !== 7 && b.length !== 19) throw bad("candidate of another length");
  const type = types[(b[0]! & 15) - 1];
  const family = b[0]! & 0xf0;
  const at = b.subarray(1, -2);
  const port = b[b.length - 2]! << 8 | b[b.length - 1]!;
  if (type === undefined || port === 0) throw bad("candidate type or port");
  if (family === families.v4 && at.length === 4) {
    if (isZero(at) || (at[0]! >= 224 && at[0]! <= 239)) throw bad("address that cannot be reached");
    return { type, address: at.join("."), port };
  }
  if (family === families.v6 && at.length === 16) {
    const mapped = isZero(at.subarray(0, 10)) && at[10] === 255 && at[11] === 255;
    if (isZero(at) || at[0] === 255 || mapped) throw bad("address that cannot be reached");
    const words = Array.from({ length: 8 }, (_, i) => (at[2 * i]! << 8 | at[2 * i + 1]!).toString(16)).join(":");
    return { type, address: new URL(`http://[${words}]/`).hostname.slice(1, -1), port };
  }
  if (family === families.name && at.length === 16 && type === "host" && !isZero(at)) {
    return { type, address: `${hex(at).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5")}.local`, port };
  }
  throw bad("candidate of another family");
}

// ---- Texts ----

const scheme = "web+trunkline:";

/** The text of a signed card. */
export function cardText(signed: Uint8Array): string {
  return `c1.${base64url.encode(signed)}`;
}

/** A link to a signed card in the app at this origin; without one, for the installed app. */
export function cardLink(origin: string, signed: Uint8Array): string {
  return origin === "" ? scheme + cardText(signed) : `${origin.replace(/\/$/, "")}/#${cardText(signed)}`;
}

/** The text of a signed card for a QR code, in capitals, which take less room there. */
export function cardQr(signed: Uint8Array): string {
  return `${scheme.toUpperCase()}C1.${base32.encode(signed)}`;
}

/** What of a text may be a card's: behind the # of a link, or behind the scheme. */
function bare(text: string): string {
  const s = text.trim();
  const at = s.indexOf("#c");
  if (at >= 0) return s.slice(at + 1);
  return s.toLowerCase().startsWith(scheme) ? s.slice(scheme.length).replace(/^\/\//, "") : s;
}

/** Whether a text looks like a card, of any version. */
export function isCardText(text: string): boolean {
  return text.length <= maxCardText && /^(?:c|C)\d{1,3}\./.test(bare(text));
}

/** Finds the signed card in a text that a person pasted, scanned or opened. parseCard reads it. */
export function parseCardText(text: string): Bytes {
  if (text.length > maxCardText) throw bad(`a text of ${text.length} characters`);
  const s = bare(text);
  try {
    if (s.startsWith("c1.")) return copy(base64url.decode(s.slice(3)));
    if (s.startsWith("C1.")) return copy(base32.decode(s.slice(3)));
  } catch (err) {
    throw bad("a character that does not belong", err);
  }
  throw /^[cC]\d{1,3}\./.test(s) ? refuse("card_version", "card of another version") : bad("it does not begin with c1.");
}

// ---- Moving QR codes ----

/** A text of this many characters makes a code that a telephone reads off a screen. */
export const maxQrText = 500;
const maxParts = 9;

/** The texts of the QR codes of a card: one, or several that are shown in turn. */
export function cardQrs(signed: Uint8Array): string[] {
  const whole = cardQr(signed);
  if (whole.length <= maxQrText) return [whole];
  const b32 = base32.encode(signed);
  const n = Math.ceil(b32.length / (maxQrText - 40));
  const size = Math.ceil(b32.length / n);
  const check = base32.encode(sha256(signed)).slice(0, 6);
  return Array.from({ length: n }, (_, i) => `${scheme.toUpperCase()}P1.${i + 1}.${n}.${check}.${b32.slice(i * size, (i + 1) * size)}`);
}

/** Puts the codes of a card together as they are seen, in any order. */
export class CardParts {
  #check = "";
  #parts: (string | undefined)[] = [];

  get have(): number { return this.#parts.filter((p) => p !== undefined).length; }
  get of(): number { return this.#parts.length; }

  /** Takes the text of a code. Gives the card's text once it is whole, "part" for one of several, undefined for what is none. */
  take(code: string): string | "part" | undefined {
    const m = new RegExp(`^${scheme.replace("+", "\\+").toUpperCase()}P1\\.([1-9])\\.([2-${maxParts}])\\.([A-Z2-7]{6})\\.([A-Z2-7]{1,${maxQrText}})$`).exec(code);
    if (m === null) return isCardText(code) ? code : undefined;
    const [i, n, check, part] = [Number(m[1]), Number(m[2]), m[3]!, m[4]!];
    if (i > n) return undefined;
    if (check !== this.#check || n !== this.#parts.length) {
      this.#check = check;
      this.#parts = Array<string | undefined>(n).fill(undefined);
    }
    this.#parts[i - 1] = part;
    if (this.#parts.some((p) => p === undefined)) return "part";
    const text = `C1.${this.#parts.join("")}`;
    try {
      if (base32.encode(sha256(parseCardText(text))).startsWith(check)) return text;
    } catch (err) {
      if (!(err instanceof TrunklineError)) throw err;
    }
    // Parts of two cards with one check, or a misread one: all of them are read again.
    this.#parts = [];
    return "part";
  }
}

/** Who a card says it is from. */
export function cardRoot(c: Card): PublicKey { return c.cert.root; }
