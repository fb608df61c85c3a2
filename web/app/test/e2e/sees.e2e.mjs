// The page that shows what the node sees, against what a node really got: a capture stands between browser and node.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { World } from '../../scripts/harness.mjs';
import { capture } from './capture.mjs';
import { connect, fakes, join } from './people.mjs';

let world;
let tap;
let alice;
let bob;

beforeAll(async () => {
  world = new World().build();
  const [acme, globex] = await world.pair('acme.example', 'globex.example');
  tap = await capture(acme.ready.http);
  // The browser believes that it speaks with the node, and the node that it is spoken to at its own address.
  await world.browser([...fakes, `--host-resolver-rules=MAP ${new URL(acme.ready.http).host} ${tap.host}`]);
  alice = await join(world, acme);
  bob = await join(world, globex);
  await connect(alice, bob, globex.ready.http);
});

afterAll(async () => {
  await world?.stop();
  await tap?.stop();
});

/** The bytes of the frame that is chosen, as they stand on the page. */
async function dumped(page) {
  const whole = page.getByRole('button', { name: /more bytes?/ });
  if (await whole.isVisible()) await whole.click();
  const text = await page.locator('.dump').textContent();
  return Buffer.from(text.split('\n').map((row) => row.slice(7, 54).replaceAll(' ', '')).join(''), 'hex');
}

test('every frame on the page is one that the node got or sent, byte for byte, and none is missing', async () => {
  const write = alice.page.getByRole('textbox', { name: 'Write to Bob' });
  for (const text of ['one note for Bob', 'and another one']) {
    await write.fill(text);
    await write.press('Enter');
    await bob.page.getByText(text).first().waitFor();
  }
  await alice.page.locator('.fate.read').nth(1).waitFor();
  await alice.page.getByRole('button', { name: 'Menu' }).click();
  await alice.page.getByRole('menuitem', { name: 'What the node sees' }).click();
  const shown = { toNode: [], fromNode: [] };
  const rows = alice.page.locator('.frames button');
  await rows.first().waitFor();
  const count = await rows.count();
  for (let n = 0; n < count; n++) {
    await rows.nth(n).click();
    const way = (await rows.nth(n).textContent()).includes('To the node') ? 'toNode' : 'fromNode';
    shown[way].push((await dumped(alice.page)).toString('hex'));
  }
  // The newest stand first on the page; what came while it was read is only in the capture.
  const got = tap.messages();
  for (const way of ['toNode', 'fromNode']) {
    const wire = got[way].map((m) => m.toString('hex'));
    const page = shown[way].reverse();
    expect(page.length).toBeGreaterThan(3);
    const from = wire.indexOf(page[0]);
    expect(from).toBeGreaterThanOrEqual(0);
    expect(wire.slice(from, from + page.length)).toEqual(page);
    expect(wire.slice(0, from)).toEqual([]);
  }
  const all = Buffer.concat([...got.toNode, ...got.fromNode]).toString('latin1');
  for (const text of ['one note for Bob', 'and another one']) expect(all).not.toContain(text);
  expect(world.foreign).toEqual([]);
  expect(world.problems).toEqual([]);
});
