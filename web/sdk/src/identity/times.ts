// Lives and limits of signed objects. Objects carry Unix seconds; "now" is in milliseconds everywhere.

import { isZero, type Bytes } from "../bytes.ts";
import { refuse } from "../errors.ts";

const hour = 3600;
const day = 24 * hour;

export const certLifetime = 90 * day;
export const listLifetime = 30 * day;
export const listGrace = 7 * day;
export const descriptorLifetime = 8 * day;
export const domainLifetime = 35 * day;
export const clockAheadMs = 5 * 60 * 1000;

export const maxUnix = 253402300799n;
export const maxEpoch = (1n << 53n) - 1n;

export const suite = 1;

/** Checks the begin and the end of an object's life and returns them as numbers. */
export function span(begin: bigint, end: bigint, longest: number): { begin: number; end: number } {
  if (begin === 0n || end > maxUnix || begin >= end) throw refuse("malformed", "its times are not in order");
  if (end - begin > BigInt(longest)) throw refuse("malformed", "it lives too long");
  return { begin: Number(begin), end: Number(end) };
}

/** Throws not_yet_valid or expired. The signer's clock may be a little ahead of ours. */
export function within(nowMs: number, begin: number, end: number): void {
  if (nowMs + clockAheadMs < begin * 1000) throw refuse("not_yet_valid", "not valid yet");
  if (nowMs >= end * 1000) throw refuse("expired", "expired");
}

export function checkEpoch(epoch: bigint): number {
  if (epoch === 0n || epoch > maxEpoch) throw refuse("malformed", "its epoch is out of range");
  return Number(epoch);
}

/** The hash of the predecessor, absent at epoch 1 and only there. */
export function checkPrevious(epoch: number, previous: Bytes): Bytes | undefined {
  if (epoch === 1) {
    if (previous.length !== 0) throw refuse("malformed", "epoch 1 names a predecessor");
    return undefined;
  }
  if (previous.length !== 32 || isZero(previous)) throw refuse("malformed", "it names no predecessor");
  return previous;
}

export function checkVersion(v: number): void {
  if (v !== 1) throw refuse("malformed", `version ${v} is not known here`);
}

export function pastHalf(begin: number, end: number, nowMs: number): boolean {
  return nowMs >= (begin + (end - begin) / 2) * 1000;
}
