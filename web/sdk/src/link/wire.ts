// One WebSocket to a node, from the dial to its end: matches answers with questions and hands everything
// else to its owner. Transport and time are injected.

import { abortError, checkAbort } from "../abort.ts";
import { copy, type Bytes } from "../bytes.ts";
import { refuse, TrunklineError, UnknownNodeError } from "../errors.ts";
import type { DeviceCert } from "../identity/device.ts";
import type { PeerId, Signer } from "../identity/key.ts";
import {
  isPassing, marshalClientFrame, maxBeforeAuth, maxFrame, parseNodeFrame, plainFrames, subprotocol, type ClientKind, type FrameCodec, type NodeKind, type NodeKindOf,
} from "./frames.ts";
import { authenticate, linkAddress, mayAnswerAt, verifyChallenge, type Node } from "./handshake.ts";
import type { RoomClientKind, RoomNodeKind } from "./roomframes.ts";

type AnyClientKind = ClientKind | RoomClientKind;
type AnyNodeKind = NodeKind | RoomNodeKind;
type AnswerOf<C extends AnyNodeKind["case"]> = Extract<AnyNodeKind, { readonly case: C }>["value"];

/** What of a WebSocket is used; those of browsers and of the package ws are such. */
export interface Socket {
  binaryType: string;
  onopen: ((e: never) => void) | null;
  onmessage: ((e: never) => void) | null;
  onclose: ((e: never) => void) | null;
  onerror: ((e: never) => void) | null;
  readonly protocol: string;
  send(data: Uint8Array<ArrayBuffer>): void;
  close(code?: number): void;
}

export type SocketFactory = (url: string, protocol: string) => Socket;

/** Time and chance, so that tests own both. */
export interface Timers {
  now(): number;
  /** Calls f once after so many milliseconds, unless what it returns is called before. */
  after(ms: number, f: () => void): () => void;
  /** At least 0 and below 1. */
  random(): number;
}

export const systemTimers: Timers = {
  now: () => Date.now(),
  after: (ms, f) => {
    const t = setTimeout(f, ms);
    return () => clearTimeout(t);
  },
  random: () => Math.random(),
};

/** A copy of every frame that goes over the wire: for the page that shows what the node sees. */
export interface Tap {
  sent(frame: Uint8Array): void;
  received(frame: Uint8Array): void;
}

export interface DialOptions {
  readonly base: string;
  readonly socket: SocketFactory;
  readonly timers: Timers;
  /** Absent: the name decides whether it is the right node (see mayAnswerAt). */
  readonly pin?: PeerId | undefined;
  /** The peer id of a node that the person has confirmed, whose name is another than the one dialled. */
  readonly confirmed?: string | undefined;
  readonly who?: { readonly device: Signer; readonly cert: DeviceCert } | undefined;
  /** Acknowledge over the wire that brought it: it may be about to become the link. */
  readonly onDeliver: (d: NodeKindOf<"deliver">, over: Wire) => void;
  readonly onDrain?: (d: NodeKindOf<"drain">) => void;
  readonly onEnd: (err: TrunklineError) => void;
  /** What the node says of a room, unasked. */
  readonly onRoom?: (kind: RoomNodeKind) => void;
  readonly tap?: Tap | undefined;
  readonly signal?: AbortSignal | undefined;
}

const handshakeTimeoutMs = 5_000;
const answerTimeoutMs = 20_000;
const pingIntervalMs = 40_000;

/** A node's refusal as an error. */
export function nodeRefusal(code: string, retryAfterMs = 0): TrunklineError {
  const err = new TrunklineError("refused", `the node refused: ${code}`, { nodeCode: code });
  return Object.assign(err, { retryAfterMs });
}

/** Whether an error goes away by itself: nothing has to be changed for a later try. */
export function isTemporary(err: unknown): boolean {
  if (!(err instanceof TrunklineError)) return false;
  return err.code === "unreachable" || (err.code === "refused" && err.nodeCode !== undefined && isPassing(err.nodeCode));
}

type Waiting = (answer: AnyNodeKind | TrunklineError) => boolean;

export class Wire {
  readonly node: Node;
  /** What the node said in Authenticated: the newest list of this root that it holds, 0n for none. */
  readonly epoch: bigint;
  /** Of the challenge: what is signed for a room covers it. */
  readonly nonce: Bytes;
  /** What may be said on it; whoever has to do with rooms puts theirs here. */
  frames: FrameCodec = plainFrames;
  readonly #socket: Socket;
  readonly #o: DialOptions;
  readonly #waiting = new Map<bigint, Waiting>();
  #next = 1n;
  #ended: TrunklineError | undefined;
  #cancelPing: () => void = () => undefined;
  #heard: number;

  private constructor(socket: Socket, o: DialOptions, node: Node, epoch: bigint, nonce: Bytes) {
    this.#socket = socket;
    this.#o = o;
    this.node = node;
    this.epoch = epoch;
    this.nonce = nonce;
    this.#heard = o.timers.now();
  }

  /** Connects, checks that the node is the one that is meant, and proves the device. */
  static async dial(o: DialOptions): Promise<Wire> {
    const { url, host } = linkAddress(o.base);
    checkAbort(o.signal);
    const socket = o.socket(url, subprotocol);
    socket.binaryType = "arraybuffer";
    const frames: Uint8Array[] = [];
    let wake: (() => void) | undefined;
    let end: TrunklineError | undefined;
    const fail = (err: TrunklineError) => {
      end ??= err;
      wake?.();
    };
    socket.onopen = () => wake?.();
    socket.onerror = () => fail(refuse("unreachable", "the node cannot be reached"));
    socket.onclose = () => fail(refuse("unreachable", "the link to the node ended"));
    socket.onmessage = (e: { data: unknown }) => {
      const b = binary(e.data);
      if (b === undefined) return fail(refuse("malformed", "the node sent what is no frame"));
      o.tap?.received(b);
      frames.push(b);
      wake?.();
    };
    const cancel = o.timers.after(handshakeTimeoutMs, () => fail(refuse("unreachable", "the node did not finish the handshake")));
    const abort = () => fail(refuse("aborted", "the dial was stopped"));
    o.signal?.addEventListener("abort", abort);
    const next = async (): Promise<NodeKind> => {
      for (;;) {
        const f = frames.shift();
        if (f !== undefined) return parseNodeFrame(f).kind;
        if (end !== undefined) throw end;
        await new Promise<void>((resolve) => { wake = resolve; });
      }
    };
    try {
      const first = await next();
      if (first.case !== "challenge") throw first.case === "error" ? nodeRefusal(first.value.code, Number(first.value.retryAfterMs)) : refuse("malformed", "the node did not begin with a challenge");
      const node = await verifyChallenge(first.value);
      if (o.pin === undefined) {
        const id = node.peerId.toString();
        if (!mayAnswerAt(node.domain, host) && o.confirmed !== id) throw new UnknownNodeError(node.domain, id);
      }
      else if (!node.peerId.equals(o.pin)) throw refuse("aborted", "another node answers here than the one this identity is registered at");
      const hello = marshalClientFrame(0n, { case: "authenticate", value: await authenticate(first.value, host, o.who) });
      if (hello.length > maxBeforeAuth) throw refuse("too_large", "the first frame");
      o.tap?.sent(hello);
      socket.send(hello);
      const second = await next();
      if (second.case !== "authenticated") throw second.case === "error" ? nodeRefusal(second.value.code, Number(second.value.retryAfterMs)) : refuse("malformed", "the node did not accept the device");
      const w = new Wire(socket, o, node, second.value.epoch, copy(first.value.nonce));
      socket.onmessage = (e: { data: unknown }) => w.#onMessage(binary(e.data));
      socket.onclose = socket.onerror = () => w.#end(refuse("unreachable", "the link to the node ended"));
      // What arrived behind Authenticated while it was read.
      queueMicrotask(() => {
        for (const f of frames.splice(0)) w.#onFrame(f);
        if (end !== undefined) w.#end(end);
      });
      w.#pingLater();
      return w;
    } catch (err) {
      socket.onclose = socket.onerror = socket.onmessage = socket.onopen = null;
      // A socket that is still connecting reports its own end; nobody is interested any more.
      socket.onerror = () => undefined;
      socket.close();
      throw err;
    } finally {
      cancel();
      o.signal?.removeEventListener("abort", abort);
    }
  }

  get ended(): TrunklineError | undefined { return this.#ended; }

  /** Sends a frame that has no answer. */
  send(kind: AnyClientKind): void {
    this.#write(0n, kind);
  }

  /** Sends a frame and calls got with each answer, until got returns false or the wire ends. */
  ask(kind: AnyClientKind, got: (answer: NodeKind | TrunklineError) => boolean): void {
    if (this.#ended !== undefined) throw this.#ended;
    const id = this.#next++;
    this.#waiting.set(id, got as Waiting); // whoever asks about a room takes answers about rooms
    try {
      this.#write(id, kind);
    } catch (err) {
      this.#waiting.delete(id);
      throw err;
    }
  }

  /** Asks for one answer of a kind. A node's Error, and a code in place of an answer, throw. After an abort the answer is dropped. */
  call<C extends AnyNodeKind["case"]>(kind: AnyClientKind, want: C, signal?: AbortSignal): Promise<AnswerOf<C>> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(abortError(signal));
      let done = false;
      const end = (err: TrunklineError) => {
        done = true;
        cancel();
        reject(err);
      };
      const stop = () => end(abortError(signal!));
      signal?.addEventListener("abort", stop, { once: true });
      const cancelTimer = this.#o.timers.after(answerTimeoutMs, () => end(refuse("unreachable", "the own node does not answer")));
      const cancel = () => {
        cancelTimer();
        signal?.removeEventListener("abort", stop);
      };
      try {
        this.ask(kind, (answer: AnyNodeKind | TrunklineError) => {
          if (done) return false;
          cancel();
          if (answer instanceof TrunklineError) reject(answer);
          else if (answer.case === "error") reject(nodeRefusal(answer.value.code, Number(answer.value.retryAfterMs)));
          else if (answer.case !== want) reject(refuse("malformed", "the node answered with something else"));
          else {
            const { code } = answer.value as { readonly code?: string };
            if (code !== undefined && code !== "") reject(nodeRefusal(code));
            // The case was compared; the compiler does not follow that through the parameter.
            else (resolve as (v: unknown) => void)(answer.value);
          }
          return false;
        });
      } catch (err) {
        cancel();
        reject(err as Error);
      }
    });
  }

  /** Ends the wire from this side. */
  close(why: TrunklineError = refuse("aborted", "the link was closed")): void {
    this.#end(why);
  }

  #write(id: bigint, kind: AnyClientKind): void {
    if (this.#ended !== undefined) throw this.#ended;
    const b = this.frames.marshal(id, kind);
    this.#o.tap?.sent(b);
    this.#socket.send(b);
  }

  #onMessage(b: Uint8Array | undefined): void {
    if (this.#ended !== undefined) return;
    if (b === undefined) return this.#end(refuse("malformed", "the node sent what is no frame"));
    this.#o.tap?.received(b);
    this.#onFrame(b);
  }

  #onFrame(b: Uint8Array): void {
    if (this.#ended !== undefined) return;
    this.#heard = this.#o.timers.now();
    let f: { readonly id: bigint; readonly kind: AnyNodeKind };
    try {
      f = this.frames.parse(b);
    } catch (err) {
      return this.#end(err instanceof TrunklineError ? err : refuse("malformed", "frame", err));
    }
    if (f.kind.case === "deliver") return this.#o.onDeliver(f.kind.value, this);
    if (f.kind.case === "drain") {
      this.#o.onDrain?.(f.kind.value);
      return this.#end(refuse("unreachable", "the node is going down or restarting"));
    }
    if (f.id === 0n) {
      if (f.kind.case === "error") this.#end(nodeRefusal(f.kind.value.code, Number(f.kind.value.retryAfterMs)));
      else if (f.kind.case === "roomEvent" || f.kind.case === "roomLeg") this.#o.onRoom?.(f.kind);
      return;
    }
    const got = this.#waiting.get(f.id);
    if (got !== undefined && !got(f.kind)) this.#waiting.delete(f.id);
  }

  // A browser answers the node's WebSocket pings by itself, unseen; a ping of our own shows a dead path.
  #pingLater(): void {
    this.#cancelPing = this.#o.timers.after(pingIntervalMs, () => {
      if (this.#o.timers.now() - this.#heard > 3 * pingIntervalMs) return this.#end(refuse("unreachable", "the node fell silent"));
      try {
        this.#write(this.#next++, { case: "ping", value: { nonce: 1n } });
      } catch (err) {
        return this.#end(refuse("unreachable", "the link to the node ended", err));
      }
      this.#pingLater();
    });
  }

  #end(err: TrunklineError): void {
    if (this.#ended !== undefined) return;
    this.#ended = err;
    this.#cancelPing();
    this.#socket.onmessage = null;
    this.#socket.onclose = null;
    this.#socket.onerror = () => undefined;
    this.#socket.close();
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const got of waiting) got(err);
    this.#o.onEnd(err);
  }
}

function binary(data: unknown): Uint8Array | undefined {
  const b = data instanceof ArrayBuffer ? new Uint8Array(data) : data instanceof Uint8Array ? data : undefined;
  return b === undefined || b.length > maxFrame ? undefined : b;
}
