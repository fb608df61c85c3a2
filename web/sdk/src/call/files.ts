// One file over a call of its own (docs/spec/files.md): the ring, the engine over the call's channels, and the end.

import { checkAbort, type Abortable } from "../abort.ts";
import { refuse, TrunklineError } from "../errors.ts";
import { localIncoming, localOutgoing, type Sink, type Source } from "../transfer/local.ts";
import type { Manifest } from "../transfer/message.ts";
import { TransferEngine, type EngineOptions, type Incoming, type Progress } from "../transfer/transfer.ts";
import type { Call } from "./call.ts";
import type { Calls } from "./calls.ts";
import type { CallState } from "./machine.ts";

/** How a file is sent. */
export interface SendFileOptions extends Abortable {
  /** Tells the other side the relay's addresses and no others. */
  readonly relayOnly?: boolean;
  /** Told of each step; done and size are bytes. */
  readonly onProgress?: (p: Progress) => void;
}

/**
 * Rings somebody for a file and sends it. It resolves when the other side has the file whole, under its name. An abort
 * hangs up: what has arrived stays with the other side, which goes on from there when the same file is sent again.
 *
 * @param source at most one terabyte, read twice
 * @throws TrunklineError as startCall; policy (declined, busy or refused), too_large, unreachable (nobody answered, or
 *   the connection broke), aborted
 */
export async function sendFile(calls: Calls, to: string, source: Source, o: SendFileOptions = {}): Promise<void> {
  const { signal } = o;
  const c = await calls.startCall(to, { media: 0, relayOnly: o.relayOnly ?? false, signal });
  const hangup = () => c.hangup();
  signal?.addEventListener("abort", hangup, { once: true });
  try {
    if (signal?.aborted) hangup();
    await reach(c, "answered", "connecting", "live");
    const engine = filesOf(calls, c, { ask: async () => undefined });
    await reach(c, "live");
    await engine.send(localOutgoing(source), o.onProgress);
  } catch (err) {
    checkAbort(signal);
    throw err;
  } finally {
    signal?.removeEventListener("abort", hangup);
    c.hangup();
    await reach(c, "ended");
  }
}

/** Where the files of a call go, and who hears of them. */
export interface FilesOptions extends Pick<EngineOptions, "onReceiving" | "onReceived"> {
  /** Asked once for each offer; undefined refuses it. */
  readonly ask: (m: Manifest) => Promise<Sink | Incoming | undefined>;
}

/** Makes an answered call for files ready to take them, and to send more: ask says where each goes, or refuses it. */
export function filesOf(calls: Calls, c: Call, o: FilesOptions): TransferEngine {
  const { client } = calls;
  const { session } = c;
  if (session === undefined) throw refuse("malformed", "files come after the answer");
  const engine = new TransferEngine({
    ...o,
    ask: async (m) => {
      const where = await o.ask(m);
      return where === undefined || "open" in where ? where : localIncoming(where, m);
    },
    role: session.role, fileKey: session.fileKey(), after: (ms, f) => client.timers.after(ms, f),
    channels: { sendControl: (message) => c.sendControl({ case: "file", value: { message } }), sendChunk: (chunk) => c.sendFile(chunk) },
    run: (work) => client.background("a file", async () => {
      try {
        await work();
      } catch (err) {
        if (!(err instanceof TrunklineError)) throw err;
        c.happen({ type: "failed" }, { why: err });
      }
    }),
  });
  c.onControl = (m) => { if (m.case === "file") engine.takeControl(m.value.message); };
  c.onFile = (chunk) => engine.takeChunk(chunk);
  watch(c, (s) => { if (s.phase === "ended") engine.close(); });
  return engine;
}

/** Waits until a call has come to one of these phases. */
export async function reach(c: Call, ...phases: CallState["phase"][]): Promise<void> {
  const s = await new Promise<CallState>((resolve) => watch(c, (s) => { if (s.phase === "ended" || phases.includes(s.phase)) resolve(s); }));
  if (s.phase !== "ended" || phases.includes("ended")) return;
  if (c.why !== undefined) throw c.why;
  const words: Partial<Record<number, string>> = { 3: "the other side declined", 4: "the other side is busy" };
  throw refuse(s.reason in words ? "policy" : "unreachable", words[s.reason] ?? "nobody answered, or the call ended");
}

function watch(c: Call, look: (s: CallState) => void): void {
  const before = c.onState;
  c.onState = (s) => {
    before(s);
    look(s);
  };
  look(c.state);
}
