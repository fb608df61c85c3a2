// What the page and the worker that keeps files say to each other.

export type ToFiles =
  | { type: 'have'; id: string; units: number; unitSize: number; size: number } // answered with Uint8Array[]
  | { type: 'write'; id: string; unit: number; unitSize: number; content: ArrayBuffer; hash: ArrayBuffer } // null
  | { type: 'finish'; id: string; size: number } // null
  | { type: 'discard'; id: string }; // null

export type FromFiles = { ok: true; value: Uint8Array[] | null } | { ok: false; why: string };

/** Where a file lies in the browser's own file system while it comes, and until it was saved. */
export const folder = 'files';
export const partName = (id: string) => `${id}.part`;
export const doneName = (id: string) => `${id}.file`;
export const hashesName = (id: string) => `${id}.hashes`;

/** Under which transfers are written down in the SDK's store. */
export const recordPrefix = 'app/transfer/';
