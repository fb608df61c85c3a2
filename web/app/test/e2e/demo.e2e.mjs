// What somebody does who wants to see two nodes: one command, the two addresses that it prints, a link.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { World } from '../../scripts/harness.mjs';
import { devices, fakes, moving, over } from './people.mjs';

let world;

beforeAll(async () => {
  world = new World().build();
  await world.browser(fakes);
});

afterAll(async () => {
  await world?.stop();
});

test('two people of two nodes are in a call: an address each, a link, and a press on each side', async () => {
  const [alice, bob] = await Promise.all((await world.demo()).map(async (address) => {
    const person = await world.person(devices);
    await person.page.goto(address);
    await person.page.getByRole('link', { name: 'New call' }).waitFor();
    return person;
  }));
  await alice.page.getByRole('link', { name: 'New call' }).click();
  await alice.page.getByLabel('Your name').fill('Alice');
  await alice.page.getByRole('button', { name: 'Copy link' }).click();
  const link = await alice.page.evaluate(() => navigator.clipboard.readText());
  await bob.page.getByRole('link', { name: 'Join' }).click();
  await bob.page.getByLabel('Link or address').fill(link);
  await bob.page.keyboard.press('Enter');
  await bob.page.getByLabel('Your name').fill('Bob');
  await bob.page.getByRole('button', { name: 'Ask to join' }).click();
  await alice.page.getByRole('region', { name: 'Bob wants to join' }).getByRole('button', { name: 'Let in' }).click();
  await Promise.all([moving(alice), moving(bob)]);
  await over(alice, bob);
  expect(world.foreign).toEqual([]);
  expect(world.problems).toEqual([]);
});
