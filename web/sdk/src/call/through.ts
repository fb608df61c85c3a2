// The way of encoded frames through a worker: each is sealed or opened, and goes on, or is dropped. None ever goes on as
// it came. What is counted here is compared with what the browser counts, see media.ts.

import { refuse } from "../errors.ts";
import type { SFrameCodec } from "../sframe.ts";
import type { FrameCounts } from "./frames.ts";

export interface EncodedFrame {
  data: ArrayBuffer;
  readonly type?: string;
  getMetadata(): { readonly mimeType?: string; readonly payloadType?: number };
}

export interface Transformer<O> {
  readonly readable: ReadableStream<EncodedFrame>;
  readonly writable: WritableStream<EncodedFrame>;
  readonly options: O;
  sendKeyFrameRequest?(): Promise<unknown>;
}

export type Counted = { -readonly [K in keyof FrameCounts]: FrameCounts[K] };

const mimes: Readonly<Record<string, SFrameCodec>> = { "audio/opus": "opus", "video/vp8": "vp8", "video/vp9": "vp9" };

/** How long frames do not open before a key frame is asked for, and how long nothing is asked for again. */
const failingMs = 1_000;
const largest = 1 << 20;

/** What a frame is encoded with; codecs: by payload type, where the browser does not say it with the frame. */
function codecOf(frame: EncodedFrame, codecs: ReadonlyMap<number, SFrameCodec>): SFrameCodec {
  const { mimeType, payloadType } = frame.getMetadata();
  const codec = mimes[mimeType?.toLowerCase() ?? ""] ?? codecs.get(payloadType ?? -1);
  if (codec === undefined) throw refuse("malformed", "a frame of an unknown codec");
  return codec;
}

/** Sends all frames of one line through code. passed is told of each that goes on. */
export function through<O>(t: Transformer<O>, o: {
  readonly way: "seal" | "open"; readonly count: Counted; readonly codecs: () => ReadonlyMap<number, SFrameCodec>;
  readonly code: (codec: SFrameCodec, data: Uint8Array) => Promise<Uint8Array>; readonly passed: () => void;
}): void {
  const { count } = o;
  let failing = 0;
  let asked = -failingMs;
  const ask = () => {
    const now = performance.now();
    if (failing === 0) failing = now;
    if (o.way === "seal" || now - failing < failingMs || now - asked < failingMs) return;
    asked = now;
    // The track may have ended meanwhile, or carry sound: then there is nobody to ask.
    t.sendKeyFrameRequest?.().catch(() => undefined);
  };
  const frames = new TransformStream<EncodedFrame, EncodedFrame>({
    async transform(frame, controller) {
      // A packet of padding, with which a browser tries what the path carries; it is no frame.
      if (frame.data.byteLength === 0) return;
      count.seen++;
      let made: Uint8Array;
      try {
        if (frame.data.byteLength > largest) throw refuse("too_large", "a frame of more than 1 MiB");
        made = await o.code(codecOf(frame, o.codecs()), new Uint8Array(frame.data));
      } catch {
        count.dropped++;
        return ask();
      }
      failing = 0;
      frame.data = made.buffer.byteLength === made.byteLength ? made.buffer as ArrayBuffer : made.slice().buffer as ArrayBuffer;
      // Counted before it goes on, so that the browser never has more frames than are counted here.
      count.passed++;
      count.bytes += made.length;
      controller.enqueue(frame);
      o.passed();
    },
  });
  // It ends with the track, or with the worker.
  t.readable.pipeThrough(frames).pipeTo(t.writable).catch(() => undefined);
}
