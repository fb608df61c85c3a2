// What a page and the worker that handles its files say to each other. Every message names its job; keys go into
// the worker and are not kept there longer than the job.

import type { Bytes } from "../bytes.ts";
import type { ChunkSecrets } from "./stream.ts";

/** Where a file is kept while it comes. disk: the browser's own file system; memory: nowhere else; page: the page writes it. */
export type Keeping = "disk" | "memory" | "page";

export type ToFiles =
  | { readonly type: "hash"; readonly job: number; readonly file: Blob } // answered with the hashes
  | { readonly type: "cut"; readonly job: number; readonly file: Blob; readonly secrets: ChunkSecrets; readonly from: number; readonly root: Bytes; readonly hashes: readonly Bytes[] }
  | { readonly type: "next"; readonly job: number } // answered with messages; undefined at the end
  | { readonly type: "keep"; readonly job: number; readonly keeping: Keeping; readonly place: string; readonly secrets: ChunkSecrets; readonly root: Bytes;
      /** Hashes of what the page has written before. */ readonly have: readonly Bytes[] } // answered with There
  | { readonly type: "reserve"; readonly job: number; readonly place: string; readonly size: number } // answered with nothing
  | { readonly type: "chunk"; readonly job: number; readonly message: Bytes }
  | { readonly type: "wrote"; readonly job: number } // the page has written the unit that it was given
  | { readonly type: "remove"; readonly job: number; readonly place: string } // answered with nothing
  | { readonly type: "close"; readonly job: number };

export interface There { readonly units: number; readonly done: boolean }

export type FromFiles =
  | { readonly type: "bytes"; readonly job: number; readonly done: number }
  | { readonly type: "answer"; readonly job: number; readonly value: readonly Bytes[] | There | undefined }
  | { readonly type: "unit"; readonly job: number; readonly content: Bytes; readonly hash: Bytes }
  | { readonly type: "kept"; readonly job: number; readonly units: number }
  | { readonly type: "end"; readonly job: number; readonly blob: Blob | undefined }
  | { readonly type: "failed"; readonly job: number; readonly why: Failure };

/** full: no room; storage: the browser cannot keep files; changed: the file is another one now; the rest as Code. */
export type Failure = "full" | "storage" | "changed" | "malformed" | "decrypt" | "gone";

/** Where files lie in the browser's own file system while they come, and until they are removed. */
export const folder = "files";
export const partName = (place: string) => `${place}.part`;
export const hashesName = (place: string) => `${place}.hashes`;
export const doneName = (place: string) => `${place}.file`;
