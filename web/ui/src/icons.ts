// The icons that no call needs at its beginning: see addIcons. Drawn as those of icon.tsx are.

export const moreIcons = {
  add: ['M12 5v14M5 12h14'],
  attach: ['M19.5 11.5 12 19a5 5 0 0 1-7-7l8-8a3.4 3.4 0 0 1 4.8 4.8l-8 8a1.7 1.7 0 0 1-2.4-2.4l7.3-7.3'],
  chat: ['M4 5h16v11H9l-5 4Z'],
  checks: ['M2 12.5 6.5 17 15 7.5', 'M11.5 16.5l.5.5L21 7.5'],
  clock: ['M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17Z', 'M12 8v4.5l3 2'],
  copy: ['M9 9h10v11H9Z', 'M15 9V4H5v11h4'],
  device: ['M4 5h16v10H4Z', 'M9 19.5h6M12 15v4.5'],
  download: ['M12 4v11m-5-4.5 5 5 5-5', 'M5 20h14'],
  eye: ['M2.5 12C5 7.5 8.3 5.5 12 5.5s7 2 9.5 6.5c-2.5 4.5-5.8 6.5-9.5 6.5S5 16.5 2.5 12Z', 'M12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6Z'],
  file: ['M6 3h8l4 4v14H6Z', 'M14 3v4h4'],
  float: ['M3 5h18v14H3Z', 'M12 12h6v4h-6Z'],
  grid: ['M4 4h7v7H4ZM13 4h7v7h-7ZM4 13h7v7H4ZM13 13h7v7h-7Z'],
  key: ['M8 11a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9Z', 'M11.3 12.2 20 3.5M16.5 7l3 3'],
  link: ['M10 14a4 4 0 0 0 5.7 0l3.5-3.5a4 4 0 0 0-5.7-5.7L12 6.3', 'M14 10a4 4 0 0 0-5.7 0l-3.5 3.5a4 4 0 0 0 5.7 5.7L12 17.7'],
  lock: ['M6 11h12v9H6Z', 'M8.5 11V8a3.5 3.5 0 0 1 7 0v3'],
  more: ['M5.5 12h.01M12 12h.01M18.5 12h.01'],
  people: ['M9 5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7Z', 'M2.5 20c.5-3.5 3-5.5 6.5-5.5s6 2 6.5 5.5', 'M16 5.3a3.5 3.5 0 0 1 0 6.4M18 15c2 .8 3.2 2.5 3.5 5'],
  qr: ['M4 4h6v6H4ZM14 4h6v6h-6ZM4 14h6v6H4Z', 'M14 14h2v2h-2ZM18 18h2v2h-2ZM18 14h2M14 18v2'],
  scan: ['M4 8V4h4M16 4h4v4M20 16v4h-4M8 20H4v-4', 'M4 12h16'],
  screen: ['M3 5h18v11H3Z', 'M8 20h8M12 16v4M12 13V8m-2.5 2.5L12 8l2.5 2.5'],
  send: ['M4 12 3.5 4.5 21 12 3.5 19.5 4 12Zm0 0h8'],
  settings: ['M4 7h9M17 7h3M4 17h3M11 17h9', 'M15 5a2 2 0 1 0 0 4 2 2 0 0 0 0-4ZM9 15a2 2 0 1 0 0 4 2 2 0 0 0 0-4Z'],
  smile: ['M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17Z', 'M8.5 14c.8 1.3 2 2 3.5 2s2.7-.7 3.5-2M9 9.5v.01M15 9.5v.01'],
} as const;

export type MoreIcon = keyof typeof moreIcons;
