import type { MoreIcon } from './icons.ts';

// Drawn for this project on a grid of 24. `turns` marks what has a direction and is mirrored
// where the text runs from right to left.
const first = {
  alert: ['M12 4 2.8 19.5h18.4Z', 'M12 10v4.5M12 17v.01'],
  back: ['M15 5l-7 7 7 7'],
  check: ['M5 12.5l4.5 4.5L19 7.5'],
  close: ['M6 6l12 12M18 6 6 18'],
  down: ['M6 9.5l6 6 6-6'],
  hand: ['M7 12V6.5a1.5 1.5 0 0 1 3 0V11M10 10V4.5a1.5 1.5 0 0 1 3 0V11M13 10.5V6a1.5 1.5 0 0 1 3 0v6', 'M16 12V9a1.5 1.5 0 0 1 3 0v5a6.5 6.5 0 0 1-12.2 3L4 13.5a1.5 1.5 0 0 1 2.4-1.8L7 12.5'],
  info: ['M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17Z', 'M12 11v5.5M12 7.7v.01'],
  leave: ['M3.5 14.5c4.5-4.5 12.5-4.5 17 0l-2.6 2.6-3.4-1.6v-2.3c-1.6-.6-3.4-.6-5 0v2.3l-3.4 1.6Z'],
  microphone: ['M12 3.5a3 3 0 0 0-3 3v5a3 3 0 0 0 6 0v-5a3 3 0 0 0-3-3Z', 'M5.5 11.5a6.5 6.5 0 0 0 13 0M12 18v3'],
  'mic-off': ['M9 6.5a3 3 0 0 1 6 0v5M12 14.5a3 3 0 0 1-3-3V9', 'M5.5 11.5a6.5 6.5 0 0 0 10 5.5M18.5 11.5c0 1-.2 2-.6 2.8M12 18v3M4 4l16 16'],
  phone: ['M5 4h4l1.5 5-2.2 1.6a13 13 0 0 0 5.1 5.1L15 13.5l5 1.5v4c0 .6-.4 1-1 1C11 20 4 13 4 5c0-.6.4-1 1-1Z'],
  pin: ['M9 4h6l-1 6 3 3H7l3-3Z', 'M12 13v7'],
  shield: ['M12 3l7.5 3v5.5c0 4.5-3 7.8-7.5 9.5-4.5-1.7-7.5-5-7.5-9.5V6Z'],
  verified: ['M12 3l7.5 3v5.5c0 4.5-3 7.8-7.5 9.5-4.5-1.7-7.5-5-7.5-9.5V6Z', 'M8.5 12l2.5 2.5 4.5-5'],
  video: ['M3 6.5h12v11H3Z', 'M15 10.5l6-3.5v10l-6-3.5Z'],
  'video-off': ['M8 6.5h7v7M15 17.5H3v-11h1', 'M15 10.5l6-3.5v10l-3-1.8M4 4l16 16'],
} as const;

const turning = new Set<string>(['back', 'send', 'phone']);

export type IconName = keyof typeof first | MoreIcon;

const shapes = new Map<string, readonly string[]>(Object.entries(first));

/** Adds the icons of icons.ts, which a page fetches when it shows more than a call. */
export function addIcons(more: Readonly<Record<MoreIcon, readonly string[]>>): void {
  for (const [name, shape] of Object.entries(more)) shapes.set(name, shape);
}

/** An icon beside words. It is never the only name of a control. */
export function Icon(props: { name: IconName }) {
  return (
    <svg class={`icon ${turning.has(props.name) ? 'turns' : ''} ${props.name === 'more' ? 'dots' : ''}`} viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      {shapes.get(props.name)?.map((d) => (
        <path key={d} d={d} />
      ))}
    </svg>
  );
}
