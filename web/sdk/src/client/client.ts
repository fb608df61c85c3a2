// A participant: one device of an identity, which registers at a node, keeps contacts, leaves notes and rings.
//
// Begin with Client.create or Client.open, then register once, then start; listen tells what happens. It never
// sends an address or a description before a call was accepted, writes to no device that the signed list does
// not name, and logs neither identities nor texts.

import { hmac } from "@noble/hashes/hmac.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { concat, copy, equal, hex, random, u64, unhex, utf8, type Bytes } from "../bytes.ts";
import { marshalBody, maxNoteText, Type, type Body, type BodyOf, type Grant } from "../envelope/bodies.ts";
import { Opener, ReplayError, wantsList, type Known, type Opened, type Standing } from "../envelope/open.ts";
import { Prekey, prekeyDeletedMs, prekeyRotationMs, signBundle, type Bundle } from "../envelope/prekey.ts";
import { AnswerStatus, Operation } from "../envelope/query.ts";
import { Clock, MemoryReplay } from "../envelope/replay.ts";
import { isSealed, sealMessage, type Sealed } from "../envelope/seal.ts";
import { knockSize, Ttl } from "../envelope/types.ts";
import { isCode, refuse, TrunklineError } from "../errors.ts";
import { formatAddress, parseAddress, parseId, safetyNumber, type Address } from "../identity/address.ts";
import {
  advancePin, checkPin, findDevice, firstList, hasHome, nextList, parseDeviceList, renewDue, signDeviceCert, type DeviceCert, type DeviceList,
  type Home,
} from "../identity/device.ts";
import { DeviceId, PeerId, PublicKey, SeedSigner, type Signer } from "../identity/key.ts";
import { certLifetime } from "../identity/times.ts";
import { context } from "../labels.ts";
import { maxAcks, type NodeKindOf } from "../link/frames.ts";
import { parseInvite } from "../link/handshake.ts";
import { Link } from "../link/link.ts";
import { isTemporary, systemTimers, Wire, type SocketFactory, type Tap, type Timers } from "../link/wire.ts";
import { deviceRequest, openApproval, parseDeviceRequest, sealApproval } from "./devices.ts";
import { askOver, Directory, type Person } from "./directory.ts";
import { Attempts, Seldom, type ClientEvent, type Listener } from "./events.ts";
import { Ledger } from "./ledger.ts";
import {
  formatVersion, grantOf, grantRecord, listOf, pinOf, pinRecord, setGrant, type ContactRecord, type ContactState, type Fate, type GrantRecord, type HomeRecord,
  type KnockRecord, type LedgerRecord, type NoteRecord, type NoteState, type ProfileRecord,
} from "./records.ts";
import { Records, type Store, type Vault } from "./store.ts";

export interface ClientOptions {
  readonly store: Store;
  readonly vault: Vault;
  readonly socket: SocketFactory;
  readonly timers?: Timers;
  /** Gets a copy of every frame on the link. */
  readonly tap?: Tap;
  /** Told of work in the background that failed: what it was and the code of the error, never who or what about. */
  readonly log?: (what: string, code: string) => void;
}

/** Somebody we know of. */
export interface Contact {
  readonly id: string;
  readonly address: string;
  /** Ours for it, else its own words; never a proof. */
  readonly name: string;
  readonly state: ContactState | "asks";
  readonly verified: boolean;
  /** What it said when it knocked. */
  readonly knock: string;
  readonly devices: number;
  readonly changed: boolean;
  /** Contradicting lists are kept as evidence; sending is stopped. */
  readonly alarm: boolean;
}

export interface Note {
  readonly id: string;
  readonly out: boolean;
  readonly text: string;
  readonly replyTo: string;
  readonly createdMs: number;
  readonly state: NoteState;
  readonly code: string;
}

/** One sealed message before it is sealed: the same for every device it goes to. */
export interface Letter {
  readonly body: Body;
  readonly lifeMs: number;
  readonly ttl: Ttl;
  readonly id?: Bytes;
  readonly sessionId?: Bytes;
  readonly collapse?: Bytes;
  /** Carries the own grant: only to people we said yes to. */
  readonly withGrant?: boolean;
  /** Goes as a knock whatever grant there is. */
  readonly knock?: boolean;
  readonly fate?: (device: DeviceId, f: Fate, code: string) => void;
}

/** One device with what is needed to write to it. */
export interface Addressee {
  readonly contact: ContactRecord;
  readonly list: DeviceList;
  readonly bundle: Bundle;
  /** Absent: only a knock reaches it. */
  readonly grant: GrantRecord | undefined;
}

/** What calls need of the client; see calls.ts. */
export interface CallHandler {
  onRing(o: Opened, body: BodyOf<typeof Type.ring>): void;
  onCancel(o: Opened, body: BodyOf<typeof Type.cancel>): void;
  /** A payload that is no sealed message. */
  onFrame(payload: Bytes): void;
  endWith(root: PublicKey): void;
  stop(): void;
}

const weekMs = 7 * 86_400_000;
const retryEveryMs = 5_000;
const notesEveryMs = 30_000;
const upkeepEveryMs = 60_000;
const noteGivenUpMs = 30 * 86_400_000;
const resealAfterMs = 3_600_000;
const againMs = 60_000;
const knockAgainMs = 3_600_000;
const updateIntervalMs = 3_600_000;
const maxEvidence = 4;
const maxReadIds = 32;
const publishTries = 3;

interface PrekeyRecord { readonly seed: string; readonly createdMs: number }
interface ReplayRecord { readonly untilMs: number; readonly stranger: boolean }

export class Client {
  readonly self: PublicKey;
  readonly records: Records;
  readonly directory: Directory;
  readonly ledger: Ledger;
  readonly link: Link;
  /** Set by whoever makes calls. */
  calls: CallHandler | undefined;

  readonly #o: ClientOptions;
  readonly #timers: Timers;
  readonly #device: Signer;
  readonly #deviceId: DeviceId;
  readonly #clock: Clock;
  readonly #replay: MemoryReplay;
  #replayed: { key: string; record: ReplayRecord } | undefined; // recorded with the effect of its message
  readonly #opener: Opener;
  #prekeys: Prekey[] = []; // oldest first
  readonly #listeners = new Set<Listener>();
  readonly #attempts = new Attempts(); // of notes
  readonly #seldom = { answering: new Seldom(), giving: new Seldom(), acking: new Seldom(), asking: new Seldom(), knocking: new Seldom() };
  readonly #refusedTokens = new Map<string, string>(); // by device: a token that a node did not take
  readonly #writing = new Set<string>(); // notes that are being sealed
  #inbox: { readonly d: NodeKindOf<"deliver">; readonly over: Wire }[] = [];
  #early = new Map<Wire, number>(); // acknowledged before the wire became the link
  #opening: Promise<void> | undefined;
  #backlog = 0;
  #shown = "";
  #order = 0;
  #cancels: (() => void)[] = [];
  #running = false;
  #ended: Error | undefined;
  #tasks = new Set<Promise<void>>();

  private constructor(o: ClientOptions, records: Records, profile: ProfileRecord, device: Signer, prekeys: Prekey[], fail: (f: (e: Error) => void) => void) {
    this.#o = o;
    this.#timers = o.timers ?? systemTimers;
    this.records = records;
    this.self = PublicKey.check(unhex(profile.root));
    this.#device = device;
    this.#deviceId = DeviceId.of(device.publicKey);
    this.#prekeys = prekeys;
    this.#clock = new Clock(() => this.#timers.now(), records.get<number>("clock") ?? 0);
    this.#replay = new MemoryReplay(() => this.now());
    for (const [key, r] of records.list<ReplayRecord>("replay/")) {
      const [dev, id] = key.split("/");
      if (this.now() >= r.untilMs) records.delete(`replay/${key}`);
      else this.#replay.restore(dev!, id!, r.untilMs, r.stranger);
    }
    for (const [, n] of records.list<NoteRecord>("note/")) this.#order = Math.max(this.#order, n.order);
    this.#opener = new Opener({
      root: this.self, device: this.#deviceId, tag: () => unhex(this.home().tag), now: () => this.now(), ownList: () => this.ownList(),
      prekey: (hint) => this.#prekeys.find((p) => equal(p.hint, hint)), contact: (root) => this.#standing(root),
      replay: {
        seen: async (dev, id, untilMs, stranger) => {
          const dup = this.#replay.check(dev, id, untilMs, stranger);
          // Written with what the message does, so that neither is without the other after a crash.
          if (!dup) this.#replayed = { key: `replay/${dev.hex}/${hex(id)}`, record: { untilMs, stranger } };
          return dup;
        },
      },
    });
    const host = {
      records, now: () => this.now(), wire: () => this.wire(), pin: (l: DeviceList) => this.pin(l),
      alarm: (root: PublicKey, what: string) => this.tell({ type: "alarm", from: root.id(), what }),
    };
    this.directory = new Directory(host);
    this.ledger = new Ledger({
      records, directory: this.directory, now: () => this.now(), linked: () => this.link.wire,
      orphan: (r, f, code) => this.#orphan(r, f, code), background: (what, work) => this.background(what, work),
    });
    this.link = new Link({
      timers: this.#timers,
      dial: async () => {
        await this.#renewEnded();
        const home = this.home();
        return {
          base: home.url, pin: PeerId.fromBytes(unhex(home.peerId)), who: { device, cert: this.ownCert() }, socket: o.socket, tap: o.tap,
          onDeliver: (d, over) => this.#deliver(d, over),
        };
      },
      join: (w) => this.#join(w),
      onState: (s) => {
        if (s.state === "waiting" || s.state === "ended") this.ledger.linkLost();
        this.tell({ type: "link", link: s });
        if (s.state === "up") this.#linkUp();
        if (s.state === "ended" && !isCode(s.why, "aborted")) this.#end(s.why);
      },
    });
    fail((err) => this.#end(err));
  }

  // ---- Making and opening ----

  /**
   * Makes a new participant in an empty store. The root key is kept in the vault, so that this device can renew
   * and change the device list; without it (null) another device of the identity does that.
   */
  static async create(o: ClientOptions, root: SeedSigner): Promise<Client> {
    const map = await o.store.load();
    if (map.has("profile")) throw refuse("storage", "this storage holds an identity already");
    const timers = o.timers ?? systemTimers;
    await o.vault.device();
    const prekey = Prekey.generate(timers.now());
    const profile: ProfileRecord = { version: formatVersion, root: root.publicKey.hex, createdMs: timers.now() };
    const text = (v: unknown) => utf8(JSON.stringify(v));
    await o.store.write([
      { key: "profile", value: text(profile) },
      { key: "secret/root", value: await o.vault.wrap(root.seed()) },
      { key: `secret/prekey/${hex(prekey.id)}`, value: await wrapPrekey(o.vault, prekey) },
    ]);
    return Client.open(o);
  }

  /** Begins on a new device, in an empty store: show the text on both screens, and keep the value for join. */
  static async requestDevice(o: ClientOptions): Promise<{ readonly text: string; readonly secret: Bytes }> {
    return deviceRequest((await o.vault.device()).publicKey);
  }

  /** Makes this store a device of the identity that approved the request. The root key stays where it was. */
  static async join(o: ClientOptions, request: { readonly secret: Uint8Array }, approval: string): Promise<Client> {
    const map = await o.store.load();
    if (map.has("profile")) throw refuse("storage", "this storage holds an identity already");
    const p = openApproval(approval, (await o.vault.device()).publicKey, request.secret);
    const now = (o.timers ?? systemTimers).now();
    const prekey = Prekey.generate(now);
    const text = (v: unknown) => utf8(JSON.stringify(v));
    const profile: ProfileRecord = { version: formatVersion, root: p.list.root.hex, createdMs: now };
    const home: HomeRecord = { peerId: hex(p.peerId.bytes), domain: p.domain, url: p.url, tag: hex(random(16)), tokenEpoch: 1, grace: false };
    await o.store.write([
      { key: "profile", value: text(profile) }, { key: "ownlist", value: text(hex(p.list.signed)) }, { key: "home", value: text(home) },
      { key: "secret/mailbox", value: await o.vault.wrap(random(32)) },
      { key: `secret/prekey/${hex(prekey.id)}`, value: await wrapPrekey(o.vault, prekey) },
      ...p.contacts.map((c) => ({ key: `contact/${c.root.hex}`, value: text(syncedContact(undefined, c, now)) })),
    ]);
    return Client.open(o);
  }

  static async open(o: ClientOptions): Promise<Client> {
    const map = await o.store.load();
    let onFailure: (err: Error) => void = () => undefined;
    const records = new Records(o.store, map, (err) => onFailure(err));
    const profile = records.get<ProfileRecord>("profile");
    if (profile === undefined) throw refuse("storage", "this storage holds no identity yet");
    if (profile.version !== formatVersion) throw refuse("storage", "this storage was written by another version");
    const prekeys: Prekey[] = [];
    for (const [key, wrapped] of map) {
      if (!key.startsWith("secret/prekey/")) continue;
      const r = JSON.parse(new TextDecoder().decode(await o.vault.unwrap(wrapped))) as PrekeyRecord;
      prekeys.push(new Prekey(unhex(r.seed), r.createdMs));
    }
    prekeys.sort((a, b) => a.createdMs - b.createdMs);
    const c = new Client(o, records, profile, await o.vault.device(), prekeys, (f) => { onFailure = f; });
    await c.records.commit();
    return c;
  }

  // ---- What others may ask ----

  get id(): string { return this.self.id(); }
  get deviceId(): DeviceId { return this.#deviceId; }
  get device(): Signer { return this.#device; }
  get opener(): Opener { return this.#opener; }
  get timers(): Timers { return this.#timers; }
  now(): number { return this.#clock.now(); }

  get registered(): boolean { return this.records.get("home") !== undefined; }
  get address(): string {
    const h = this.home();
    return formatAddress({ root: this.self, domain: h.domain });
  }

  home(): HomeRecord {
    const h = this.records.get<HomeRecord>("home");
    if (h === undefined) throw refuse("not_registered", "this identity is not registered at a node");
    return h;
  }

  homeOf(h: HomeRecord = this.home()): Home {
    return { peerId: PeerId.fromBytes(unhex(h.peerId)), domain: h.domain };
  }

  ownList(): DeviceList | undefined {
    return listOf(this.records.get<string>("ownlist") ?? "");
  }

  mustOwnList(): DeviceList {
    const l = this.ownList();
    if (l === undefined) throw refuse("not_registered", "this identity has no device list yet");
    return l;
  }

  ownCert(): DeviceCert {
    const cert = findDevice(this.mustOwnList(), this.#deviceId);
    if (cert === undefined) throw refuse("revoked", "this device was removed from its identity: set it up as a new device");
    return cert;
  }

  /** Waits for a registered link, for at most 30 seconds. */
  async wire(): Promise<Wire> {
    const w = this.link.wire;
    if (w !== undefined) return w;
    if (this.#ended !== undefined) throw this.#ended;
    if (!this.#running) throw refuse("unreachable", "the client does not run");
    const stop = new AbortController();
    const cancel = this.#timers.after(30_000, () => stop.abort());
    try {
      return await this.link.up(stop.signal);
    } finally {
      cancel();
    }
  }

  listen(f: Listener): () => void {
    this.#listeners.add(f);
    return () => void this.#listeners.delete(f);
  }

  tell(e: ClientEvent): void {
    for (const f of [...this.#listeners]) f(e);
  }

  /** Runs work that a message caused. Its failure ends nothing. */
  background(what: string, work: () => Promise<void>): void {
    const t = work().catch((err: unknown) => {
      if (!(err instanceof TrunklineError)) {
        // A bug: the page's error handler shall see it.
        this.#end(err instanceof Error ? err : new Error(String(err)));
        return;
      }
      if (!isTemporary(err)) this.#o.log?.(what, err.nodeCode ?? err.code);
    }).finally(() => this.#tasks.delete(t));
    this.#tasks.add(t);
  }

  // ---- Life ----

  /** Keeps the link, takes what comes, retries what did not go out and renews what grows old. */
  start(): void {
    if (this.#running) return;
    this.home();
    this.#running = true;
    this.link.start();
    this.#every(retryEveryMs, "work through the ledger", () => this.ledger.work());
    this.#every(notesEveryMs, "send notes again", () => this.#resendNotes());
    this.#every(upkeepEveryMs, "upkeep", () => this.upkeep());
  }

  /** Ends everything and waits for it. The store stays open. */
  async stop(): Promise<void> {
    this.calls?.stop();
    this.#running = false;
    for (const c of this.#cancels.splice(0)) c();
    this.link.stop();
    while (this.#tasks.size > 0 || this.#opening !== undefined) await Promise.all([...this.#tasks, this.#opening]);
  }

  async close(): Promise<void> {
    await this.stop();
    await this.#o.store.close();
  }

  #end(err: Error): void {
    if (this.#ended !== undefined) return;
    this.#ended = err;
    this.#running = false;
    for (const c of this.#cancels.splice(0)) c();
    this.link.stop();
    this.tell({ type: "ended", error: err });
  }

  #every(ms: number, what: string, work: () => Promise<void>): void {
    const again = () => {
      const cancel = this.#timers.after(ms, () => {
        this.#cancels = this.#cancels.filter((c) => c !== cancel);
        // The next round begins when this one is over, so that rounds never overlap.
        this.background(what, () => work().finally(() => { if (this.#running) again(); }));
      });
      this.#cancels.push(cancel);
    };
    again();
  }

  // ---- Home ----

  /** Makes the identity known at a node and opens a mailbox for this device. Before start. */
  async register(invite: string): Promise<string> {
    if (this.#running) throw refuse("malformed", "register before the client runs: a second link of this device would end the first");
    const { base, invitation } = parseInvite(invite);
    const root = await this.root();
    const now = this.now();
    const s = Math.floor(now / 1000);
    const cert = await signDeviceCert(root, { device: this.#device.publicKey, epoch: 1, notBefore: s, notAfter: s + certLifetime });
    const w = await Wire.dial({
      base, socket: this.#o.socket, timers: this.#timers, who: { device: this.#device, cert }, tap: this.#o.tap, onDeliver: () => undefined, onEnd: () => undefined,
    });
    try {
      const home = await this.#newHome(w, base);
      const list = await this.#listFor(w, root, home);
      await this.#publish(w, list, home, invitation);
      // The other devices of a recovered identity are told of this one as soon as it can speak.
      if (list.devices.length > 1 && this.ownList() === undefined) this.records.set("announce", true);
      this.records.set("home", home);
      this.records.set("ownlist", hex(list.signed));
      await this.records.commit();
      await this.#registerMailbox(w, home);
    } finally {
      w.close();
    }
    return this.address;
  }

  /** The root key, where this device has it. */
  async root(): Promise<SeedSigner> {
    const wrapped = this.records.raw("secret/root");
    if (wrapped === undefined) throw refuse("storage", "the root key is not on this device");
    return new SeedSigner(await this.#o.vault.unwrap(wrapped));
  }

  async #newHome(w: Wire, url: string): Promise<HomeRecord> {
    const old = this.records.get<HomeRecord>("home");
    if (old !== undefined && old.domain === w.node.domain && old.peerId === hex(w.node.peerId.bytes)) return { ...old, url };
    this.records.setRaw("secret/mailbox", await this.#o.vault.wrap(random(32)));
    return { peerId: hex(w.node.peerId.bytes), domain: w.node.domain, url, tag: hex(random(16)), tokenEpoch: 1, grace: false };
  }

  async #listFor(w: Wire, root: SeedSigner, home: HomeRecord): Promise<DeviceList> {
    const homes = [this.homeOf(home)];
    let own = this.ownList();
    const answer = await askOver(w, w.node.descriptor, Operation.lookup, this.self.bytes);
    if (answer.status === AnswerStatus.found) {
      const theirs = parseDeviceList(answer.list);
      if (!theirs.root.equals(this.self)) throw refuse("other_identity", "the node keeps a device list that is not ours");
      if (own === undefined || theirs.epoch > own.epoch) own = theirs;
    }
    const now = this.now();
    if (own === undefined) return firstList(root, this.#device.publicKey, homes, now);
    if (findDevice(own, this.#deviceId) === undefined) own = await nextList(root, own, { kind: "add", device: this.#device.publicKey }, now);
    if (!hasHome(own, homes[0]!.peerId)) own = await nextList(root, own, { kind: "homes", homes }, now);
    return own;
  }

  /** Delivery token of an epoch: derived, so that no list of given tokens has to be kept. */
  async #token(epoch: number): Promise<Bytes> {
    const wrapped = this.records.raw("secret/mailbox");
    if (wrapped === undefined) throw refuse("not_registered", "this device has no mailbox");
    return hmac(sha256, await this.#o.vault.unwrap(wrapped), concat(context("token"), u64(epoch))).slice(0, 16) as Bytes;
  }

  async ownGrant(): Promise<Grant> {
    const h = this.home();
    return { home: this.homeOf(h), tag: unhex(h.tag), token: await this.#token(h.tokenEpoch), tokenEpoch: BigInt(h.tokenEpoch), device: this.#deviceId };
  }

  async #publish(w: Wire, list: DeviceList, home: HomeRecord, invitation = ""): Promise<void> {
    const prekey = this.#prekeys.at(-1)!;
    const bundle = await signBundle(prekey, this.#device, this.self, list.epoch, { home: this.homeOf(home), tag: unhex(home.tag), tokenEpoch: BigInt(home.tokenEpoch) });
    await w.call({ case: "publish", value: { list: list.signed, bundles: [bundle.signed], invitation } }, "published");
    this.#shown = `${hex(prekey.id)}/${list.epoch}/${home.tokenEpoch}`;
  }

  async #registerMailbox(w: Wire, home: HomeRecord): Promise<number> {
    const tokenHash = sha256(await this.#token(home.tokenEpoch));
    const previous = home.grace && home.tokenEpoch > 1 ? { previousHash: sha256(await this.#token(home.tokenEpoch - 1)) } : {};
    const got = await w.call({ case: "register", value: { routeTag: unhex(home.tag), tokenHash, tokenEpoch: BigInt(home.tokenEpoch), ...previous } }, "registered");
    return got.waiting;
  }

  async #publishOwn(w: Wire): Promise<void> {
    for (let t = 1; ; t++) {
      this.ownCert(); // throws where the list leaves this device out
      try {
        return await this.#publish(w, this.mustOwnList(), this.home());
      } catch (err) {
        if (!isConflict(err) || t === publishTries) throw err;
        await this.#adoptOwnList(w);
      }
    }
  }

  async #join(w: Wire): Promise<void> {
    await this.directory.learn(w.node.descriptor);
    await this.#publishOwn(w);
    const waiting = await this.#registerMailbox(w, this.home());
    this.#backlog = waiting - (this.#early.get(w) ?? 0);
    this.#early = new Map();
    this.#over = w;
  }

  #linkUp(): void {
    this.#attempts.again();
    this.ledger.linkUp();
    this.background("catch up", async () => {
      if (this.records.get("announce") !== undefined) {
        await this.#toOwnDevices({ body: { type: Type.listUpdate, list: this.mustOwnList().signed }, lifeMs: weekMs, ttl: Ttl.week });
        this.records.delete("announce");
        await this.records.commit();
      }
      await this.#giveTokens();
      this.#acknowledgeOld();
      await this.#resendNotes();
      await this.upkeep();
    });
  }

  // ---- The own list ----

  async #adoptOwnList(w: Wire): Promise<void> {
    const answer = await askOver(w, w.node.descriptor, Operation.lookup, this.self.bytes);
    if (answer.status !== AnswerStatus.found) throw refuse("node", "the own node says it has another device list and does not show it");
    const list = parseDeviceList(answer.list);
    if (!list.root.equals(this.self)) throw refuse("other_identity", "the own node keeps a device list that is not ours");
    await this.#takeOwnList(list);
  }

  /** Keeps a newer own list, wherever it came from. It counts by the root key and by what is kept here. */
  async #takeOwnList(list: DeviceList): Promise<void> {
    const own = this.ownList();
    if (own !== undefined) {
      if (list.epoch < own.epoch) throw refuse("rollback", "an older device list of this identity was shown");
      const twice = list.epoch === own.epoch && !equal(list.hash, own.hash);
      const recovery = own.recovery !== undefined && (list.recovery === undefined || !equal(own.recovery, list.recovery));
      if (twice || recovery) {
        this.tell({ type: "alarm", from: this.id, what: "there are two device lists of yours that contradict each other: somebody else may hold your root key" });
        throw refuse("key_alarm", "two device lists of this identity contradict each other");
      }
      if (list.epoch === own.epoch) return;
    }
    this.records.set("ownlist", hex(list.signed));
    await this.records.commit();
    this.ownCert();
    // A device that was recovered from the phrase knows nobody: it is told whom we know.
    if (own === undefined || list.devices.every((c) => findDevice(own, c.deviceId) !== undefined)) return;
    this.directory.forget(this.self);
    for (const k of this.#contacts()) this.#syncContact(k.root);
    this.background("tell of the new device", () => this.#announceList());
  }

  /** Makes the next own list, publishes it and keeps it: kept is what the node has taken. */
  async #changeOwnList(change: (own: DeviceList) => Promise<DeviceList>): Promise<DeviceList> {
    const w = await this.wire();
    for (let t = 1; ; t++) {
      const own = this.mustOwnList();
      const next = await change(own);
      if (next.epoch === own.epoch) return next;
      try {
        await this.#publish(w, next, this.home());
        this.records.set("ownlist", hex(next.signed));
        await this.records.commit();
        return next;
      } catch (err) {
        if (!isConflict(err) || t === publishTries) throw err;
        await this.#adoptOwnList(w);
      }
    }
  }

  /** Signs a device list with the new device in it, publishes it, and gives the approval to carry to it. */
  async approveDevice(request: string): Promise<string> {
    const r = parseDeviceRequest(request);
    const root = await this.root();
    const list = await this.#changeOwnList(async (own) => (
      // Approved before: the approval may have been lost on its way.
      findDevice(own, DeviceId.of(r.device)) === undefined ? nextList(root, own, { kind: "add", device: r.device }, this.now()) : own
    ));
    this.background("tell of the new device", () => this.#announceList());
    const h = this.home();
    const contacts = [...this.#contacts()].flatMap((k) => {
      const body = syncBody(k);
      return body === undefined ? [] : [marshalBody(body)];
    });
    return sealApproval(r, list, { url: h.url, domain: h.domain, peerId: PeerId.fromBytes(unhex(h.peerId)) }, contacts);
  }

  /** Signs a device list without the device, changes the token that it knew, and tells the contacts. */
  async revokeDevice(device: DeviceId): Promise<void> {
    if (device.equals(this.#deviceId)) throw refuse("malformed", "this is the device you work on: revoke it from another one");
    const root = await this.root();
    await this.#changeOwnList((own) => nextList(root, own, { kind: "revoke", device }, this.now()));
    await this.rotateToken(false);
    this.background("tell of the new device list", () => this.#announceList());
  }

  async #announceList(): Promise<void> {
    const body: Body = { type: Type.listUpdate, list: this.mustOwnList().signed };
    for (const k of this.#contacts()) {
      if (k.state === "accepted" && k.evidence.length === 0) await passing(this.deliverAll(k, { body, lifeMs: weekMs, ttl: Ttl.week, withGrant: true }));
    }
    await this.#toOwnDevices({ body, lifeMs: weekMs, ttl: Ttl.week, withGrant: true });
  }

  async #toOwnDevices(l: Letter): Promise<void> {
    if (this.mustOwnList().devices.length < 2) return;
    const h = this.home();
    // A device that has just joined may have published its key a moment ago.
    this.directory.forget(this.self);
    // Own devices hold no grants for each other; a sealed knock always gets in.
    await passing(this.deliverAll(newContact(this.self.hex, h.domain, h.peerId, this.now()), { ...l, knock: true }));
  }

  async #renewEnded(): Promise<void> {
    const own = this.ownList();
    const now = this.now();
    const cert = own === undefined ? undefined : findDevice(own, this.#deviceId);
    if (own === undefined || cert === undefined || (now < own.expires * 1000 && now < cert.notAfter * 1000)) return;
    if (this.records.raw("secret/root") === undefined) return; // the node's refusal says the rest
    const next = await nextList(await this.root(), own, { kind: "renew" }, now);
    this.records.set("ownlist", hex(next.signed));
    await this.records.commit();
  }

  /** Rotates prekeys, deletes dead ones for good, renews the device list, and keeps the clock. */
  async upkeep(): Promise<void> {
    const now = this.now();
    this.records.set("clock", now);
    for (const [key, r] of this.records.list<ReplayRecord>("replay/")) if (now >= r.untilMs) this.records.delete(`replay/${key}`);
    await this.records.commit();
    const newest = this.#prekeys.at(-1);
    if (newest === undefined || now >= newest.createdMs + prekeyRotationMs) await this.#newPrekey();
    const w = this.link.wire;
    if (w === undefined) return; // the next link begins with publishing
    if (renewDue(this.mustOwnList(), now) && this.records.raw("secret/root") !== undefined) {
      const root = await this.root();
      await this.#changeOwnList(async (own) => (renewDue(own, this.now()) ? nextList(root, own, { kind: "renew" }, this.now()) : own));
      this.background("tell of the renewed list", () => this.#announceList());
    }
    if (this.#shown !== `${hex(this.#prekeys.at(-1)!.id)}/${this.mustOwnList().epoch}/${this.home().tokenEpoch}`) await this.#publishOwn(w);
    if (this.#backlog > 0 || this.#inbox.length > 0) return; // what waited in the mailbox may be sealed to them
    const gone = this.#prekeys.filter((p) => now >= p.createdMs + prekeyDeletedMs);
    if (gone.length === 0) return;
    for (const p of gone) this.records.delete(`secret/prekey/${hex(p.id)}`);
    await this.records.commit();
    this.#prekeys = this.#prekeys.filter((p) => !gone.includes(p));
  }

  async #newPrekey(): Promise<void> {
    let p = Prekey.generate(this.now());
    // Two live prekeys with one hint would make a device try both.
    while (this.#prekeys.some((x) => equal(x.hint, p.hint))) p = Prekey.generate(this.now());
    this.records.setRaw(`secret/prekey/${hex(p.id)}`, await wrapPrekey(this.#o.vault, p));
    await this.records.commit();
    this.#prekeys.push(p);
  }

  // ---- Contacts ----

  #contact(root: PublicKey | string): ContactRecord | undefined {
    return this.records.get<ContactRecord>(`contact/${typeof root === "string" ? root : root.hex}`);
  }

  *#contacts(): Generator<ContactRecord> {
    for (const [, k] of [...this.records.list<ContactRecord>("contact/")]) yield k;
  }

  contactRecord(root: PublicKey): ContactRecord | undefined { return this.#contact(root); }

  #update(root: PublicKey | string, change: (k: ContactRecord) => void): ContactRecord {
    const k = this.#contact(root);
    if (k === undefined) throw refuse("no_contact", "no such contact");
    change(k);
    this.records.set(`contact/${k.root}`, k);
    return k;
  }

  /** Everybody we know of, and the strangers who wait for an answer. */
  contacts(): Contact[] {
    const asks = [...this.records.list<KnockRecord>("knock/")].map(([, n]): Contact => ({
      id: key(n.root).id(), address: addressText(n.root, n.domain), name: n.name, state: "asks", verified: false, knock: n.text, devices: 0, changed: false, alarm: false,
    }));
    return [...[...this.#contacts()].map(contactOf), ...asks];
  }

  #standing(root: PublicKey): Known {
    const k = this.#contact(root);
    const standing: Record<ContactState, Standing> = { known: "stranger", pending: "knocked", accepted: "accepted", blocked: "blocked" };
    return { standing: k === undefined ? "stranger" : standing[k.state], list: k === undefined ? undefined : listOf(k.list) };
  }

  /** Asks for an identity at its domain and pins its devices. Nobody but the node that is asked learns for whom. */
  async find(address: string | Address): Promise<Contact> {
    return contactOf(await this.#find(typeof address === "string" ? parseAddress(address) : address));
  }

  async #find(a: Address): Promise<ContactRecord> {
    if (a.root.equals(this.self)) throw refuse("malformed", "this is your own address");
    const p = await this.directory.lookup(a.root, a.domain, a.home);
    const home = a.home ?? p.list.homes.find((h) => h.domain === a.domain)?.peerId;
    const homeHex = home === undefined ? "" : hex(home.bytes);
    let k = this.#contact(a.root);
    if (k === undefined) {
      const now = this.now();
      checkPin(undefined, p.list, now);
      k = newContact(a.root.hex, a.domain, homeHex, now);
      k.pin = pinRecord(advancePin(undefined, p.list, now));
      k.list = hex(p.list.signed);
      this.records.set(`contact/${k.root}`, k);
    } else {
      k = this.#update(a.root, (k) => {
        k.domain = a.domain;
        k.home = homeHex;
      });
    }
    await this.records.commit();
    return k;
  }

  /** Asks somebody to be a contact. It carries leave to answer us. */
  async knock(address: string, text = "", name = ""): Promise<Contact> {
    const a = parseAddress(address);
    await this.#find(a);
    const k = this.#update(a.root, (k) => {
      if (k.state === "blocked") throw refuse("policy", "this contact is blocked: unblock it first");
      if (k.state !== "accepted") k.state = "pending"; // knocking again asks for a lost grant
    });
    await this.records.commit();
    const home = this.home();
    await this.deliverAll(k, { body: { type: Type.knock, text, name, home: this.homeOf(home) }, lifeMs: weekMs, ttl: Ttl.week, withGrant: true, knock: true });
    await this.#gave(k.root, home);
    return contactOf(this.#contact(a.root)!);
  }

  /** Says yes to somebody who knocked. Only now its devices are looked up and the knock is held against them. Also unblocks. */
  async accept(id: string): Promise<void> {
    const root = parseId(id);
    const n = this.records.get<KnockRecord>(`knock/${root.hex}`);
    if (n === undefined) return this.#unblock(root);
    await this.#find({ root, domain: n.domain, home: PeerId.fromBytes(unhex(n.home)) });
    const list = listOf(this.#contact(root)!.list)!;
    if (findDevice(list, DeviceId.fromBytes(unhex(n.device))) === undefined) throw refuse("not_listed", "the device that knocked is not in the identity's own list");
    const k = this.#update(root, (k) => {
      k.state = "accepted";
      k.name = n.name;
      k.text = n.text;
      if (n.grant !== null) setGrant(k, n.grant);
    });
    this.records.delete(`knock/${root.hex}`);
    await this.records.commit();
    await this.#sayYes(k);
  }

  // The yes is written down already; what fails now for a while is done by giveTokens later.
  async #sayYes(k: ContactRecord): Promise<void> {
    await passing(this.#sendKnockAccept(k));
    this.#syncContact(k.root);
  }

  async #sendKnockAccept(k: ContactRecord): Promise<void> {
    const home = this.home();
    await this.deliverAll(k, { body: { type: Type.knockAccept, text: "", name: "", home: this.homeOf(home) }, lifeMs: weekMs, ttl: Ttl.week, withGrant: true });
    await this.#gave(k.root, home);
  }

  /** Remembers that the contact holds the token of that time. */
  async #gave(root: string, home: HomeRecord): Promise<void> {
    this.#update(root, (k) => { k.given[home.domain] = home.tokenEpoch; });
    await this.records.commit();
  }

  async #unblock(root: PublicKey): Promise<void> {
    const k = this.#contact(root);
    if (k?.state === "accepted") return;
    if (k?.state !== "blocked") throw refuse("no_contact", "nobody with this id has knocked");
    const now = this.#update(root, (k) => {
      k.state = "accepted";
      k.given = {};
    });
    await this.records.commit();
    await this.#sayYes(now);
  }

  /** Drops a knock without an answer: the stranger learns nothing. */
  async decline(id: string): Promise<void> {
    this.records.delete(`knock/${parseId(id).hex}`);
    await this.records.commit();
  }

  /** Ends a contact's leave to deliver: the token changes at once, and all other contacts get the new one. */
  async block(id: string): Promise<void> {
    const root = parseId(id);
    this.records.delete(`knock/${root.hex}`);
    this.#update(root, (k) => {
      k.state = "blocked";
      k.given = {};
    });
    await this.records.commit();
    this.calls?.endWith(root);
    await this.rotateToken(false);
    this.#syncContact(root.hex);
  }

  /** Changes the delivery token of this device's mailbox. With grace the node takes the one before, too. */
  async rotateToken(grace: boolean): Promise<void> {
    const home = this.home();
    home.tokenEpoch++;
    home.grace = grace;
    this.records.set("home", home);
    await this.records.commit();
    const w = await this.wire();
    await this.#registerMailbox(w, home); // first: it is what stops the old token
    await this.#publishOwn(w);
    this.background("hand out the new delivery token", () => this.#giveTokens());
  }

  async #giveTokens(): Promise<void> {
    const home = this.home();
    for (const k of this.#contacts()) {
      if (k.state !== "accepted" || k.evidence.length > 0 || (k.given[home.domain] ?? 0) >= home.tokenEpoch) continue;
      if ((k.given[home.domain] ?? 0) === 0) {
        await passing(this.#sendKnockAccept(k));
        continue;
      }
      await passing((async () => {
        await this.deliverAll(k, { body: { type: Type.tokenUpdate }, lifeMs: weekMs, ttl: Ttl.week, withGrant: true });
        await this.#gave(k.root, home);
      })());
    }
  }

  /** Our own name for a contact, which stays on this device. */
  async rename(id: string, petname: string): Promise<void> {
    this.#update(parseId(id), (k) => { k.petname = petname; });
    await this.records.commit();
  }

  /** What two people compare to be sure of each other's root keys: 60 digits. */
  safetyNumber(id: string): string { return safetyNumber(this.self, parseId(id)); }

  /** Compares what the other person read out, or what a scan gave, with the safety number. */
  async verify(id: string, spoken: string): Promise<void> {
    const digits = (s: string) => s.replace(/[^0-9]/g, "");
    if (digits(spoken) !== digits(this.safetyNumber(id))) throw refuse("key_alarm", "the numbers differ; somebody may stand between you, or one of you has another contact in mind");
    this.#update(parseId(id), (k) => {
      k.verified = true;
      k.changed = false;
    });
    await this.records.commit();
  }

  /** Ends an alarm after the person decided to go on with the pinned devices. */
  async resolve(id: string): Promise<void> {
    this.#update(parseId(id), (k) => {
      k.evidence = [];
      k.changed = false;
    });
    await this.records.commit();
  }

  /** A contact to whom something may be sent now. */
  writable(root: PublicKey): ContactRecord {
    const k = this.#contact(root);
    if (k === undefined) throw refuse("no_contact", "no such contact");
    if (k.state !== "accepted") throw refuse("policy", "the contact is not accepted on both sides");
    if (k.evidence.length > 0) throw refuse("key_alarm", "the keys of this contact contradict what was seen before");
    return k;
  }

  /** Holds a list against what is pinned for its identity and keeps the newer one. A contradiction is an alarm. */
  async pin(list: DeviceList): Promise<void> {
    if (list.root.equals(this.self)) return; // own lists have their own door
    const now = this.now();
    const k = this.#contact(list.root);
    if (k === undefined) {
      checkPin(undefined, list, now); // nobody we know: the caller decides whether it becomes a contact
      return;
    }
    let verdict;
    try {
      verdict = checkPin(pinOf(k.pin), list, now);
    } catch (err) {
      if (!isCode(err, "equivocation") && !isCode(err, "recovery_changed")) throw err;
      this.#update(list.root, (k) => {
        k.changed = true;
        const evidence = hex(list.signed);
        if (k.evidence.length < maxEvidence && !k.evidence.includes(evidence)) k.evidence.push(evidence);
      });
      await this.records.commit();
      this.tell({ type: "alarm", from: list.root.id(), what: "two device lists of the same epoch, or a changed recovery key" });
      throw refuse("key_alarm", "the keys of this contact contradict what was seen before", err);
    }
    if (verdict.change === "same") return;
    this.#update(list.root, (k) => {
      k.changed ||= verdict.change === "jumped";
      k.pin = pinRecord(advancePin(pinOf(k.pin), list, now));
      k.list = hex(list.signed);
    });
    await this.records.commit();
    if (verdict.change !== "first") this.tell({ type: "devices-changed", from: list.root.id() });
  }

  // ---- Sending ----

  /** The devices of a contact that can be written to: only those that the pinned, signed list names. */
  async addressees(k: ContactRecord): Promise<Addressee[]> {
    if (k.evidence.length > 0) throw refuse("key_alarm", "the keys of this contact contradict what was seen before");
    const p: Person = await this.directory.person(key(k.root), k.domain, k.home === "" ? undefined : PeerId.fromBytes(unhex(k.home)));
    const fresh = this.#contact(k.root) ?? k;
    return p.list.devices.flatMap((cert) => {
      const bundle = p.bundles.get(cert.deviceId.hex);
      if (bundle === undefined || cert.deviceId.equals(this.#deviceId)) return [];
      const tag = hex(bundle.route.tag);
      const grant = fresh.grants.find((g) => g.device === cert.deviceId.hex && g.tag === tag && this.#refusedTokens.get(g.device) !== g.token);
      return [{ contact: fresh, list: p.list, bundle, grant }];
    });
  }

  /** Seals a letter to one device and posts it. */
  async deliver(a: Addressee, l: Letter): Promise<Sealed> {
    const now = this.now();
    const sealed = await sealMessage(this.#device, this.ownCert(), a.bundle, {
      body: l.body, createdMs: now, expiresMs: now + l.lifeMs, ...(l.id === undefined ? {} : { id: l.id }),
      ...(l.sessionId === undefined ? {} : { sessionId: l.sessionId }), grant: l.withGrant ? await this.ownGrant() : undefined,
      ownList: this.mustOwnList(), theirList: a.list,
    });
    await this.dispatch(a, l, hex(sealed.id), sealed.payload);
    return sealed;
  }

  /**
   * Posts a sealed payload, with the token where there is one. When the token is no longer taken the same payload
   * goes once more as a knock, which an accepted contact's device answers with a new token.
   */
  async dispatch(a: Addressee, l: Letter, message: string, payload: Bytes): Promise<string> {
    const knock = l.knock === true || a.grant === undefined;
    if (knock && payload.length !== knockSize) throw refuse("policy", "what is longer than a knock needs leave to deliver first");
    const { bundle, grant } = a;
    return this.ledger.post({
      to: bundle.root, device: bundle.deviceId, home: bundle.route.home, ttl: l.ttl, payload, message,
      hop: {
        tag: bundle.route.tag, hint: bundle.prekeyId.slice(0, 2), ...(l.collapse === undefined ? {} : { collapse: l.collapse }),
        ...(knock ? { knock: true } : { token: unhex(grant!.token) }),
      },
      fate: (f, code) => {
        if (f === "refused" && code === "refused" && !knock) {
          this.#refusedTokens.set(grant!.device, grant!.token);
          if (l.ttl !== Ttl.live && payload.length === knockSize) {
            this.background("send as a knock", async () => void (await this.dispatch(a, { ...l, knock: true }, message, payload)));
            return;
          }
          this.#askForToken(a);
        }
        l.fate?.(bundle.deviceId, f, code);
        this.#noteFate(a.contact.root, message, f, code);
      },
    });
  }

  // What is to be sent is too long for a knock itself.
  #askForToken(a: Addressee): void {
    if (!this.#seldom.knocking.allow(a.bundle.deviceId.hex, this.now(), knockAgainMs)) return;
    this.background("ask for a delivery token", async () => {
      await this.deliver({ ...a, grant: undefined }, {
        body: { type: Type.knock, text: "", name: "", home: this.homeOf() }, lifeMs: weekMs, ttl: Ttl.week, withGrant: true, knock: true,
      });
    });
  }

  async toDevice(root: PublicKey, device: DeviceId, l: Letter): Promise<void> {
    const k = this.#contact(root);
    if (k === undefined) return;
    const a = (await this.addressees(k)).find((a) => a.bundle.deviceId.equals(device));
    if (a === undefined) throw refuse("unreachable", "this device of a contact offers no key to write to");
    await this.deliver(a, l);
  }

  /** Sends a letter to every device of a contact. It fails only when no device could be written to. */
  async deliverAll(k: ContactRecord, l: Letter): Promise<void> {
    let sent = 0;
    let failed: unknown = refuse("unreachable", "no device of this contact offers a key to write to");
    for (const a of await this.addressees(k)) {
      try {
        await this.deliver(a, l);
        sent++;
      } catch (err) {
        if (!(err instanceof TrunklineError) || err.code === "storage") throw err;
        failed = err;
      }
    }
    if (sent === 0) throw failed;
  }

  // ---- Notes ----

  #noteKey(contact: string, out: boolean, id: string): string { return `note/${contact}/${out ? "out" : "in"}/${id}`; }

  /** The history with a contact, oldest first. */
  notes(id: string): Note[] {
    return [...this.records.list<NoteRecord>(`note/${parseId(id).hex}/`)].map(([, n]) => n).sort((a, b) => a.order - b.order)
      .map(({ id, out, text, replyTo, createdMs, state, code }) => ({ id, out, text, replyTo, createdMs, state, code }));
  }

  /**
   * Writes a note into the history and sends it to every device of an accepted contact. It resolves with the id
   * when the note is durable here; note-state tells the rest. What cannot go out now is sent later by itself.
   */
  async sendNote(to: string, text: string, replyTo = ""): Promise<string> {
    const root = parseId(to);
    if (text === "") throw refuse("malformed", "the note is empty");
    const n = utf8(text).length;
    if (n > maxNoteText) throw refuse("too_large", `the note has ${n} bytes, ${maxNoteText} are the most: send it as a file`);
    this.writable(root);
    const now = this.now();
    const note: NoteRecord = {
      id: hex(random(16)), contact: root.hex, out: true, order: ++this.#order, text, replyTo, createdMs: now, sealedMs: 0, state: "queued", code: "", acked: true,
    };
    this.#writing.add(note.id);
    try {
      this.records.set(this.#noteKey(root.hex, true, note.id), note);
      await this.records.commit();
    } finally {
      this.#writing.delete(note.id);
    }
    this.background("send a note", () => this.#sendNote(note));
    return note.id;
  }

  async #sendNote(n: NoteRecord): Promise<void> {
    if (this.#writing.has(n.id)) return;
    this.#writing.add(n.id);
    try {
      const k = this.writable(key(n.contact));
      const body: Body = { type: Type.note, text: n.text, ...(n.replyTo === "" ? {} : { replyTo: unhex(n.replyTo) }) };
      await this.deliverAll(k, { body, lifeMs: weekMs, ttl: Ttl.week, id: unhex(n.id), withGrant: true });
      this.#updateNote(n.contact, true, n.id, (n) => { n.sealedMs = this.now(); });
      await this.records.commit();
    } finally {
      this.#writing.delete(n.id);
    }
  }

  #updateNote(contact: string, out: boolean, id: string, change: (n: NoteRecord) => void): NoteRecord | undefined {
    const at = this.#noteKey(contact, out, id);
    const n = this.records.get<NoteRecord>(at);
    if (n === undefined) return undefined;
    change(n);
    this.records.set(at, n);
    return n;
  }

  async #resendNotes(): Promise<void> {
    for (const [, n] of [...this.records.list<NoteRecord>("note/")]) {
      if (!n.out || n.state === "read" || n.state === "refused" || this.#writing.has(n.id)) continue;
      const k = this.#contact(n.contact);
      const now = this.now();
      if (k?.state !== "accepted" || k.evidence.length > 0 || now - n.createdMs > noteGivenUpMs) continue;
      if (n.state === "queued" || n.state === "expired") {
        if (this.ledger.carries(n.id)) continue; // the ledger sends the same envelope again
      } else if (n.state !== "delivered" || !(await this.#resealDue(k, n))) {
        continue;
      }
      if (this.#attempts.ready(n.id, now)) await passing(this.#sendNote(n), "policy");
    }
  }

  // A note that was fetched and not acknowledged is sealed anew when its reader has a younger prekey. The reader
  // knows the message id, so a note that it has is acknowledged once more and nothing else.
  async #resealDue(k: ContactRecord, n: NoteRecord): Promise<boolean> {
    if (this.now() - n.sealedMs < resealAfterMs) return false;
    const p = await this.directory.person(key(k.root), k.domain, k.home === "" ? undefined : PeerId.fromBytes(unhex(k.home)));
    return [...p.bundles.values()].some((b) => b.notBefore * 1000 > n.sealedMs);
  }

  #orphan(r: LedgerRecord, f: Fate, code: string): void {
    if (r.message !== "") this.#noteFate(r.contact, r.message, f, code);
  }

  // A note goes to several devices; the furthest of them counts, and an end counts only when nothing else came of it.
  #noteFate(contact: string, id: string, fate: Fate, code: string): void {
    if (id === "" || fate === "submitted") return;
    const mends = code === "refused" || code === "unknown_destination" || isTemporary(new TrunklineError("refused", "", { nodeCode: code }));
    const to: NoteState = fate === "refused" ? (mends ? "queued" : "refused") : fate;
    const ended = to === "expired" || to === "refused" || to === "queued";
    if (ended && this.ledger.carries(id)) return; // another device's envelope is still on its way
    const way: Partial<Record<NoteState, number>> = { queued: 0, accepted: 1, stored: 2, delivered: 3 };
    let moved = false;
    const n = this.#updateNote(contact, true, id, (n) => {
      if (n.state === "read" || n.state === to || (ended && n.state === "delivered")) return;
      if (!ended && n.state in way && way[to]! < way[n.state]!) return;
      n.state = to;
      n.code = code;
      moved = true;
    });
    if (n === undefined || !moved) return;
    this.background("write the history", () => this.records.commit());
    this.tell({ type: "note-state", to: key(contact).id(), id, state: n.state, code });
  }

  #acknowledge(root: string, ids: readonly string[]): void {
    this.background("acknowledge notes", async () => {
      await this.deliverAll(this.writable(key(root)), { body: { type: Type.read, ids: ids.map(unhex) }, lifeMs: weekMs, ttl: Ttl.week, withGrant: true });
      for (const id of ids) this.#updateNote(root, false, id, (n) => { n.acked = true; });
      await this.records.commit();
    });
  }

  #acknowledgeOld(): void {
    const due = new Map<string, string[]>();
    for (const [, n] of this.records.list<NoteRecord>("note/")) {
      if (n.out || n.acked || this.now() - n.createdMs > noteGivenUpMs || this.#contact(n.contact)?.state !== "accepted") continue;
      due.set(n.contact, [...(due.get(n.contact) ?? []), n.id]);
    }
    for (const [root, ids] of due) for (let i = 0; i < ids.length; i += maxReadIds) this.#acknowledge(root, ids.slice(i, i + maxReadIds));
  }

  // ---- Receiving ----

  #over: Wire | undefined; // the wire that the backlog belongs to

  #deliver(d: NodeKindOf<"deliver">, over: Wire): void {
    // A mailbox holds 128 envelopes and a call a few dozen frames; what does not fit comes again with the next link.
    if (this.#inbox.length >= 1024) return over.close(refuse("unreachable", "more came than could be taken"));
    this.#inbox.push({ d, over });
    this.#opening ??= this.#openAll().catch((err: unknown) => this.#end(err instanceof Error ? err : new Error(String(err)))).finally(() => { this.#opening = undefined; });
  }

  /** Opens what arrived, one after the other, and acknowledges what is safely kept. */
  async #openAll(): Promise<void> {
    while (this.#inbox.length > 0) {
      const { over } = this.#inbox[0]!;
      const acks: bigint[] = [];
      const late: NodeKindOf<"deliver">[] = [];
      while (this.#inbox.length > 0 && this.#inbox[0]!.over === over && acks.length < maxAcks) {
        const { d } = this.#inbox.shift()!;
        try {
          await this.#handle(d);
        } catch (err) {
          if (!(err instanceof TrunklineError) || err.code === "storage") throw err;
          if (err.code === "rate" && d.storedId !== 0n) {
            late.push(d); // it must not be acknowledged unread
            continue;
          }
          this.#o.log?.("a delivery was dropped", err.code);
        }
        if (d.storedId !== 0n) acks.push(d.storedId);
      }
      if (late.length > 0) {
        this.#cancels.push(this.#timers.after(500, () => {
          for (const d of late) this.#deliver(d, over);
        }));
      }
      // Where the wire has ended they come again with the next one, and are recognised.
      if (acks.length === 0 || over.ended !== undefined) continue;
      over.send({ case: "ack", value: { storedIds: acks } });
      if (this.#over === over) this.#backlog -= acks.length;
      else this.#early.set(over, (this.#early.get(over) ?? 0) + acks.length);
    }
  }

  /** Whether everything that waited in the mailbox when the link began has been taken. */
  get fetched(): boolean {
    return this.link.wire !== undefined && this.#backlog <= 0;
  }

  async #handle(d: NodeKindOf<"deliver">): Promise<void> {
    const payload = copy(d.payload);
    if (!isSealed(payload)) return this.calls?.onFrame(payload);
    this.#replayed = undefined;
    const events: ClientEvent[] = [];
    const after: (() => void)[] = [];
    try {
      const o = await this.#opener.open(payload, d.hint, d.knock);
      await this.#act(o, events, after);
    } catch (err) {
      if (err instanceof ReplayError) this.#again(err);
      throw err;
    } finally {
      this.#record();
      await this.records.commit();
    }
    for (const e of events) this.tell(e);
    for (const f of after) f();
  }

  // Called with the first change that a message makes, or when it makes none.
  #record(): void {
    if (this.#replayed === undefined) return;
    this.records.set(this.#replayed.key, this.#replayed.record);
    this.#replayed = undefined;
  }

  /** A note that came twice is acknowledged again: the first receipt may be lost. */
  #again(r: ReplayError): void {
    const id = hex(r.id);
    if (r.type !== Type.note || r.standing !== "accepted" || !this.#seldom.acking.allow(id, this.now(), againMs)) return;
    if (this.records.get(this.#noteKey(r.sender.hex, false, id)) !== undefined) this.#acknowledge(r.sender.hex, [id]);
  }

  /** Does what an opened message asks for: changes first, then what others may see of it. */
  async #act(o: Opened, events: ClientEvent[], after: (() => void)[]): Promise<void> {
    this.#record();
    const from = o.sender.id();
    const known = o.standing === "accepted" || o.standing === "own";
    if (o.echo === "conflict" && known) events.push({ type: "alarm", from, what: "this contact was shown a device list of yours that you did not make" });
    if (o.echo === "ahead" && known && this.#seldom.asking.allow(from, this.now(), againMs)) {
      after.push(() => this.background("ask for the own device list", async () => this.#adoptOwnList(await this.wire())));
    }
    if (wantsList(o)) this.#sendOwnList(o, after);
    if (o.list !== "current" && o.standing !== "stranger") this.directory.forget(o.sender);
    if (o.grant !== undefined && (o.standing === "accepted" || o.standing === "knocked")) {
      // It counts for the device that signed the message only.
      if (!o.grant.device.equals(o.cert.deviceId)) throw refuse("policy", "a grant for another device");
      const g = grantRecord(o.grant);
      this.#update(o.sender, (k) => setGrant(k, g));
      this.#attempts.again(); // a note may have waited for it
      after.push(() => this.background("send notes again", () => this.#resendNotes()));
    }
    if (o.knock && o.standing === "accepted" && o.type !== Type.knock && this.#seldom.giving.allow(o.cert.deviceId.hex, this.now(), againMs)) {
      after.push(() => this.background("give a delivery token again", () => this.toDevice(o.sender, o.cert.deviceId, {
        body: { type: Type.tokenUpdate }, lifeMs: weekMs, ttl: Ttl.week, withGrant: true,
      })));
    }
    const body = o.content;
    switch (body.type) {
      case Type.knock: return this.#onKnock(o, body, events, after);
      case Type.knockAccept:
        if (o.standing === "knocked") this.#becomeAccepted(o, body.home, events, after);
        return;
      case Type.note: return this.#onNote(o, body, events, after);
      case Type.read:
        for (const id of body.ids.map(hex)) {
          const n = this.#updateNote(o.sender.hex, true, id, (n) => { n.state = "read"; });
          if (n !== undefined) events.push({ type: "note-state", to: from, id, state: "read", code: "" });
        }
        return;
      case Type.ring: after.push(() => this.calls?.onRing(o, body)); return;
      case Type.cancel: after.push(() => this.calls?.onCancel(o, body)); return;
      case Type.listUpdate: return this.#onListUpdate(o, body);
      case Type.contactSync: return this.#onContactSync(body, events, after);
      case Type.tokenUpdate: case Type.accept: case Type.decline: case Type.busy: return;
    }
  }

  #onKnock(o: Opened, body: BodyOf<typeof Type.knock>, events: ClientEvent[], after: (() => void)[]): void {
    if (o.standing === "accepted") {
      // It has lost our answer, or its grant: answer again.
      if (this.#seldom.answering.allow(o.sender.hex, this.now(), againMs)) {
        after.push(() => this.background("answer a knock again", () => this.#sendKnockAccept(this.#contact(o.sender)!)));
      }
      return;
    }
    if (o.standing === "knocked") return this.#becomeAccepted(o, body.home, events, after); // both knocked: a yes on both sides
    const record: KnockRecord = {
      root: o.sender.hex, device: o.cert.deviceId.hex, name: body.name, text: body.text, domain: body.home.domain, home: hex(body.home.peerId.bytes),
      receivedMs: this.now(), grant: o.grant?.device.equals(o.cert.deviceId) ? grantRecord(o.grant) : null,
    };
    this.records.set(`knock/${o.sender.hex}`, record);
    events.push({ type: "knock", from: o.sender.id(), name: body.name, text: body.text, domain: body.home.domain });
  }

  #becomeAccepted(o: Opened, home: Home, events: ClientEvent[], after: (() => void)[]): void {
    const own = this.home();
    const k = this.#update(o.sender, (k) => {
      k.state = "accepted";
      // The signed list says which homes it has, the message which one it lives at now.
      const list = listOf(k.list);
      if (list !== undefined && hasHome(list, home.peerId)) {
        k.domain = home.domain;
        k.home = hex(home.peerId.bytes);
      }
    });
    events.push({ type: "knock-accepted", from: o.sender.id() });
    after.push(() => this.#syncContact(k.root));
    if ((k.given[own.domain] ?? 0) < own.tokenEpoch) after.push(() => this.background("hand out the delivery token", () => this.#giveTokens()));
  }

  #onNote(o: Opened, body: BodyOf<typeof Type.note>, events: ClientEvent[], after: (() => void)[]): void {
    const id = hex(o.id);
    const n: NoteRecord = {
      id, contact: o.sender.hex, out: false, order: ++this.#order, text: body.text, replyTo: body.replyTo === undefined ? "" : hex(body.replyTo),
      createdMs: o.createdMs, sealedMs: 0, state: "delivered", code: "", acked: o.standing !== "accepted",
    };
    this.records.set(this.#noteKey(o.sender.hex, false, id), n);
    events.push({ type: "note", from: o.sender.id(), id, text: body.text });
    if (o.standing === "accepted") after.push(() => this.#acknowledge(o.sender.hex, [id]));
  }

  // Answers a message of somebody who was shown an old list of ours, once per device and hour.
  #sendOwnList(o: Opened, after: (() => void)[]): void {
    const now = this.now();
    const device = o.cert.deviceId;
    const k = this.#contact(o.sender);
    if (k === undefined || now - (k.told[device.hex] ?? -updateIntervalMs) < updateIntervalMs) return;
    this.#update(o.sender, (k) => { k.told[device.hex] = now; });
    after.push(() => this.background("send the device list", () => this.toDevice(o.sender, device, {
      body: { type: Type.listUpdate, list: this.mustOwnList().signed }, lifeMs: weekMs, ttl: Ttl.week, withGrant: true,
    })));
  }

  async #onListUpdate(o: Opened, body: BodyOf<typeof Type.listUpdate>): Promise<void> {
    const list = parseDeviceList(body.list);
    if (!list.root.equals(o.sender)) throw refuse("sender", "a list of another identity");
    if (o.standing === "own") return this.#takeOwnList(list);
    this.directory.forget(list.root);
    await this.pin(list);
  }

  #onContactSync(body: BodyOf<typeof Type.contactSync>, events: ClientEvent[], after: (() => void)[]): void {
    if (body.root.equals(this.self)) throw refuse("malformed", "a contact that is this identity");
    const k = syncedContact(this.#contact(body.root), body, this.now());
    this.records.set(`contact/${k.root}`, k);
    this.records.delete(`knock/${k.root}`);
    events.push({ type: "contact", id: body.root.id(), state: body.state });
    if (body.state === "blocked") {
      after.push(() => {
        this.calls?.endWith(body.root);
        this.background("change the delivery token", () => this.rotateToken(false));
      });
    } else {
      after.push(() => this.background("hand out the delivery token", () => this.#giveTokens()));
    }
  }

  /** Tells the own other devices what was decided about a contact. */
  #syncContact(root: string): void {
    this.background("tell the own devices of a contact", async () => {
      const k = this.#contact(root);
      const body = k === undefined ? undefined : syncBody(k);
      if (body !== undefined) await this.#toOwnDevices({ body, lifeMs: weekMs, ttl: Ttl.week });
    });
  }
}

function isConflict(err: unknown): boolean {
  return err instanceof TrunklineError && err.nodeCode === "epoch_conflict";
}

/** Waits and hides errors that end by themselves: what was to be done is still to be done. */
async function passing(work: Promise<void>, ...also: readonly string[]): Promise<void> {
  try {
    await work;
  } catch (err) {
    if (!isTemporary(err) && !(err instanceof TrunklineError && also.includes(err.code))) throw err;
  }
}

function key(h: string): PublicKey {
  return PublicKey.check(unhex(h));
}

function addressText(root: string, domain: string): string {
  return formatAddress({ root: key(root), domain });
}

function newContact(root: string, domain: string, home: string, addedMs: number): ContactRecord {
  return {
    root, domain, home, state: "known", name: "", petname: "", text: "", verified: false, changed: false, pin: null, list: "", evidence: [], grants: [],
    given: {}, told: {}, addedMs,
  };
}

/** What own devices are told of a contact; nothing where there is nothing decided. */
function syncBody(k: ContactRecord): BodyOf<typeof Type.contactSync> | undefined {
  if (k.home === "" || (k.state !== "accepted" && k.state !== "blocked")) return undefined;
  return {
    type: Type.contactSync, root: key(k.root), home: { peerId: PeerId.fromBytes(unhex(k.home)), domain: k.domain }, state: k.state, name: k.name,
    grants: k.grants.map(grantOf),
  };
}

/** Another own device's decision taken over. The contact's list is fetched and pinned here before anything is sent. */
function syncedContact(old: ContactRecord | undefined, b: BodyOf<typeof Type.contactSync>, nowMs: number): ContactRecord {
  const k = old ?? newContact(b.root.hex, b.home.domain, hex(b.home.peerId.bytes), nowMs);
  if (k.name === "") k.name = b.name;
  k.state = b.state;
  for (const g of b.grants) setGrant(k, grantRecord(g));
  return k;
}

function contactOf(k: ContactRecord): Contact {
  return {
    id: key(k.root).id(), address: addressText(k.root, k.domain), name: k.petname || k.name, state: k.state, verified: k.verified, knock: k.text,
    devices: listOf(k.list)?.devices.length ?? 0, changed: k.changed, alarm: k.evidence.length > 0,
  };
}

async function wrapPrekey(vault: Vault, p: Prekey): Promise<Uint8Array> {
  const r: PrekeyRecord = { seed: hex(p.seed()), createdMs: p.createdMs };
  return vault.wrap(utf8(JSON.stringify(r)));
}
