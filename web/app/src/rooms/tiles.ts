import type { Person, Tile as Sent } from '@trunkline/sdk/room';
import { nameOf } from '../screens/parts.tsx';
import type { Tile } from './layout.ts';
import { personOf, type RoomView, screenKey } from './view.ts';

/** A tile of the stage: a person, or the screen of one. */
export interface StageTile extends Tile {
  person: Person;
  name: string;
  /** What may be shown; else there is a name. */
  track: MediaStreamTrack | undefined;
  /** Of somebody else. */
  sent: Sent | undefined;
}

/** Everything that could stand on the stage, in its order: people, then screens. */
export function tilesOf(view: RoomView): StageTile[] {
  const { room } = view;
  if (!room) return [];
  const people = new Map(room.people.map((p) => [p.index, p]));
  const sent = new Map(room.tiles.map((t) => [`${t.person} ${t.slot}`, t]));
  const out: StageTile[] = [];
  for (const key of view.order) {
    const person = people.get(personOf(key));
    if (!person) continue;
    const theirs = sent.get(`${person.index} camera`);
    const track = person.me ? view.tracks.camera : shown(theirs);
    out.push({ key, screen: false, me: person.me, person, name: nameOf(person), track, sent: theirs });
  }
  for (const person of room.people) {
    const theirs = sent.get(`${person.index} screen`);
    const track = person.me ? view.tracks.screen : shown(theirs);
    if (track) out.push({ key: screenKey(person.index), screen: true, me: person.me, person, name: nameOf(person), track, sent: theirs });
  }
  return out;
}

/** A picture that was switched off is not shown as if it were now; one that only stands still is. */
function shown(sent: Sent | undefined): MediaStreamTrack | undefined {
  return !sent || sent.state === 'securing' || (sent.state === 'paused' && sent.pausedBy === 'sender') ? undefined : sent.track;
}
