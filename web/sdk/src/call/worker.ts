// The worker that every encoded frame of a call goes through: sealed on its way out, opened on its way in
// (docs/spec/media.md, section 2). A frame that cannot be sealed or does not open is dropped; none ever goes on
// as it came. What the worker counts is compared with what the browser counts, see media.ts.

import { refuse } from "../errors.ts";
import { SFrameReceiver, SFrameSender, type SFrameCodec } from "../sframe.ts";
import type { FrameOptions, FromFrames, ToFrames } from "./frames.ts";

interface EncodedFrame {
  data: ArrayBuffer;
  readonly type?: string;
  getMetadata(): { readonly mimeType?: string; readonly payloadType?: number };
}

interface Transformer {
  readonly readable: ReadableStream<EncodedFrame>;
  readonly writable: WritableStream<EncodedFrame>;
  readonly options: FrameOptions;
  sendKeyFrameRequest?(): Promise<unknown>;
}

const scope = globalThis as unknown as {
  onrtctransform: (e: { readonly transformer: Transformer }) => void;
  onmessage: (e: MessageEvent<ToFrames>) => void;
  postMessage(m: FromFrames): void;
};

const mimes: Readonly<Record<string, SFrameCodec>> = { "audio/opus": "opus", "video/vp8": "vp8", "video/vp9": "vp9" };

/** How long frames do not open before a key frame is asked for, and how long nothing is asked for again. */
const failingMs = 1_000;
const largest = 1 << 20;

async function codingOf(o: FrameOptions): Promise<(codec: SFrameCodec, data: Uint8Array) => Promise<Uint8Array>> {
  const key = o.key;
  try {
    if (o.way === "seal") {
      const sender = await SFrameSender.create(o.kid, key);
      return (codec, data) => sender.seal(codec, data);
    }
    const receiver = new SFrameReceiver();
    await receiver.addKey(o.kid, key);
    return async (codec, data) => (await receiver.open(codec, data)).frame;
  } finally {
    key.fill(0);
  }
}

/** Makes this worker the one that seals and opens. */
export function serveFrames(): void {
  const counts = new Map<number, { seen: number; passed: number; bytes: number; dropped: number }>();
  const opening = new Set<Transformer>();
  let codecs = new Map<number, SFrameCodec>();

  const codecOf = (frame: EncodedFrame): SFrameCodec => {
    const { mimeType, payloadType } = frame.getMetadata();
    const codec = mimes[mimeType?.toLowerCase() ?? ""] ?? codecs.get(payloadType ?? -1);
    if (codec === undefined) throw refuse("malformed", "a frame of an unknown codec");
    return codec;
  };

  scope.onrtctransform = ({ transformer }) => {
    const { options } = transformer;
    const count = { seen: 0, passed: 0, bytes: 0, dropped: 0 };
    counts.set(options.id, count);
    if (options.way === "open") opening.add(transformer);
    const coding = codingOf(options);
    let failing = 0;
    let asked = -failingMs;
    const ask = () => {
      const now = performance.now();
      if (failing === 0) failing = now;
      if (options.way === "seal" || now - failing < failingMs || now - asked < failingMs) return;
      asked = now;
      // The track may have ended meanwhile, or carry sound: then there is nobody to ask.
      transformer.sendKeyFrameRequest?.().catch(() => undefined);
    };
    const frames = new TransformStream<EncodedFrame, EncodedFrame>({
      async transform(frame, controller) {
        // A packet of padding, with which a browser tries what the path carries; it is no frame.
        if (frame.data.byteLength === 0) return;
        count.seen++;
        let made: Uint8Array;
        try {
          if (frame.data.byteLength > largest) throw refuse("too_large", "a frame of more than 1 MiB");
          made = await (await coding)(codecOf(frame), new Uint8Array(frame.data));
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
        if (count.passed === 1) scope.postMessage({ type: "first", id: options.id });
      },
    });
    // It ends with the track, or with the worker.
    transformer.readable.pipeThrough(frames).pipeTo(transformer.writable).catch(() => undefined);
  };

  scope.onmessage = ({ data }) => {
    if (data.type === "codecs") codecs = new Map(data.codecs);
    // Those of ended tracks and of sound refuse, and have nothing to begin anew.
    else if (data.type === "keyframes") for (const t of opening) t.sendKeyFrameRequest?.().catch(() => undefined);
    else scope.postMessage({ type: "counts", question: data.question, counts: [...counts].map(([id, c]) => [id, { ...c }] as const) });
  };

  scope.postMessage({ type: "ready" });
}
