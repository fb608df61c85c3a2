// Frames of a call's session on their way to the other device.

import { hex, unhex, type Bytes } from "../bytes.ts";
import type { ReplyAddress } from "../envelope/bodies.ts";
import type { Session } from "../envelope/session.ts";
import { marshalSessionMessage, type SessionMessage } from "../envelope/sessionmessage.ts";
import { Ttl } from "../envelope/types.ts";
import type { PublicKey } from "../identity/key.ts";
import type { Client } from "../client/client.ts";
import { SharedHop } from "../client/ledger.ts";
import { quiet, type Order } from "./order.ts";

/** What carries a session's frames where no node does: the channel of two cards (cards.md). */
export interface Carrier {
  send(frame: Bytes): void;
  close(): void;
}

const frameTries = 8;
const framePauseMs = 400;

export class FramePost {
  readonly #c: Client;
  readonly #root: PublicKey;
  readonly #session: Session;
  readonly #order: Order;
  readonly #ended: () => boolean;
  readonly #hops = new SharedHop();
  readonly #carrier: Carrier | undefined;

  /** carrier: takes the frames in place of nodes. */
  constructor(c: Client, root: PublicKey, session: Session, order: Order, ended: () => boolean, carrier?: Carrier) {
    this.#carrier = carrier;
    this.#c = c;
    this.#root = root;
    this.#session = session;
    this.#order = order;
    this.#ended = ended;
  }

  /** What a message becomes. The first frame is kept by the call: the same bytes go out again. */
  seal(m: SessionMessage): Promise<Bytes> { return this.#session.seal(marshalSessionMessage(m)); }

  async send(m: SessionMessage, t = 0): Promise<void> {
    const payload = await this.seal(m);
    if (this.#carrier !== undefined) return this.#carrier.send(payload);
    const to = this.#reply();
    await this.#c.ledger.post({
      to: this.#root, device: this.#session.peerDevice, home: to.home, ttl: Ttl.live, hop: { tag: to.tag, token: to.token }, payload, shared: this.#hops,
      fate: (f) => {
        // The device may be reconnecting: the message is sealed again a few times.
        if ((f !== "refused" && f !== "expired") || t >= frameTries || this.#ended()) return;
        this.#order.later(framePauseMs, async () => {
          if (!this.#ended()) await quiet(this.send(m, t + 1));
        });
      },
    });
  }

  /** Where frames go, with the newest token that the other device has given. */
  #reply(): ReplyAddress {
    const s = this.#session;
    const grant = this.#c.contactRecord(this.#root)?.grants.find((g) => g.device === s.peerDevice.hex && g.tag === hex(s.reply.tag));
    return grant === undefined ? s.reply : { ...s.reply, token: unhex(grant.token) };
  }
}
