// Meeting without a server, for look.mjs; and by itself:
//
//   node scripts/lookcards.mjs [SCREEN…]
import { alone } from './harness.mjs';
import { devices, fakes, join, moving } from '../test/e2e/people.mjs';

/** Two people whose nodes are there or not: the cards do not care. */
export async function lookAtCards(world, look) {
  const [acme, globex] = await world.pair('cards-a.example', 'cards-b.example');
  const alice = await join(world, acme, devices);
  const bob = await join(world, globex, devices);
  await look(alice.page, 'card-home');
  await alice.page.goto(`${acme.ready.http}/card`);
  await alice.page.getByLabel('Your name').fill('Alice');
  await look(alice.page, 'card-begin');
  await alice.page.getByRole('button', { name: 'Make the link' }).click();
  await alice.page.locator('code.long').waitFor();
  await alice.page.locator('.qr').waitFor();
  await look(alice.page, 'card-offered');
  const link = await alice.page.locator('code.long').textContent();
  await bob.page.goto(`${globex.ready.http}/#${link.split('#')[1]}`);
  await bob.page.getByRole('button', { name: 'Answer', exact: true }).waitFor();
  await bob.page.getByLabel('Your name').fill('Bob');
  await look(bob.page, 'card-seen');
  await bob.page.getByRole('button', { name: 'Answer', exact: true }).click();
  await bob.page.locator('code.long').waitFor();
  await bob.page.locator('.qr').waitFor();
  await look(bob.page, 'card-answered');
  const answer = await bob.page.locator('code.long').textContent();
  await alice.page.getByLabel('Link or text of the answer').fill(answer.replace('#c1.', '#c1.A'));
  await alice.page.getByRole('button', { name: 'Open', exact: true }).click();
  await alice.page.getByRole('alert').waitFor();
  await look(alice.page, 'card-wrong');
  await alice.page.getByLabel('Link or text of the answer').fill(answer);
  await alice.page.getByRole('button', { name: 'Open', exact: true }).click();
  await alice.page.getByRole('button', { name: /^Connect with/ }).waitFor();
  await look(alice.page, 'card-found');
  await alice.page.getByRole('button', { name: /^Connect with/ }).click();
  await moving(alice);
  await look(alice.page, 'card-call');
  await bob.page.goto(`${globex.ready.http}/#${link.split('#')[1]}`);
  await bob.page.getByRole('heading', { name: 'This link was used before' }).waitFor();
  await look(bob.page, 'card-stopped');
  await alice.context.close();
  await bob.context.close();
}

await alone(import.meta.url, [...fakes, '--disable-features=WebRtcHideLocalIpsWithMdns'], lookAtCards);
