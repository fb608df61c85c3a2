import type { DeviceProblem } from '../devices.ts';
import type { Key } from '../i18n.ts';

const keys: Record<DeviceProblem['is'], Key> = {
  'denied-by-you': 'deviceDeniedByYou',
  'denied-by-system': 'deviceDeniedBySystem',
  'not-found': 'deviceNotFound',
  'in-use': 'deviceInUse',
  lost: 'deviceLost',
  unusable: 'deviceUnusable',
  insecure: 'deviceInsecure',
};

export function deviceProblemKey(problem: DeviceProblem): Key {
  return keys[problem.is];
}
