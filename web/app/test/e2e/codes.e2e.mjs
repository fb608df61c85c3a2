// Codes before a camera and cards in files: adding somebody, and meeting without a server, where nothing is pasted.
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { World } from '../../scripts/harness.mjs';
import { Film } from './film.mjs';
import { devices, join } from './people.mjs';

let world;
let film;
let acme;
let globex;

/** Leaves no dialog that nobody is there to answer. */
const plain = async ({ context }) => context.addInitScript('delete globalThis.showSaveFilePicker;');

beforeAll(async () => {
  world = new World().build();
  film = new Film(world);
  await world.browser(film.flags);
  [acme, globex] = await world.pair('acme.example', 'globex.example');
});

afterAll(async () => {
  await world?.stop();
});

function clean() {
  expect(world.foreign).toEqual([]);
  expect(world.problems).toEqual([]);
}

test('somebody is added by the code on their screen', async () => {
  const [alice, bob] = [await join(world, acme), await join(world, globex)];
  await alice.page.locator('svg.qr').waitFor();
  film.show('https://example.com/', await film.read(await film.photograph(alice, 'alice.png'), alice));
  await bob.page.getByRole('link', { name: 'Add somebody' }).first().click();
  await bob.page.getByRole('button', { name: 'Scan a code' }).click();
  // A code of another kind is said to be one, and the camera looks on.
  await bob.page.getByText('This is another kind of code.').waitFor();
  expect(await world.axe(bob.page)).toEqual([]);
  await expect.poll(() => bob.page.getByLabel('Address, link or code', { exact: true }).inputValue()).toMatch(/^tl1.*@acme\.example/);
  await bob.page.getByLabel('Your name').fill('Bob');
  await bob.page.getByRole('button', { name: 'Ask to connect' }).click();
  await alice.page.getByRole('link', { name: /Bob/ }).click();
  await alice.page.getByRole('button', { name: 'Accept' }).click();
  await bob.page.getByRole('textbox', { name: /Write to/ }).waitFor();
  for (const { context } of [alice, bob]) await context.close();
  clean();
});

test('two meet without a server by codes one way and a file the other', async () => {
  // Whoever wants no motion turns the codes by hand.
  const alice = await join(world, acme, { reducedMotion: 'reduce' }, plain);
  const bob = await join(world, globex, devices, plain);
  await alice.page.goto(`${acme.ready.http}/card`);
  await alice.page.getByLabel('Your name').fill('Alice');
  await alice.page.getByRole('switch', { name: 'With picture' }).click();
  await alice.page.getByRole('button', { name: 'Make the link' }).click();
  const count = alice.page.getByText(/^Code \d of \d$/);
  await count.waitFor();
  const of = Number((await count.textContent()).at(-1));
  const codes = [];
  for (let n = 1; n <= of; n++) {
    await alice.page.getByText(`Code ${n} of ${of}`, { exact: true }).waitFor();
    codes.push(await film.read(await film.photograph(alice, `card ${n}.png`), alice));
    await alice.page.getByRole('button', { name: 'Next code' }).click();
  }
  expect(new Set(codes).size).toBe(of);
  expect(await world.axe(alice.page)).toEqual([]);
  film.show(...codes);
  await bob.page.goto(`${globex.ready.http}/card`);
  await bob.page.getByRole('button', { name: 'Scan a code' }).click();
  await bob.page.getByRole('heading', { name: 'Somebody wants to talk with you' }).waitFor();
  await bob.page.getByLabel('Your name').fill('Bob');
  await bob.page.getByRole('button', { name: 'Answer', exact: true }).click();
  const [saved] = await Promise.all([bob.page.waitForEvent('download'), bob.page.getByRole('button', { name: 'Save as a file' }).click()]);
  expect(saved.suggestedFilename()).toBe('trunkline-answer.txt');
  const file = await saved.path();
  expect(readFileSync(file, 'utf8').trim()).toBe(await bob.page.locator('code.long').textContent());
  const input = alice.page.locator('input[accept=".txt,text/plain"]');
  // A file that holds no card is told, and the offer stays.
  await input.setInputFiles({ name: 'notes.txt', mimeType: 'text/plain', buffer: Buffer.from('no card\n'.repeat(10_000)) });
  await alice.page.getByRole('alert').waitFor();
  await input.setInputFiles({ name: 'trunkline-answer.txt', mimeType: 'text/plain', buffer: readFileSync(file) });
  await alice.page.getByRole('button', { name: 'Connect with Bob' }).click();
  const [one, other] = await Promise.all([alice, bob].map(({ page }) => page.getByTestId('code').textContent()));
  expect(one).toBe(other);
  for (const { context } of [alice, bob]) await context.close();
  clean();
});
