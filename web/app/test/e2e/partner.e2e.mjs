// Somebody who is at home at another node in a meeting that takes no guests: each in the app of their own node, at names
// and under certificates as on the internet.
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { World } from '../../scripts/harness.mjs';
import { enter, moves, tile } from './meetings.mjs';
import { fakes, join } from './people.mjs';

const domains = ['acme.example', 'globex.example'];
const noGuests = '\n[rooms]\nguests = false\n';
const meet = (direction) => `\n[[rule]]\nname = "meet"\nlevel = "partner"\ndirection = "${direction}"\nactions = ["sfu"]\n`;

let world;
let acme;
let globex;
let olga;
let bob;
let link;
const first = new Map();

/** Puts a policy in force that adds to the one with which the node was started. */
function rules(node, more) {
  const file = path.join(node.data, 'policy.toml');
  if (!first.has(node)) first.set(node, readFileSync(file, 'utf8'));
  writeFileSync(file, first.get(node) + more);
  world.run('policy', 'reload', '--data', node.data);
}

beforeAll(async () => {
  world = new World().build();
  [acme, globex] = await world.pair(...domains, (domain) => ['--http-tls', 'local', '--http-public-url', `https://${domain}`]);
  for (const domain of domains) for (const scheme of ['https', 'wss']) world.origins.add(`${scheme}://${domain}`);
  const names = [acme, globex].map((node, i) => `MAP ${domains[i]} 127.0.0.1:${new URL(node.ready.http).port}`).join(', ');
  // The authorities of the nodes are trusted where they are installed; here every certificate is.
  await world.browser([...fakes, '--ignore-certificate-errors', `--host-resolver-rules=${names}`]);
  rules(acme, noGuests + meet('in'));
  olga = await join(world, acme);
  bob = await join(world, globex);
});

afterAll(async () => {
  await world?.stop();
});

function clean() {
  expect(world.foreign).toEqual([]);
  expect(world.problems).toEqual([]);
}

test('whose node does not speak for them stays out, and is told whose rules say so', async () => {
  const { page } = olga;
  await page.getByRole('link', { name: 'New meeting' }).click();
  await page.getByLabel('What it is about').fill('The two of us');
  await page.getByRole('button', { name: 'Make the meeting' }).click();
  link = (await page.getByLabel('Link of the meeting').textContent()).trim();
  expect(link).toMatch(/^https:\/\/acme\.example\/r\//);
  await page.getByTestId('made').getByRole('link', { name: 'Enter' }).click();
  await enter(olga, 'Olga');
  await page.getByText('Nobody else is here yet').waitFor();

  await bob.page.getByRole('link', { name: 'Join' }).click();
  await bob.page.getByLabel('Link or address').fill(link);
  await bob.page.getByRole('button', { name: 'Join' }).click();
  await bob.page.getByText('at acme.example').waitFor();
  await enter(bob, 'Bob');
  await bob.page.getByRole('heading', { name: 'Your node does not speak for you here' }).waitFor();
  expect(await world.axe(bob.page)).toEqual([]);
  clean();
});

test('whoever opens the link as a guest is told to open it at home, and is in from there', async () => {
  rules(globex, meet('out'));
  await bob.page.goto(link);
  await bob.page.getByText('You go in as a guest').waitFor();
  await enter(bob, 'Bob');
  await bob.page.getByRole('heading', { name: 'This meeting takes no guests' }).waitFor();
  await bob.page.getByRole('dialog').getByRole('button', { name: 'Copy link' }).click();
  expect(await bob.page.evaluate(() => navigator.clipboard.readText())).toBe(link);
  await bob.page.getByLabel('Your own node').fill('globex.example');
  expect(await world.axe(bob.page)).toEqual([]);
  await bob.page.getByRole('link', { name: 'Open it there' }).click();
  await bob.page.waitForURL('https://globex.example/room#**');
  await enter(bob);
  await bob.page.getByTestId('stage').waitFor();
  await bob.page.getByRole('heading', { name: 'The two of us', level: 1 }).waitFor();
  await Promise.all([moves(olga, 'Bob'), moves(bob, 'Olga')]);
  clean();
});

test('a reload comes back by itself, with another word of the own node', async () => {
  await bob.page.reload();
  await bob.page.getByTestId('stage').waitFor();
  await Promise.all([moves(olga, 'Bob'), moves(bob, 'Olga')]);
  clean();
});

test('whose place the rules take away is told so, and the others stay', async () => {
  rules(acme, noGuests);
  await bob.page.getByRole('heading', { name: 'The node does not allow this' }).waitFor();
  await tile(olga, 'Bob').waitFor({ state: 'detached' });
  await olga.page.getByText('Nobody else is here yet').waitFor();
  clean();
});
