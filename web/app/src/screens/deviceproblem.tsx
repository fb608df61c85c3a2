import { useT } from '../app.ts';
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

/** A drawing of where to click, since names of places differ between browsers and systems. */
export function WhereToClick(props: { problem: DeviceProblem }) {
  const t = useT();
  switch (props.problem.is) {
    case 'denied-by-you':
      return (
        <svg class="where" viewBox="0 0 320 56" role="img" aria-label={t('whereToClick')}>
          <rect x="1" y="9" width="318" height="38" rx="19" class="bar" />
          <circle cx="24" cy="28" r="14" class="spot" />
          <path d="M17 24h14M17 32h14" class="sign" />
          <circle cx="21" cy="24" r="3" class="knob" />
          <circle cx="27" cy="32" r="3" class="knob" />
          <rect x="48" y="24" width="160" height="8" rx="4" class="text" />
        </svg>
      );
    case 'denied-by-system':
      return (
        <svg class="where" viewBox="0 0 320 72" role="img" aria-label={t('whereInSystem')}>
          <rect x="1" y="1" width="318" height="70" rx="10" class="bar" />
          <path d="M1 20h318" class="bar" />
          <circle cx="14" cy="11" r="4" class="bar" />
          <rect x="18" y="34" width="120" height="8" rx="4" class="text" />
          <rect x="18" y="50" width="80" height="8" rx="4" class="text" />
          <rect x="262" y="36" width="40" height="22" rx="11" class="spot" />
          <circle cx="291" cy="47" r="7" class="knob" />
        </svg>
      );
    case 'not-found':
    case 'lost':
      return (
        <svg class="where" viewBox="0 0 320 56" role="img" aria-label={t('wherePlug')}>
          <path d="M1 28h92" class="sign" />
          <rect x="93" y="16" width="44" height="24" rx="4" class="bar" />
          <path d="M137 22h16M137 34h16" class="sign" />
          <path d="M162 28h22m-7-6 7 6-7 6" class="sign" />
          <rect x="192" y="8" width="110" height="40" rx="8" class="bar" />
          <rect x="192" y="17" width="18" height="22" rx="3" class="spot" />
        </svg>
      );
    case 'in-use':
    case 'unusable':
    case 'insecure':
      return null; // what is to be done stands elsewhere than on a screen
  }
}
