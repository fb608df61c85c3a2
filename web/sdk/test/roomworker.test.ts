// The worker of a room's frames, spoken to as its page and its browser do.

import { expect, it } from "vitest";
import type { FromRoomFrames, RoomLine, ToRoomFrames } from "../src/room/frames.ts";
import { GroupSender, newGroupKey } from "../src/room/group.ts";
import { serveRoomFrames } from "../src/room/worker.ts";
import type { EncodedFrame, Transformer } from "../src/call/through.ts";
import { Slot, type SFrameCodec } from "../src/sframe.ts";

const scope = globalThis as unknown as {
  onrtctransform: (e: { transformer: Transformer<RoomLine> }) => void;
  onmessage: (e: { data: ToRoomFrames }) => void;
  postMessage(m: FromRoomFrames): void;
};
const said: FromRoomFrames[] = [];
scope.postMessage = (m) => void said.push(m);
serveRoomFrames();
const say = (data: ToRoomFrames) => scope.onmessage({ data });

/** What a browser has on a line that opens: frames go in, and what the worker lets through comes out. */
function line(id: number, of: number) {
  const [input, output] = [new TransformStream<EncodedFrame, EncodedFrame>(), new TransformStream<EncodedFrame, EncodedFrame>()];
  const [writer, reader] = [input.writable.getWriter(), output.readable.getReader()];
  let asked = 0;
  scope.onrtctransform({ transformer: {
    readable: input.readable, writable: output.writable, options: { id, way: "open", slot: Slot.camera, of },
    sendKeyFrameRequest: async () => void asked++,
  } });
  return {
    gets: (codec: SFrameCodec, data: Uint8Array) => writer.write({ data: data.slice().buffer as ArrayBuffer, getMetadata: () => ({ mimeType: `video/${codec}` }) }),
    shows: async () => [...new Uint8Array((await reader.read()).value!.data)],
    get asked() { return asked; },
  };
}

const pictures: Record<string, { readonly key: Uint8Array; readonly next: Uint8Array }> = {
  vp8: { key: Uint8Array.of(0x10, 2, 0, 0x9d, 1, 0x2a, 64, 0, 64, 0, 7), next: Uint8Array.of(0x11, 1, 1, 1) },
  vp9: { key: Uint8Array.of(0x82, 0x49, 0x83, 0x42), next: Uint8Array.of(0x86, 1, 1, 1) },
};

it.each(["vp8", "vp9"] as const)("goes on with a key frame alone on a line that was another one's, %s", async (codec) => {
  const [ada, bob] = [2, 3].map((index) => {
    const key = newGroupKey();
    say({ type: "keys", question: 0, call: { do: "give", of: index, key } });
    return { index, sender: new GroupSender(index, key) };
  }) as [{ index: number; sender: GroupSender }, { index: number; sender: GroupSender }];
  const { key, next } = pictures[codec]!;
  const id = codec === "vp8" ? 1 : 2;
  const l = line(id, ada.index);
  // In this order; a write ends when somebody reads.
  const send = async (who: typeof ada, data: Uint8Array) => {
    const sealed = await who.sender.seal(Slot.camera, codec, data);
    void l.gets(codec, sealed);
  };
  // The one whose line it was from the beginning may begin with any frame: a browser shows none before a key frame.
  await send(ada, next);
  expect(await l.shows()).toEqual([...next]);

  say({ type: "line", id, of: bob.index, slot: Slot.camera });
  await send(ada, key); // late: it is hers no more
  await send(bob, next);
  await send(bob, next);
  await send(bob, key);
  expect(await l.shows()).toEqual([...key]);
  expect(l.asked).toBeGreaterThan(0);
  await send(bob, next);
  expect(await l.shows()).toEqual([...next]);
  expect(said.filter((m) => m.type === "first" && m.id === id)).toEqual([ada, bob].map(({ index }) => ({ type: "first", id, of: index, slot: Slot.camera })));
  say({ type: "count", port: 0, question: codec === "vp8" ? 8 : 9 });
  const counts = said.flatMap((m) => (m.type === "counts" ? m.counts : [])).findLast(([of]) => of === id)![1];
  expect([counts.seen, counts.passed, counts.dropped]).toEqual([6, 3, 3]);
});
