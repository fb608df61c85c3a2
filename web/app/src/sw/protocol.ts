// What the page and the service worker say to each other.

/** What the worker knows of the bundle it runs and of the one that the node serves. */
export interface BundleState {
  /** Digest of the bundle that is pinned and run, in hexadecimal. */
  pinned: string;
  /** Digest of another bundle that the node serves, or empty. */
  offered: string;
}

export type ToWorker =
  | { type: 'state' } // answered with BundleState on the port
  | { type: 'look' } // ask the node now; answered with BundleState
  | { type: 'take'; digest: string } // pin exactly the offered one; answered with TakeResult
  | { type: 'pass'; id: string; name: string; size: number } // a file is about to be asked for under passingPath; its content comes on the port
  | { type: 'stay' }; // a file is passing: the browser ends a worker that hears nothing for half a minute

export type TakeResult = { ok: true } | { ok: false; why: 'changed' | 'offline' | 'corrupt' };

/** Where the browser's downloads ask for a file that passes through the worker. */
export const passingPath = '/passing/';

/** On a passing file's port, to the worker: a piece, the end of the file, or that it will not come. */
export type ToPassing = Uint8Array | 'end' | 'abort';
/** From it: it knows of the file; there is room for a piece; the person has stopped the download. */
export type FromPassing = 'ready' | 'more' | 'gone';

export const bundleCache = (digest: string) => `trunkline-bundle-${digest}`;
export const pinCache = 'trunkline-pin';
export const pinKey = '/pin';

export interface Entry {
  name: string;
  sum: string;
}

const line = /^([0-9a-f]{64}) {2}([a-z0-9][a-z0-9._/-]{0,127})$/;

/** Reads bundle.txt: at most 200 lines of "sum  name". Anything else is null. */
export function parseListing(text: string): Entry[] | null {
  if (text.length > 64 * 1024 || !text.endsWith('\n')) return null;
  const entries: Entry[] = [];
  for (const one of text.slice(0, -1).split('\n')) {
    const match = line.exec(one);
    if (!match?.[1] || !match[2] || match[2].includes('..') || entries.length >= 200) return null;
    entries.push({ name: match[2], sum: match[1] });
  }
  return entries;
}

export function hex(bytes: ArrayBuffer): string {
  let s = '';
  for (const b of new Uint8Array(bytes)) s += b.toString(16).padStart(2, '0');
  return s;
}

export async function sha256(data: ArrayBuffer | Uint8Array<ArrayBuffer>): Promise<string> {
  return hex(await crypto.subtle.digest('SHA-256', data));
}
