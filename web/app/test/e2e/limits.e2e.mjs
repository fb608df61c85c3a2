// What becomes of a call whose path carries too little, by what the browsers measure. The encoders are real; what they
// and the path say of themselves is written into the statistics, because a test has no narrow path of its own.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { World } from '../../scripts/harness.mjs';
import { answer, connect, fakes, join, moving, over, ring } from './people.mjs';

let world;
let alice;
let bob;

/** Statistics say what globalThis.said wants them to. */
function speakFor() {
  const { getStats, setLocalDescription } = RTCPeerConnection.prototype;
  RTCPeerConnection.prototype.setLocalDescription = function (...args) {
    if (this.getTransceivers().length > 0) globalThis.connection = this;
    return setLocalDescription.apply(this, args);
  };
  RTCPeerConnection.prototype.getStats = async function (...args) {
    const report = await getStats.apply(this, args);
    if (!globalThis.said) return report;
    return new Map([...report].map(([id, s]) => {
      if (s.type === 'outbound-rtp' && s.kind === 'video') return [id, { ...s, qualityLimitationReason: globalThis.said.reason }];
      if (s.type === 'candidate-pair') return [id, { ...s, availableOutgoingBitrate: globalThis.said.available }];
      return [id, s];
    }));
  };
}

beforeAll(async () => {
  world = new World().build();
  const [acme, globex] = await world.pair('acme.example', 'globex.example');
  await world.browser(fakes);
  alice = await join(world, acme, {}, ({ page }) => page.addInitScript(speakFor));
  bob = await join(world, globex);
  await connect(alice, bob, globex.ready.http);
});

afterAll(async () => {
  await world?.stop();
});

const say = (said) => alice.page.evaluate((s) => { globalThis.said = s; }, said);
const height = () => bob.page.evaluate(() => document.querySelector('[data-testid="them"] video')?.videoHeight ?? 0);
const sound = () => alice.page.evaluate(async () => {
  const s = [...(await globalThis.connection.getStats()).values()].find((x) => x.type === 'outbound-rtp' && x.kind === 'audio' && x.packetsSent > 0);
  return s?.packetsSent ?? 0;
});

test('the camera is sent smaller, then pauses, and the voice goes on; then all of it comes back', async () => {
  await ring(alice);
  await answer(bob);
  await Promise.all([moving(alice), moving(bob)]);
  await expect.poll(height).toBeGreaterThan(360);
  await say({ reason: 'bandwidth', available: 1 });
  await alice.page.getByTestId('limited').filter({ hasText: 'The connection is weak. Your picture is sent smaller.' }).waitFor();
  await expect.poll(async () => { const h = await height(); return h > 0 && h <= 180; }).toBe(true);
  await alice.page.getByTestId('limited').filter({ hasText: 'Your camera pauses' }).waitFor();
  expect(await world.axe(alice.page)).toEqual([]);
  // The other side is told, and is not shown a picture that stands still.
  await bob.page.locator('[data-testid="them"] video').waitFor({ state: 'detached' });
  const before = await sound();
  await expect.poll(sound).toBeGreaterThan(before + 20);

  await say({ reason: 'none', available: 9e6 });
  await moving(bob);
  await alice.page.getByTestId('limited').waitFor({ state: 'detached' });
  await expect.poll(height).toBeGreaterThan(360);
  await over(alice, bob);
  expect(world.problems).toEqual([]);
  expect(world.foreign).toEqual([]);
});
