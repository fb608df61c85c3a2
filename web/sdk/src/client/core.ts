// What every part of a participant stands on: its records, its clock, what is written down of its own identity,
// the link of this moment, and work that goes on behind a call.

import { checkAbort } from "../abort.ts";
import { unhex } from "../bytes.ts";
import { Clock } from "../envelope/replay.ts";
import { refuse, TrunklineError } from "../errors.ts";
import { type DeviceCert, type DeviceList, findDevice, type Home } from "../identity/device.ts";
import { DeviceId, PeerId, PublicKey, SeedSigner, type Signer } from "../identity/key.ts";
import type { Link } from "../link/link.ts";
import { isTemporary, type SocketFactory, systemTimers, type Tap, type Timers, type Wire } from "../link/wire.ts";
import { part } from "../part.ts";
import type { Contacts } from "./contacts.ts";
import type { Directory } from "./directory.ts";
import type { ClientEvent, Listener } from "./events.ts";
import type { CallHandler, Inbox } from "./inbox.ts";
import type { Later } from "./later.ts";
import type { Ledger } from "./ledger.ts";
import type { Mailbox } from "./mailbox.ts";
import type { Prekeys } from "./prekeys.ts";
import { type Fate, type HomeRecord, listOf, noteKey, type ProfileRecord } from "./records.ts";
import type { Sending } from "./sending.ts";
import type { Records, Store, Vault } from "./store.ts";

/** What a client stands on: inFolder and inBrowser give the first three. */
export interface ClientOptions {
  readonly store: Store;
  readonly vault: Vault;
  readonly socket: SocketFactory;
  /** Time and chance; the machine's where it is absent. */
  readonly timers?: Timers;
  /** Gets a copy of every frame on the link. */
  readonly tap?: Tap;
  /**
   * Work that nobody waits for begins when this resolves: catching up with notes, own devices and keys that grow old.
   * At once where it is absent. A page has it wait until sound and picture are there.
   */
  readonly idle?: () => Promise<void>;
  /** Told of work in the background that failed: what it was and the code of the error, never who or what about. */
  readonly log?: (what: string, code: string) => void;
}

const linkWaitMs = 30_000;

/** How long what is left for later may wait at a node. */
export const weekMs = 7 * 86_400_000;

export class Core {
  readonly self: PublicKey;
  readonly options: ClientOptions;
  readonly timers: Timers;
  readonly records: Records;
  readonly device: Signer;
  readonly deviceId: DeviceId;
  // The parts, each of which may call on the others. The client makes them before anything runs.
  declare directory: Directory;
  declare ledger: Ledger;
  declare link: Link;
  declare prekeys: Prekeys;
  declare mailbox: Mailbox;
  declare contacts: Contacts;
  declare sending: Sending;
  declare inbox: Inbox;
  /** What no call needs, once it is here. */
  rest: Later | undefined;
  /** Set by whoever makes calls. */
  calls: CallHandler | undefined;
  running = false;
  ended: Error | undefined;
  cancels: (() => void)[] = [];
  readonly #clock: Clock;
  readonly #listeners = new Set<Listener>();
  readonly #tasks = new Set<Promise<void>>();

  constructor(o: ClientOptions, records: Records, profile: ProfileRecord, device: Signer) {
    this.options = o;
    this.timers = o.timers ?? systemTimers;
    this.records = records;
    this.self = PublicKey.check(unhex(profile.root));
    this.device = device;
    this.deviceId = DeviceId.of(device.publicKey);
    this.#clock = new Clock(() => this.timers.now(), records.get<number>("clock") ?? 0);
  }

  get id(): string { return this.self.id(); }
  now(): number { return this.#clock.now(); }

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
    const cert = findDevice(this.mustOwnList(), this.deviceId);
    if (cert === undefined) throw refuse("revoked", "this device was removed from its identity: set it up as a new device");
    return cert;
  }

  /** Whether the own list or this device's certificate has ended. */
  get listEnded(): boolean {
    const own = this.ownList();
    const cert = own === undefined ? undefined : findDevice(own, this.deviceId);
    return own !== undefined && cert !== undefined && (this.now() >= own.expires * 1000 || this.now() >= cert.notAfter * 1000);
  }

  /** The root key, where this device has it. */
  async root(): Promise<SeedSigner> {
    const wrapped = this.records.raw("secret/root");
    if (wrapped === undefined) throw refuse("storage", "the root key is not on this device");
    return SeedSigner.from(await this.options.vault.unwrap(wrapped));
  }

  /** What no call needs (later.ts), fetched with the first thing that needs it. */
  readonly later = part(async () => (this.rest ??= new (await import("./later.ts")).Later(this)));

  /** Calls f when the time of what nobody waits for has come (ClientOptions.idle), unless the client has stopped by then. */
  idle(f: () => void): void {
    if (this.options.idle === undefined) return f();
    let cancelled = false;
    const cancel = () => { cancelled = true; };
    this.cancels.push(cancel);
    void this.options.idle().then(() => {
      this.cancels = this.cancels.filter((c) => c !== cancel);
      if (!cancelled) f();
    });
  }

  /** Does in the background, when its time has come, what later.ts does. */
  whenIdle(what: string, work: (l: Later) => Promise<void>): void {
    this.idle(() => this.background(what, async () => work(await this.later())));
  }

  /** How far a message of ours came; it is told where it was a note. */
  fate(contact: string, message: string, fate: Fate, code: string): void {
    if (message === "" || fate === "submitted" || this.records.raw(noteKey(contact, true, message)) === undefined) return;
    if (this.rest !== undefined) return this.rest.notes.fate(contact, message, fate, code);
    this.background("tell how far a note came", async () => (await this.later()).notes.fate(contact, message, fate, code));
  }

  /** Waits for a registered link, for at most 30 seconds. */
  async wire(signal?: AbortSignal): Promise<Wire> {
    checkAbort(signal);
    const w = this.link.wire;
    if (w !== undefined) return w;
    if (this.ended !== undefined) throw this.ended;
    if (!this.running) throw refuse("unreachable", "the client does not run");
    const late = new AbortController();
    const cancel = this.timers.after(linkWaitMs, () => late.abort());
    try {
      return await this.link.up(signal === undefined ? late.signal : AbortSignal.any([late.signal, signal]));
    } catch (err) {
      if (late.signal.aborted && !signal?.aborted) throw refuse("unreachable", "the own node cannot be reached", err);
      throw err;
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
        this.end(err instanceof Error ? err : new Error(String(err)));
        return;
      }
      if (!isTemporary(err)) this.options.log?.(what, err.nodeCode ?? err.code);
    }).finally(() => this.#tasks.delete(t));
    this.#tasks.add(t);
  }

  /** Waits until nothing goes on behind a call any more. */
  async settled(): Promise<void> {
    while (this.#tasks.size > 0 || this.inbox.opening !== undefined) await Promise.all([...this.#tasks, this.inbox.opening]);
  }

  end(err: Error): void {
    if (this.ended !== undefined) return;
    this.ended = err;
    this.running = false;
    for (const c of this.cancels.splice(0)) c();
    this.link.stop();
    this.tell({ type: "ended", error: err });
  }

  every(ms: number, what: string, work: () => Promise<void>): void {
    const again = () => {
      const cancel = this.timers.after(ms, () => {
        this.cancels = this.cancels.filter((c) => c !== cancel);
        // The next round begins when this one is over, so that rounds never overlap.
        this.background(what, () => work().finally(() => { if (this.running) again(); }));
      });
      this.cancels.push(cancel);
    };
    again();
  }
}
