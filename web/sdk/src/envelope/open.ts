// Opening what arrives, in the order of docs/spec/envelope.md, section 8. Every error means: drop it, count
// it by its code, say nothing to the network.

import { equal, type Bytes } from "../bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { isCode, refuse, TrunklineError, type Code } from "../errors.ts";
import { admit, certValidAt, listIsStale, parseDeviceCert, type DeviceCert, type DeviceList } from "../identity/device.ts";
import { PublicKey, verify, type DeviceId } from "../identity/key.ts";
import { parseBody, Type, type Body, type Grant } from "./bodies.ts";
import { TokenBucket, type Rate } from "./limit.ts";
import { checkGrant, checkTimes, maxSigned, parseInner, type Inner } from "./message.ts";
import type { Prekey } from "./prekey.ts";
import { replaySlackMs, type Replay } from "./replay.ts";
import { openSealed } from "./seal.ts";
import { isBucket, knockSize } from "./types.ts";

/** What a root key is to this person. "knocked": we knocked at them and wait. */
export type Standing = "stranger" | "knocked" | "accepted" | "blocked" | "own";

export interface Known { readonly standing: Standing; readonly list: DeviceList | undefined }

export interface OpenerConfig {
  readonly root: PublicKey;
  readonly device: DeviceId;
  readonly tag: () => Uint8Array;
  /** Fetches what a message of that type will need, before anything is written down of it. */
  readonly prepare?: (type: number) => Promise<void>;
  /** The one live prekey of the hint. */
  readonly prekey: (hint: Uint8Array) => Prekey | undefined;
  readonly contact: (root: PublicKey) => Known;
  readonly ownList: () => DeviceList | undefined;
  readonly replay: Replay;
  readonly now: () => number;
  /** Before it the replay store knows nothing: messages created earlier are refused. */
  readonly horizonMs?: number;
  readonly contactRate?: Rate;
  readonly strangerRate?: Rate;
}

/**
 * How the sender's device stands to our list of its identity. newer: fetch the list before anything is shown
 * as verified. stale: warn and fetch. ended: only a LIST_UPDATE is opened.
 */
export type ListState = "unknown" | "current" | "stale" | "newer" | "ended";

/** Whether the sender knows our newest list. conflict: somebody else holds our root; alarm. */
export type Echo = "none" | "current" | "old" | "conflict" | "ahead";

/** A message that passed every step. */
export interface Opened {
  readonly type: number;
  readonly id: Bytes;
  readonly sender: PublicKey;
  readonly cert: DeviceCert;
  readonly createdMs: number;
  readonly expiresMs: number;
  readonly sessionId: Bytes;
  readonly content: Body;
  readonly grant: Grant | undefined;
  readonly ownEpoch: bigint;
  /** SHA-256 of the signed message. */
  readonly hash: Bytes;
  readonly standing: Standing;
  readonly list: ListState;
  readonly senderList: DeviceList | undefined;
  readonly echo: Echo;
  /** Came without a token: an accepted contact needs a TOKEN_UPDATE. */
  readonly knock: boolean;
  /** Past its end within the grace: a RING is a missed call, nothing more. */
  readonly late: boolean;
}

/** Whether the sender may be answered with our list: never a stranger, never in answer to a LIST_UPDATE. */
export function wantsList(o: Opened): boolean {
  return o.echo === "old" && (o.standing === "accepted" || o.standing === "own") && o.type !== Type.listUpdate;
}

/** A message that came again. Its sender is verified: a NOTE of an accepted contact is acknowledged again. */
export class ReplayError extends TrunklineError {
  readonly sender: PublicKey;
  readonly device: DeviceId;
  readonly id: Bytes;
  readonly type: number;
  readonly standing: Standing;

  constructor(o: { sender: PublicKey; cert: DeviceCert; id: Bytes; type: number; standing: Standing }) {
    super("replay", "seen before");
    this.name = "ReplayError";
    this.sender = o.sender;
    this.device = o.cert.deviceId;
    this.id = o.id;
    this.type = o.type;
    this.standing = o.standing;
  }
}

/** Who may send what. Ring answers come in a form of their own. */
export function maySend(s: Standing, t: number): boolean {
  switch (t) {
    case Type.knock:
      return s === "stranger" || s === "knocked" || s === "accepted";
    case Type.knockAccept:
      return s === "knocked" || s === "accepted";
    case Type.note: case Type.read: case Type.ring: case Type.cancel: case Type.listUpdate: case Type.tokenUpdate:
      return s === "accepted" || s === "own";
    case Type.compared:
      return s === "accepted";
    case Type.contactSync:
      return s === "own";
  }
  return false;
}

const unlistedRate: Rate = { perSecond: 1 / 600, burst: 64 };

export class Opener {
  readonly #c: OpenerConfig;
  readonly #contacts: TokenBucket;
  readonly #strangers: TokenBucket;
  readonly #unlisted = new Map<string, TokenBucket>();

  constructor(c: OpenerConfig) {
    this.#c = c;
    this.#contacts = new TokenBucket(c.contactRate ?? { perSecond: 50, burst: 256 });
    this.#strangers = new TokenBucket(c.strangerRate ?? { perSecond: 4, burst: 16 });
  }

  get now(): number { return this.#c.now(); }

  /** Opens a payload that arrived with the hint and the knock flag. */
  async open(payload: Uint8Array, hint: Uint8Array, knock: boolean): Promise<Opened> {
    if (!isBucket(payload.length) || (knock && payload.length !== knockSize)) throw refuse("size", "payload of another size");
    const now = this.#c.now();
    // Before they cost a decryption, and apart, so that strangers cannot use up what contacts need.
    if (!(knock ? this.#strangers : this.#contacts).take(now)) throw refuse("rate", "too many messages at once");
    const prekey = this.#c.prekey(hint);
    if (prekey === undefined) throw refuse("prekey", "no such prekey");
    const { opened, body } = await this.openSigned(await openSealed(payload, prekey), prekey.id, this.#c.tag(), now);
    this.#vouched(opened);
    return this.#admit({ ...opened, knock }, body, now);
  }

  /** Steps 5 to 9, which sealed messages and ring answers share. The prekey id is empty for a ring answer. */
  async openSigned(signed: Uint8Array, prekeyId: Uint8Array, tag: Uint8Array, now: number): Promise<{ opened: Omit<Opened, "content">; body: Bytes }> {
    if (signed.length <= 64 || signed.length > maxSigned) throw refuse("malformed", `message of ${signed.length} bytes`);
    const message = signed.subarray(64);
    const m = malformed(() => parseInner(message));
    await this.#c.prepare?.(m.type);
    // 6. Who.
    const { sender, cert } = await asLater("sender", async () => {
      const sender = PublicKey.check(m.senderRoot);
      const cert = await parseDeviceCert(m.senderCert);
      if (!cert.root.equals(sender)) throw refuse("other_identity", "certificate of another root");
      certValidAt(cert, now);
      return { sender, cert };
    });
    this.#place(sender, cert, now);
    // 7. Signature.
    if (!await verify(cert.device, "inner", message, signed.subarray(0, 64))) throw refuse("sender", "signature does not verify");
    // Once more behind the last wait: it is judged by what is known now.
    const { standing, list, state } = this.#place(sender, cert, now);
    // 8. For us, by this prekey, under this tag.
    const c = this.#c;
    if (!equal(m.recipientRoot, c.root.bytes) || !equal(m.recipientDevice, c.device.bytes) || !equal(m.prekeyId, prekeyId) || !equal(m.routeTag, tag)) {
      throw refuse("recipient", "made for someone else");
    }
    // 9. Time.
    checkTimes(m, now);
    if (m.createdMs < (c.horizonMs ?? 0)) throw refuse("time", "before the replay store's horizon");
    return {
      body: m.body,
      opened: {
        type: m.type, id: m.id, sender, cert, createdMs: m.createdMs, expiresMs: m.expiresMs, sessionId: m.sessionId,
        grant: m.grant, ownEpoch: m.ownEpoch, hash: sha256(signed), standing, list: state, senderList: list,
        echo: this.#echo(m), knock: false, late: now > m.expiresMs,
      },
    };
  }

  #place(sender: PublicKey, cert: DeviceCert, now: number): { standing: Standing; list: DeviceList | undefined; state: ListState } {
    const own = sender.equals(this.#c.root);
    const known: Known = own ? { standing: "own", list: this.#c.ownList() } : this.#c.contact(sender);
    if (!own && known.standing === "own") throw refuse("sender", "another root marked as own");
    const { standing, list } = known;
    if (list === undefined) {
      if (own) throw refuse("sender", "no own list");
      return { standing, list, state: "unknown" };
    }
    if (!as("sender", () => admit(list, cert, now))) return { standing, list, state: "newer" };
    try {
      return { standing, list, state: listIsStale(list, now) ? "stale" : "current" };
    } catch (err) {
      if (isCode(err, "stale")) return { standing, list, state: "ended" };
      throw refuse("sender", "the sender's list is not valid yet", err);
    }
  }

  /** An own device is one that our list names, and under a list that ended long ago nobody speaks. */
  #vouched(o: Omit<Opened, "content">): void {
    if (o.type === Type.listUpdate) return;
    if (o.list === "ended") throw refuse("sender", "the sender's list ended more than seven days ago", refuse("stale", "stale"));
    if (o.standing === "own" && o.list === "newer") throw refuse("sender", "a device that our list does not name", refuse("not_listed", "not listed"));
  }

  #echo(m: Inner): Echo {
    const own = this.#c.ownList();
    if (m.believedEpoch === 0n || own === undefined) return "none";
    if (m.believedEpoch < BigInt(own.epoch)) return "old";
    if (m.believedEpoch > BigInt(own.epoch)) return "ahead";
    return equal(m.believedHash, own.hash.subarray(0, 8)) ? "current" : "conflict";
  }

  /** Steps 10 to 12. */
  async #admit(o: Omit<Opened, "content">, body: Bytes, now: number): Promise<Opened> {
    // Only a device that a list names has a cap of its own: a root key signs as many others as it likes.
    const listed = o.list !== "unknown" && o.list !== "newer";
    const stranger = o.standing === "stranger" || o.standing === "blocked" || (!listed && !this.#room(o.sender, now));
    if (await this.#c.replay.seen(o.cert.deviceId, o.id, o.expiresMs + replaySlackMs, stranger)) throw new ReplayError(o);
    if (!maySend(o.standing, o.type)) throw refuse("policy", "the sender may not send this");
    const content = malformed(() => parseBody(o.type, body));
    malformed(() => checkGrant(o.type, o.grant));
    return { ...o, content };
  }

  // Asked only for roots that the client knows, which bounds the map.
  #room(root: PublicKey, now: number): boolean {
    let b = this.#unlisted.get(root.hex);
    if (b === undefined) this.#unlisted.set(root.hex, b = new TokenBucket(unlistedRate));
    return b.take(now);
  }
}

/** Runs f and gives its refusals another code; the first one stays as the cause. */
function as<T>(code: Code, f: () => T): T {
  try {
    return f();
  } catch (err) {
    throw recoded(code, err);
  }
}

async function asLater<T>(code: Code, f: () => Promise<T>): Promise<T> {
  try {
    return await f();
  } catch (err) {
    throw recoded(code, err);
  }
}

function recoded(code: Code, err: unknown): unknown {
  return err instanceof TrunklineError ? refuse(code, err.message, err) : err;
}

function malformed<T>(f: () => T): T {
  return as("malformed", f);
}
