// The control channel of a call (docs/spec/media.md, section 4): who is at the other end is proven before
// anything else is taken.

import { equal, type Bytes } from "../bytes.ts";
import { bool, bytes, decode, encode, enumeration, oneof, schema, string, uint32, uint64, type Init, type Of } from "../canon.ts";
import type { Session } from "../envelope/session.ts";
import { refuse } from "../errors.ts";

export const maxControlMessage = 16_384;
export const bindingMs = 5_000;

const ControlMessage = schema("Control", {
  kind: oneof({
    binding: [1, schema("Binding", { mac: bytes(1) })], ready: [2, schema("Ready", {})], leg: [3, schema("Leg", { kind: enumeration(1) })],
    mediaStart: [4, schema("MediaStart", { audio: enumeration(1), video: enumeration(2) })],
    mediaEnd: [5, schema("MediaEnd", { audioFrames: uint64(1), videoFrames: uint64(2) })],
    codeCommit: [6, schema("CodeCommit", { hash: bytes(1) })], codeNonce: [7, schema("CodeNonce", { nonce: bytes(1) })],
    codeReveal: [8, schema("CodeReveal", { nonce: bytes(1) })], file: [9, schema("File", { message: bytes(1) })], bye: [10, schema("Bye", {})],
    sending: [11, schema("Sending", { microphone: bool(1), camera: bool(2), screen: bool(3), screenAudio: bool(4), hand: bool(5) })],
    reaction: [12, schema("Reaction", { kind: enumeration(1) })],
    pointer: [13, schema("Pointer", { own: bool(1), here: bool(2), x: uint32(3), y: uint32(4) })],
    note: [14, schema("Note", { id: bytes(1), text: string(2) })], fresh: [15, schema("Fresh", { slot: uint32(1) })],
  }),
});

export type Control = NonNullable<Of<typeof ControlMessage>["kind"]>;
export type ControlInit = NonNullable<Init<typeof ControlMessage>["kind"]>;

export function marshalControlMessage(kind: ControlInit): Bytes {
  return encode(ControlMessage, { kind });
}

export function parseControlMessage(b: Uint8Array): Control {
  const { kind } = decode(ControlMessage, b, maxControlMessage);
  if (kind === undefined) throw refuse("malformed", "control message says nothing");
  return kind;
}

/**
 * The order at the beginning of the channel. open gives the first message to send; take is called with every
 * message that comes and gives what to send, and what it means. Errors end the call, binding ones with an alarm.
 */
export class Gate {
  readonly #session: Session;
  readonly #own: Uint8Array;
  readonly #peer: Uint8Array;
  #state: "opened" | "verified" | "bound" = "opened";
  #mac: Uint8Array;

  /** Fingerprints are the SHA-256 of the certificates that are really in use. */
  constructor(session: Session, own: Uint8Array, peer: Uint8Array) {
    this.#session = session;
    this.#own = own;
    this.#peer = peer;
    this.#mac = session.binding(own, peer);
  }

  get bound(): boolean { return this.#state === "bound"; }
  /** The other side is who it should be; whether it has said the same of us is not known yet. */
  get verified(): boolean { return this.#state !== "opened"; }

  open(): Bytes {
    return marshalControlMessage({ case: "binding", value: { mac: this.#mac } });
  }

  take(message: Uint8Array): { readonly send?: Bytes; readonly bound?: true; readonly control?: Control } {
    if (this.#state === "opened") {
      let first: Control | undefined;
      try {
        first = parseControlMessage(message);
      } catch { /* what is no message is no binding either */ }
      if (first?.case !== "binding") throw refuse("binding", "something else came before the channel binding");
      if (equal(first.value.mac, this.#mac)) throw refuse("binding", "our own channel binding came back");
      this.#session.checkBinding(first.value.mac, this.#own, this.#peer);
      this.#state = "verified";
      return { send: marshalControlMessage({ case: "ready", value: {} }) };
    }
    const m = parseControlMessage(message);
    if (this.#state === "verified") {
      if (m.case !== "ready") throw refuse("binding", "no confirmation of the channel binding");
      this.#state = "bound";
      return { bound: true };
    }
    if (m.case === "binding" || m.case === "ready") throw refuse("malformed", "control message out of turn");
    return { control: m };
  }
}
