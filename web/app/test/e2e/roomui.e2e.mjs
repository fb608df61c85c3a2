// What three people do in a meeting, each in Chromium at one real node: tiles, a shared screen, the small window, roles, its end, and
// the way that it takes. People of the Go client make it more than fit on a page.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sizes, World } from '../../scripts/harness.mjs';
import { enter, moves, prefer, startCrowd, tile, tireless } from './meetings.mjs';
import { connect, devices, fakes, join } from './people.mjs';

const guests = Array.from({ length: 5 }, (_, i) => `Guest ${i + 1}`);

let world;
let olga; // who made it
let bob; // her contact, and moderator
let gus; // without an account
let link;
let crowd;

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

/** Nothing that axe finds, on a desktop and on a phone. */
async function inEveryLook({ page }, name) {
  for (const [size, viewport] of Object.entries(sizes)) {
    await page.setViewportSize(viewport);
    expect(await world.axe(page), `${name}, ${size}`).toEqual([]);
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

/** What stands beside a word of the sheet about how the meeting travels. */
const told = (person, word) => person.page.getByRole('dialog', { name: /^How / }).locator('dl > div', { has: person.page.getByText(word, { exact: true }) }).locator('dd').textContent();

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
  const named = (person, label) => person.page.locator(`.room-tile[aria-label="${label}"]`);
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

  test('a screen is larger than all faces, and sent as sharp text or as what moves, as whoever shares it says', async () => {
    await press(gus.page.getByTestId('screen'));
    const own = named(gus, 'Your screen');
    await Promise.all([moves(olga, 'Screen of Gus'), moves(bob, 'Screen of Gus')]);
    for (const person of [olga, bob, gus]) await arranged(person, 'screen');
    await large(olga, 'Screen of Gus');
    await inEveryLook(gus, 'screen-own');
    await inEveryLook(olga, 'screen');
    const hint = () => own.locator('video').evaluate((v) => v.srcObject.getVideoTracks()[0].contentHint);
    expect(await hint()).toBe('detail');
    await press(own.getByRole('button', { name: 'Sharp text' }));
    await own.getByRole('button', { name: 'Smooth motion' }).waitFor();
    expect(await hint()).toBe('motion');
    await Promise.all([moves(olga, 'Screen of Gus'), moves(bob, 'Screen of Gus')]);
    await press(gus.page.getByTestId('screen'));
    await named(olga, 'Screen of Gus').waitFor({ state: 'detached' });
    await arranged(olga, 'grid');
    await Promise.all([moves(olga, 'Gus'), moves(bob, 'Gus')]); // the camera was not touched
    clean();
  });
});

test('the small window shows the meeting, has its switches, and closes with it', async () => {
  const opened = gus.context.waitForEvent('page');
  await more(gus, 'Small window on top');
  const small = await opened;
  await small.getByTestId('small').locator('video').waitFor();
  const name = () => small.locator('.tile-name').textContent();
  await expect.poll(name).toMatch(/Olga|Bob/);
  await press(small.getByTestId('microphone'));
  await tile(olga, 'Gus').getByText('Gus is muted').waitFor({ state: 'attached' });
  expect(await gus.page.getByTestId('microphone').getAttribute('aria-label')).toBe('Unmute');
  await press(small.getByTestId('camera'));
  await tile(olga, 'Gus').locator('video').waitFor({ state: 'detached' });
  await press(small.getByTestId('hand'));
  await tile(olga, 'Gus').getByText('Gus has raised a hand, place 1').waitFor({ state: 'attached' });
  expect(await world.axe(small)).toEqual([]);
  // What is pinned in the large one stands here, too.
  await press(pin(gus, 'Olga'));
  await expect.poll(name).toBe('Olga');
  await press(pin(gus, 'Olga'));
  const closed = small.waitForEvent('close');
  await press(small.getByTestId('hangup'));
  await gus.page.getByRole('heading', { name: 'You have left' }).waitFor();
  await closed;
  await tile(olga, 'Gus').waitFor({ state: 'detached' });
  await press(gus.page.getByRole('button', { name: 'Enter again' }));
  await enter(gus, 'Gus');
  await stage(gus).waitFor();
  await Promise.all([moves(olga, 'Gus'), moves(bob, 'Gus'), moves(gus, 'Olga')]);
  clean();
});

test('the owner makes the meeting longer, which whoever runs it sees', async () => {
  const until = async (person) => Date.parse((await person.page.getByText(/^Until /).textContent()).slice('Until '.length));
  for (const person of [olga, bob]) await press(person.page.getByTestId('people'));
  const before = await until(olga);
  expect(await until(bob)).toBe(before);
  expect(await bob.page.getByRole('button', { name: 'One hour longer' }).count()).toBe(0);
  await press(olga.page.getByRole('button', { name: 'One hour longer' }));
  for (const person of [olga, bob]) await expect.poll(() => until(person)).toBe(before + 3_600_000);
  for (const person of [olga, bob]) await press(person.page.getByTestId('people'));
  clean();
});

describe('the way that it takes', () => {
  async function takes(way, words) {
    await press(olga.page.getByTestId('topology'));
    await press(olga.page.getByRole('group', { name: 'Which way it takes' }).getByRole('button', { name: way }));
    for (const { page } of [olga, bob, gus]) {
      await page.getByTestId('topology').filter({ hasText: words }).waitFor();
      await page.getByTestId('topology').locator('.spinner').waitFor({ state: 'detached' });
    }
    await expect.poll(() => told(olga, 'Way')).toBe(words);
    expect(await world.axe(olga.page)).toEqual([]);
    await olga.page.keyboard.press('Escape');
    await Promise.all([moves(olga, 'Bob'), moves(olga, 'Gus'), moves(bob, 'Gus'), moves(gus, 'Bob'), moves(bob, 'Olga'), moves(gus, 'Olga')]);
  }

  /** What somebody is told who has no say in it. */
  async function reason(person, why, who) {
    await press(person.page.getByTestId('topology'));
    await expect.poll(() => told(person, 'Why this way')).toBe(why);
    expect(await told(person, 'Who decided')).toBe(who);
    expect(await person.page.getByRole('group', { name: 'Which way it takes' }).count()).toBe(0);
    await person.page.keyboard.press('Escape');
  }

  test('goes by the number of people, with numbers for each of them', async () => {
    await reason(gus, 'Up to 4 people are connected directly.', 'Your own app, by itself');
    const { page } = olga;
    await press(page.getByTestId('topology'));
    await press(page.getByRole('dialog', { name: 'How this meeting travels' }).getByRole('button', { name: 'Gus' }));
    const sheet = page.getByRole('dialog', { name: 'How Gus comes through' });
    expect(await told(olga, 'Quality')).toMatch(/^Connection: (good|fair|poor)$/);
    const opened = async () => Number(await sheet.getByTestId('decoded').getAttribute('data-count'));
    const before = await opened();
    await expect.poll(opened).toBeGreaterThan(before);
    await inEveryLook(olga, 'person');
    await page.keyboard.press('Escape');
    clean();
  });

  test('goes over the node when the owner pins it there while people talk', async () => {
    await takes('Always over the node (SFU)', 'SFU acme.example');
    for (const person of [bob, gus]) await reason(person, 'Its maker has pinned it.', 'Whoever made the meeting');
    await tile(gus, 'Olga').getByText('SFU acme.example').waitFor({ state: 'attached' });
    clean();
  });

  test('carries more people than fit on a page, and all of them are on one', async () => {
    const { page } = olga;
    crowd = startCrowd(world, world.tool('internal/crowd'), link, guests.length);
    await crowd.all('in', guests);
    await page.setViewportSize({ width: 667, height: 375 });
    await page.getByText('Page 1 of 2').waitFor();
    const labels = () => page.locator('.room-tile').evaluateAll((tiles) => tiles.map((t) => t.getAttribute('aria-label')));
    expect(await world.axe(page)).toEqual([]);
    const first = await labels();
    expect(await page.getByRole('button', { name: 'People before' }).count()).toBe(0);
    await press(page.getByRole('button', { name: 'Further people' }));
    await page.getByText('Page 2 of 2').waitFor();
    expect(await world.axe(page)).toEqual([]);
    expect([...first, ...(await labels())].sort()).toEqual(['Bob', ...guests, 'Gus', 'You']);
    expect(await page.getByRole('button', { name: 'Further people' }).count()).toBe(0);
    await press(page.getByRole('button', { name: 'People before' }));
    await page.getByText('Page 1 of 2').waitFor();
    await moves(olga, 'Gus');
    // Beside one that is large fewer fit.
    await page.setViewportSize(devices.viewport);
    await page.getByText('Page 1 of 2').waitFor({ state: 'detached' });
    await more(olga, 'Show one large');
    await page.getByText('Page 1 of 2').waitFor();
    await inEveryLook(olga, 'strip-8');
    await press(page.getByRole('button', { name: 'Further people' }));
    await page.getByText('Page 2 of 2').waitFor();
    await more(olga, 'Show all alike');
    await arranged(olga, 'grid');
    expect(await crowd.leave()).toBe(0);
    for (const name of guests) await tile(olga, name).waitFor({ state: 'detached' });
    clean();
  });

  test('goes directly when the owner pins it so, without a gap', async () => {
    await takes('Always direct (mesh)', 'Mesh');
    for (const person of [bob, gus]) await reason(person, 'Its maker has pinned it.', 'Whoever made the meeting');
    await tile(gus, 'Olga').getByText(/^Mesh, (LAN|direct)$/).waitFor({ state: 'attached' });
    clean();
  });
});

test('a moderator sends somebody away once the owner has gone', async () => {
  const items = async () => {
    await press(bob.page.getByRole('button', { name: 'More about Gus' }));
    const texts = await bob.page.getByRole('menuitem').allTextContents();
    await bob.page.keyboard.press('Escape');
    return texts;
  };
  await press(bob.page.getByTestId('people'));
  const { page } = bob;
  // While the owner is there it is for the owner.
  expect(await items()).toContain('Ask to mute');
  expect(await items()).not.toContain('Send away');
  await press(olga.page.getByTestId('hangup'));
  await olga.page.getByRole('heading', { name: 'You have left' }).waitFor();
  await page.locator('.room-people li', { hasText: 'You' }).getByText('Moderator · keeps the list').waitFor();
  await press(page.getByRole('button', { name: 'More about Gus' }));
  await press(page.getByRole('menuitem', { name: 'Send away' }));
  await press(page.getByRole('alertdialog', { name: 'Send Gus away?' }).getByRole('button', { name: 'Send away' }));
  await gus.page.getByRole('heading', { name: 'You were sent away' }).waitFor();
  await page.getByText('Nobody else is here yet').waitFor({ state: 'attached' });
  expect(await page.getByLabel('Link of the meeting').textContent()).not.toBe(link);
  clean();
});
