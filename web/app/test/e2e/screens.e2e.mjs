// Every screen that stands still, as a person comes to it, on a desktop and on a phone: nothing that axe finds, nothing that runs
// out of its sides. What moves (calls, files, meetings, alarms) is held to the same in the journeys that lead there.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { sizes, World } from '../../scripts/harness.mjs';
import { devices, fakes, join } from './people.mjs';

let world;
let acme;
let globex;
let alice;
let bob;

beforeAll(async () => {
  world = new World().build();
  [acme, globex] = await world.pair('acme.example', 'globex.example');
  await world.browser(fakes);
  [alice, bob] = [await join(world, acme), await join(world, globex)];
});

afterAll(async () => {
  await world?.stop();
});

async function stands({ page }, name) {
  for (const [size, viewport] of Object.entries(sizes)) {
    await page.setViewportSize(viewport);
    expect(await world.axe(page), `${name}, ${size}`).toEqual([]);
  }
  await page.setViewportSize(devices.viewport);
}

function clean() {
  expect(world.foreign).toEqual([]);
  expect(world.problems).toEqual([]);
}

const press = ({ page }, name) => page.getByRole('button', { name }).click();
const opened = async ({ page }, path, heading) => {
  await page.goto(acme.ready.http + path);
  await page.getByRole('heading', { name: heading, level: 1 }).waitFor();
};

test('before there is an account', async () => {
  const carol = await world.person();
  const { page } = carol;
  await page.goto(acme.ready.http);
  await page.getByLabel('Invitation').fill('hello');
  await press(carol, 'Join');
  await page.getByRole('alert').waitFor();
  await stands(carol, 'welcome');
  await press(carol, 'I have recovery words');
  await page.getByLabel('Recovery words').fill('abandon nonsense');
  await press(carol, 'Use these words');
  await page.getByRole('alert').waitFor();
  await stands(carol, 'recovery');
  await press(carol, 'Back');
  await press(carol, 'I have it on another device');
  await page.locator('form .qr').waitFor();
  await stands(carol, 'another device');
  await page.goto(`${acme.ready.http}/settings`);
  await page.getByRole('heading', { name: 'Settings', level: 1 }).waitFor();
  await stands(carol, 'settings of nobody');
  await carol.context.close();
  clean();
});

test('follows the system from light to dark and back, until somebody chooses', async () => {
  const { page } = bob;
  const theme = () => page.evaluate(() => document.documentElement.dataset.theme);
  for (const colorScheme of ['dark', 'light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    await expect.poll(theme).toBe(colorScheme);
  }
  await page.goto(`${acme.ready.http}/settings`);
  await page.getByRole('combobox', { name: 'Theme' }).click();
  await page.getByRole('option', { name: 'Light' }).click();
  await expect.poll(theme).toBe('light');
  clean();
});

test('with an account and nobody in it', async () => {
  await stands(alice, 'home');
  await opened(alice, '/call', 'New call');
  await alice.page.getByLabel('Your name').fill('Alice');
  await alice.page.locator('.qr').waitFor();
  await stands(alice, 'new call');
  await opened(alice, '/join', 'Join a call');
  await alice.page.getByLabel('Link or address').fill('hello');
  await press(alice, 'Join');
  await alice.page.getByRole('alert').waitFor();
  await stands(alice, 'join');
  await opened(alice, '/send', 'Send a file');
  await stands(alice, 'send to nobody');
  await opened(alice, '/transfers', 'Files');
  await stands(alice, 'no files');
  clean();
});

test('somebody asks, is looked at, and is let in', async () => {
  await alice.page.goto(acme.ready.http);
  await press(alice, 'Copy link');
  const at = await alice.page.evaluate(() => navigator.clipboard.readText());
  await bob.page.goto(globex.ready.http + at.slice(at.indexOf('/#')));
  await bob.page.getByLabel('Your name').fill('Bob');
  await bob.page.getByLabel('Message with the request').fill('Hello Alice, it is Bob from the harbour office.');
  await stands(bob, 'add');
  await press(bob, 'Ask to connect');
  await bob.page.getByText('has not answered yet').waitFor();
  await stands(bob, 'asked');
  await alice.page.getByRole('link', { name: /Bob/ }).waitFor();
  await stands(alice, 'home with a request');
  await alice.page.getByRole('link', { name: /Bob/ }).click();
  await press(alice, 'Block');
  await alice.page.getByRole('alertdialog').waitFor();
  await stands(alice, 'block');
  await alice.page.getByRole('alertdialog').getByRole('button', { name: 'Cancel' }).click();
  await stands(alice, 'request');
  await press(alice, 'Accept');
  await alice.page.getByRole('textbox', { name: 'Write to Bob' }).waitFor();
  await stands(alice, 'chat without notes');
  clean();
});

test('a contact: notes, the number, details, and the menu', async () => {
  const text = 'The plans are at https://harbour.example/plans, long as they are. Tell me what you think of the second quay.';
  await alice.page.getByRole('textbox', { name: 'Write to Bob' }).fill(text);
  await alice.page.keyboard.press('Enter');
  await bob.page.locator('.bubble', { hasText: text }).waitFor();
  await alice.page.locator('.fate.read').waitFor();
  await stands(alice, 'chat, own');
  await stands(bob, 'chat, theirs');
  await alice.page.getByRole('tab', { name: 'Verify' }).click();
  await press(alice, 'They match');
  await alice.page.locator('.screen-head .trust.verified').waitFor();
  await stands(alice, 'verified');
  await alice.page.getByRole('tab', { name: 'Details' }).click();
  await alice.page.getByLabel('Your name for this person').waitFor();
  await stands(alice, 'details');
  await press(alice, 'More about Bob');
  await stands(alice, 'menu of a contact');
  await alice.page.keyboard.press('Escape');
  await opened(alice, '/send', 'Send a file');
  await stands(alice, 'send');
  await alice.page.getByLabel('Choose files for Bob').setInputFiles({ name: 'plans of the second quay, with every drawing.pdf', mimeType: 'application/pdf', buffer: Buffer.alloc(90_000, 'plan') });
  await press(bob, 'Receive');
  await alice.page.locator('.file[data-state=delivered]').waitFor();
  await opened(alice, '/transfers', 'Files');
  await stands(alice, 'files');
  clean();
});

test('the words', async () => {
  await opened(alice, '/phrase', 'Recovery words');
  await stands(alice, 'words, hidden');
  await press(alice, 'Show the words');
  const words = await alice.page.locator('.words li').allTextContents();
  await stands(alice, 'words');
  await press(alice, 'I have written them down');
  const asked = (await alice.page.locator('form label').allTextContents()).map((label) => Number(label.replace(/\D/g, '')));
  await press(alice, 'Check');
  await alice.page.getByRole('alert').waitFor();
  await stands(alice, 'words, wrong');
  for (const n of asked) await alice.page.getByLabel(`Word ${n}`, { exact: true }).fill(words[n - 1]);
  await press(alice, 'Check');
  await alice.page.getByText('Your paper is right').waitFor();
  await stands(alice, 'words, right');
  clean();
});

test('what stands in the menu', async () => {
  await press(alice, 'Menu');
  await alice.page.getByRole('menuitem', { name: 'Settings' }).waitFor();
  expect(await world.axe(alice.page)).toEqual([]);
  await alice.page.getByRole('menuitem', { name: 'Settings' }).click();
  await press(alice, /^Raise a hand: H/);
  await stands(alice, 'settings');
  await alice.page.keyboard.press('h');
  await alice.page.getByRole('switch', { name: 'Quiet background' }).click();
  await alice.page.locator('[role=switch][aria-checked=true]', { hasText: 'Quiet background' }).waitFor();
  await alice.page.getByRole('combobox', { name: 'Theme' }).click();
  await alice.page.getByRole('option', { name: 'Dark' }).waitFor();
  await stands(alice, 'settings, choosing');
  await alice.page.keyboard.press('Escape');
  await opened(alice, '/devices', 'Devices');
  await stands(alice, 'devices');
  await opened(alice, '/about', 'About');
  await alice.page.getByTestId('digest').waitFor();
  await stands(alice, 'about');
  await opened(alice, '/media', 'Camera and microphone');
  await press(alice, 'Try them');
  await alice.page.getByRole('combobox', { name: 'Speaker' }).waitFor();
  await stands(alice, 'devices of the browser');
  await opened(alice, '/node', 'What the node sees');
  await alice.page.locator('.frames button').first().click();
  await alice.page.locator('.dump').waitFor();
  await stands(alice, 'what the node sees');
  clean();
});

test('without a node', async () => {
  await alice.page.goto(acme.ready.http);
  await alice.page.getByText('Connected to').waitFor({ state: 'attached' });
  await acme.kill();
  await alice.page.getByText('No link').waitFor();
  await stands(alice, 'home without a node');
  clean();
});
