// One encrypted room on one node: a moderator in Chromium, somebody in Firefox, and thirty of the Go client, of whom one sends
// pictures and all hear (MEETING_CROWD=8: eight). It begins in a mesh, goes over the node while people talk, loses one who is sent away,
// and comes back to a mesh.
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { World } from '../../scripts/harness.mjs';
import { firefoxPage, launchFirefox } from './firefox.mjs';
import { enter, moves, prefer, startCrowd, startTerminal, tile, tireless } from './meetings.mjs';
import { devices, fakes, join } from './people.mjs';

const people = Number(process.env.MEETING_CROWD ?? 30);

let world;
let node;
let olga; // Chromium
let firefox;
let fritz; // Firefox
let link;
let tess; // at a terminal
let crowd; // all others of the Go client
let program;
const errors = [];
const guests = Array.from({ length: people - 1 }, (_, i) => `Guest ${i + 1}`);

/** Keeps a page's connections, so that their statistics can be read, and has a camera that asks little of the machine. */
function prepare() {
  const { mediaDevices } = navigator;
  const open = mediaDevices?.getUserMedia.bind(mediaDevices);
  if (open) mediaDevices.getUserMedia = (wanted) => open({ ...wanted, video: wanted.video && { width: 160, height: 120, frameRate: 5 } });
  const Native = RTCPeerConnection;
  globalThis.connections = [];
  globalThis.RTCPeerConnection = class extends Native {
    constructor(...args) {
      super(...args);
      globalThis.connections.push(this);
    }
  };
}

beforeAll(async () => {
  world = new World().build();
  program = world.tool('internal/crowd');
  // Firefox reaches no SFU on loopback: it listens on every address of this machine.
  node = await world.node('acme', 'acme.example', ['--sfu-listen', '0.0.0.0:0']);
  await prefer(await world.browser([...fakes, '--disable-features=WebRtcHideLocalIpsWithMdns']));
  olga = await join(world, node, devices, ({ page }) => page.addInitScript(tireless));
  firefox = await launchFirefox({ 'layout.frame_rate': 5 }); // it paints without a graphics card here
  fritz = await firefoxPage(firefox, errors);
  await fritz.evaluateOnNewDocument(tireless);
  await fritz.evaluateOnNewDocument(prepare);
});

afterAll(async () => {
  await firefox?.close();
  await world?.stop();
});

/** Without a mouse, which waits for frames of a page that has many others beside it on its machine. */
const press = (locator) => locator.evaluate((e) => e.click());

function clean() {
  expect(errors).toEqual([]);
  expect(world.problems).toEqual([]);
  expect(world.foreign).toEqual([]);
}

/** Somebody at a terminal who sends a clip's sound and pictures, and says what it opened. */
function talker(name) {
  const clip = (kind) => path.resolve(import.meta.dirname, `../../../../internal/demo/clip/clip.${kind}`);
  return startTerminal(world, link, name, '--audio', clip('ogg'), '--video', clip('ivf'), '--loop', '--counts');
}

/** In Firefox pictures of somebody are decoded and shown. What it paints it does not count: its tab is in the background here. */
async function fritzSees(name) {
  const frames = () => fritz.evaluate(async (who) => {
    const video = [...document.querySelectorAll('.room-tile')].find((t) => t.getAttribute('aria-label') === who)?.querySelector('video');
    const track = video?.videoWidth ? video.srcObject.getVideoTracks()[0] : undefined;
    const receiver = track && globalThis.connections.flatMap((c) => c.getReceivers()).find((r) => r.track === track);
    const stats = receiver ? [...(await receiver.getStats()).values()] : [];
    return stats.find((s) => s.type === 'inbound-rtp')?.framesDecoded ?? 0;
  }, name);
  await expect.poll(frames, `${name} in Firefox`).toBeGreaterThan(0);
  const before = await frames();
  await expect.poll(frames, `more of ${name} in Firefox`).toBeGreaterThan(before + 3);
}

/** Pictures of each of the three who send some are with the two others, and with Tess over this way. */
const everybodySees = (way) => Promise.all([
  moves(olga, 'Fritz'), moves(olga, 'Tess'), fritzSees('Olga'), fritzSees('Tess'), tess.hears('Olga', 'camera', way), tess.hears('Fritz', 'camera', way),
]);

const fritzRoute = (name) => fritz.evaluate((who) => [...document.querySelectorAll('.room-tile')].find((t) => t.getAttribute('aria-label') === who)?.querySelector('.tile-route')?.textContent ?? '', name);

async function fritzTopology(words) {
  await expect.poll(() => fritz.$eval('[data-testid="topology"]', (b) => b.textContent)).toContain(words);
}

test('three meet in a mesh: Chromium, Firefox and a terminal', async () => {
  const { page } = olga;
  await page.getByRole('link', { name: 'New meeting' }).click();
  await page.getByLabel('What it is about').fill('Everybody');
  await page.getByRole('button', { name: 'Make the meeting' }).click();
  await page.getByTestId('made').waitFor();
  link = (await page.getByLabel('Link of the meeting').textContent()).trim();
  await page.getByTestId('made').getByRole('link', { name: 'Enter' }).click();
  await enter(olga, 'Olga');
  await page.getByTestId('stage').waitFor();

  await fritz.goto(link);
  await fritz.waitForSelector('[data-stage="prejoin"] .preview video');
  const name = await fritz.waitForSelector('[data-stage] input[autocomplete=nickname]');
  await name.evaluate((f) => f.focus());
  await name.type('Fritz');
  await (await fritz.waitForSelector('[data-stage] button[type=submit]:not([disabled])')).evaluate((b) => b.click());
  await fritz.waitForSelector('[data-testid="stage"]');
  tess = talker('Tess');
  await everybodySees('mesh');
  await page.getByTestId('topology').filter({ hasText: 'Mesh' }).waitFor();
  await fritzTopology('Mesh');
  for (const who of ['Fritz', 'Tess']) await tile(olga, who).getByText(/^Mesh, (LAN|direct)$/).waitFor({ state: 'attached' });
  for (const who of ['Olga', 'Tess']) expect(await fritzRoute(who)).toMatch(/Mesh, (LAN|direct)/);
  clean();
});

test('more come than a mesh carries, and all of it goes over the node while people talk', async () => {
  crowd = startCrowd(world, program, link, guests.length);
  await crowd.all('in', guests);
  await press(olga.page.getByTestId('people'));
  await olga.page.locator('.room-people').getByText(guests.at(-1), { exact: true }).waitFor();
  await press(olga.page.getByTestId('people'));
  await olga.page.getByTestId('topology').filter({ hasText: 'SFU acme.example' }).waitFor();
  await fritzTopology('SFU acme.example');
  await everybodySees('sfu');
  for (const who of ['Fritz', 'Tess', ...guests.slice(0, 2)]) await tile(olga, who).getByText('SFU acme.example').first().waitFor({ state: 'attached' });
  for (const who of ['Olga', 'Tess']) expect(await fritzRoute(who)).toContain('SFU acme.example');
  clean();
});

test('the moderator sends one away, and the rest go on under new keys', async () => {
  const { page } = olga;
  const away = guests.at(-1);
  await press(page.getByTestId('people'));
  await press(page.getByRole('button', { name: `More about ${away}`, exact: true }));
  await press(page.getByRole('menuitem', { name: 'Send away' }));
  await press(page.getByRole('alertdialog', { name: `Send ${away} away?` }).getByRole('button', { name: 'Send away' }));
  expect(await crowd.event((e) => e.name === away && e.event === 'left')).toMatchObject({ code: 'removed' });
  await Promise.all([crowd.all('rekeyed', guests.slice(0, -1)), tess.event((e) => e.event === 'rekeyed')]);
  await press(page.getByTestId('people'));
  await everybodySees('sfu');
  clean();
});

test('most of them leave, and those who stay are in a mesh again', async () => {
  expect(await crowd.leave()).toBe(0);
  await olga.page.getByTestId('topology').filter({ hasText: 'Mesh' }).waitFor();
  await fritzTopology('Mesh');
  await everybodySees('mesh');
  for (const who of ['Fritz', 'Tess']) await tile(olga, who).getByText(/^Mesh, (LAN|direct)$/).waitFor({ state: 'attached' });
  expect(await tess.leave()).toBe(0);
  clean();
});
