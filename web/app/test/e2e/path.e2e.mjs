// A call whose path is the relay of a node, and what becomes of it when that node goes and comes back.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { World } from '../../scripts/harness.mjs';
import { answer, connect, fakes, join, moving, over } from './people.mjs';

let world;
let acme;
let alice;
let bob;

beforeAll(async () => {
  world = new World().build();
  let globex;
  [acme, globex] = await world.pair('acme.example', 'globex.example', ['--turn-external-ip', '127.0.0.1', '--turn-allow-peers', '127.0.0.1/32:1024-65535']);
  await world.browser(fakes);
  // What the pages give to the connection and take from it, in their own words.
  const watch = ({ page }) => page.addInitScript(() => {
    globalThis.remote = [];
    const { setLocalDescription } = RTCPeerConnection.prototype;
    RTCPeerConnection.prototype.setLocalDescription = function (...args) {
      globalThis.connection = this;
      return setLocalDescription.apply(this, args);
    };
    const { addIceCandidate } = RTCPeerConnection.prototype;
    RTCPeerConnection.prototype.addIceCandidate = function (c) {
      if (c?.candidate) globalThis.remote.push(c.candidate);
      return addIceCandidate.call(this, c);
    };
  });
  alice = await join(world, acme, {}, watch);
  bob = await join(world, globex, {}, watch);
  await connect(alice, bob, globex.ready.http);
});

afterAll(async () => {
  await world?.stop();
});

test('whoever hides the address is reached through the relay alone', async () => {
  await alice.page.getByRole('button', { name: 'Video call with Bob' }).click();
  await alice.page.getByRole('switch', { name: /Hide my address/ }).click();
  await alice.page.locator('.preview video').waitFor();
  await alice.page.getByRole('button', { name: 'Call', exact: true }).click();
  await answer(bob);
  await Promise.all([moving(alice), moving(bob)]);
  for (const person of [alice, bob]) await person.page.getByTestId('route').filter({ hasText: 'Mesh, relay UDP' }).waitFor();
  const told = await bob.page.evaluate(() => globalThis.remote);
  expect(told.length).toBeGreaterThan(0);
  for (const line of told) {
    expect(line).toContain(' typ relay raddr 0.0.0.0 rport 9');
    expect(line).not.toMatch(/network-(id|cost)/);
  }
});

/** How many tracks this page sends. */
const sends = (person) => person.page.evaluate(() => globalThis.connection.getSenders().filter((s) => s.track !== null).length);

test('the node is killed: the picture stays, dimmed, with the seconds, and nothing is sent; it comes back, and so does all of the call', async () => {
  await alice.page.keyboard.press('s');
  await moving(bob, 'screen-theirs');
  expect(await sends(alice)).toBeGreaterThanOrEqual(3);
  await acme.kill();
  const since = alice.page.getByText(/No connection for \d+ seconds?/).first();
  await since.waitFor();
  // Counted from the last packet: the browser takes some seconds until it says so.
  expect(Number(/\d+/.exec(await since.textContent())[0])).toBeGreaterThan(1);
  expect(await alice.page.locator('[data-testid="them"].dimmed video').count()).toBe(1);
  expect(await world.axe(alice.page)).toEqual([]);
  // What a sender has is taken from it a moment after it was said so.
  await expect.poll(() => sends(alice)).toBe(0);
  await acme.again();
  await alice.page.locator('.tile-broken').waitFor({ state: 'detached' });
  await bob.page.locator('.tile-broken').waitFor({ state: 'detached' });
  await Promise.all([moving(alice), moving(bob)]);
  await moving(bob, 'screen-theirs');
  await alice.page.getByTestId('route').filter({ hasText: 'Mesh, relay' }).waitFor();
  // Notes go through the nodes.
  await alice.page.keyboard.press('c');
  await alice.page.locator('.call-chat textarea').fill('are you there again?');
  await alice.page.keyboard.press('Enter');
  await bob.page.getByTestId('chat').click();
  await bob.page.locator('.call-chat .bubble', { hasText: 'are you there again?' }).waitFor();
  await over(alice, bob);
  expect(world.foreign).toEqual([]);
});
