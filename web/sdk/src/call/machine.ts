// What the two sides of a call do (docs/spec/session.md, sections 9 to 11), as a pure reducer: a state and an
// event go in, the next state and the actions come out. deadlineMs says when to come back with a tick.

import { Reason } from "../envelope/bodies.ts";
import type { DeviceId, PublicKey } from "../identity/key.ts";

export const ringMs = 60_000;
export const answerMs = 20_000;
export const connectMs = 30_000;
export const resendMs = 2_000;

/** Devices are named by their ids in hexadecimal. */
export type CallState =
  | { readonly side: "caller"; readonly phase: "ringing"; readonly ringing: readonly string[]; readonly busy: boolean; readonly deadlineMs: number }
  | { readonly side: "callee"; readonly phase: "ringing"; readonly deadlineMs: number }
  | { readonly side: "caller"; readonly phase: "answered"; readonly winner: string; readonly deadlineMs: number; readonly giveUpMs: number }
  | { readonly side: "callee"; readonly phase: "answered"; readonly deadlineMs: number; readonly giveUpMs: number }
  | { readonly side: "caller"; readonly phase: "connecting"; readonly winner: string; readonly deadlineMs: number }
  | { readonly side: "callee"; readonly phase: "connecting"; readonly deadlineMs: number }
  | { readonly side: "caller" | "callee"; readonly phase: "live" }
  | { readonly side: "caller" | "callee"; readonly phase: "ended"; readonly reason: Reason };

export type CallEvent =
  | { readonly type: "tick" }
  // What the other side did; it has been verified.
  | { readonly type: "accepted" | "accept-again" | "declined" | "busy" | "unreachable"; readonly device: string }
  | { readonly type: "cancelled" | "bye"; readonly reason: Reason }
  | { readonly type: "frame" } // a valid frame
  | { readonly type: "glare-lost" } // the other side's ring survives ours
  // What happened here.
  | { readonly type: "accept" | "decline" | "hangup" | "bound" | "failed" | "alarm" };

export type CallAction =
  | { readonly do: "cancel"; readonly device: string; readonly reason: Reason }
  | { readonly do: "send-first" | "resend-first"; readonly device: string }
  | { readonly do: "accept" | "resend-answer" | "decline" | "send-busy" }
  | { readonly do: "open-ice" } // the caller's first valid frame is here: addresses may be told
  | { readonly do: "step" }
  | { readonly do: "bye" | "missed" | "end"; readonly reason: Reason };

export interface Step { readonly state: CallState; readonly actions: readonly CallAction[] }

function stay(state: CallState): Step {
  return { state, actions: [] };
}

function end(side: "caller" | "callee", reason: Reason, ...before: readonly CallAction[]): Step {
  return { state: { side, phase: "ended", reason }, actions: [...before, { do: "end", reason }] };
}

/** A call whose rings are on their way to the devices. */
export function outgoing(nowMs: number, devices: readonly string[]): CallState {
  return { side: "caller", phase: "ringing", ringing: devices, busy: false, deadlineMs: nowMs + ringMs };
}

/** How a device takes a ring. */
export type Greeting = "ring" | "accept" | "busy" | "missed";

/** A ring that was opened and ends at expiresMs. */
export function incoming(nowMs: number, expiresMs: number, greeting: Greeting): Step {
  if (greeting === "missed" || nowMs >= expiresMs) return end("callee", Reason.timeout, { do: "missed", reason: Reason.timeout });
  if (greeting === "accept") return accept(nowMs);
  if (greeting === "busy") return end("callee", Reason.busy, { do: "send-busy" }, { do: "missed", reason: Reason.busy });
  return stay({ side: "callee", phase: "ringing", deadlineMs: expiresMs });
}

function accept(nowMs: number): Step {
  return { state: { side: "callee", phase: "answered", deadlineMs: nowMs + resendMs, giveUpMs: nowMs + answerMs }, actions: [{ do: "accept" }] };
}

/** Takes one event. What has no row in the tables changes nothing. */
export function next(s: CallState, nowMs: number, e: CallEvent): Step {
  switch (s.phase) {
    case "ringing": return s.side === "caller" ? callerRinging(s, nowMs, e) : calleeRinging(s, nowMs, e);
    case "answered": return answered(s, nowMs, e);
    case "connecting":
      // The other side has not seen our first frame if it sends its ACCEPT again.
      if (s.side === "caller" && e.type === "accept-again" && e.device === s.winner) return { state: s, actions: [{ do: "resend-first", device: s.winner }] };
      if (e.type === "bound") return { state: { side: s.side, phase: "live" }, actions: [{ do: "step" }] };
      if (e.type === "tick" && nowMs >= s.deadlineMs) return withBye(s.side, Reason.failed);
      return connected(s, e);
    case "live": return connected(s, e);
    case "ended": return stay(s);
  }
}

function withBye(side: "caller" | "callee", reason: Reason): Step {
  return end(side, reason, { do: "bye", reason });
}

function connected(s: CallState, e: CallEvent): Step {
  switch (e.type) {
    case "bye": return end(s.side, e.reason);
    case "hangup": return withBye(s.side, Reason.ended);
    case "failed": return withBye(s.side, Reason.failed);
    case "alarm": return withBye(s.side, Reason.alarm);
  }
  return stay(s);
}

type Phase<P extends CallState["phase"], S extends CallState["side"]> = Extract<CallState, { readonly phase: P; readonly side: S }>;

function callerRinging(s: Phase<"ringing", "caller">, nowMs: number, e: CallEvent): Step {
  const cancel = (devices: readonly string[], reason: Reason): CallAction[] => devices.map((device) => ({ do: "cancel", device, reason }));
  const endAll = (reason: Reason) => end("caller", reason, ...cancel(s.ringing, reason));
  switch (e.type) {
    case "hangup": case "glare-lost": return endAll(Reason.ended);
    case "failed": case "alarm": return endAll(Reason.failed);
    case "tick": return nowMs < s.deadlineMs ? stay(s) : endAll(Reason.timeout);
    case "accepted": case "declined": case "busy": case "unreachable": break;
    default: return stay(s);
  }
  if (!s.ringing.includes(e.device)) return stay(s);
  const others = s.ringing.filter((d) => d !== e.device);
  if (e.type === "accepted") {
    return {
      state: { side: "caller", phase: "answered", winner: e.device, deadlineMs: nowMs + resendMs, giveUpMs: nowMs + answerMs },
      actions: [{ do: "send-first", device: e.device }, ...cancel(others, Reason.answeredElsewhere)],
    };
  }
  // The person said no, so it is asked nowhere else.
  if (e.type === "declined") return end("caller", Reason.declined, ...cancel(others, Reason.declined));
  const busy = s.busy || e.type === "busy";
  return others.length > 0 ? stay({ ...s, ringing: others, busy }) : end("caller", busy ? Reason.busy : Reason.failed);
}

function calleeRinging(s: Phase<"ringing", "callee">, nowMs: number, e: CallEvent): Step {
  const missed = (reason: Reason) => end("callee", reason, { do: "missed", reason });
  switch (e.type) {
    // The caller has given up by the end even if its CANCEL is still on the way.
    case "accept": return nowMs < s.deadlineMs ? accept(nowMs) : missed(Reason.timeout);
    case "decline": case "hangup": return end("callee", Reason.declined, { do: "decline" });
    // The person knows of a call that was answered or declined elsewhere.
    case "cancelled": return e.reason === Reason.answeredElsewhere || e.reason === Reason.declined ? end("callee", e.reason) : missed(e.reason);
    case "failed": case "alarm": return missed(Reason.failed);
    case "tick": return nowMs < s.deadlineMs ? stay(s) : missed(Reason.timeout);
  }
  return stay(s);
}

function answered(s: Extract<CallState, { readonly phase: "answered" }>, nowMs: number, e: CallEvent): Step {
  switch (e.type) {
    case "frame":
      return s.side === "caller"
        ? stay({ side: "caller", phase: "connecting", winner: s.winner, deadlineMs: nowMs + connectMs })
        // Only now does the caller prove that it holds the keys, so only now does it learn where we are.
        : { state: { side: "callee", phase: "connecting", deadlineMs: nowMs + connectMs }, actions: [{ do: "open-ice" }] };
    case "accept-again":
      return s.side === "caller" && e.device === s.winner ? { state: s, actions: [{ do: "resend-first", device: s.winner }] } : stay(s);
    case "cancelled":
      // Another device was faster, or the caller gave up while our ACCEPT was on its way.
      return s.side === "callee" ? end("callee", e.reason) : stay(s);
    case "tick": {
      if (nowMs >= s.giveUpMs) return withBye(s.side, Reason.failed);
      if (nowMs < s.deadlineMs) return stay(s);
      const deadlineMs = Math.min(nowMs + resendMs, s.giveUpMs);
      return s.side === "caller"
        ? { state: { ...s, deadlineMs }, actions: [{ do: "resend-first", device: s.winner }] }
        : { state: { ...s, deadlineMs }, actions: [{ do: "resend-answer" }] };
    }
  }
  return connected(s, e);
}

/** When the next tick is due. */
export function deadlineOf(s: CallState): number | undefined {
  return "deadlineMs" in s ? s.deadlineMs : undefined;
}

/** Of two rings at the same time that of the lower root key survives, or of the lower device. Whether it is ours. */
export function glareIsOurs(own: PublicKey, peer: PublicKey, ownDevice: DeviceId, peerDevice: DeviceId): boolean {
  return own.equals(peer) ? ownDevice.hex < peerDevice.hex : own.hex < peer.hex;
}
