// The calls of a client: whom a ring, an answer, a frame or a cancel is for.

import { checkAbort, type Abortable } from "../abort.ts";
import { copy, hex, random, type Bytes } from "../bytes.ts";
import { Reason, Type, type BodyOf } from "../envelope/bodies.ts";
import type { Opened } from "../envelope/open.ts";
import { newRing } from "../envelope/ring.ts";
import { Role, type Session } from "../envelope/session.ts";
import { refuse, TrunklineError } from "../errors.ts";
import { parseId } from "../identity/address.ts";
import type { PublicKey } from "../identity/key.ts";
import type { Client } from "../client/client.ts";
import type { CallHandler } from "../client/inbox.ts";
import type { ContactRecord } from "../client/records.ts";
import { Call, type CallBook, type OutRing } from "./call.ts";
import { glareIsOurs, incoming, next, outgoing, ringMs } from "./machine.ts";
import type { Media, PeerFactory } from "./peer.ts";
import type { Carrier } from "./post.ts";

/** How somebody is rung. */
export interface CallOptions extends Abortable {
  /** 0 files only, 1 sound (where it is absent), 2 sound and picture. */
  readonly media?: Media;
  /** Tells the other side the relay's addresses and no others. */
  readonly relayOnly?: boolean;
}

/** What calls need. */
export interface CallsOptions {
  /** Makes connections: browserPeer in a browser. */
  readonly peer: PeerFactory;
  /** Told of every call that begins here or rings here, before anything happens in it. */
  readonly onCall?: (c: Call) => void;
}

const maxRinging = 16;
const maxEarly = 64;
const earlyKeptMs = 120_000;

/** Finds the call that a frame, an answer or a cancel belongs to. */
export class Calls implements CallHandler, CallBook {
  readonly options: CallsOptions;
  readonly #c: Client;
  readonly #active = new Set<Call>();
  readonly #byHandle = new Map<string, Call>();
  readonly #rings = new Map<string, { readonly call: Call; readonly ring: OutRing }>();
  readonly #incoming = new Map<string, Call>();
  readonly #early = new Map<string, { readonly from: string; readonly reason: Reason; readonly atMs: number }>();

  /** Makes the client take calls. */
  constructor(c: Client, o: CallsOptions) {
    this.#c = c;
    this.options = o;
    c.calls = this;
  }

  get client(): Client { return this.#c; }
  get peer(): PeerFactory { return this.options.peer; }
  get active(): readonly Call[] { return [...this.#active]; }

  /**
   * Rings every device of an accepted contact, or answers where it rings here (session.md, section 2). An abort counts
   * until the rings are made; from then on there is a call, with hangup.
   *
   * @throws TrunklineError no_contact, policy (not accepted), key_alarm, unreachable, aborted
   */
  async startCall(id: string, o: CallOptions = {}): Promise<Call> {
    const root = parseId(id);
    const k = this.#c.writable(root);
    const media = o.media ?? 1;
    const ringing = media === 0 ? undefined : this.active.find((x) => x.root.equals(root) && x.ring !== undefined && x.media !== 0 && x.state.phase === "ringing");
    if (ringing !== undefined) {
      // Who rings somebody whose ring waits here answers that ring.
      ringing.accept();
      return ringing;
    }
    await this.#c.wire(o);
    const rings = await this.#makeRings(k, media, o.signal);
    checkAbort(o.signal);
    const call = new Call(this, this.#c, {
      root, direction: "outgoing", media, relayOnly: o.relayOnly ?? false, rings, state: outgoing(this.#c.now(), [...rings.keys()]),
    });
    this.#active.add(call);
    for (const ring of rings.values()) this.#rings.set(ring.state.handleHex, { call, ring });
    this.options.onCall?.(call);
    call.begin([]);
    call.sendRings();
    return call;
  }

  async #makeRings(k: ContactRecord, media: Media, signal: AbortSignal | undefined): Promise<Map<string, OutRing>> {
    const grant = await this.#c.ownGrant();
    const sessionId = random(16);
    const out = new Map<string, OutRing>();
    for (const to of await this.#c.addressees(k, { signal })) {
      const state = await newRing(this.#c.device, this.#c.ownCert(), to.bundle, {
        media, sessionId, reply: { home: grant.home, tag: grant.tag, token: grant.token }, nowMs: this.#c.now(), ownList: this.#c.mustOwnList(), theirList: to.list,
      });
      out.set(to.bundle.deviceId.hex, { to, state });
    }
    if (out.size === 0) throw refuse("unreachable", "no device of this contact offers a key to ring with");
    return out;
  }

  /** The call of two people whose cards made a session (cards.md, section 6): as if the offerer had rung and the other had accepted. */
  meet(session: Session, o: { readonly media: Media; readonly relayOnly: boolean; readonly carrier: Carrier }): Call {
    const now = this.#c.now();
    const device = session.peerDevice.hex;
    const { state, actions } = session.role === Role.initiator
      ? next(outgoing(now, [device]), now, { type: "accepted", device })
      : { state: incoming(now, now + ringMs, "accept").state, actions: [] };
    const call = new Call(this, this.#c, {
      root: session.peer, direction: session.role === Role.initiator ? "outgoing" : "incoming", media: o.media, relayOnly: o.relayOnly, state,
      met: { session, carrier: o.carrier },
    });
    this.#active.add(call);
    this.options.onCall?.(call);
    call.begin(actions);
    return call;
  }

  addSession(call: Call, s: Session): void {
    for (const h of s.handles()) this.#byHandle.set(h, call);
  }

  leave(call: Call): void {
    this.#active.delete(call);
    for (const [h, c] of this.#byHandle) if (c === call) this.#byHandle.delete(h);
    for (const [h, r] of this.#rings) if (r.call === call) this.#rings.delete(h);
    for (const [h, c] of this.#incoming) if (c === call) this.#incoming.delete(h);
  }

  endWith(root: PublicKey): void {
    for (const c of this.active) if (c.root.equals(root)) this.#leaveCall(c);
  }

  stop(): void {
    for (const c of this.active) this.#leaveCall(c);
  }

  // Not a DECLINE where it rings: nobody said no.
  #leaveCall(c: Call): void {
    c.happen({ type: c.ring !== undefined && c.state.phase === "ringing" ? "failed" : "hangup" });
  }

  onFrame(payload: Bytes): void {
    const handle = hex(payload.subarray(0, 8));
    const call = this.#byHandle.get(handle);
    if (call !== undefined) return call.onFrame(copy(payload));
    const ring = this.#rings.get(handle);
    if (ring !== undefined) this.#c.background("an answer to a ring", () => this.#onAnswer(ring.call, ring.ring, copy(payload)));
  }

  async #onAnswer(call: Call, ring: OutRing, payload: Bytes): Promise<void> {
    const device = ring.state.device.hex;
    try {
      const got = await ring.state.finish(payload, this.#c.opener);
      const type = ({ [Type.accept]: "accepted", [Type.decline]: "declined", [Type.busy]: "busy" } as const)[got.kind];
      call.happen({ type, device }, got.session === undefined ? undefined : { session: got.session });
    } catch (err) {
      if (!(err instanceof TrunklineError)) throw err;
      // The same answer again: our first frame has not arrived.
      if (err.code === "replay" || err.code === "ring_over") call.happen({ type: "accept-again", device });
      if (err.code === "unverified") this.#c.directory.forget(call.root);
    }
  }

  onRing(o: Opened, body: BodyOf<typeof Type.ring>): void {
    const k = this.#c.contactRecord(o.sender);
    if (o.standing !== "own" && (k === undefined || k.evidence.length > 0)) return; // whose device this is, is what the alarm is about
    const hash = hex(o.hash);
    const early = this.#early.get(hash);
    let greeting: "ring" | "accept" | "busy" | "missed" = "ring";
    let relayOnly = false;
    if (o.late) {
      greeting = "missed";
    } else if (early !== undefined && early.from === o.sender.hex) {
      this.#early.delete(hash);
      // The person knows of a call that was answered or declined elsewhere.
      if (early.reason === Reason.answeredElsewhere || early.reason === Reason.declined) return;
      greeting = "missed";
    } else {
      // A ring for files ends an older one of the same device, which was killed and came back.
      if (body.media === 0) {
        for (const c of this.active) {
          if (c.media === 0 && c.ring !== undefined && c.ring.cert.deviceId.equals(o.cert.deviceId) && c.ring.createdMs <= o.createdMs) c.hangup();
        }
      } else {
        const rival = this.active.find((c) => c.root.equals(o.sender) && c.ring === undefined && c.media !== 0 && c.state.phase === "ringing");
        if (rival !== undefined) {
          if (glareIsOurs(this.#c.self, o.sender, this.#c.deviceId, o.cert.deviceId)) return;
          greeting = "accept";
          relayOnly = rival.relayOnly;
          rival.happen({ type: "glare-lost" });
        } else if (this.active.some((c) => c.media !== 0 && (c.state.phase === "answered" || c.state.phase === "connecting" || c.state.phase === "live"))) {
          greeting = o.standing === "own" ? "accept" : "busy";
        }
      }
      if (o.standing === "own") greeting = "accept";
      if (greeting === "ring" && this.active.filter((c) => c.ring !== undefined && c.state.phase === "ringing").length >= maxRinging) greeting = "missed";
    }
    const { state, actions } = incoming(this.#c.now(), o.expiresMs, greeting);
    const call = new Call(this, this.#c, { root: o.sender, direction: "incoming", media: body.media, relayOnly, ring: o, state });
    this.#active.add(call);
    this.#incoming.set(hash, call);
    this.options.onCall?.(call);
    if (state.phase === "ringing") this.#c.tell({ type: "ringing", call: call.id, from: call.contact, media: body.media });
    call.begin(actions);
  }

  onCancel(o: Opened, body: BodyOf<typeof Type.cancel>): void {
    const hash = hex(body.ringHash);
    const call = this.#incoming.get(hash);
    if (call !== undefined) {
      if (call.root.equals(o.sender)) call.happen({ type: "cancelled", reason: body.reason });
      return;
    }
    const now = this.#c.now();
    for (const [h, e] of this.#early) if (now - e.atMs > earlyKeptMs) this.#early.delete(h);
    if (this.#early.size < maxEarly) this.#early.set(hash, { from: o.sender.hex, reason: body.reason, atMs: now });
  }
}

