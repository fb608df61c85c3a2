// Who is large: whoever speaks, but not with every cough. Pure, with the time handed in.

export interface Floor {
  /** Who has it. */
  speaker: string | null;
  since: number;
  /** When that one was heard last. */
  heard: number;
  /** Who would like to have it, and since when without a pause. */
  next: string | null;
  nextSince: number;
}

export const nobody: Floor = { speaker: null, since: 0, heard: 0, next: null, nextSince: 0 };

/** Shorter sounds are coughs and words of assent. */
const toTakeOver = 700;
/** Somebody who breathes is still speaking. */
const toFallSilent = 1500;
/** Nobody is large for less: eyes need as long to find a face. */
const toStay = 2000;

/** The floor after somebody was heard or nobody was. Loudest first, in milliseconds of any clock. */
export function floorAt(floor: Floor, now: number, speaking: readonly string[]): Floor {
  const { speaker } = floor;
  const loudest = speaking[0] ?? null;
  const heard = speaker !== null && speaking.includes(speaker) ? now : floor.heard;
  if (loudest === null || loudest === speaker) return same(floor, { ...floor, heard, next: null, nextSince: 0 });
  if (speaker === null) return { speaker: loudest, since: now, heard: now, next: null, nextSince: 0 };
  const nextSince = floor.next === loudest ? floor.nextSince : now;
  const silent = now - heard >= toFallSilent;
  // While two talk, the one who has the floor keeps it for longer.
  const long = now - nextSince >= (silent ? toTakeOver : 3 * toTakeOver);
  if (long && now - floor.since >= toStay) return { speaker: loudest, since: now, heard: now, next: null, nextSince: 0 };
  return same(floor, { ...floor, heard, next: loudest, nextSince });
}

/** Whoever has left speaks no more. */
export function floorWithout(floor: Floor, present: (key: string) => boolean): Floor {
  return floor.speaker === null || present(floor.speaker) ? floor : nobody;
}

function same(a: Floor, b: Floor): Floor {
  return a.speaker === b.speaker && a.since === b.since && a.heard === b.heard && a.next === b.next && a.nextSince === b.nextSince ? a : b;
}
