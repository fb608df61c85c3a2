// The whole way of two people without a mouse. What a test does beside pressing keys is what is outside of the page: it
// opens an address, reads the clipboard, and answers the browser's own dialog for a file.
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, onTestFailed, test } from 'vitest';
import { World } from '../../scripts/harness.mjs';
import { content, sha, written } from './filepeople.mjs';
import { hands } from './hands.mjs';
import { devices, fakes, moving } from './people.mjs';

let world;

beforeAll(async () => {
  world = new World().build();
  await world.browser([...fakes, '--disable-features=WebRtcHideLocalIpsWithMdns']);
});

afterAll(async () => {
  await world?.stop();
});

/** Somebody with a keyboard, in a browser whose dialogs for files can be answered without a screen. */
async function person() {
  const person = await world.person(devices);
  await person.context.addInitScript(() => {
    delete globalThis.showSaveFilePicker;
    delete globalThis.showOpenFilePicker;
  });
  // Dialogs for files, from the first one on: who begins to listen when a key was pressed may be too late.
  const choosers = [];
  person.page.on('filechooser', (chooser) => choosers.push(chooser));
  return { ...person, choosers, keys: await hands(person) };
}

test('two people meet, speak, show, write, send a file, hang up, and write their words down by keyboard alone', async () => {
  const [alice, bob] = [await person(), await person()];
  onTestFailed(async () => {
    for (const [name, { page, keys }] of Object.entries({ alice, bob })) console.error(name, await keys.at(), (await page.locator('body').innerText()).replace(/\s+/g, ' '));
    console.error(world.problems);
  });
  const heading = ({ page }, name) => page.getByRole('heading', { name, exact: true }).waitFor();

  // A new call, a name, and the link.
  await alice.page.goto(await world.printed());
  await heading(alice, 'How others reach you');
  await alice.keys.reach('New call');
  await alice.keys.press('Enter');
  await alice.keys.on('New call');
  await alice.keys.reach('Your name');
  await alice.keys.type('Alice');
  await alice.keys.reach('Link into the call');
  await alice.keys.reach('Copy link');
  await alice.keys.press('Enter');
  const copied = () => alice.page.evaluate(() => navigator.clipboard.readText());
  await expect.poll(copied).toContain('/#call=');
  await alice.keys.kept('copying');

  // The guest asks, and looks at what will be seen before it is.
  await bob.page.goto(await copied());
  await heading(bob, 'Call Alice');
  await bob.keys.reach('Your name');
  await bob.keys.type('Bob');
  await bob.keys.reach('Ask to join');
  await bob.keys.press('Enter');
  await bob.keys.on('Waiting for Alice to let you in…');
  await bob.page.locator('.preview video').waitFor();
  await bob.keys.reach('Mute');
  await bob.keys.press('Space');
  await bob.keys.on('Unmute');
  await bob.keys.press('Space');
  await bob.keys.on('Mute');
  await bob.keys.reach('Microphone');
  await bob.keys.press('Enter', 'Escape');
  await bob.keys.on('Microphone');

  await alice.page.getByRole('button', { name: 'Let in' }).waitFor();
  await alice.keys.reach('Let in', 'Shift+Tab');
  await alice.keys.press('Enter');
  await alice.keys.on('Bob');
  await bob.keys.on('Alice');
  await Promise.all([moving(alice), moving(bob)]);

  // Muted and not, from both sides of the toolbar.
  await bob.keys.reach('Mute');
  await bob.keys.press('Space');
  await alice.page.getByText('Bob is muted').waitFor({ state: 'attached' });
  await bob.keys.on('Unmute');
  await bob.keys.press('Enter');
  await alice.page.getByText('Bob is muted').waitFor({ state: 'detached' });
  await bob.keys.on('Mute');

  // A menu opens, and Escape gives the focus back; so does a dialog.
  await bob.keys.reach('More of the call');
  await bob.keys.press('Enter');
  await bob.keys.on('Show all alike');
  await bob.keys.press('Escape');
  await bob.keys.on('More of the call');
  await bob.keys.press('ArrowUp');
  await bob.keys.on('Keys');
  await bob.keys.press('Enter');
  await bob.page.getByRole('dialog', { name: 'Keys' }).waitFor();
  await bob.keys.reach('Close');
  await bob.keys.press('Escape');
  await bob.keys.on('More of the call');

  await bob.keys.reach('Share the screen', 'Shift+Tab');
  await bob.keys.press('Enter');
  await moving(alice, 'screen-theirs');
  await bob.keys.on('Stop sharing');
  await bob.keys.press('Enter');
  await alice.page.getByTestId('screen-theirs').waitFor({ state: 'detached' });
  await bob.keys.on('Share the screen');

  // A note.
  await bob.keys.reach('Chat');
  await bob.keys.press('Enter');
  await bob.page.getByRole('textbox', { name: 'Write to Alice' }).waitFor();
  await bob.keys.reach('Write to Alice', 'Shift+Tab');
  await bob.keys.type('by keyboard alone');
  await bob.keys.press('Enter');
  await alice.keys.reach('Chat');
  await alice.keys.press('Enter');
  await alice.page.locator('.call-chat .bubble', { hasText: 'by keyboard alone' }).waitFor();

  // A file: offered, received, saved.
  const data = content(700_000, 21);
  await bob.keys.reach('Send a file', 'Shift+Tab');
  await bob.keys.press('Enter');
  await expect.poll(() => bob.choosers.length).toBe(1);
  await bob.choosers[0].setFiles(written(world, 'keys.bin', data));
  const row = ({ page }, state) => page.locator(`.call-chat .file[data-state=${state}]`, { hasText: 'keys.bin' });
  await bob.keys.kept('choosing a file');
  await alice.page.locator('.call-chat .file[data-state=asking]').waitFor();
  await alice.keys.reach('Receive', 'Shift+Tab');
  await alice.keys.press('Enter');
  await row(alice, 'arrived').waitFor();
  await row(bob, 'delivered').waitFor();
  await alice.keys.kept('receiving');
  await alice.keys.reach('Save');
  const saving = alice.page.waitForEvent('download');
  await alice.keys.press('Enter');
  expect(sha(readFileSync(await (await saving).path()))).toBe(sha(data));
  await row(alice, 'saved').waitFor();
  await alice.keys.kept('saving');

  await bob.keys.reach('Hang up');
  await bob.keys.press('Enter');
  for (const { keys, page } of [alice, bob]) {
    await keys.on('Call ended');
    await keys.reach('Back');
    await keys.press('Enter');
    await page.locator('.call-layer').waitFor({ state: 'detached' });
    await keys.kept('a call');
  }

  // Settings: a theme.
  await alice.keys.reach('Menu');
  await alice.keys.press('Enter');
  await alice.keys.on('Files');
  await alice.keys.press('s');
  await alice.keys.on('Settings');
  await alice.keys.press('Enter');
  await heading(alice, 'Settings');
  await alice.keys.on('Settings');
  await alice.keys.reach('Theme');
  await alice.keys.press('Enter', 'End', 'Enter');
  await expect.poll(() => alice.page.evaluate(() => document.documentElement.dataset.theme)).toBe('dark');
  await alice.keys.on('Theme');

  // The words, from the menu and back onto paper.
  await alice.keys.reach('Menu');
  await alice.keys.press('ArrowDown', 'r');
  await alice.keys.on('Recovery words');
  await alice.keys.press('Enter');
  await heading(alice, 'Recovery words');
  await alice.keys.on('Recovery words');
  await alice.keys.reach('Show the words');
  await alice.keys.press('Enter');
  await alice.page.locator('.words').waitFor();
  await alice.keys.kept('the words came');
  const words = await alice.page.locator('.words li').allTextContents();
  await alice.keys.reach('I have written them down');
  await alice.keys.press('Enter');
  await alice.page.locator('form label').first().waitFor();
  await alice.keys.kept('the words were written down');
  const asked = (await alice.page.locator('form label').allTextContents()).map((label) => Number(label.replace(/\D/g, '')));
  for (const n of asked) {
    await alice.keys.reach(`Word ${n}`);
    await alice.keys.type(words[n - 1]);
  }
  await alice.keys.press('Enter');
  await alice.page.getByText('Your paper is right').waitFor();
  await alice.keys.kept('the paper was right');

  expect(world.foreign).toEqual([]);
  expect(world.problems).toEqual([]);
});
