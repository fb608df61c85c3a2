// The worker that every encoded frame of a call goes through: sealed on its way out, opened on its way in
// (docs/spec/media.md, section 2). A frame that cannot be sealed or does not open is dropped; none ever goes on
// as it came. What the worker counts is compared with what the browser counts, see media.ts.

import { SFrameReceiver, SFrameSender, type SFrameCodec } from "../sframe.ts";
import type { FrameOptions, FromFrames, ToFrames } from "./frames.ts";
import { through, type Counted, type Transformer } from "./through.ts";

const scope = globalThis as unknown as {
  onrtctransform: (e: { readonly transformer: Transformer<FrameOptions> }) => void;
  onmessage: (e: MessageEvent<ToFrames>) => void;
  postMessage(m: FromFrames): void;
};

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
  const counts = new Map<number, Counted>();
  const opening = new Set<Transformer<FrameOptions>>();
  // One for each KID, however many sections its frames go through: no counter is used twice, and no frame opens twice.
  const codings = new Map<string, ReturnType<typeof codingOf>>();
  let codecs = new Map<number, SFrameCodec>();

  scope.onrtctransform = ({ transformer }) => {
    const { options } = transformer;
    const count = { seen: 0, passed: 0, bytes: 0, dropped: 0 };
    counts.set(options.id, count);
    if (options.way === "open") opening.add(transformer);
    const coding = codings.get(options.way + options.kid) ?? codingOf(options);
    codings.set(options.way + options.kid, coding);
    options.key.fill(0); // it was copied before the first wait
    through(transformer, {
      way: options.way, count, codecs: () => codecs, code: async (codec, data) => (await coding)(codec, data),
      passed: () => { if (count.passed === 1) scope.postMessage({ type: "first", id: options.id }); },
    });
  };

  scope.onmessage = ({ data }) => {
    if (data.type === "codecs") codecs = new Map(data.codecs);
    // Those of ended tracks and of sound refuse, and have nothing to begin anew.
    else if (data.type === "keyframes") for (const t of opening) t.sendKeyFrameRequest?.().catch(() => undefined);
    else scope.postMessage({ type: "counts", question: data.question, counts: [...counts].map(([id, c]) => [id, { ...c }] as const) });
  };

  scope.postMessage({ type: "ready" });
}
