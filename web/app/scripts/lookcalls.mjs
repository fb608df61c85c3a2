// The screens of a call, for look.mjs; and by themselves, with two people who know each other:
//
//   node scripts/lookcalls.mjs [SCREEN…]
import { answer, connect, fakes, join, moving } from '../test/e2e/people.mjs';
import { alone } from './harness.mjs';

export async function lookAtCalls(look, alice, bob) {
  const allowed = ['clipboard-read', 'clipboard-write', 'camera', 'microphone'];
  // The browser of a test says yes by itself; this is what another one says.
  await alice.page.evaluate(() => {
    navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('denied', 'NotAllowedError'));
    navigator.permissions.query = ({ name }) => Promise.resolve({ state: name === 'camera' ? 'denied' : 'granted' });
  });
  await alice.page.getByRole('link', { name: /Bob/ }).first().click();
  await alice.page.getByRole('button', { name: /^Video call with Bob/ }).click();
  await alice.page.locator('.call-problem').first().waitFor();
  await look(alice.page, 'call-denied');
  await alice.page.evaluate(() => {
    delete navigator.mediaDevices.getUserMedia;
    delete navigator.permissions.query;
  });
  await alice.context.grantPermissions(allowed);
  await bob.context.grantPermissions(allowed);
  const again = alice.page.locator('.call-problem button');
  for (let left = await again.count(); left > 0; left--) {
    await again.first().click();
    await alice.page.waitForFunction((n) => document.querySelectorAll('.call-problem').length < n, left);
  }
  await alice.page.waitForFunction(() => document.querySelector('.preview video')?.getVideoPlaybackQuality().totalVideoFrames > 2);
  await look(alice.page, 'call-prejoin');
  await alice.page.getByRole('button', { name: 'Call', exact: true }).click();
  await bob.page.getByRole('button', { name: 'Answer with camera' }).waitFor();
  await look(alice.page, 'call-calling');
  await look(bob.page, 'call-incoming');
  await answer(bob);
  await Promise.all([moving(alice), moving(bob)]);
  await look(alice.page, 'call-live');
  await alice.page.getByTestId('route').click();
  await alice.page.getByText('Round trip').waitFor();
  await look(alice.page, 'call-details');
  await alice.page.getByTestId('route').click();
  await alice.page.getByRole('button', { name: 'More of the call' }).click();
  await look(alice.page, 'call-more');
  await alice.page.getByRole('menuitem', { name: 'Show all alike' }).click();
  await look(alice.page, 'call-grid');
  await alice.page.getByRole('button', { name: 'More of the call' }).click();
  await alice.page.getByRole('menuitem', { name: 'Camera and microphone' }).click();
  await alice.page.getByRole('dialog').getByRole('button', { name: 'Play two notes' }).waitFor();
  await look(alice.page, 'call-devices');
  await alice.page.keyboard.press('Escape');
  await alice.page.getByRole('button', { name: 'More of the call' }).click();
  await alice.page.getByRole('menuitem', { name: 'Show one large' }).click();
  await bob.page.getByTestId('hand').click();
  await bob.page.getByTestId('microphone').click();
  await bob.page.getByTestId('screen').click();
  await moving(alice, 'screen-theirs');
  await look(alice.page, 'call-screen', async () => {
    await bob.page.getByRole('button', { name: 'React' }).click();
    await bob.page.getByRole('menuitem', { name: 'Applause' }).click();
    await alice.page.locator('.reaction').last().waitFor();
    const box = await bob.page.getByTestId('screen-mine').boundingBox();
    await bob.page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
    await bob.page.mouse.move(box.x + box.width / 2 + 5, box.y + box.height / 2);
    await alice.page.getByTestId('pointer').waitFor();
  });
  await alice.page.getByTestId('chat').click();
  await alice.page.locator('.call-chat textarea').waitFor();
  await look(alice.page, 'call-chat');
  await alice.page.getByTestId('chat').click();
  await alice.page.keyboard.press('?');
  await alice.page.getByRole('dialog', { name: 'Keys' }).waitFor();
  await look(alice.page, 'call-keys');
  await alice.page.keyboard.press('Escape');
  await alice.page.getByTestId('hangup').click();
  await alice.page.getByRole('heading', { name: 'Call ended' }).waitFor();
  await look(alice.page, 'call-ended');
  for (const person of [alice, bob]) await person.page.getByRole('button', { name: 'Back' }).click();
}

await alone(import.meta.url, fakes, async (world, look) => {
  const [acme, globex] = await world.pair('acme.example', 'globex.example');
  const [alice, bob] = [await join(world, acme), await join(world, globex)];
  await connect(alice, bob, globex.ready.http);
  await lookAtCalls(look, alice, bob);
});
