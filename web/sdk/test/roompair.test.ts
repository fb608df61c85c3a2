// The connection of two members of a mesh (docs/spec/rooms.md, section 10): when an offer is made again, and when it is
// not. Time is the test's; the WebRTC stack is a real one.

import { afterEach, describe, expect, it } from "vitest";
import { equal, random, type Bytes } from "../src/bytes.ts";
import { Role, Session, sessionKeys } from "../src/envelope/session.ts";
import { marshalSessionMessage, parseSessionMessage, SessionType } from "../src/envelope/sessionmessage.ts";
import { DeviceId, SeedSigner } from "../src/identity/key.ts";
import { Pair } from "../src/room/pair.ts";
import { weriftPeer } from "./werift.ts";

const open: Pair[] = [];
const peer = (await SeedSigner.generate()).publicKey;
afterEach(() => { for (const p of open.splice(0)) p.close(); });

/** Somebody who offers a connection to a member, and what it says. */
class Offering {
  readonly pair: Pair;
  readonly #offers: Bytes[] = [];
  #ended = 0;
  #wake: (() => void)[] = [];
  #nowMs = 1_790_000_000_000;
  #timers: { readonly atMs: number; readonly f: () => void }[] = [];

  constructor() {
    const session = new Session({ role: Role.initiator, keys: sessionKeys(random(32), random(32)), ownTag: random(16), id: random(16), peer, peerDevice: DeviceId.of(peer), reply: undefined });
    this.pair = new Pair({
      session, asks: false, relayOnly: false, home: undefined, peer: weriftPeer, now: () => this.#nowMs, wire: () => undefined,
      after: (ms, f) => {
        const timer = { atMs: this.#nowMs + ms, f };
        this.#timers.push(timer);
        return () => { this.#timers = this.#timers.filter((t) => t !== timer); };
      },
      say: async (message) => {
        const m = parseSessionMessage(message);
        if (m.type !== SessionType.offer || this.#offers.some((o) => equal(o, m.sdp))) return;
        this.#offers.push(m.sdp);
        this.#woken();
      },
      // Without a path nothing of a connection changes but that it ends.
      changed: () => {
        this.#ended++;
        this.#woken();
      },
      onBound: () => undefined, alarm: (why) => { throw why; },
    });
    open.push(this.pair);
  }

  get offers(): number { return this.#offers.length; }

  #woken(): void { for (const f of this.#wake.splice(0)) f(); }

  /** Waits until so many different offers were made. */
  async made(count: number): Promise<void> {
    while (this.#offers.length < count) await new Promise<void>((resolve) => this.#wake.push(resolve));
  }

  /** Time goes on until so many connections were given up. */
  async givenUp(count: number): Promise<void> {
    this.#pass(30_000);
    while (this.#ended < count) await new Promise<void>((resolve) => this.#wake.push(resolve));
  }

  /** Time goes on, and an offer that was due by then is there: one that somebody else began later is. */
  async pass(ms: number): Promise<void> {
    this.#pass(ms);
    for (let i = 0; i < 2; i++) await new Offering().made(1);
  }

  #pass(ms: number): void {
    const until = this.#nowMs + ms;
    for (;;) {
      const next = this.#timers.filter((t) => t.atMs <= until).sort((a, b) => a.atMs - b.atMs)[0];
      this.#nowMs = next?.atMs ?? until;
      if (next === undefined) return;
      this.#timers = this.#timers.filter((t) => t !== next);
      next.f();
    }
  }

  hear(): void { this.pair.heard(marshalSessionMessage({ type: SessionType.restart, generation: 0 })); }
}

describe("an offer in a mesh", () => {
  it("is made once to who says nothing to it, until it sends something", async () => {
    const o = new Offering();
    await o.made(1);
    await o.givenUp(1);
    await o.pass(600_000);
    expect(o.offers).toBe(1);
    o.pair.revive();
    await o.made(2);
    await o.givenUp(2);
    await o.pass(600_000);
    expect(o.offers).toBe(2);
  });

  it("or until it says something of a connection", async () => {
    const o = new Offering();
    await o.made(1);
    await o.givenUp(1);
    await o.pass(600_000);
    expect(o.offers).toBe(1);
    o.hear();
    await o.made(2);
  });

  it("is made again to who has said something and was not connected with", async () => {
    const o = new Offering();
    await o.made(1);
    o.hear();
    await o.givenUp(1);
    await o.pass(1_000);
    await o.made(2);
  });

  it("is not made any more once the member has gone", async () => {
    const o = new Offering();
    await o.made(1);
    await o.givenUp(1);
    o.pair.close();
    o.hear();
    o.pair.revive();
    await o.pass(600_000);
    expect(o.offers).toBe(1);
  });
});
