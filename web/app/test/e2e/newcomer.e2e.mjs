// Two people who have nothing of this node yet, one in Chromium and one in Firefox: a link, and one press on each side.
import { expect, onTestFinished, test } from 'vitest';
import { World } from '../../scripts/harness.mjs';
import { firefoxPage, launchFirefox } from './firefox.mjs';
import { devices, fakes } from './people.mjs';

/** A node that was started a moment ago, a Chromium and a Firefox without anything of it, and what has to be clean in the end. */
async function newcomers() {
  const world = new World().build();
  onTestFinished(() => world.stop());
  const address = await world.printed();
  await world.browser(fakes);
  // The test may read what was copied, as it may in Chromium.
  const firefox = await launchFirefox({ 'dom.events.testing.asyncClipboard': true });
  onTestFinished(() => firefox.close());
  const errors = [];
  const asked = new Set();
  const other = await firefoxPage(firefox, errors);
  other.on('request', (request) => asked.add(new URL(request.url()).origin));
  const clean = () => {
    expect(errors).toEqual([]);
    expect(world.problems).toEqual([]);
    expect(world.foreign).toEqual([]);
    expect([...asked].filter((origin) => origin !== 'null' && !world.origins.has(origin))).toEqual([]);
  };
  return { address, chromium: inChromium((await world.person(devices)).page), firefox: inFirefox(other), clean };
}

/** What a person does with a page, the same words for both browsers. Every press is counted. */
function inChromium(page) {
  const pressed = [];
  return {
    page,
    pressed,
    see: (text) => page.getByText(text).first().waitFor(),
    press: async (name, role = 'button') => {
      await page.getByRole(role, { name, exact: true }).click();
      pressed.push(name);
    },
    write: (label, text) => page.getByLabel(label).fill(text),
  };
}

function inFirefox(page) {
  const pressed = [];
  return {
    page,
    pressed,
    see: (text) => page.waitForSelector(`::-p-text(${text})`),
    press: async (name) => {
      const target = await page.waitForSelector(`::-p-aria([name="${name}"])`, { visible: true });
      await target.click();
      pressed.push(name);
    },
    write: async (label, text) => {
      const field = await page.waitForSelector(`::-p-aria([name="${label}"][role="textbox"])`);
      await field.type(text);
    },
  };
}

/** The picture of the other side changes: a pixel of it is another one than before. The page's policy lets no test wait inside of it. */
async function changing({ page }) {
  const picture = () => page.evaluate(() => {
    const video = document.querySelector('[data-testid="them"] video');
    if (!video?.videoWidth) return '';
    const canvas = Object.assign(document.createElement('canvas'), { width: 64, height: 48 });
    const context = canvas.getContext('2d');
    context.drawImage(video, 0, 0, 64, 48);
    const pixels = context.getImageData(0, 0, 64, 48).data;
    return pixels.some((v, i) => i % 4 < 3 && v > 0) ? pixels.join() : '';
  });
  await expect.poll(picture).not.toBe('');
  const before = await picture();
  await expect.poll(picture).not.toBe(before);
}

/** One makes the link, the other opens it and asks, and is let in. */
async function call(address, host, guest) {
  await host.page.goto(address);
  await host.press('New call', 'link');
  await host.write('Your name', 'Alice');
  await host.press('Copy link');
  await host.see('Copied');
  const link = await host.page.evaluate(() => navigator.clipboard.readText());
  await guest.page.goto(link);
  await guest.see('Call Alice');
  await guest.write('Your name', 'Bob');
  await guest.press('Ask to join');
  await host.see('Bob wants to join');
  await host.press('Let in');
  await Promise.all([changing(host), changing(guest)]);
  expect(host.pressed).toEqual(['New call', 'Copy link', 'Let in']);
  expect(guest.pressed).toEqual(['Ask to join']);
  await host.press('Hang up');
  await Promise.all([host.see('Call ended'), guest.see('Call ended')]);
}

test('Firefox makes the link, and Chromium opens it', async () => {
  const { address, chromium, firefox, clean } = await newcomers();
  await call(address, firefox, chromium);
  clean();
});

test('Chromium makes the link, and Firefox opens it', async () => {
  const { address, chromium, firefox, clean } = await newcomers();
  await call(address, chromium, firefox);
  clean();
});
