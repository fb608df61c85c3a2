import { TrunklineError } from '@trunkline/sdk';
import { expect, test } from 'vitest';
import { overOf, type RoomOver } from '../src/rooms/view.ts';

test.each<[string, string, boolean, RoomOver]>([
  ['all seats taken', 'room_full', false, 'full'],
  ['all seats of a domain taken', 'quota', false, 'quota'],
  ['no word for a guest', 'pass', true, 'pass'],
  ['no word for somebody of another node', 'pass', false, 'word'],
  ['a link that was replaced', 'gate', false, 'gate'],
  ['a code of a later version', 'something', false, 'failed'],
])('%s', (_, nodeCode, guest, over) => {
  expect(overOf(new TrunklineError('refused', '', { nodeCode }), guest)).toBe(over);
});
