// Every refusal has a code, so that callers branch on words and people get a sentence. Texts never
// quote keys, ids or what somebody wrote.

export type Code =
  // form
  | "malformed" | "not_canonical" | "too_large" | "size"
  // keys, identities, history
  | "key" | "signature" | "phrase" | "other_identity" | "rollback" | "equivocation" | "recovery_changed"
  | "stale" | "expired" | "not_yet_valid" | "revoked" | "not_listed" | "key_changed" | "suite" | "bundle" | "list_epoch"
  // opening
  | "rate" | "prekey" | "decrypt" | "recipients" | "sender" | "recipient" | "time" | "full" | "replay" | "policy"
  | "session" | "closed" | "exhausted"
  // calls
  | "ring_over" | "answer" | "unverified" | "binding" | "call_code" | "peer_alarm" | "peer_failed"
  // cards
  | "card_malformed" | "card_version" | "card_tampered" | "card_expired" | "card_not_yet" | "card_order" | "card_foreign" | "card_own"
  | "card_replayed" | "card_second" | "card_device"
  // link and client
  | "unreachable" | "refused" | "aborted" | "not_registered" | "no_contact" | "key_alarm" | "storage" | "node"
  // plugins
  | "plugin";

/** What the SDK throws for everything that is not a bug. */
export class TrunklineError extends Error {
  readonly code: Code;
  /** The node's own code, where a node refused. */
  readonly nodeCode: string | undefined;

  constructor(code: Code, message: string, options?: { cause?: unknown; nodeCode?: string }) {
    super(message, options?.cause === undefined ? undefined : { cause: options.cause });
    this.name = "TrunklineError";
    this.code = code;
    this.nodeCode = options?.nodeCode;
  }
}

/** Names a word that is not in the list. Show it to the person who typed it and nowhere else. */
export class WordError extends TrunklineError {
  readonly position: number;
  readonly word: string;

  constructor(position: number, word: string) {
    super("phrase", `word ${position} is not in the English word list`);
    this.name = "WordError";
    this.position = position;
    this.word = word.slice(0, 32);
  }
}

/** A node that proved its own key and speaks for another name than the one that was dialled: by its number in a local
 * network, for example. A person who compares `node` with what the node prints may register with it. */
export class UnknownNodeError extends TrunklineError {
  readonly domain: string;
  /** Its peer id. */
  readonly node: string;

  constructor(domain: string, node: string) {
    super("aborted", "the node speaks for another host than the one dialled");
    this.name = "UnknownNodeError";
    this.domain = domain;
    this.node = node;
  }
}

export function refuse(code: Code, message: string, cause?: unknown): TrunklineError {
  return new TrunklineError(code, message, cause === undefined ? undefined : { cause });
}

/** The code of an error, or undefined for what is not ours. */
export function codeOf(err: unknown): Code | undefined {
  return err instanceof TrunklineError ? err.code : undefined;
}

/** Whether a call with this error ends with an alarm: somebody may stand between its sides, or a browser does not seal. */
export function isAlarm(err: TrunklineError | undefined): boolean {
  return err !== undefined && ["key_alarm", "key_changed", "binding", "call_code"].includes(err.code);
}

/** The other side has said that it ended something with an alarm. That is its word. */
export function toldOfAlarm(): TrunklineError {
  return refuse("peer_alarm", "the other side ended it with an alarm");
}

/** Reports whether err, or one of its causes, has the code. */
export function isCode(err: unknown, code: Code): boolean {
  for (let e: unknown = err; e instanceof Error; e = e.cause) {
    if (e instanceof TrunklineError && e.code === code) return true;
  }
  return false;
}
