// Comparing two people, and what happens when keys contradict each other.
import { rmSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { World } from '../../scripts/harness.mjs';
import { Film } from './film.mjs';
import { connect, join } from './people.mjs';

let world;
let node;
let film;

beforeAll(async () => {
  world = new World().build();
  film = new Film(world);
  await world.browser(film.flags);
  node = await world.node('acme', 'acme.example');
});

afterAll(async () => {
  await world?.stop();
});

function clean() {
  expect(world.foreign).toEqual([]);
  expect(world.problems).toEqual([]);
}

async function pair() {
  const [alice, bob] = [await join(world, node), await join(world, node)];
  await connect(alice, bob, node.ready.http);
  for (const { page } of [alice, bob]) {
    await page.getByRole('tab', { name: 'Verify' }).click();
    await page.locator('.digits').waitFor();
    await page.locator('svg.qr').waitFor();
  }
  return [alice, bob];
}

const scan = ({ page }) => page.getByRole('button', { name: 'Scan a code' }).click();
const verified = ({ page }) => page.locator('.screen-head .trust.verified');

describe('one scan', () => {
  test('of a photograph verifies the one who scans, and the other one with one press', async () => {
    const [alice, bob] = await pair();
    await scan(alice);
    const input = alice.page.locator('input[accept="image/*"]');
    // What is no picture, what has no code, and a code of another kind each have their own words.
    await input.setInputFiles({ name: 'no.png', mimeType: 'image/png', buffer: Buffer.from('no picture') });
    await alice.page.getByText('no code on this picture').waitFor();
    const odd = path.join(world.dir, 'odd.png');
    await alice.page.locator('.digits').screenshot({ path: odd });
    await input.setInputFiles(odd);
    await alice.page.getByText('no code on this picture').waitFor();
    expect(await world.axe(alice.page)).toEqual([]);
    await input.setInputFiles(await film.photograph(bob, 'bob.png'));
    await verified(alice).waitFor();
    // The other side's word is no proof: nothing is marked there before the person has looked.
    await bob.page.getByText('has read your code').waitFor();
    expect(await verified(bob).count()).toBe(0);
    expect(await world.axe(bob.page)).toEqual([]);
    await bob.page.getByRole('button', { name: 'Yes, I see it there' }).click();
    await verified(bob).waitFor();
    await bob.page.reload();
    await verified(bob).waitFor();
    expect(await bob.page.getByText('has read your code').count()).toBe(0);
    for (const person of [alice, bob]) await person.context.close();
    clean();
  });

  test('through the camera does the same, and one of the own screen is refused', async () => {
    const [alice, bob] = await pair();
    await filmed(alice, 'alice.png');
    await scan(alice);
    await alice.page.getByText('It does NOT match').waitFor();
    expect(await verified(alice).count()).toBe(0);
    await filmed(bob, 'bob2.png');
    await scan(alice);
    await verified(alice).waitFor();
    await bob.page.getByRole('button', { name: 'No' }).click();
    await bob.page.getByText('It does NOT match').waitFor();
    expect(await verified(bob).count()).toBe(0);
    for (const person of [alice, bob]) await person.context.close();
    clean();
  });
});

/** Holds a photograph of somebody's code before the camera. */
async function filmed(person, name) {
  film.show(await film.read(await film.photograph(person, name), person));
}

test('a contact whose keys contradict what was seen blocks sending until the person decides', async () => {
  const [home, globex] = await world.pair('one.example', 'two.example');
  const alice = await join(world, home);
  const bob = await join(world, globex);
  await connect(alice, bob, globex.ready.http);
  const write = async (text) => {
    await alice.page.getByRole('textbox', { name: 'Write to Bob' }).fill(text);
    await alice.page.keyboard.press('Enter');
  };
  await write('before');
  await alice.page.locator('.bubble.mine', { hasText: 'before' }).locator('.fate.read').waitFor();
  // Bob's words, and the node loses everything but its keys: whoever has the words begins anew there.
  await bob.page.goto(`${globex.ready.http}/phrase`);
  await bob.page.getByRole('button', { name: 'Show the words' }).click();
  const words = await bob.page.locator('.words li').allTextContents();
  await bob.context.close();
  await globex.kill();
  for (const file of ['node.db', 'node.db.keys']) rmSync(path.join(globex.data, file));
  const empty = await globex.again();
  const second = await world.person();
  await second.page.goto(`${globex.ready.http}/`);
  await second.page.getByRole('button', { name: 'I have recovery words' }).click();
  await second.page.getByLabel('Recovery words').fill(words.join(' '));
  await second.page.getByRole('button', { name: 'Use these words' }).click();
  await second.page.getByText('wants an invitation').waitFor();
  await second.page.getByLabel('Invitation').fill(world.invite({ data: empty.data }));
  await second.page.getByRole('button', { name: 'Join' }).click();
  await second.page.getByRole('heading', { name: 'How others reach you' }).waitFor();

  await alice.page.reload();
  await write('to whom?');
  await alice.page.getByText('The keys of Bob have CHANGED').first().waitFor();
  expect(await alice.page.getByRole('textbox', { name: 'Write to Bob' }).count()).toBe(0);
  expect(await alice.page.getByRole('button', { name: 'Video call with Bob' }).count()).toBe(0);
  await alice.page.locator('.screen-head .trust.changed').waitFor();
  expect(await world.axe(alice.page)).toEqual([]);
  await alice.page.getByRole('button', { name: 'Compare' }).click();
  await alice.page.locator('.digits').waitFor();
  expect(await world.axe(alice.page)).toEqual([]);
  // Still so after a reload: it is the person who decides, not time.
  await alice.page.reload();
  await alice.page.getByRole('button', { name: 'Go on with the earlier keys' }).click();
  await alice.page.locator('.screen-head .trust.changed').waitFor({ state: 'detached' });
  await alice.page.getByRole('tab', { name: 'Chat' }).click();
  await alice.page.getByRole('textbox', { name: 'Write to Bob' }).waitFor();
  for (const person of [alice, second]) await person.context.close();
  clean();
});
