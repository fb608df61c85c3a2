import { codeOf, TrunklineError } from '@trunkline/sdk';
import type { Problem } from './state.ts';

/** The node's own codes, where they tell a person more than the SDK's. */
const nodeCodes: Record<string, Problem> = {
  invitation_invalid: 'invite',
  registration_closed: 'closed',
  rate: 'limited',
  quota: 'limited',
  queue_full: 'limited',
  unreachable: 'unreachable',
  unavailable: 'unreachable',
  draining: 'unreachable',
  unknown_destination: 'not-found',
};

/** Whether there was no room, somewhere at the bottom of it. */
function isFull(error: unknown): boolean {
  for (let e = error; e instanceof Error || e instanceof DOMException; e = e.cause) if (e.name === 'QuotaExceededError') return true;
  return false;
}

/** What a person is told of an error of the SDK. Null: it is none of its errors, but a bug, and is
 * thrown on. */
export function problemOf(error: unknown): Problem | null {
  if (!(error instanceof TrunklineError)) return null;
  switch (codeOf(error)) {
    case 'refused':
      return nodeCodes[error.nodeCode ?? ''] ?? 'refused';
    case 'unreachable':
    case 'aborted':
      return 'unreachable';
    case 'policy':
      return 'refused';
    case 'rate':
    case 'full':
      return 'limited';
    case 'too_large':
    case 'size':
      return 'too-long';
    case 'no_contact':
      return 'not-found';
    case 'not_registered':
      return 'not-accepted';
    case 'key_alarm':
    case 'equivocation':
    case 'rollback':
    case 'recovery_changed':
    case 'key_changed':
      return 'alarm';
    case 'signature':
    case 'other_identity':
    case 'stale':
    case 'expired':
    case 'not_yet_valid':
    case 'revoked':
    case 'not_listed':
    case 'bundle':
    case 'list_epoch':
    case 'suite':
    case 'unverified':
      return 'verification';
    case 'storage':
      return isFull(error) ? 'full' : 'storage';
    case 'phrase':
      return 'phrase';
    case 'malformed':
    case 'not_canonical':
    case 'key':
      return 'address';
    default:
      return 'other';
  }
}

/** Runs an action and returns what a person can be told of its failure. */
export async function attempt(action: () => Promise<void>): Promise<Problem | null> {
  try {
    await action();
    return null;
  } catch (error) {
    const problem = problemOf(error);
    if (problem === null) throw error;
    return problem;
  }
}
