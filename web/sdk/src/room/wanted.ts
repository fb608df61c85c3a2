// What a member asks of the SFU.

import type { SlotName } from "../call/media.ts";
import type { Stream } from "./leg.ts";
import type { Wants } from "./types.ts";

/** As many streams as have room in the 65,536 bytes that a description may have: the sound of a full room and of four screens, and
 * pictures beside it. With many more there is no leg at all. */
const mostSounds = 53;
const mostPictures = 28;

/** Sound of everybody who sends it, and of the pictures those that are on the screen; of whoever has not said, everybody's, screens
 * first. Whoever only listens takes no section, and nobody a description when it comes. */
export function wanted(people: readonly number[], sends: (of: number, slot: SlotName) => boolean, w: Wants | undefined): Stream[] {
  const all = (slot: SlotName, priority: number) => people.map((of) => ({ of, slot, priority, height: 0 }));
  const some = (streams: readonly Stream[], most: number) =>
    streams.filter((x, i) => sends(x.of, x.slot) && streams.findIndex((y) => y.of === x.of && y.slot === x.slot) === i).slice(0, most);
  const pictures = w?.tiles.map((t, i) => (
    { of: t.person, slot: t.slot, priority: (t.pinned === true ? 128 : 0) + Math.max(100 - i, 0), height: Math.round(t.height) }
  )) ?? [...all("screen", 1), ...all("camera", 0)];
  return [...some([...all("microphone", 255), ...all("screenAudio", 255)], mostSounds), ...some(pictures, mostPictures)];
}
