// A person without a mouse, for tests: keys are all there is. Where the focus is says the browser's own tree for screen readers.
import { expect } from 'vitest';

// More stops than any screen has.
const stops = 80;

/** What the keyboard can do in a page, and nothing else. */
export async function hands({ context, page }) {
  const session = await context.newCDPSession(page);

  /** Role and name of what has the focus, as a screen reader hears them. */
  const at = async () => {
    const { result } = await session.send('Runtime.evaluate', { expression: 'document.activeElement' });
    if (!result.objectId) return { role: '', name: '' };
    try {
      const { nodes } = await session.send('Accessibility.getPartialAXTree', { objectId: result.objectId, fetchRelatives: false });
      return { role: nodes[0]?.role?.value ?? '', name: (nodes[0]?.name?.value ?? '').trim() };
    } finally {
      await session.send('Runtime.releaseObject', { objectId: result.objectId });
    }
  };

  /** Whether whoever looks sees where the focus is: a ring, on the element or on the label that stands for it, and on the screen. */
  const ring = () => page.evaluate(() => {
    const focused = document.activeElement;
    const shown = focused.matches('input[type=file]') ? focused.closest('label') : focused;
    const { outlineStyle, outlineWidth, outlineColor } = getComputedStyle(shown);
    const box = shown.getBoundingClientRect();
    return {
      drawn: outlineStyle !== 'none' && Number.parseFloat(outlineWidth) >= 2 && !/transparent|, 0\)/.test(outlineColor),
      onScreen: box.width > 0 && box.height > 0 && box.bottom > 0 && box.right > 0 && box.top < innerHeight && box.left < innerWidth,
    };
  });

  const named = (name, wanted) => (typeof wanted === 'string' ? name === wanted : wanted.test(name));

  return {
    at,
    press: async (...keys) => {
      for (const key of keys) await page.keyboard.press(key);
    },
    type: (text) => page.keyboard.insertText(text),
    /** Presses Tab, or what is given, until the focus is on what has this name. */
    reach: async (wanted, key = 'Tab') => {
      const seen = [];
      for (let i = 0; i < stops; i++) {
        await page.keyboard.press(key);
        const { role, name } = await at();
        seen.push(`${role} ${name}`);
        if (!named(name, wanted)) continue;
        expect(await ring(), `the ring around ${name}`).toEqual({ drawn: true, onScreen: true });
        return;
      }
      throw new Error(`${key} does not come to ${wanted}, only to ${[...new Set(seen)].join(', ')}`);
    },
    /** The focus has come to this, by itself. */
    on: (wanted) => expect.poll(async () => named((await at()).name, wanted) || (await at()), { message: `the focus is on ${wanted}` }).toBe(true),
    /** The focus is on something: whoever goes on is not at the beginning of the page. */
    kept: async (after) => {
      await expect.poll(() => page.evaluate(() => document.activeElement !== document.body && document.activeElement !== null), { message: `where the focus is after ${after}` }).toBe(true);
    },
  };
}
