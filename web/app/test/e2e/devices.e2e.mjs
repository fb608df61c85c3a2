// Cameras and microphones that are not there, in a Chromium that asks.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { World } from '../../scripts/harness.mjs';
import { answer, connect, fakes, join, moving, over } from './people.mjs';

let world;
let alice;
let bob;

const clipboard = { permissions: ['clipboard-read', 'clipboard-write'] };
const problem = (person, device) => person.page.locator('.call-problem', { hasText: device });

/** Keeps the page's tracks, so that the test can take one away as the browser does. */
async function keepTracks({ page }) {
  await page.addInitScript(() => {
    globalThis.opened = [];
    const ask = MediaDevices.prototype.getUserMedia;
    MediaDevices.prototype.getUserMedia = async function (...args) {
      const stream = await ask.apply(this, args);
      globalThis.opened.push(...stream.getTracks());
      return stream;
    };
  });
}

/** Pulls a device out: its tracks end, and the page is told. */
async function pullOut({ page }, kind) {
  await page.evaluate((which) => {
    for (const track of globalThis.opened.filter((t) => t.kind === which && t.readyState === 'live')) {
      track.stop();
      track.dispatchEvent(new Event('ended'));
    }
  }, kind);
}

beforeAll(async () => {
  world = new World().build();
  const node = await world.node('acme', 'acme.example');
  await world.browser(fakes, true);
  alice = await join(world, node, clipboard, keepTracks);
  bob = await join(world, node, clipboard);
  await connect(alice, bob, node.ready.http);
});

afterAll(async () => {
  await world?.stop();
});

beforeEach(async () => {
  for (const person of [alice, bob]) await world.say(person, 'granted', 'camera', 'microphone');
});

function clean() {
  expect(world.foreign).toEqual([]);
  expect(world.problems).toEqual([]);
}

describe('before a call', () => {
  test('a denied permission is told for each device, with a drawing of where to press, and Retry works', async () => {
    await world.say(alice, 'denied', 'camera', 'microphone');
    await alice.page.getByRole('button', { name: 'Video call with Bob' }).click();
    for (const device of ['Camera', 'Microphone']) {
      await problem(alice, device).getByText('This page may not use it').waitFor();
      await problem(alice, device).getByRole('img', { name: 'left end of the address bar' }).waitFor();
    }
    expect(await world.axe(alice.page)).toEqual([]);
    // Still denied: the same is said, and nothing else.
    await problem(alice, 'Camera').getByRole('button', { name: 'Try again' }).click();
    await problem(alice, 'Camera').getByText('This page may not use it').waitFor();
    await world.say(alice, 'granted', 'camera', 'microphone');
    await problem(alice, 'Camera').getByRole('button', { name: 'Try again' }).click();
    await problem(alice, 'Camera').waitFor({ state: 'detached' });
    await alice.page.locator('.preview video').waitFor();
    await problem(alice, 'Microphone').getByRole('button', { name: 'Try again' }).click();
    await problem(alice, 'Microphone').waitFor({ state: 'detached' });
    await alice.page.locator('.meter').waitFor();
    await alice.page.getByRole('button', { name: 'Cancel' }).click();
    clean();
  });

  test('one joins without camera and microphone, and hears and sees the other', async () => {
    await world.say(alice, 'denied', 'camera', 'microphone');
    await alice.page.getByRole('button', { name: 'Video call with Bob' }).click();
    await problem(alice, 'Camera').waitFor();
    await alice.page.getByRole('button', { name: 'Join without camera and microphone' }).click();
    await answer(bob);
    await moving(alice);
    await bob.page.getByText(/tl1.* is muted/).waitFor({ state: 'attached' });
    expect(await alice.page.locator('.call-problem').count()).toBe(0);
    await over(alice, bob);
    clean();
  });
});

describe('in a call', () => {
  beforeAll(async () => {
    for (const person of [alice, bob]) await world.say(person, 'granted', 'camera', 'microphone');
    await alice.page.getByRole('button', { name: 'Video call with Bob' }).click();
    await alice.page.locator('.preview video').waitFor();
    await alice.page.getByRole('button', { name: 'Call', exact: true }).click();
    await answer(bob);
    await Promise.all([moving(alice), moving(bob)]);
  });

  for (const { device, kind } of [{ device: 'Camera', kind: 'video' }, { device: 'Microphone', kind: 'audio' }]) {
    test(`a ${device.toLowerCase()} that is pulled out is off on both sides, and comes back with a press`, async () => {
      await pullOut(alice, kind);
      await problem(alice, device).getByText('It was there and is gone').waitFor();
      const off = kind === 'video' ? bob.page.locator('[data-testid="them"] video') : bob.page.getByText(/tl1.* is muted/);
      await off.waitFor({ state: kind === 'video' ? 'detached' : 'attached' });
      expect(await world.axe(alice.page)).toEqual([]);
      await problem(alice, device).getByRole('button', { name: 'Try again' }).click();
      await problem(alice, device).waitFor({ state: 'detached' });
      if (kind === 'video') await moving(bob);
      else await off.waitFor({ state: 'detached' });
      clean();
    });
  }

  test('a permission that is taken back in the middle is told as that', async () => {
    await world.say(alice, 'denied', 'camera');
    await pullOut(alice, 'video');
    await problem(alice, 'Camera').getByText('This page may not use it').waitFor();
    await world.say(alice, 'granted', 'camera');
    await problem(alice, 'Camera').getByRole('button', { name: 'Try again' }).click();
    await moving(bob);
    await over(alice, bob);
    clean();
  });
});
