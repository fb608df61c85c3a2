// Why a transfer ends before its file is whole (docs/spec/files.md, section 2).

import { TrunklineError } from "../errors.ts";

export const TransferReason = {
  refused: 1, tooLarge: 2, busy: 3, disk: 4, corrupt: 5, changed: 6, stopped: 7, paused: 8,
} as const;

/**
 * A transfer that ended before the file was whole: which side ended it, and why. Where it was ours, the other side has
 * still to hear of it: the session is closed by that one, or a moment later.
 */
export class TransferError extends TrunklineError {
  readonly reason: number;
  readonly by: "us" | "them";

  constructor(reason: number, by: "us" | "them", message: string, cause?: unknown) {
    super(reason === TransferReason.refused ? "policy" : "aborted", message, cause === undefined ? {} : { cause });
    this.reason = reason;
    this.by = by;
  }
}
