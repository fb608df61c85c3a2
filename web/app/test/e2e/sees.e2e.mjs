// The page that shows what the node sees, against what a node really got: a capture stands between browser and node.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { World } from '../../scripts/harness.mjs';
import { capture } from './capture.mjs';
import { answer, connect, fakes, join, moving, over, ring } from './people.mjs';

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

const frames = () => alice.page.locator('.frames button');

/** The page that shows what the node sees, with whatever went over the link so far. */
async function open() {
  await alice.page.getByRole('button', { name: 'Menu' }).click();
  await alice.page.getByRole('menuitem', { name: 'What the node sees' }).click();
  await frames().first().waitFor();
}

/** Every frame on the page, the oldest first: which way it went, its bytes, and what is said of them. */
async function shown() {
  const all = [];
  const count = await frames().count();
  for (let n = 1; n <= count; n++) {
    // Counted from the oldest one, the last on the page: what comes meanwhile moves none.
    const row = frames().nth(-n);
    await row.click();
    const bytes = await dumped(alice.page);
    const fields = await alice.page.locator('.fields tbody tr').evaluateAll((rows) => rows.map((r) => [...r.children].map((c) => c.textContent)));
    all.push({ out: (await row.textContent()).includes('To the node'), kind: await row.locator('code').textContent(), fields, bytes });
  }
  return all;
}

/** What the page shows is what the node got and sent, byte for byte, and none is missing; what came while it was read is only in the capture. */
function sameAs(got, all) {
  for (const out of [true, false]) {
    const wire = (out ? got.toNode : got.fromNode).map((m) => m.toString('hex'));
    const page = all.filter((f) => f.out === out).map((f) => f.bytes.toString('hex'));
    expect(page.length).toBeGreaterThan(3);
    expect(wire.slice(0, page.length)).toEqual(page);
  }
}

/** All that went over the link, as text is looked for in it. */
const text = ({ toNode, fromNode }) => Buffer.concat([...toNode, ...fromNode]).toString('latin1');

function clean() {
  expect(world.foreign).toEqual([]);
  expect(world.problems).toEqual([]);
}

test('every frame on the page is one that the node got or sent, byte for byte, and none is missing', async () => {
  const write = alice.page.getByRole('textbox', { name: 'Write to Bob' });
  const notes = ['one note for Bob', 'and another one'];
  for (const note of notes) {
    await write.fill(note);
    await write.press('Enter');
    await bob.page.getByText(note).first().waitFor();
  }
  await alice.page.locator('.fate.read').nth(1).waitFor();
  await open();
  const all = await shown();
  const got = tap.messages();
  sameAs(got, all);
  for (const note of notes) expect(text(got)).not.toContain(note);
  clean();
});

test('so is every frame of a call, from the ring to the goodbye', async () => {
  const before = await frames().count();
  await alice.page.getByRole('link', { name: /Bob/ }).click();
  await ring(alice);
  await answer(bob);
  await Promise.all([moving(alice), moving(bob)]);
  const code = await alice.page.getByTestId('code').textContent();
  await over(alice, bob);
  await open();
  const all = await shown();
  const got = tap.messages();
  sameAs(got, all);
  const call = all.slice(before);
  const kinds = (out) => call.filter((f) => f.out === out).map((f) => f.kind);
  expect(kinds(true)).toEqual(expect.arrayContaining(['submit', 'turn', 'turnRelease']));
  expect(kinds(false)).toEqual(expect.arrayContaining(['deliver', 'receipt', 'turn']));
  // The node learns for whose node it is, for how long it is kept, and how long it is; what it is stays between the two devices.
  const sent = call.filter((f) => f.kind === 'submit').map((f) => Object.fromEntries(f.fields.map(([name, value, reader]) => [name, { value, reader }])));
  expect(sent.map((f) => f.ttl.value)).toEqual(expect.arrayContaining(['ring', 'live']));
  for (const f of sent) {
    expect(Object.fromEntries(Object.entries(f).map(([name, { reader }]) => [name, reader]))).toEqual({
      destination: 'Your node', ttl: 'Your node', hop: 'The other node', payload: 'The two devices alone',
    });
    expect(f.payload.value).toMatch(/^(1024|4096|8192|16384) B$/);
  }
  for (const f of call.filter((f) => f.kind === 'deliver')) expect(f.fields.find(([name]) => name === 'payload')[2]).toBe('The two devices alone');
  for (const secret of ['candidate:', 'a=fingerprint', 'ice-ufrag', 'Bob', code, code.replace(' ', '')]) expect(text(got)).not.toContain(secret);
  clean();
});
