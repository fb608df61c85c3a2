import { afterAll, beforeAll, expect, test } from 'vitest';
import { World } from '../../scripts/harness.mjs';
import { devices, fakes, moving } from './people.mjs';

// Somebody who has read nothing: one command, the address that it prints, and a second window of
// the same browser.
let world;

beforeAll(async () => {
  world = new World().build();
  await world.browser(fakes);
});

afterAll(async () => {
  await world?.stop();
});

test('one printed address and one link are a call between two windows of one browser', async () => {
  const address = await world.printed();
  const { context, page: alice } = await world.person(devices);
  await alice.goto(address);
  await alice.getByRole('button', { name: 'New call' }).click();
  const dialog = alice.getByRole('dialog');
  await dialog.getByRole('button', { name: 'Copy link' }).click();
  const link = await alice.evaluate(() => navigator.clipboard.readText());
  await dialog.getByRole('button', { name: 'Close' }).click();

  const bob = await context.newPage();
  world.watch(bob);
  await bob.goto(link);
  await bob.getByRole('button', { name: 'Be somebody new in this window' }).click();
  await bob.getByLabel('Your name').fill('Bob');
  await bob.getByRole('button', { name: 'Call', exact: true }).click();
  await bob.getByText(/As soon as .* accepts/).waitFor();

  await alice.getByRole('link', { name: /Bob/ }).click();
  await alice.getByRole('button', { name: 'Accept' }).click();
  await bob.locator('.preview video').waitFor();
  await bob.getByRole('button', { name: 'Call', exact: true }).click();
  await alice.getByRole('button', { name: 'Answer with camera' }).click();
  await Promise.all([moving({ page: alice }), moving({ page: bob })]);

  await bob.reload();
  await bob.getByRole('heading', { name: 'How others reach you' }).or(bob.getByRole('textbox', { name: /Write to/ })).waitFor();
  expect(world.foreign).toEqual([]);
  expect(world.problems).toEqual([]);
});

test('a third window is offered the identities that no window holds', async () => {
  const [context] = world.chromium.contexts();
  const [alice, bob] = context.pages();
  await bob.close();
  const third = await context.newPage();
  world.watch(third);
  await third.goto(new URL(alice.url()).origin);
  await third.getByRole('button', { name: 'Go on as Bob' }).click();
  await third.getByText('Bob', { exact: true }).first().waitFor();
  await third.getByRole('link', { name: /Wants to connect|Waiting|tl1|No messages/ }).first().waitFor();
  expect(world.problems).toEqual([]);
});
