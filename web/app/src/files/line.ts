import { call, type Client, isCode, transfer, TrunklineError } from '@trunkline/sdk';
import type { TransferEnd } from '../state.ts';

type Call = call.Call;
type CallState = call.CallState;

/** The engine of a call that carries one file, fed from its channels. */
export function engineOf(client: Client, c: Call, o: Pick<transfer.EngineOptions, 'ask' | 'onReceiving' | 'onReceiveEnd' | 'onReceived'>): transfer.TransferEngine {
  const { session } = c;
  if (!session) throw new Error('a call was answered without a session');
  const engine = new transfer.TransferEngine({
    ...o,
    channels: {
      sendControl: (message) => c.sendControl({ case: 'file', value: { message } }),
      sendChunk: (chunk) => c.sendFile(chunk),
    },
    fileKey: session.fileKey(),
    role: session.role,
    after: (ms, f) => client.timers.after(ms, f),
    run: (work) =>
      client.background('a file', async () => {
        try {
          await work();
        } catch (error) {
          if (!(error instanceof TrunklineError)) throw error;
          c.happen({ type: 'failed' }, { why: error });
        }
      }),
  });
  c.onControl = (m) => {
    if (m.case === 'file') engine.takeControl(m.value.message);
  };
  c.onFile = (chunk) => engine.takeChunk(chunk);
  return engine;
}

/** How long the other side has to hear why a file ends here, before the line is closed. */
const lastWordMs = 3_000;

/** Closes a line: at once, or, when the last word was ours, after the other side has heard it and closed it. */
export function leave(client: Client, c: Call, error: unknown): void {
  const theirs = error === undefined || (error instanceof transfer.TransferError && error.by === 'them');
  if (theirs) c.hangup();
  else client.timers.after(lastWordMs, () => c.hangup());
}

/** Waits for the phases of one call. */
export class Watch {
  private readonly call: Call;
  private readonly looks = new Set<(s: CallState) => void>();
  private readonly ends = new Set<() => void>();

  constructor(c: Call) {
    this.call = c;
    c.onState = (s) => {
      for (const look of [...this.looks]) look(s);
      if (s.phase === 'ended') for (const end of this.ends) end();
    };
  }

  onEnd(f: () => void): void {
    if (this.call.state.phase === 'ended') f();
    else this.ends.add(f);
  }

  /** The first of these phases, or the end. */
  until(...phases: CallState['phase'][]): Promise<CallState> {
    return new Promise((resolve) => {
      const look = (s: CallState) => {
        if (!phases.includes(s.phase) && s.phase !== 'ended') return;
        this.looks.delete(look);
        resolve(s);
      };
      this.looks.add(look);
      look(this.call.state);
    });
  }
}

/** How a ring ended that nobody took: session.md, section 2. */
export function endOf(s: CallState, c: Call): 'declined' | 'busy' | 'no-answer' | 'unreachable' | 'other' {
  if (s.phase !== 'ended') return 'other';
  switch (s.reason) {
    case 3:
      return 'declined';
    case 4:
      return 'busy';
    case 5:
      return 'no-answer';
    default:
      return c.why === undefined || isCode(c.why, 'unreachable') || isCode(c.why, 'refused') ? 'unreachable' : 'other';
  }
}

const { refused, tooLarge, busy, disk, corrupt, changed, stopped, paused } = transfer.TransferReason;
const ofSend: Record<number, TransferEnd | 'interrupted'> = {
  [refused]: 'declined',
  [tooLarge]: 'too-large',
  [busy]: 'interrupted',
  [disk]: 'their-disk',
  [corrupt]: 'corrupt',
  [changed]: 'changed',
  [stopped]: 'their-stop',
  [paused]: 'interrupted',
};

/** What an error says of a file that was on its way to somebody. */
export function endOfSend(error: TrunklineError): TransferEnd | 'interrupted' {
  return error instanceof transfer.TransferError ? (ofSend[error.reason] ?? 'other') : isCode(error, 'unreachable') ? 'interrupted' : 'other';
}

const ofReceive: Record<number, TransferEnd | 'paused'> = { [paused]: 'paused', [changed]: 'their-change', [corrupt]: 'corrupt' };

/** The same of one that somebody sends. Interrupted: it may go on another time. */
export function endOfReceive(why: TrunklineError | undefined): TransferEnd | 'paused' | 'interrupted' {
  if (why instanceof transfer.TransferError) return ofReceive[why.reason] ?? (why.by === 'them' ? 'their-stop' : why.reason === disk ? 'disk' : 'stopped');
  return why && (isCode(why, 'full') || isCode(why, 'storage') || isCode(why, 'too_large')) ? 'disk' : 'interrupted';
}

/** Bytes a second over the last five seconds, so that a pause shows. */
export class Rate {
  private readonly seen: { at: number; done: number }[] = [];

  of(done: number): number {
    const at = performance.now();
    this.seen.push({ at, done });
    while (this.seen.length > 2 && at - (this.seen[0]?.at ?? at) > 5000) this.seen.shift();
    const first = this.seen[0];
    return first && at > first.at ? ((done - first.done) / (at - first.at)) * 1000 : 0;
  }
}
