// The way into a first call, for look.mjs; and by itself:
//
//   node scripts/lookmeet.mjs [SCREEN…]
import { alone } from './harness.mjs';
import { devices, fakes, moving, over } from '../test/e2e/people.mjs';

/** Somebody who has just started a node, and whom they call. */
export async function lookAtMeeting(world, look) {
  const address = await world.printed();
  const { origin } = new URL(address);
  const alice = await world.person(devices);
  await alice.page.goto(address);
  await alice.page.getByRole('heading', { name: 'How others reach you' }).waitFor();
  await look(alice.page, 'home-first');
  await alice.page.getByRole('link', { name: 'Join' }).click();
  await alice.page.getByLabel('Link or address').fill('hello');
  await alice.page.getByRole('button', { name: 'Join' }).click();
  await alice.page.getByRole('alert').waitFor();
  await look(alice.page, 'join');
  await alice.page.goto(`${origin}/send`);
  await alice.page.getByRole('heading', { name: 'Send a file' }).waitFor();
  await look(alice.page, 'send-nobody');
  await alice.page.goto(`${origin}/call`);
  await alice.page.getByLabel('Your name').fill('Alice');
  await look(alice.page, 'new-call');
  await alice.page.getByRole('button', { name: 'Copy link' }).click();
  const link = await alice.page.evaluate(() => navigator.clipboard.readText());
  const bob = await world.person(devices);
  await bob.page.goto(link);
  await bob.page.getByRole('heading', { name: 'Call Alice', level: 1 }).waitFor();
  await bob.page.getByLabel('Your name').fill('Bob');
  await look(bob.page, 'meet');
  await bob.page.getByRole('button', { name: 'Ask to join' }).click();
  await bob.page.locator('.preview video').waitFor();
  await look(bob.page, 'lobby');
  await alice.page.getByRole('button', { name: 'Let in' }).waitFor();
  await look(alice.page, 'let-in');
  const carol = await world.person(devices);
  await carol.page.goto(link.replace(/invite=[^&]*/, 'invite=used'));
  await carol.page.getByText('Somebody wants to call you').waitFor();
  await look(carol.page, 'welcome-call');
  await carol.context.close();
  await alice.page.getByRole('button', { name: 'Let in' }).click();
  await Promise.all([moving(alice), moving(bob)]);
  await over(alice, bob);
  await look(alice.page, 'new-call-known');
  await alice.page.goto(`${origin}/send`);
  await alice.page.locator('.file-to').waitFor();
  await look(alice.page, 'send');
  await alice.page.goto(`${origin}/`);
  await alice.page.getByRole('heading', { name: 'How others reach you' }).waitFor();
  await look(alice.page, 'home-known');
  for (const person of [alice, bob]) await person.context.close();
}

await alone(import.meta.url, fakes, lookAtMeeting);
