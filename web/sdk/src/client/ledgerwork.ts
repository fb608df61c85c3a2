// What becomes of envelopes whose fate is not known yet: they are sent again, asked about, and ended when their time is over.

import { unhex } from "../bytes.ts";
import { AnswerStatus, Fate as FateNumber, Operation } from "../envelope/query.ts";
import { Ttl } from "../envelope/types.ts";
import { refuse, TrunklineError } from "../errors.ts";
import { PeerId } from "../identity/key.ts";
import type { Core } from "./core.ts";
import type { LedgerRecord } from "./records.ts";

const askAfterMs = 8_000;
const askStoredMs = 60_000;

export class LedgerWork {
  readonly #c: Core;

  constructor(c: Core) {
    this.#c = c;
  }

  /** Goes once through the open envelopes: sends again, asks for fates, ends what is over. */
  async work(hurry = false): Promise<void> {
    for (const r of this.#c.ledger.open) {
      try {
        await this.#workOne(r, hurry);
      } catch (err) {
        if (!(err instanceof TrunklineError) || err.code === "storage") throw err;
      }
    }
  }

  async #workOne(r: LedgerRecord, hurry: boolean): Promise<void> {
    const now = this.#c.now();
    const age = now - r.atMs;
    const over = now > r.deadlineMs;
    // Nobody keeps the fate of a live envelope, and what the own node never took has not gone anywhere.
    if (over && (r.ttl === Ttl.live || r.fate === "submitted")) return this.#c.ledger.settle(r, "expired", "expired");
    if (this.#c.ledger.flying.has(r.id) && (age < (hurry ? 1_000 : askAfterMs) || r.ttl === Ttl.live)) return;
    if (!this.#c.ledger.flying.has(r.id) && (r.ttl === Ttl.live || r.fate === "submitted")) {
      if (r.ttl === Ttl.live || this.#c.ledger.attempts.ready(r.id, now)) this.#c.ledger.send(r);
      return;
    }
    if (!hurry && (r.fate === "stored" && age < askStoredMs || !this.#c.ledger.attempts.ready(r.id, now))) return;
    await this.#ask(r, over);
  }

  /** Fetches the fate of an envelope from its destination, unseen by the own node. */
  async #ask(r: LedgerRecord, over: boolean): Promise<void> {
    if (this.#c.link.wire === undefined) throw refuse("unreachable", "there is no link");
    const node = await this.#c.directory.node(r.domain, PeerId.fromBytes(unhex(r.dest)));
    let answer = await this.#c.directory.ask(node, Operation.outcome, unhex(r.id));
    if (answer.status !== AnswerStatus.found) {
      // What the own node had called durable and what ended on the way, it knows itself.
      const own = this.#c.link.wire?.node;
      if (own !== undefined && !own.peerId.equals(node.peerId)) answer = await this.#c.directory.ask(own.descriptor, Operation.outcome, unhex(r.id));
    }
    if (answer.status !== AnswerStatus.found) {
      if (over) this.#c.ledger.settle(r, "expired", "expired");
      else if (r.fate !== "stored") this.#c.ledger.send(r); // never came there: the same bytes once more
      return;
    }
    if (answer.fate === FateNumber.delivered) this.#c.ledger.settle(r, "delivered");
    if (answer.fate === FateNumber.expired || over) this.#c.ledger.settle(r, "expired", "expired");
    if (answer.fate === FateNumber.stored) this.#c.ledger.settle(r, "stored");
    if (answer.fate === FateNumber.refused) this.#c.ledger.settle(r, "refused", "refused");
  }
}
