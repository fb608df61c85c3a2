// The worker that every encoded frame of a room goes through (docs/spec/rooms.md, section 8). It holds the keys of all
// members and the one that this side seals with. Whose a frame is, the frame's key id says, and nothing else: what names
// another one than its line is for is dropped, so that nobody is ever seen in somebody else's place.

import { refuse } from "../errors.ts";
import type { SFrameCodec } from "../sframe.ts";
import { through, type Counted, type Transformer } from "../call/through.ts";
import { portSize, type FromRoomFrames, type RoomLine, type ToRoomFrames } from "./frames.ts";
import { ownerOf } from "./group.ts";
import { KeyRing } from "./ring.ts";

const scope = globalThis as unknown as {
  onrtctransform: (e: { readonly transformer: Transformer<RoomLine> }) => void;
  onmessage: (e: MessageEvent<ToRoomFrames>) => void;
  postMessage(m: FromRoomFrames): void;
};

interface Line {
  readonly transformer: Transformer<RoomLine>; readonly count: Counted; of: number; slot: number; told: boolean;
  /** The line was another one's: nothing goes on before a picture that rests on no other. */
  anew: "" | "waits" | "asked";
}

/** Whether an opened frame rests on no other; of sound each does. */
function isKey(codec: SFrameCodec, frame: Uint8Array): boolean {
  switch (codec) {
    case "vp8": return frame.length > 0 && (frame[0]! & 1) === 0; // RFC 6386, 9.1
    case "vp9": return frame.length > 0 && (frame[0]! & 0x0c) === 0; // show_existing_frame and frame_type, of all profiles but 3
    case "opus": return true;
  }
}

/** Makes this worker the one that seals and opens. */
export function serveRoomFrames(): void {
  const ring = new KeyRing();
  const lines = new Map<number, Line>();
  const codecs = new Map<number, ReadonlyMap<number, SFrameCodec>>();
  const early = new Map<number, { readonly of: number; readonly slot: number }>(); // said of a line before it is there
  const portOf = (id: number) => Math.floor(id / portSize);

  scope.onrtctransform = ({ transformer }) => {
    const { id, way } = transformer.options;
    const { slot, of } = early.get(id) ?? transformer.options;
    early.delete(id);
    const line: Line = { transformer, count: { seen: 0, passed: 0, bytes: 0, dropped: 0 }, of, slot, told: false, anew: "" };
    lines.set(id, line);
    const seal = async (codec: SFrameCodec, data: Uint8Array) => {
      if (ring.sender === undefined) throw refuse("key", "there is no key to seal with");
      return ring.sender.seal(line.slot, codec, data);
    };
    const open = async (codec: SFrameCodec, data: Uint8Array) => {
      const { of: expected, slot: place } = line;
      const who = ownerOf(codec, data);
      const receiver = ring.receivers.get(who.index);
      if (who.index !== expected || who.slot !== place || receiver === undefined) throw refuse("key", "a frame of another one");
      const frame = await receiver.open(place, codec, data);
      if (line.of !== expected || line.slot !== place) throw refuse("key", "the line is another one's by now");
      if (line.anew !== "" && !isKey(codec, frame)) {
        // The browser would show it on the last picture of whoever had the line before.
        if (line.anew === "waits") void begin(line);
        line.anew = "asked";
        throw refuse("key", "a frame that rests on another one's");
      }
      line.anew = "";
      return frame;
    };
    through(transformer, {
      way, count: line.count, codecs: () => codecs.get(portOf(id)) ?? new Map(), code: way === "seal" ? seal : open,
      passed: () => {
        if (line.told) return;
        line.told = true;
        scope.postMessage({ type: "first", id, of: line.of, slot: line.slot });
      },
    });
  };

  // Those of ended tracks and of sound refuse, and have nothing to begin anew.
  const begin = (l: Line) => l.transformer.sendKeyFrameRequest?.().catch(() => undefined);

  scope.onmessage = ({ data: m }) => {
    switch (m.type) {
      case "keys": return scope.postMessage({ type: "keys", question: m.question, answer: ring.call(m.call) });
      case "line": {
        const l = lines.get(m.id);
        if (l === undefined) return void early.set(m.id, m);
        l.of = m.of;
        l.slot = m.slot;
        l.told = false;
        l.anew = "waits";
        return;
      }
      case "codecs": return void codecs.set(m.port, new Map(m.codecs));
      case "keyframes":
        for (const [id, l] of lines) if (portOf(id) === m.port && l.transformer.options.way === "open") void begin(l);
        return;
      case "count":
        return scope.postMessage({ type: "counts", question: m.question, counts: [...lines].filter(([id]) => portOf(id) === m.port).map(([id, l]) => [id, { ...l.count }] as const) });
      case "close":
        codecs.delete(m.port);
        for (const all of [lines, early]) for (const id of all.keys()) if (portOf(id) === m.port) all.delete(id);
    }
  };

  scope.postMessage({ type: "ready" });
}
