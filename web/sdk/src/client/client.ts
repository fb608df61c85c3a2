// A participant: one device of an identity, which registers at a node, keeps contacts, leaves notes and rings.
//
// Begin with Client.create or Client.open, then register once, then start; listen tells what happens. It never
// sends an address or a description before a call was accepted, writes to no device that the signed list does
// not name, and logs neither identities nor texts. What it does is in the parts: home and mailbox, the own list,
// contacts, the way out, notes, the way in.

import { type Abortable, checkAbort } from "../abort.ts";
import { type Bytes, unhex } from "../bytes.ts";
import type { Grant } from "../envelope/bodies.ts";
import type { Opener } from "../envelope/open.ts";
import type { Prekey } from "../envelope/prekey.ts";
import type { Sealed } from "../envelope/seal.ts";
import { isCode, refuse } from "../errors.ts";
import { type Address, formatAddress } from "../identity/address.ts";
import type { DeviceCert, DeviceList, Home } from "../identity/device.ts";
import { type DeviceId, PeerId, type PublicKey, type SeedSigner, type Signer } from "../identity/key.ts";
import { Link } from "../link/link.ts";
import type { SocketFactory, Timers, Wire } from "../link/wire.ts";
import { part } from "../part.ts";
import type { Plugin } from "../plugin/plugin.ts";
import type { PluginHandle, Plugins } from "../plugin/plugins.ts";
import { type Contact, Contacts } from "./contacts.ts";
import { type ClientOptions, Core } from "./core.ts";
import { Directory } from "./directory.ts";
import type { ClientEvent, Listener } from "./events.ts";
import type { Page, PageOptions } from "./history.ts";
import { type CallHandler, Inbox } from "./inbox.ts";
import type { Later } from "./later.ts";
import { Ledger } from "./ledger.ts";
import { Mailbox } from "./mailbox.ts";
import type { MessageOptions } from "./notes.ts";
import { loadPrekeys, Prekeys } from "./prekeys.ts";
import { type ContactRecord, formatVersion, type HomeRecord, type ProfileRecord } from "./records.ts";
import { type Addressee, type Letter, Sending } from "./sending.ts";
import { Records } from "./store.ts";

const retryEveryMs = 5_000;
const notesEveryMs = 30_000;
const upkeepEveryMs = 60_000;

const arriving = part(() => import("./arrive.ts"));
const noPlugins = { audio: [], audioFailed: () => undefined };

/** One device of an identity. Make it with createIdentity, recoverIdentity or Client.join, and open it with connect or Client.open. */
export class Client {
  readonly #c: Core;

  private constructor(c: Core, prekeys: Prekey[]) {
    this.#c = c;
    c.directory = new Directory({
      records: c.records, now: () => c.now(), wire: () => c.wire(), pin: (l) => c.contacts.pin(l),
      alarm: (root, what) => c.tell({ type: "alarm", from: root.id(), what }),
    });
    c.ledger = new Ledger({
      records: c.records, directory: c.directory, now: () => c.now(), linked: () => c.link.wire,
      orphan: (r, f, code) => c.fate(r.contact, r.message, f, code), background: (what, work) => c.background(what, work),
    });
    c.link = new Link({
      timers: c.timers,
      dial: async () => {
        if (c.listEnded) await (await c.later()).own.renewEnded();
        const home = c.home();
        return {
          base: home.url, pin: PeerId.fromBytes(unhex(home.peerId)), who: { device: c.device, cert: c.ownCert() }, socket: c.options.socket, tap: c.options.tap,
          onDeliver: (d, over) => c.inbox.deliver(d, over),
        };
      },
      join: (w) => c.mailbox.join(w),
      onState: (s) => {
        if (s.state === "waiting" || s.state === "ended") c.ledger.linkLost();
        c.tell({ type: "link", link: s });
        if (s.state === "up") this.#linkUp();
        if (s.state === "ended" && !isCode(s.why, "aborted")) c.end(s.why);
      },
    });
    c.prekeys = new Prekeys(prekeys);
    c.mailbox = new Mailbox(c);
    c.contacts = new Contacts(c);
    c.sending = new Sending(c);
    c.inbox = new Inbox(c);
  }

  // ---- Making and opening ----

  /**
   * Makes a new participant in an empty store. The root key is kept in the vault, so that this device can renew
   * and change the device list; without it (null) another device of the identity does that.
   */
  static async create(o: ClientOptions, root: SeedSigner): Promise<Client> {
    await (await arriving()).create(o, root);
    return Client.open(o);
  }

  /** Begins on a new device, in an empty store: show the text on both screens, and keep the value for join. */
  static async requestDevice(o: ClientOptions): Promise<{ readonly text: string; readonly secret: Bytes }> {
    return (await import("./later.ts")).deviceRequest((await o.vault.device()).publicKey);
  }

  /** Makes this store a device of the identity that approved the request. The root key stays where it was. */
  static async join(o: ClientOptions, request: { readonly secret: Uint8Array }, approval: string): Promise<Client> {
    await (await import("./later.ts")).join(o, request, approval);
    return Client.open(o);
  }

  /**
   * Opens the identity of a storage, without a link: start begins that. Texts of an older storage are sealed first.
   *
   * @throws TrunklineError storage (none there, another version, or in use)
   */
  static async open(o: ClientOptions): Promise<Client> {
    const map = await o.store.load();
    let onFailure: (err: Error) => void = () => undefined;
    const records = new Records(o.store, map, (err) => onFailure(err));
    if (records.get<ProfileRecord>("profile")?.version === 1) await (await import("./later.ts")).sealOldTexts(o.store, o.vault, map);
    const profile = records.get<ProfileRecord>("profile");
    if (profile === undefined) throw refuse("storage", "this storage holds no identity yet");
    if (profile.version !== formatVersion) throw refuse("storage", "this storage was written by another version");
    const core = new Core(o, records, profile, await o.vault.device());
    const c = new Client(core, await loadPrekeys(o.vault, map));
    onFailure = (err) => core.end(err);
    await records.commit();
    return c;
  }

  // ---- Who this is ----

  /** The root key. */
  get self(): PublicKey { return this.#c.self; }
  /** The root key as text: "tl1…" (identity.md, section 3). */
  get id(): string { return this.#c.id; }
  /** Whether there is a home. */
  get registered(): boolean { return this.#c.records.get("home") !== undefined; }
  /** What others write to: "tl1…@domain". Throws not_registered before there is a home. */
  get address(): string { return formatAddress({ root: this.self, domain: this.#c.home().domain }); }
  /** The home as it is written down. Throws not_registered. */
  home(): HomeRecord { return this.#c.home(); }
  /** The home as the specification has it. Throws not_registered. */
  homeOf(h?: HomeRecord): Home { return this.#c.homeOf(h); }
  /** This device. */
  get deviceId(): DeviceId { return this.#c.deviceId; }
  /** The signed list of this identity's devices, once there is one. */
  ownList(): DeviceList | undefined { return this.#c.ownList(); }
  /** The same; throws not_registered where there is none. */
  mustOwnList(): DeviceList { return this.#c.mustOwnList(); }
  /** The root key with its secret. Throws storage where this device does not hold it. */
  root(): Promise<SeedSigner> { return this.#c.root(); }

  // ---- Life ----

  /**
   * Makes the identity known at a node and opens a mailbox for this device. Before start. An abort counts until the
   * node is asked to take the identity; then the invitation is used and the registration goes to its end.
   *
   * @returns the address that others write to
   * @throws TrunklineError malformed (no invitation), refused (nodeCode: invitation_invalid, registration_closed, …),
   *   other_identity or rollback (the node shows a list that is not ours), unreachable, aborted; an UnknownNodeError
   *   where the node speaks for another name than the one dialled and is not the `confirmed` one. Whatever node it is
   *   then, it stays the only one that this identity links to.
   */
  async register(invite: string, o: { readonly confirmed?: string } & Abortable = {}): Promise<string> {
    return (await arriving()).register(this.#c, invite, o.signal, o.confirmed);
  }

  /**
   * Registers where that is still to be done, starts, and waits for the link. After an abort the client does not run.
   *
   * @throws TrunklineError as register; not_registered where no invite is given; unreachable after 30 seconds
   */
  async connect(o: { readonly invite?: string } & Abortable = {}): Promise<void> {
    checkAbort(o.signal);
    if (!this.registered && o.invite !== undefined) await this.register(o.invite, o);
    const ran = this.#c.running;
    this.start();
    try {
      await this.wire(o);
    } catch (err) {
      if (!ran && isCode(err, "aborted")) await this.stop();
      throw err;
    }
  }

  /** Keeps the link, takes what comes, retries what did not go out and renews what grows old. */
  start(): void {
    const c = this.#c;
    if (c.running) return;
    c.home();
    c.running = true;
    c.link.start();
    c.idle(() => {
      c.every(retryEveryMs, "work through the ledger", async () => (await c.later()).ledger.work());
      c.every(notesEveryMs, "send notes again", async () => (await c.later()).notes.resend());
      c.every(upkeepEveryMs, "upkeep", async () => (await c.later()).renewal.upkeep());
    });
  }

  /** Ends everything and waits for it. The store stays open. */
  async stop(): Promise<void> {
    const c = this.#c;
    c.calls?.stop();
    c.running = false;
    for (const cancel of c.cancels.splice(0)) cancel();
    c.link.stop();
    c.rest?.plugins.stop();
    await c.settled();
  }

  /** Ends everything, waits for it, and gives the storage free. */
  async close(): Promise<void> {
    await this.stop();
    await this.#c.options.store.close();
  }

  /** Hears what happens, in order. Gives the function that ends it. */
  listen(f: Listener): () => void { return this.#c.listen(f); }
  /** Whether everything that waited in the mailbox when the link began has been taken. */
  get fetched(): boolean { return this.#c.inbox.fetched; }

  #linkUp(): void {
    const c = this.#c;
    c.ledger.linkUp();
    c.whenIdle("catch up", (l) => l.catchUp());
  }

  /** Rotates prekeys, deletes dead ones for good, renews the device list, and keeps the clock. */
  async upkeep(): Promise<void> { await (await this.#c.later()).renewal.upkeep(); }

  // ---- Devices ----

  /**
   * Signs a device list with the new device in it, publishes it, and gives the approval to carry to it
   * (client-link.md, section 13). An abort counts until the list is published. Needs the root key on this device.
   *
   * @param request what the new device shows, "tldr1-…"; at most 256 characters
   * @throws TrunklineError malformed, storage (no root key here), too_large (too many contacts), unreachable, aborted
   */
  async approveDevice(request: string, o: Abortable = {}): Promise<string> { return (await this.#c.later()).own.approve(request, o.signal); }

  /**
   * Signs a device list without the device, changes the token that it knew, and tells the contacts
   * (identity.md, section 5). An abort counts until the list is published.
   *
   * @throws TrunklineError malformed (this very device), storage (no root key here), unreachable, aborted
   */
  async revokeDevice(device: DeviceId, o: Abortable = {}): Promise<void> { return (await this.#c.later()).own.revoke(device, o.signal); }

  /**
   * Changes the delivery token of this device's mailbox. With grace the node takes the one before, too. The new one
   * counts from the next link on in any case; an abort ends the waiting for it only.
   */
  async rotateToken(grace: boolean, o: Abortable = {}): Promise<void> { return (await this.#c.later()).renewal.rotateToken(grace, o.signal); }

  // ---- Contacts ----

  /** Everybody we know of, and the strangers who wait for an answer. */
  contacts(): Contact[] { return this.#c.contacts.list(); }

  /**
   * Asks for an identity at its domain and pins its devices. Nobody but the node that is asked learns for whom
   * (client-link.md, section 7). An abort leaves nothing behind.
   *
   * @param address "tl1…@domain", optionally with the home's peer id
   * @throws TrunklineError malformed, no_contact (that node knows none), key_alarm (what came contradicts what was seen
   *   before, or another node answered), unreachable, refused, aborted
   */
  find(address: string | Address, o: Abortable = {}): Promise<Contact> { return this.#c.contacts.find(address, o.signal); }

  /**
   * Asks somebody to be a contact. It carries leave to answer us. An abort counts until the person is found; then the
   * contact is pending and the knock is sent, now or with the next link.
   *
   * @param text at most 512 bytes of UTF-8
   * @param name at most 64 bytes of UTF-8, what we call ourselves
   * @throws TrunklineError as find; policy (blocked), too_large
   */
  async knock(address: string, text = "", name = "", o: Abortable = {}): Promise<Contact> { return (await arriving()).knock(this.#c, address, text, name, o.signal); }

  /**
   * Says yes to somebody who knocked, or unblocks. Only now its devices are looked up and the knock is held against
   * them. An abort counts until that is done; then the yes is written down and sent.
   *
   * @throws TrunklineError no_contact (nobody with this id has knocked), not_listed, key_alarm, unreachable, aborted
   */
  async accept(id: string, o: Abortable = {}): Promise<void> { return (await this.#c.later()).people.accept(id, o.signal); }

  /** Drops a knock without an answer: the stranger learns nothing. */
  async decline(id: string): Promise<void> { return (await this.#c.later()).people.decline(id); }

  /**
   * Ends a contact's leave to deliver: it is written down at once and calls end; the token changes when the node is
   * reached, and all other contacts get the new one. An abort ends the waiting for the node only.
   *
   * @throws TrunklineError no_contact, unreachable (blocked all the same), aborted (the same)
   */
  async block(id: string, o: Abortable = {}): Promise<void> { return (await this.#c.later()).people.block(id, o.signal); }

  /** Our own name for a contact, which stays on this device. */
  rename(id: string, petname: string): Promise<void> { return this.#c.contacts.rename(id, petname); }

  /** What two people compare to be sure of each other's root keys: 60 digits (identity.md, section 4). Takes a fifth of a second. */
  async safetyNumber(id: string): Promise<string> { return (await this.#c.later()).people.safetyNumber(id); }

  /**
   * Compares what the other person read out, or what a scan gave, with the safety number. Everything but digits is
   * left out.
   *
   * @throws TrunklineError key_alarm where they differ; no_contact
   */
  async verify(id: string, spoken: string): Promise<void> { return (await this.#c.later()).people.verify(id, spoken); }

  /**
   * Counts a contact as verified whose code was read with a camera and matched, and tells the contact, whose person
   * is asked whether they see that here (identity.md, section 7).
   * @throws TrunklineError no_contact; policy where it is not accepted
   */
  async compared(id: string): Promise<void> { return (await this.#c.later()).people.compared(id); }

  /** Ends an alarm after the person decided to go on with the pinned devices. */
  async resolve(id: string): Promise<void> { return (await this.#c.later()).people.resolve(id); }

  // ---- Notes ----

  /**
   * Writes a note into the history and sends it to every device of an accepted contact (envelope.md). It resolves
   * with the id when the note is durable here; note-state tells the rest. What cannot go out now is sent later by
   * itself, for 30 days. An abort counts until it is durable.
   *
   * @param text 1 to 16,384 bytes of UTF-8
   * @throws TrunklineError malformed (empty), too_large, no_contact, policy (not accepted), key_alarm, storage, aborted
   */
  async sendMessage(to: string, text: string, o?: MessageOptions): Promise<string> { return (await this.#c.later()).notes.send(to, text, o); }

  /**
   * A page of the history with a contact, oldest first. At most 5,000 notes of a conversation are kept.
   *
   * @throws TrunklineError malformed (limit), storage (a text does not open), aborted
   */
  async history(id: string, o?: PageOptions): Promise<Page> { return (await this.#c.later()).history.page(id, o); }

  /** Deletes the history with a contact on this device, also what is still to be sent. What has left is not called back. */
  async deleteHistory(id: string): Promise<void> { return (await this.#c.later()).history.delete(id); }

  /** What was written within a call goes into the history: no node brings it. */
  async noteInCall(id: string, out: boolean, note: { readonly id: string; readonly text: string }): Promise<void> { return (await this.#c.later()).notes.inCall(id, out, note); }

  // ---- Plugins ----

  /**
   * Lets a plugin run until its handle is stopped, the client stops, or it is cut off: it threw, took more than a
   * second, or answered what is no text. That is told as an event, and nothing else suffers. At most 16 run at a time.
   *
   * @throws PluginError with `what` for the rule that it breaks: it asks for a capability that there is not, has a hook
   *   without the capability or a capability without the hook, or a name or version of another form
   */
  async use(plugin: Plugin): Promise<PluginHandle> { return (await this.#c.later()).plugins.use(plugin); }
  /** The plugins that run, for processAudio. */
  get plugins(): Pick<Plugins, "audio" | "audioFailed"> { return this.#c.rest?.plugins ?? noPlugins; }

  // ---- What calls stand on ----

  /** Somebody was met by cards. Whoever was not known is written down, unverified. */
  met(root: PublicKey, name: string, home: Home | undefined): void { this.#c.contacts.met(root, name, home); }

  /** What is kept, for a program that keeps something of its own beside it. Keys that begin with "app/" are never used here. */
  get records(): Records { return this.#c.records; }
  /** @internal */
  get directory(): Directory { return this.#c.directory; }
  /** @internal */
  get ledger(): Ledger { return this.#c.ledger; }
  /** @internal */
  later(): Promise<Later> { return this.#c.later(); }
  /** The link to the own node; hurry() dials now. */
  get link(): Link { return this.#c.link; }
  /** @internal */
  get socket(): SocketFactory { return this.#c.options.socket; }
  /** @internal */
  get device(): Signer { return this.#c.device; }
  /** @internal */
  get opener(): Opener { return this.#c.inbox.opener; }
  /** The time that the client goes by. */
  get timers(): Timers { return this.#c.timers; }
  /** @internal */
  get calls(): CallHandler | undefined { return this.#c.calls; }
  /** @internal */
  set calls(h: CallHandler) { this.#c.calls = h; }
  /** Now, in milliseconds since 1970; it never goes back. */
  now(): number { return this.#c.now(); }
  /** @internal */
  ownCert(): DeviceCert { return this.#c.ownCert(); }
  /** @internal */
  ownGrant(): Promise<Grant> { return this.#c.mailbox.ownGrant(); }
  /** Waits for a registered link, for at most 30 seconds. */
  wire(o: Abortable = {}): Promise<Wire> { return this.#c.wire(o.signal); }
  /** @internal */
  tell(e: ClientEvent): void { this.#c.tell(e); }
  /** Runs work that nobody waits for. A refusal is logged; a bug ends the client. */
  background(what: string, work: () => Promise<void>): void { this.#c.background(what, work); }
  /** @internal */
  contactRecord(root: PublicKey): ContactRecord | undefined { return this.#c.contacts.get(root); }
  /** @internal */
  writable(root: PublicKey): ContactRecord { return this.#c.contacts.writable(root); }
  /** @internal */
  addressees(k: ContactRecord, o: Abortable = {}): Promise<Addressee[]> { return this.#c.sending.addressees(k, o.signal); }
  /** @internal */
  deliver(a: Addressee, l: Letter): Promise<Sealed> { return this.#c.sending.deliver(a, l); }
  /** @internal */
  dispatch(a: Addressee, l: Letter, message: string, payload: Bytes): Promise<string> { return this.#c.sending.dispatch(a, l, message, payload); }
}
