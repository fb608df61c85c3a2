import { call as sdk } from '@trunkline/sdk';
import type { Key } from '../i18n.ts';

// Reactions are drawn here: a machine without a font for them shows boxes in place of signs.

const words: Record<sdk.Reaction, Key> = {
  yes: 'callReactionYes',
  no: 'callReactionNo',
  applause: 'callReactionApplause',
  heart: 'callReactionHeart',
  laugh: 'callReactionLaugh',
  surprise: 'callReactionSurprise',
};

export function signKey(what: sdk.Reaction): Key {
  return words[what];
}

const skin = '#ffcf5c';
const edge = '#7a4d00';
const ink = '#3d2600';
const thumb = 'M8 30V17l8-1 6-12c3-1 5 1 5 4l-2 7h10c3 0 4 3 3 5l-4 12c-1 2-2 3-4 3H16c-3 0-5-1-8-5Z';

function Face() {
  return <circle cx="22" cy="22" r="17" fill={skin} stroke={edge} stroke-width="2" />;
}

const drawings: Record<sdk.Reaction, () => preact.JSX.Element> = {
  yes: () => <path d={thumb} fill={skin} stroke={edge} stroke-width="2" stroke-linejoin="round" />,
  no: () => <path d={thumb} transform="rotate(180 22 20)" fill={skin} stroke={edge} stroke-width="2" stroke-linejoin="round" />,
  applause: () => (
    <g fill={skin} stroke={edge} stroke-width="2" stroke-linejoin="round">
      <path d="M7 25 17 11c2-2 5 0 4 3l-3 6 9-9c2-2 5 1 3 3l-6 8-6 14c-4 4-9 3-11-1-2-3-2-7 0-10Z" />
      <path d="m16 27 13-11c2-2 5 1 3 3l-7 8 10-6c3-1 4 2 2 4l-9 7 6-2c3 0 3 3 1 4l-13 6c-5 2-9-1-10-5-1-3 1-6 4-8Z" />
      <path d="M30 4v5M37 7l-3 4M41 14l-5 2" fill="none" stroke-linecap="round" />
    </g>
  ),
  heart: () => <path d="M22 38C10 30 5 23 5 16c0-9 12-13 17-4 5-9 17-5 17 4 0 7-5 14-17 22Z" fill="#e0364a" stroke="#8a0f24" stroke-width="2" stroke-linejoin="round" />,
  laugh: () => (
    <g>
      <Face />
      <path d="M11 18q3-4 6 0M27 18q3-4 6 0" fill="none" stroke={ink} stroke-width="2.5" stroke-linecap="round" />
      <path d="M11 24h22q-1 11-11 11T11 24Z" fill={ink} />
      <path d="M15 32q7-5 14 0-3 3-7 3t-7-3Z" fill="#e0364a" />
    </g>
  ),
  surprise: () => (
    <g>
      <Face />
      <circle cx="15" cy="19" r="2.5" fill={ink} />
      <circle cx="29" cy="19" r="2.5" fill={ink} />
      <ellipse cx="22" cy="30" rx="4" ry="5" fill={ink} />
      <path d="M11 13q4-4 7-1M26 12q4-3 7 1" fill="none" stroke={ink} stroke-width="2" stroke-linecap="round" />
    </g>
  ),
};

/** A reaction as a picture; words stand beside it. */
export function Sign(props: { what: sdk.Reaction }) {
  const Drawing = drawings[props.what];
  return (
    <svg class="sign" viewBox="0 0 44 44" aria-hidden="true" focusable="false">
      <Drawing />
    </svg>
  );
}
