import { TrunklineError } from '@trunkline/sdk';
import { expect, test } from 'vitest';
import { type CallEnd, endOf } from '../src/call/view.ts';

const during = { live: true, relayOnly: false };
const before = { live: false, relayOnly: false };

test.each<[string, number, TrunklineError['code'] | undefined, typeof during, CallEnd]>([
  ['a goodbye', 1, undefined, during, 'ended'],
  ['an alarm here', 7, 'key_alarm', during, 'alarm'],
  ['a binding that does not hold here', 7, 'binding', before, 'alarm'],
  ['a call code that does not open here', 7, 'call_code', during, 'alarm'],
  ['an alarm that only the other side noticed', 7, 'peer_alarm', during, 'told'],
  ['the same before there was a picture', 7, 'peer_alarm', before, 'told'],
  ['the other side says that something failed there', 6, 'peer_failed', during, 'failed-there'],
  ['the same before there was a picture', 6, 'peer_failed', before, 'failed'],
  ['a path that broke', 6, 'unreachable', during, 'lost'],
  ['nobody there', 6, 'unreachable', before, 'unreachable'],
  ['no relay where one is needed', 6, 'refused', { live: false, relayOnly: true }, 'no-relay'],
])('%s', (_, reason, code, was, end) => {
  expect(endOf(reason, code && new TrunklineError(code, ''), was)).toBe(end);
});
