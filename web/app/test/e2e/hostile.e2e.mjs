// Other sides that do not keep to the specification, and a browser that lets frames past: nothing of it is ever shown.
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { World } from '../../scripts/harness.mjs';
import { answer, connect, fakes, join, moving, over, ring } from './people.mjs';

let world;
let alice;
let bob;
/** What Bob's browser, and Alice's, run instead of the worker that seals; null: the real one. */
const worker = { alice: null, bob: null };

/** A worker that lets everything through as it is. `counts` is what it claims. */
const open = (counts) => `
onrtctransform = ({ transformer: t }) => { t.readable.pipeTo(t.writable); };
onmessage = ({ data }) => {
  if (data.type === 'count') postMessage({ type: 'counts', question: data.question, counts: [...Array(16).keys()].map((id) => [id, ${counts}]) });
};
postMessage({ type: 'ready' });`;
/** What somebody reads whose side noticed nothing. */
const told = 's side ended the call: it says';
const liar = open('{ seen: 1e9, passed: 1e9, bytes: 1e12, dropped: 0 }');
const honest = open('{ seen: 0, passed: 0, bytes: 0, dropped: 0 }');

const instead = (who) => async ({ context, page }) => {
  await context.route('**/frames.js', (route) => (worker[who] === null ? route.continue() : route.fulfill({
    body: worker[who], contentType: 'text/javascript', headers: { 'Cross-Origin-Embedder-Policy': 'require-corp' },
  })));
  // A browser that ignores what is to open the frames of so many receivers.
  await page.addInitScript(() => {
    const transform = Object.getOwnPropertyDescriptor(RTCRtpReceiver.prototype, 'transform');
    globalThis.losing = 0;
    Object.defineProperty(RTCRtpReceiver.prototype, 'transform', {
      ...transform,
      set(t) {
        if (globalThis.losing > 0) globalThis.losing--;
        else transform.set.call(this, t);
      },
    });
  });
  // A description that names another certificate than the one in use, when it is asked for.
  await page.addInitScript(() => {
    const { createAnswer, setLocalDescription } = RTCPeerConnection.prototype;
    const real = new Map();
    RTCPeerConnection.prototype.createAnswer = async function (...args) {
      const d = await createAnswer.apply(this, args);
      if (!globalThis.swap) return d;
      const sdp = d.sdp.replace(/(a=fingerprint:sha-256 )[0-9A-F]{2}/g, (_, start) => `${start}00`);
      real.set(sdp, d);
      return { type: d.type, sdp };
    };
    RTCPeerConnection.prototype.setLocalDescription = function (d) {
      return setLocalDescription.call(this, real.get(d?.sdp) ?? d);
    };
  });
};

beforeAll(async () => {
  world = new World().build();
  const [acme, globex] = await world.pair('acme.example', 'globex.example');
  await world.browser(fakes);
  // Without service workers every request passes the test.
  alice = await join(world, acme, { serviceWorkers: 'block' }, instead('alice'));
  bob = await join(world, globex, { serviceWorkers: 'block' }, instead('bob'));
  await connect(alice, bob, globex.ready.http);
});

afterAll(async () => {
  await world?.stop();
});

beforeEach(() => {
  worker.alice = worker.bob = null;
});

test('somebody who sends plain frames is never shown and never heard; a fresh section that brings them too is an alarm', async () => {
  worker.bob = liar;
  await alice.page.evaluate(() => {
    globalThis.shown = 0;
    const look = () => { globalThis.shown += document.querySelectorAll('[data-testid="them"] video, .call-layer audio').length; };
    new MutationObserver(look).observe(document.body, { subtree: true, childList: true });
  });
  await ring(alice);
  await answer(bob);
  await alice.page.getByRole('heading', { name: 'Call stopped for safety' }).waitFor();
  // Frames came, and every one of them was dropped.
  await alice.page.getByText('Something that arrived was not sealed or signed by Bob').waitFor();
  expect(await alice.page.evaluate(() => globalThis.shown)).toBe(0);
  await bob.page.getByRole('heading', { name: 'Call stopped for safety' }).waitFor();
  await bob.page.getByText(told).waitFor();
  await over(alice, bob);
});

test.each(['alice', 'bob'])('the receivers of %s lose what opens their frames, and the call goes on in fresh sections', async (who) => {
  const { page } = who === 'alice' ? alice : bob;
  await page.evaluate(() => { globalThis.losing = 4; });
  await ring(alice);
  await answer(bob);
  await Promise.all([moving(alice), moving(bob)]);
  // All four were ignored: what moves came in sections of later.
  expect(await page.evaluate(() => globalThis.losing)).toBe(0);
  await page.locator('.call-layer audio').waitFor({ state: 'attached' });
  await over(alice, bob);
});

/** The call is over on both sides, and each says why and what to do: who noticed, and who was told by the other. */
async function alarmed() {
  const noticed = await Promise.all([alice, bob].map(async ({ page }) => {
    await page.getByRole('heading', { name: 'Call stopped for safety' }).waitFor();
    await page.getByText('compare the safety number').waitFor();
    const own = page.getByText('Something that arrived was not sealed or signed by');
    await own.or(page.getByText(told)).waitFor();
    return own.count();
  }));
  expect(Math.max(...noticed)).toBe(1);
  for (const { page } of [alice, bob]) expect(await world.axe(page)).toEqual([]);
  for (const { page } of [alice, bob]) expect(await page.locator('.call-layer video, .call-layer audio').count()).toBe(0);
}

test('a browser in which frames go past the worker ends the call with an alarm', async () => {
  worker.alice = honest;
  await ring(alice);
  await answer(bob);
  // Alice's frames left as they were: she notices that they were not sealed, or Bob what arrives. Whoever is first tells the other.
  await alarmed();
  await over(alice, bob);
});

test('another certificate than the signed one is refused with an alarm', async () => {
  await bob.page.evaluate(() => { globalThis.swap = true; });
  await ring(alice);
  await answer(bob);
  // Both can see that the connection is not the one that was signed.
  await alarmed();
  await over(alice, bob);
  await bob.page.evaluate(() => { globalThis.swap = false; });
});

test('afterwards an honest call is as good as ever', async () => {
  await ring(alice);
  await answer(bob);
  await Promise.all([moving(alice), moving(bob)]);
  await over(alice, bob);
});
