import { TrunklineError } from '@trunkline/sdk';
import { expect, test } from 'vitest';
import { endOf } from '../src/call/end.ts';
import type { Key } from '../src/i18n.ts';

const during = { lasted: 1, rang: false, relayOnly: false };
const before = { lasted: 0, rang: false, relayOnly: false };
const ringing = { lasted: 0, rang: true, relayOnly: false };

test.each<[string, number, TrunklineError['code'] | undefined, typeof during, Key]>([
  ['a goodbye', 1, undefined, during, 'callEndEnded'],
  ['an alarm here', 7, 'key_alarm', during, 'callAlarmText'],
  ['a binding that does not hold here', 7, 'binding', before, 'callAlarmText'],
  ['a call code that does not open here', 7, 'call_code', during, 'callAlarmText'],
  ['an alarm that only the other side noticed', 7, 'peer_alarm', during, 'callAlarmTold'],
  ['the same before there was a picture', 7, 'peer_alarm', before, 'callAlarmTold'],
  ['the other side says that something failed there', 6, 'peer_failed', during, 'callEndFailedThere'],
  ['the same before there was a picture', 6, 'peer_failed', before, 'callEndFailed'],
  ['a path that broke', 6, 'unreachable', during, 'callEndLost'],
  ['nobody there', 6, 'unreachable', before, 'callEndUnreachable'],
  ['no relay where one is needed', 6, 'refused', { ...before, relayOnly: true }, 'callEndNoRelay'],
  ['the other person says no', 3, undefined, before, 'callEndDeclined'],
  ['the other person does not answer', 5, undefined, before, 'callEndNoAnswer'],
  ['no, said here or on another device', 3, undefined, ringing, 'callEndRefused'],
  ['an answer on another device', 2, undefined, ringing, 'callEndElsewhere'],
  ['the same a moment after an answer here', 2, undefined, before, 'callEndElsewhere'],
  ['whoever rang here hangs up', 1, undefined, ringing, 'callEndMissed'],
  ['the same a moment after an answer here', 1, undefined, before, 'callEndEnded'],
  ['it has rung here for too long', 5, undefined, ringing, 'callEndMissed'],
  ['whoever rang here could not go on', 6, undefined, ringing, 'callEndMissed'],
])('%s', (_, reason, code, { relayOnly, ...was }, key) => {
  expect(endOf({ reason, why: code && new TrunklineError(code, ''), ...was }, relayOnly)).toBe(key);
});
