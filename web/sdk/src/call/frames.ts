// What a connection and the worker that seals its frames say to each other.

import type { SFrameCodec } from "../sframe.ts";

/** What a transform is made with. The keys go into the worker and are not kept by the page. */
export interface FrameOptions {
  readonly id: number;
  readonly way: "seal" | "open";
  readonly kid: number;
  readonly key: Uint8Array;
}

/** Frames of one transform since it was made. */
export interface FrameCounts {
  /** Came to the transform. */
  readonly seen: number;
  /** Went on, sealed or opened. */
  readonly passed: number;
  /** Bytes of those that went on, as they went. */
  readonly bytes: number;
  /** Were dropped: plain, forged, repeated, of an unknown codec. */
  readonly dropped: number;
}

/** From the page: which payload type is which codec, where the browser does not say it with the frame; a question; that
 * every picture that comes is to begin anew. */
export type ToFrames =
  | { readonly type: "codecs"; readonly codecs: readonly (readonly [number, SFrameCodec])[] }
  | { readonly type: "keyframes" }
  | { readonly type: "count"; readonly question: number };

/** From the worker. first: the first frame of this transform was authentic and went on. */
export type FromFrames =
  | { readonly type: "ready" }
  | { readonly type: "first"; readonly id: number }
  | { readonly type: "counts"; readonly question: number; readonly counts: readonly (readonly [number, FrameCounts])[] };
