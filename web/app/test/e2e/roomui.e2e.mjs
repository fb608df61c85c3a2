// What three people see of each other in a meeting, each in Chromium at one real node: what each of them is, who speaks, and
// who is large.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sizes, World } from '../../scripts/harness.mjs';
import { enter, moves, prefer, tile, tireless } from './meetings.mjs';
import { connect, devices, fakes, join } from './people.mjs';

let world;
let olga; // who made it
let bob; // her contact, and moderator
let gus; // without an account
let link;

beforeAll(async () => {
  world = new World().build();
  const node = await world.node('acme', 'acme.example');
  await prefer(await world.browser(fakes));
  const ready = ({ page }) => page.addInitScript(tireless);
  olga = await join(world, node, {}, ready);
  bob = await join(world, node, {}, ready);
  await connect(olga, bob, node.ready.http);
  gus = await world.person(devices);
  await ready(gus);
});

afterAll(async () => {
  await world?.stop();
});

function clean() {
  expect(world.foreign).toEqual([]);
  expect(world.problems).toEqual([]);
}

/** Without a mouse, which waits for frames of a page that has others beside it on its machine. */
const press = (locator) => locator.evaluate((e) => e.click());

/** Nothing that axe finds, on a desktop and on a phone, light and dark. */
async function inEveryLook(person, name) {
  const { page } = person;
  for (const [size, viewport] of Object.entries(sizes)) {
    await page.setViewportSize(viewport);
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
      await page.waitForFunction((want) => document.documentElement.dataset.theme === want, colorScheme);
      expect(await world.axe(page), `${name}, ${size}, ${colorScheme}`).toEqual([]);
    }
  }
  await page.setViewportSize(devices.viewport);
}

const stage = (person) => person.page.getByTestId('stage');
const arranged = (person, kind) => person.page.locator(`[data-testid="stage"][data-layout="${kind}"]`).waitFor();
const pin = (person, name) => tile(person, name).getByRole('button', { name: `Keep ${name} large` });
const large = (person, label) => person.page.locator(`.room-tile.large[aria-label="${label}"]`).waitFor();

async function more(person, item) {
  await press(person.page.getByRole('button', { name: 'More of the meeting' }));
  await press(person.page.getByRole('menuitem', { name: item }));
}

test('three come in, each under the name of what they are', async () => {
  const { page } = olga;
  await press(page.getByRole('link', { name: 'New meeting' }));
  await page.getByLabel('What it is about').fill('The old mill');
  await press(page.getByText('More options'));
  await page.getByRole('group', { name: /^Moderators/ }).getByRole('checkbox', { name: 'Bob' }).check();
  await press(page.getByRole('button', { name: 'Make the meeting' }));
  await page.getByTestId('made').waitFor();
  link = (await page.getByLabel('Link of the meeting').textContent()).trim();
  await press(page.getByTestId('made').getByRole('link', { name: 'Enter' }));
  await enter(olga, 'Olga');
  await stage(olga).waitFor();
  for (const [person, name] of [[bob, 'Bob'], [gus, 'Gus']]) {
    await person.page.goto(link);
    await enter(person, name);
    await stage(person).waitFor();
  }
  await Promise.all([moves(olga, 'Bob'), moves(olga, 'Gus'), moves(bob, 'Gus'), moves(gus, 'Bob'), moves(bob, 'Olga'), moves(gus, 'Olga')]);
  await press(page.getByTestId('people'));
  const roles = page.locator('.room-people');
  await roles.locator('li', { hasText: 'You' }).getByText('Owner · keeps the list').waitFor();
  await roles.locator('li', { hasText: 'Bob' }).getByText('Moderator').waitFor();
  await roles.locator('li', { hasText: 'Gus' }).getByText('Guest').waitFor();
  await press(page.getByTestId('people'));
  clean();
});

describe('tiles', () => {
  const speaks = (person, name) => person.page.locator(`.room-tile.speaking[aria-label="${name}"]`);

  test('mark whoever speaks, who is large where one is', async () => {
    for (const { page } of [bob, gus]) await page.keyboard.press('m');
    for (const name of ['Bob', 'Gus']) {
      await tile(olga, name).getByText(`${name} is muted`).waitFor({ state: 'attached' });
      await speaks(olga, name).waitFor({ state: 'detached' });
    }
    await arranged(olga, 'grid');
    await more(olga, 'Show one large');
    await arranged(olga, 'speaker');
    for (const [one, other] of [[gus, 'Gus'], [bob, 'Bob']]) {
      await one.page.keyboard.press('m');
      await speaks(olga, other).waitFor();
      await large(olga, other);
      await one.page.keyboard.press('m');
      await speaks(olga, other).waitFor({ state: 'detached' });
    }
    // The one who is silent stays large: nobody else has said anything.
    await large(olga, 'Bob');
    await inEveryLook(olga, 'speaker');
    clean();
  });

  test('stay large while they are pinned, whoever speaks', async () => {
    await press(pin(olga, 'Gus'));
    await arranged(olga, 'pinned');
    await large(olga, 'Gus');
    await bob.page.keyboard.press('m');
    await speaks(olga, 'Bob').waitFor();
    await large(olga, 'Gus');
    expect(await pin(olga, 'Gus').getAttribute('aria-pressed')).toBe('true');
    await inEveryLook(olga, 'pinned');
    await press(pin(olga, 'Gus'));
    await large(olga, 'Bob');
    await more(olga, 'Show all alike');
    await arranged(olga, 'grid');
    await gus.page.keyboard.press('m');
    clean();
  });
});
