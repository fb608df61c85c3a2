import { isAlarm } from '@trunkline/sdk';
import type { Key } from '../i18n.ts';
import type { CallEnd } from './view.ts';

/** What is said of how a call ended, as far as a person can make something of it. Of an alarm it is the text below the heading. */
export function endOf({ reason, why, lasted, rang }: CallEnd, relayOnly: boolean): Key {
  if (isAlarm(why)) return 'callAlarmText';
  // Here, or on another device of this person; a call that was answered there is not a missed one.
  if (rang && reason !== 2) return reason === 3 ? 'callEndRefused' : 'callEndMissed';
  const code = why?.code;
  switch (reason) {
    case 1:
      return 'callEndEnded';
    case 2:
      return 'callEndElsewhere';
    case 3:
      return 'callEndDeclined';
    case 4:
      return 'callEndBusy';
    case 5:
      return 'callEndNoAnswer';
    case 7:
      return 'callAlarmTold';
    default:
      if (lasted > 0) return code === 'peer_failed' ? 'callEndFailedThere' : 'callEndLost';
      if (code === 'unreachable' || code === 'refused') return relayOnly ? 'callEndNoRelay' : 'callEndUnreachable';
      return 'callEndFailed';
  }
}
