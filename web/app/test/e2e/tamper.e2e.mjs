// Somebody in the middle of two people: Alice's own node, or whoever stands before it, changes what passes, names another home for a
// contact, or is another node; and a card is changed on the road between two. Nobody is ever shown, and the screen says why.
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { marshalNodeFrame, parseClientFrame, parseNodeFrame } from '../../../sdk/src/link/frames.ts';
import { nodeSocket } from '../../../sdk/src/node.ts';
import { World } from '../../scripts/harness.mjs';
import { middle } from './middle.mjs';
import { answer, connect, fakes, join, moving, over, ring } from './people.mjs';

let world;
let acme;
let globex;
let between;
let alice;
let bob;
/** All that browsers told Alice's node, as it passed. */
const told = [];

/** Counts what a page ever shows of the other side, and the connections that it makes. */
function count() {
  globalThis.shown = 0;
  const look = () => { globalThis.shown += document.querySelectorAll('[data-testid="them"] video, .call-layer audio').length; };
  new MutationObserver(look).observe(document, { subtree: true, childList: true });
  const Real = RTCPeerConnection;
  globalThis.connections = 0;
  globalThis.RTCPeerConnection = class extends Real {
    constructor(...args) {
      super(...args);
      globalThis.connections++;
    }
  };
}
const counting = ({ context }) => context.addInitScript(count);

beforeAll(async () => {
  world = new World().build();
  [acme, globex] = await world.pair('acme.example', 'globex.example');
  between = await middle(acme.ready.http);
  // The browser believes that it speaks with the node, and the node that it is spoken to at its own address.
  await world.browser([...fakes, `--host-resolver-rules=MAP ${new URL(acme.ready.http).host} ${between.host}`]);
  alice = await join(world, acme, {}, counting);
  bob = await join(world, globex, {}, counting);
  await connect(alice, bob, globex.ready.http);
  listens();
});

afterEach(() => {
  between.honest();
  listens();
});

afterAll(async () => {
  await world?.stop();
  await between?.stop();
});

function listens() {
  between.toNode = (message) => {
    told.push(message);
    return message;
  };
}

/** The kinds of what was told since the last call. */
const kinds = () => told.splice(0).map((message) => parseClientFrame(message).kind.case);

/** Messages of the node as they would be if `change` were the node. */
const changing = (what, change) => (message) => {
  const { id, kind } = parseNodeFrame(message);
  return kind.case === what ? marshalNodeFrame({ id, kind: { case: what, value: change(kind.value) } }) : message;
};

const flipped = (delivery) => {
  const payload = Buffer.from(delivery.payload);
  payload[payload.length >> 1] ^= 1;
  return { ...delivery, payload };
};

async function shownNothing(...people) {
  for (const { page } of people) {
    expect(await page.evaluate(() => globalThis.shown)).toBe(0);
    expect(await page.locator('.call-layer video, .call-layer audio').count()).toBe(0);
    expect(await world.axe(page)).toEqual([]);
  }
  const all = Buffer.concat(told.splice(0)).toString('latin1');
  for (const text of ['fingerprint', 'ice-ufrag', 'candidate']) expect(all).not.toContain(text);
  expect(world.foreign).toEqual([]);
}

test('an answer that was changed on its way is none', async () => {
  between.fromNode = changing('deliver', flipped);
  await ring(alice);
  await answer(bob);
  await alice.page.getByRole('heading', { name: 'No answer' }).waitFor();
  await bob.page.getByRole('heading', { name: 'The call did not come about' }).waitFor();
  await alice.page.getByRole('button', { name: 'Call again' }).waitFor();
  await shownNothing(alice, bob);
  await over(alice, bob);
});

test('a call does not come about when all that follows the answer was changed', async () => {
  let passed = 0;
  between.fromNode = changing('deliver', (d) => (passed++ === 0 ? d : flipped(d)));
  await ring(alice);
  await answer(bob);
  for (const { page } of [alice, bob]) {
    await page.getByRole('heading', { name: 'The call did not come about' }).waitFor();
    await page.getByRole('button', { name: 'Call again' }).waitFor();
  }
  expect(passed).toBeGreaterThan(1);
  await shownNothing(alice, bob);
  await over(alice, bob);
});

/** What a node says of itself, signed, to whoever comes. */
async function descriptorOf(node) {
  const socket = nodeSocket(`${node.ready.http.replace(/^http/, 'ws')}/v1/link`, 'trunkline.v1');
  socket.binaryType = 'arraybuffer';
  const first = await new Promise((resolve) => { socket.onmessage = ({ data }) => resolve(new Uint8Array(data)); });
  socket.close();
  return parseNodeFrame(first).kind.value.descriptor;
}

test('another node for the name of somebody is refused: with an alarm where the name is known, and with words before', async () => {
  const mallory = await world.node('mallory', 'globex.example');
  const document = new Uint8Array(await (await fetch(`${mallory.ready.http}/.well-known/trunkline/domain`)).arrayBuffer());
  const descriptors = [await descriptorOf(mallory)];
  await bob.page.goto(globex.ready.http);
  await bob.page.getByRole('button', { name: 'Copy link' }).click();
  const at = await bob.page.evaluate(() => navigator.clipboard.readText());
  const carol = await join(world, acme, {}, counting);
  between.fromNode = changing('domain', (d) => ({ ...d, document, descriptors }));
  kinds();
  await carol.page.goto(acme.ready.http + at.slice(at.indexOf('/#')));
  await carol.page.getByLabel('Your name').fill('Carol');
  await carol.page.getByRole('button', { name: 'Ask to connect' }).click();
  await carol.page.getByText('A signature or key does not hold. Nothing was sent.').waitFor();
  expect(kinds()).not.toContain('submit');
  await shownNothing(carol);
  await carol.context.close();

  await alice.page.reload();
  await ring(alice);
  await alice.page.getByRole('heading', { name: 'Call stopped for safety' }).waitFor();
  await alice.page.getByText('compare the safety number').waitFor();
  expect(kinds()).not.toContain('submit');
  await shownNothing(alice);
  await alice.page.getByRole('button', { name: 'Verify' }).click();
  await alice.page.locator('.digits').waitFor();
});

test('another node in the place of the own one is told nothing', async () => {
  // It says of itself that it is reached where the own one is.
  const thief = await world.node('thief', 'acme.example', ['--http-public-url', acme.ready.http]);
  kinds();
  between.to = thief.ready.http;
  between.cut();
  const state = alice.page.getByText('This is not your node: nothing was sent');
  await state.waitFor();
  expect(await state.evaluate((e) => e.scrollWidth <= e.clientWidth), 'it is read to its end').toBe(true);
  await ring(alice);
  await alice.page.getByRole('heading', { name: 'The call did not come about' }).waitFor();
  expect(kinds()).toEqual([]);
  await shownNothing(alice);
  await over(alice);
});

/** The same card with another certificate of the connection: its hash is followed by an address (cards.md, section 1). */
function swapped(link) {
  const [before, text] = link.split('#c1.');
  const card = Buffer.from(text, 'base64url');
  const at = card.findIndex((byte, i) => byte === 0x52 && card[i + 1] === 32 && card[i + 34] === 0x5a);
  expect(at).toBeGreaterThan(0);
  card[at + 2] ^= 1;
  return `${before}#c1.${card.toString('base64url')}`;
}

async function opened({ page }, node, link) {
  await page.goto('about:blank');
  await page.goto(`${node.ready.http}/#${link.split('#')[1]}`);
}

async function begun({ page }, node, name) {
  await page.goto(`${node.ready.http}/card`);
  await page.getByLabel('Your name').fill(name);
  await page.getByRole('button', { name: 'Make the link' }).click();
  return page.locator('code.long').textContent();
}

const print = ({ page }) => page.locator('.card code.small').textContent();

test('a card with another certificate opens nothing, and one of somebody between is a stranger', async () => {
  const { page } = bob;
  const link = await begun(alice, acme, 'Alice');
  await opened(bob, globex, swapped(link));
  await page.getByRole('heading', { name: 'This link was changed on its way' }).waitFor();
  expect(await page.evaluate(() => globalThis.connections)).toBe(0);
  await shownNothing(bob);

  await opened(bob, globex, link);
  await page.getByText('You know this person').waitFor();
  const alices = await print(bob);
  await page.getByRole('button', { name: 'Answer', exact: true }).click();
  const theirs = await page.locator('code.long').textContent();
  await alice.page.getByLabel('Link or text of the answer').fill(swapped(theirs));
  await alice.page.getByRole('button', { name: 'Open', exact: true }).click();
  await alice.page.getByRole('alert').filter({ hasText: 'This link was changed on its way' }).waitFor();
  await shownNothing(alice, bob);

  const mallory = await join(world, globex);
  await opened(bob, globex, await begun(mallory, globex, 'Alice'));
  await page.getByText('You do not know this person yet', { exact: false }).waitFor();
  expect(await print(bob)).not.toBe(alices);
  expect(await page.evaluate(() => globalThis.connections)).toBe(0);
  await shownNothing(bob);
  await mallory.context.close();
});

test('afterwards an honest call is as good as ever', async () => {
  between.cut();
  await alice.page.goto(acme.ready.http);
  await alice.page.getByRole('link', { name: /Bob/ }).click();
  await alice.page.getByText('Connected to').waitFor({ state: 'attached' });
  await bob.page.goto(globex.ready.http);
  await bob.page.getByText('Connected to').waitFor({ state: 'attached' });
  await ring(alice);
  await answer(bob);
  await Promise.all([moving(alice), moving(bob)]);
  await over(alice, bob);
});
