import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

// WCAG 2.2, 1.4.3 and 1.4.11: text 4.5, edges of controls 3.

const css = readFileSync(new URL('../../ui/src/tokens.css', import.meta.url), 'utf8');

function tokens(selector: RegExp): Record<string, string> {
  const found: Record<string, string> = {};
  for (const block of css.matchAll(/([^{}]+)\{([^}]*)\}/g)) {
    if (!selector.test(block[1] ?? '')) continue;
    for (const m of (block[2] ?? '').matchAll(/--([\w-]+):\s*(#[0-9a-f]{6})/g)) found[m[1] ?? ''] = m[2] ?? '';
  }
  return found;
}

const light = tokens(/:root\s*$/);
const themes = { light, dark: { ...light, ...tokens(/data-theme="dark"/) } };

function luminance(hex: string): number {
  const [r = 0, g = 0, b = 0] = [1, 3, 5].map((i) => {
    const c = Number.parseInt(hex.slice(i, i + 2), 16) / 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(a: string, b: string): number {
  const [x, y] = [luminance(a), luminance(b)];
  return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
}

const texts: [string, string[]][] = [
  ['text', ['ground', 'surface', 'raised', 'sunken']],
  ['muted', ['ground', 'surface', 'raised', 'sunken']],
  ['accent', ['ground', 'surface', 'raised']],
  ['accent-text', ['accent']],
  ['accent-on-soft', ['accent-soft']],
  ['danger', ['ground', 'surface', 'raised']],
  ['danger-text', ['danger']],
  ['danger-on-soft', ['danger-soft']],
  ['warn-on-soft', ['warn-soft']],
  ['mine-text', ['mine']],
  ['mine-muted', ['mine']],
  ['stage-text', ['stage', 'stage-surface']],
  ['stage-muted', ['stage', 'stage-surface']],
];

for (const [name, theme] of Object.entries(themes)) {
  test(`text can be read in the ${name} theme`, () => {
    for (const [text, grounds] of texts) {
      for (const ground of grounds) expect(contrast(theme[text] ?? '', theme[ground] ?? ''), `${text} on ${ground}`).toBeGreaterThanOrEqual(4.5);
    }
  });
  test(`edges of controls can be seen in the ${name} theme`, () => {
    for (const ground of ['ground', 'surface', 'raised']) {
      for (const edge of ['edge', 'focus']) expect(contrast(theme[edge] ?? '', theme[ground] ?? ''), `${edge} on ${ground}`).toBeGreaterThanOrEqual(3);
    }
  });
}
