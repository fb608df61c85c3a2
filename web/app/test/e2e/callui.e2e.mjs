// What a person does in a call: keys, tiles, signs, pointers, the small window.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { World } from '../../scripts/harness.mjs';
import { answer, connect, fakes, join, moving, ring } from './people.mjs';

let world;
let alice;
let bob;

beforeAll(async () => {
  world = new World().build();
  const node = await world.node('acme', 'acme.example');
  await world.browser(fakes);
  alice = await join(world, node);
  bob = await join(world, node);
  await connect(alice, bob, node.ready.http);
});

afterAll(async () => {
  await world?.stop();
});

function clean() {
  expect(world.foreign).toEqual([]);
  expect(world.problems).toEqual([]);
}

const label = (person, id) => person.page.getByTestId(id).getAttribute('aria-label');

describe('keys', () => {
  test('are changed in the settings, which tell who has a key already', async () => {
    const { page } = bob;
    await page.getByRole('button', { name: 'Menu' }).click();
    await page.getByRole('menuitem', { name: 'Settings' }).click();
    await page.getByRole('button', { name: /^Raise a hand: H/ }).click();
    await page.keyboard.press('m');
    await page.getByText('M already stands for “Microphone”').waitFor();
    await page.keyboard.press('x');
    await page.getByRole('button', { name: /^Raise a hand: X/ }).waitFor();
    // Space alone is a key, too, and is not the press of the button.
    await page.getByRole('button', { name: /^Speak while it is held: Space/ }).click();
    await page.keyboard.press('t');
    await page.getByRole('button', { name: /^Speak while it is held: T/ }).waitFor();
    expect(await world.axe(page)).toEqual([]);
    await page.reload();
    await page.getByRole('button', { name: /^Raise a hand: X/ }).waitFor();
    clean();
  });

  test('do what was chosen, and only that', async () => {
    await bob.page.getByRole('link', { name: /tl1/ }).click();
    await ring(alice);
    await answer(bob);
    await Promise.all([moving(alice), moving(bob)]);
    await bob.page.keyboard.press('h');
    await bob.page.keyboard.press('x');
    await alice.page.getByText('Bob has raised a hand').waitFor({ state: 'attached' });
    expect(await label(bob, 'hand')).toBe('Lower the hand');
    await bob.page.keyboard.press('m');
    await alice.page.getByText('Bob is muted').waitFor({ state: 'attached' });
    await bob.page.keyboard.down('t');
    await alice.page.getByText('Bob is muted').waitFor({ state: 'detached' });
    await bob.page.keyboard.up('t');
    await alice.page.getByText('Bob is muted').waitFor({ state: 'attached' });
    await bob.page.keyboard.press('m');
    await bob.page.keyboard.press('?');
    const sheet = bob.page.getByRole('dialog', { name: 'Keys' });
    await sheet.getByText('X', { exact: true }).waitFor();
    expect(await world.axe(bob.page)).toEqual([]);
    // While the sheet is open, keys are read and not obeyed.
    await bob.page.keyboard.press('m');
    expect(await label(bob, 'microphone')).toBe('Mute');
    await bob.page.keyboard.press('?');
    await sheet.waitFor({ state: 'detached' });
    clean();
  });

  test('can be switched off', async () => {
    await alice.page.evaluate(() => localStorage.setItem('trunkline.prefs', JSON.stringify({ ...JSON.parse(localStorage.getItem('trunkline.prefs') ?? '{}'), singleKeys: false })));
    await alice.page.reload();
    await bob.page.getByRole('button', { name: 'Back' }).click();
    await alice.page.getByRole('link', { name: /Bob/ }).click();
    await ring(alice);
    await answer(bob);
    await Promise.all([moving(alice), moving(bob)]);
    await alice.page.keyboard.press('m');
    await alice.page.keyboard.press('h');
    await alice.page.keyboard.press('?');
    expect(await label(alice, 'microphone')).toBe('Mute');
    expect(await label(alice, 'hand')).toBe('Raise a hand');
    expect(await alice.page.getByRole('dialog', { name: 'Keys' }).count()).toBe(0);
    clean();
  });
});

describe('tiles', () => {
  const layout = () => alice.page.getByTestId('stage').getAttribute('data-layout');
  const area = async (id) => {
    const box = await alice.page.getByTestId(id).boundingBox();
    return box.width * box.height;
  };

  test('are alike, or one is large, or the one that was pinned', async () => {
    expect(await layout()).toBe('speaker');
    await alice.page.getByRole('button', { name: 'More of the call' }).click();
    await alice.page.getByRole('menuitem', { name: 'Show all alike' }).waitFor();
    expect(await world.axe(alice.page)).toEqual([]);
    await alice.page.getByRole('menuitem', { name: 'Show all alike' }).click();
    expect(await layout()).toBe('grid');
    expect(await world.axe(alice.page)).toEqual([]);
    expect(Math.abs((await area('me')) - (await area('them')))).toBeLessThan(100);
    await alice.page.getByTestId('me').hover();
    await alice.page.getByRole('button', { name: 'Keep You large' }).click();
    expect(await layout()).toBe('strip');
    expect(await world.axe(alice.page)).toEqual([]);
    expect(await area('me')).toBeGreaterThan(3 * (await area('them')));
    await alice.page.getByRole('button', { name: 'Keep You large' }).click();
    await alice.page.getByRole('button', { name: 'More of the call' }).click();
    await alice.page.getByRole('menuitem', { name: 'Show one large' }).click();
    expect(await layout()).toBe('speaker');
    clean();
  });

  test('reactions are drawn, and need no font', async () => {
    await bob.page.getByRole('button', { name: 'React' }).click();
    await bob.page.getByRole('menuitem', { name: 'Heart' }).click();
    const reaction = alice.page.locator('[data-testid="them"] .reaction', { hasText: 'Heart' });
    await reaction.locator('svg path').waitFor();
    expect(await alice.page.evaluate(() => /\p{Extended_Pictographic}/u.test(document.body.innerText))).toBe(false);
    clean();
  });

  test('a pointer stays on its place of the screen when the tile changes, in the same frame', async () => {
    await bob.page.getByTestId('screen').click();
    await moving(alice, 'screen-theirs');
    const own = await bob.page.getByTestId('screen-mine').locator('.screen-content').boundingBox();
    const at = { x: own.x + own.width * 0.25, y: own.y + own.height * 0.75 };
    await bob.page.mouse.move(at.x + 3, at.y);
    await bob.page.mouse.move(at.x, at.y);
    await alice.page.getByTestId('pointer').waitFor();
    /** Where the pointer stands on the picture, measured from the picture itself. */
    const place = () => alice.page.evaluate(() => {
      const tile = document.querySelector('[data-testid="screen-theirs"]').getBoundingClientRect();
      const video = document.querySelector('[data-testid="screen-theirs"] video');
      const scale = Math.min(tile.width / video.videoWidth, tile.height / video.videoHeight);
      const [w, h] = [video.videoWidth * scale, video.videoHeight * scale];
      const dot = document.querySelector('[data-testid="pointer"]').getBoundingClientRect();
      return {
        x: (dot.left + dot.width / 2 - tile.left - (tile.width - w) / 2) / w,
        y: (dot.top + dot.height / 2 - tile.top - (tile.height - h) / 2) / h,
      };
    });
    const near = ({ x, y }) => Math.abs(x - 0.25) < 0.02 && Math.abs(y - 0.75) < 0.02;
    // The last of the two moves may be left out by the sender; the first one is near enough.
    expect(near(await place())).toBe(true);
    // The chat takes a third of the width, and the next frame that is painted has the pointer in place.
    const after = await alice.page.evaluate(async () => {
      document.querySelector('[data-testid="chat"]').click();
      const before = document.querySelector('[data-testid="screen-theirs"]').getBoundingClientRect().width;
      let tile;
      do {
        await new Promise(requestAnimationFrame);
        tile = document.querySelector('[data-testid="screen-theirs"]').getBoundingClientRect();
      } while (tile.width === before);
      // A frame is laid out and observed after its callbacks: what the next callback sees was painted.
      await new Promise(requestAnimationFrame);
      const content = document.querySelector('[data-testid="screen-theirs"] .screen-content').getBoundingClientRect();
      const video = document.querySelector('[data-testid="screen-theirs"] video');
      tile = document.querySelector('[data-testid="screen-theirs"]').getBoundingClientRect();
      const scale = Math.min(tile.width / video.videoWidth, tile.height / video.videoHeight);
      return { before, width: tile.width, off: Math.abs(content.width - video.videoWidth * scale) + Math.abs(content.left - tile.left - (tile.width - video.videoWidth * scale) / 2) };
    });
    expect(after.width).toBeLessThan(after.before);
    expect(after.off).toBeLessThan(2);
    await alice.page.getByTestId('chat').click();
    await bob.page.getByTestId('screen').click();
    await alice.page.getByTestId('screen-theirs').waitFor({ state: 'detached' });
    clean();
  });
});

test('the small window shows the other one and mutes, and closes with the call', async () => {
  await alice.page.getByRole('button', { name: 'More of the call' }).click();
  const opened = alice.context.waitForEvent('page');
  await alice.page.getByRole('menuitem', { name: 'Small window on top' }).click();
  const small = await opened;
  await small.getByTestId('microphone').click();
  await bob.page.getByText(/tl1.* is muted/).waitFor({ state: 'attached' });
  expect(await label(alice, 'microphone')).toBe('Unmute');
  await small.getByTestId('camera').click();
  await bob.page.locator('[data-testid="them"] video').waitFor({ state: 'detached' });
  expect(await world.axe(small)).toEqual([]);
  const closed = small.waitForEvent('close');
  await small.getByTestId('hangup').click();
  await alice.page.getByRole('heading', { name: 'Call ended' }).waitFor();
  await closed;
  clean();
});

test('after the first call that came about, the words are offered', async () => {
  await alice.page.locator('.call-layer').getByText('Twenty-four words').waitFor();
  expect(await world.axe(alice.page)).toEqual([]);
  await alice.page.getByRole('button', { name: 'Write the words down' }).click();
  await alice.page.getByRole('heading', { name: 'Recovery words' }).waitFor();
  await alice.page.locator('.call-layer').waitFor({ state: 'detached' });
  clean();
});

test('all keys go back to the usual ones with one press', async () => {
  await bob.page.getByRole('button', { name: 'Back' }).click();
  await bob.page.getByRole('button', { name: 'Menu' }).click();
  await bob.page.getByRole('menuitem', { name: 'Settings' }).click();
  await bob.page.getByRole('button', { name: 'Back to the usual keys' }).click();
  await bob.page.getByRole('button', { name: /^Raise a hand: H/ }).waitFor();
  await bob.page.getByRole('button', { name: /^Speak while it is held: Space/ }).waitFor();
  clean();
});
