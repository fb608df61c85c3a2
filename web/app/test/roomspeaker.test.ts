import { describe, expect, test } from 'vitest';
import { type Floor, floorAt, floorWithout, nobody } from '../src/rooms/speaker.ts';

/** What becomes of the floor when it is looked four times in a second. */
function hear(floor: Floor, from: number, ms: number, speaking: string[]): Floor {
  let f = floor;
  for (let now = from; now < from + ms; now += 250) f = floorAt(f, now, speaking);
  return f;
}

describe('the floor', () => {
  test('belongs to the first who speaks, at once', () => {
    expect(floorAt(nobody, 1000, ['a']).speaker).toBe('a');
    expect(floorAt(nobody, 1000, [])).toBe(nobody);
  });
  test('is not lost to a cough', () => {
    const a = hear(nobody, 0, 5000, ['a']);
    expect(hear(a, 5000, 500, ['b', 'a']).speaker).toBe('a');
    expect(hear(hear(a, 5000, 2500, []), 7500, 500, ['b']).speaker).toBe('a');
  });
  test('goes to whoever speaks on when the one before is silent', () => {
    const a = hear(nobody, 0, 5000, ['a']);
    expect(hear(a, 5000, 2500, ['b']).speaker).toBe('b');
  });
  test('goes to whoever speaks long and louder into the words of the one before', () => {
    const a = hear(nobody, 0, 5000, ['a']);
    expect(hear(a, 5000, 1500, ['b', 'a']).speaker).toBe('a');
    expect(hear(a, 5000, 3000, ['b', 'a']).speaker).toBe('b');
  });
  test('stays for two seconds with whoever got it', () => {
    const b = floorAt(nobody, 10_000, ['b']);
    expect(hear(b, 10_250, 1500, ['c']).speaker).toBe('b');
    expect(hear(b, 10_250, 3000, ['c']).speaker).toBe('c');
  });
  test('stays with who spoke last when all are silent, and is free when that one leaves', () => {
    const a = hear(nobody, 0, 2000, ['a']);
    const later = hear(a, 2000, 60_000, []);
    expect(later.speaker).toBe('a');
    expect(floorWithout(later, (k) => k === 'a')).toBe(later);
    expect(floorWithout(later, () => false).speaker).toBeNull();
  });
  test('is the same object while nothing changes, so that nothing is drawn anew', () => {
    const a = floorAt(nobody, 1000, ['a']);
    const still = floorAt(a, 1250, []);
    expect(floorAt(still, 1500, [])).toBe(still);
  });
});
