import { createHash, randomBytes } from 'node:crypto';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { World } from '../../scripts/harness.mjs';
import { firefoxPage, launchFirefox } from './firefox.mjs';
import { fakes, join, moving } from './people.mjs';

// One person in Chromium, one in Firefox, at two nodes: what works in one engine alone shows here.
let world;
let acme;
let globex;
let alice; // Chromium
let firefox;
let bob; // Firefox
let bobsAddress;
const errors = [];
const asked = [];

/** Keeps the page's newest connection with sound and picture, so that its statistics can be read. */
function keepConnections() {
  const { setLocalDescription } = RTCPeerConnection.prototype;
  RTCPeerConnection.prototype.setLocalDescription = function (...args) {
    if (this.getTransceivers().length > 0) globalThis.connection = this;
    return setLocalDescription.apply(this, args);
  };
}

beforeAll(async () => {
  world = new World().build();
  [acme, globex] = await world.pair('acme.example', 'globex.example');
  await world.browser([...fakes, '--disable-features=WebRtcHideLocalIpsWithMdns']);
  alice = await join(world, acme, {}, ({ page }) => page.addInitScript(keepConnections));
  await alice.page.getByRole('button', { name: 'Copy link' }).click();
  const link = await alice.page.evaluate(() => navigator.clipboard.readText());

  firefox = await launchFirefox({
    'browser.download.folderList': 2,
    'browser.download.dir': world.dir,
    'browser.helperApps.neverAsk.saveToDisk': 'application/octet-stream',
  });
  bob = await firefoxPage(firefox, errors);
  bob.on('request', (request) => asked.push(new URL(request.url()).origin));
  await bob.evaluateOnNewDocument(keepConnections);
  await bob.goto(world.invite(globex));
  await bob.waitForSelector('::-p-text(How others reach you)');
  bobsAddress = await textOf('.share code');
  await bob.goto(globex.ready.http + link.slice(link.indexOf('/#')));
  await fill('input[autocomplete=nickname]', 'Bob');
  await press('Ask to connect');
  await alice.page.getByRole('link', { name: /Bob/ }).click();
  await alice.page.getByRole('button', { name: 'Accept' }).click();
  await bob.waitForSelector('.composer textarea');
});

/** Firefox's tab is in the background here, where an animation frame may not come: no locators. */
async function press(text) {
  await click(`::-p-xpath(//button[contains(., "${text}")])`);
}

async function click(selector) {
  const button = await bob.waitForSelector(selector);
  await button.evaluate((b) => b.click());
}

async function fill(selector, text) {
  const field = await bob.waitForSelector(selector);
  await field.evaluate((f) => f.focus());
  await field.type(text);
}

async function textOf(selector) {
  return (await bob.waitForSelector(selector)).evaluate((e) => e.textContent);
}

afterAll(async () => {
  await firefox?.close();
  await world?.stop();
});

function clean() {
  expect(errors).toEqual([]);
  expect(world.problems).toEqual([]);
  expect(world.foreign).toEqual([]);
  expect([...new Set(asked)].filter((origin) => origin !== 'null' && !world.origins.has(origin))).toEqual([]);
}

const digest = (data) => createHash('sha256').update(data).digest('hex');
const content = randomBytes(3_000_000);

/** Files of these names, to be sent. */
function offer(...names) {
  const folder = path.join(world.dir, 'offered');
  mkdirSync(folder, { recursive: true });
  return names.map((name) => {
    writeFileSync(path.join(folder, name), content);
    return path.join(folder, name);
  });
}

/** Each sends the other a file out of the pane that `where` names. */
async function exchangeFiles(where, toFirefox, toChromium) {
  await alice.page.locator(`${where} input[type=file]`).setInputFiles(toFirefox);
  await press('Receive');
  await bob.waitForSelector(`${where} .file[data-state=arrived] ::-p-text(${path.basename(toFirefox)})`);
  await alice.page.locator(`${where} .file.mine[data-state=delivered]`, { hasText: path.basename(toFirefox) }).waitFor();
  await (await bob.waitForSelector(`${where} input[type=file]`)).uploadFile(toChromium);
  await alice.page.locator(where).getByRole('button', { name: 'Receive' }).click();
  await alice.page.locator(`${where} .file[data-state=arrived]`, { hasText: path.basename(toChromium) }).waitFor();
  await bob.waitForSelector(`${where} .file.mine[data-state=delivered] ::-p-text(${path.basename(toChromium)})`);
}

describe('without a call', () => {
  test('notes go both ways between Chromium and Firefox', async () => {
    await alice.page.getByRole('textbox', { name: 'Write to Bob' }).fill('from Chromium');
    await alice.page.keyboard.press('Enter');
    await bob.waitForSelector('.bubble ::-p-text(from Chromium)');
    await fill('.composer textarea', 'from Firefox');
    await bob.keyboard.press('Enter');
    await alice.page.locator('.bubble', { hasText: 'from Firefox' }).waitFor();
    await bob.waitForSelector('.bubble.mine .fate.read');
    clean();
  });

  test('files go both ways between Chromium and Firefox', async () => {
    await exchangeFiles('.chat', ...offer('to firefox.bin', 'to chromium.bin'));
    await press('Save');
    const saved = path.join(world.dir, 'to firefox.bin');
    await expect.poll(() => existsSync(saved) && !readdirSync(world.dir).some((n) => n.endsWith('.part'))).toBe(true);
    expect(digest(readFileSync(saved))).toBe(digest(content));
    clean();
  });
});

/**
 * A picture of the other side moves in Firefox. Frames of the track that is shown are counted where they are decoded: a
 * tab in the background paints none. The page's policy lets no test wait inside of it.
 */
async function movesInFirefox(tile = 'them') {
  const frames = () => bob.evaluate(async (id) => {
    const video = document.querySelector(`[data-testid="${id}"] video`);
    const receiver = video?.videoWidth && globalThis.connection.getReceivers().find((r) => r.track === video.srcObject.getVideoTracks()[0]);
    const stats = receiver ? [...(await receiver.getStats()).values()] : [];
    return stats.find((s) => s.type === 'inbound-rtp')?.framesDecoded ?? 0;
  }, tile);
  await expect.poll(frames).toBeGreaterThan(0);
  const before = await frames();
  await expect.poll(frames).toBeGreaterThan(before + 3);
}

/** Sound of the other side is decoded, and is more than silence. */
async function heard(page) {
  const energy = () => page.evaluate(async () => {
    const sound = [...(await globalThis.connection.getStats()).values()].filter((s) => s.type === 'inbound-rtp' && s.kind === 'audio');
    return Math.max(0, ...sound.map((s) => s.totalAudioEnergy ?? 0));
  });
  await expect.poll(energy).toBeGreaterThan(0);
  const before = await energy();
  await expect.poll(energy).toBeGreaterThan(before);
}

/** Pictures are decoded on both sides, and sound is; both show a route, the same code, and that every frame was sealed. */
async function seeEachOther() {
  await Promise.all([moving(alice), movesInFirefox()]);
  await Promise.all([heard(alice.page), heard(bob)]);
  const code = await alice.page.getByTestId('code').textContent();
  expect(code).toMatch(/^\d{3} \d{3}$/);
  expect(await textOf('[data-testid="code"]')).toBe(code);
  for (const route of [await alice.page.getByTestId('route').textContent(), await textOf('[data-testid="route"]')]) expect(route).toMatch(/^Mesh, /);
  const sealed = /[1-9]\d* frames? opened, 0 dropped, none in plain/;
  await alice.page.getByTestId('route').click();
  await alice.page.getByText(sealed).waitFor();
  await alice.page.getByTestId('route').click();
  await click('[data-testid="route"]');
  await expect.poll(() => textOf('.call-details')).toMatch(sealed);
  await click('[data-testid="route"]');
  clean();
}

/** Alice ends it, and both put it away. */
async function hangUp() {
  await alice.page.getByTestId('hangup').click();
  await alice.page.getByRole('heading', { name: 'Call ended' }).waitFor();
  await expect.poll(() => textOf('.call-layer h1')).toBe('Call ended');
  await press('Back');
  await alice.page.getByRole('button', { name: 'Back' }).click();
  clean();
}

describe('Chromium rings Firefox', () => {
  test('both see and hear what the other has sealed', async () => {
    await alice.page.getByRole('button', { name: 'Video call with Bob' }).click();
    await alice.page.locator('.preview video').waitFor();
    await alice.page.getByRole('button', { name: 'Call', exact: true }).click();
    await press('Answer with camera');
    await seeEachOther();
  });

  test('a screen that Chromium shares moves in Firefox, beside the camera', async () => {
    await alice.page.keyboard.press('s');
    await movesInFirefox('screen-theirs');
    await movesInFirefox();
    await alice.page.keyboard.press('s');
    await expect.poll(() => bob.$('[data-testid="screen-theirs"]')).toBeNull();
    clean();
  });

  test('notes and files go both ways beside it', async () => {
    await alice.page.getByTestId('chat').click();
    await click('[data-testid="chat"]');
    await alice.page.locator('.call-chat textarea').fill('in the call, from Chromium');
    await alice.page.keyboard.press('Enter');
    await bob.waitForSelector('.call-chat .bubble ::-p-text(in the call, from Chromium)');
    await fill('.call-chat textarea', 'in the call, from Firefox');
    await bob.keyboard.press('Enter');
    await alice.page.locator('.call-chat .bubble', { hasText: 'in the call, from Firefox' }).waitFor();
    await exchangeFiles('.call-chat', ...offer('call to firefox.bin', 'call to chromium.bin'));
    await Promise.all([moving(alice), movesInFirefox()]);
    await hangUp();
  });
});

describe('Firefox rings Chromium', () => {
  test('both see and hear what the other has sealed', async () => {
    await click('button[aria-label^="Video call with"]');
    await bob.waitForSelector('.preview video');
    await click('.call-actions .button.main');
    await alice.page.getByRole('button', { name: 'Answer with camera' }).click();
    await seeEachOther();
  });

  test('a screen that Chromium shares moves in Firefox', async () => {
    await alice.page.keyboard.press('s');
    await movesInFirefox('screen-theirs');
    await hangUp();
  });
});

describe('by links alone', () => {
  const fragment = (link) => `/#${link.split('#')[1]}`;

  async function openInChromium(link) {
    await alice.page.goto('about:blank');
    await alice.page.goto(acme.ready.http + (link ? fragment(link) : '/card'));
    await alice.page.getByRole('heading', { name: 'Without a server', level: 1 }).waitFor();
  }

  async function openInFirefox(link) {
    await bob.goto('about:blank');
    await bob.goto(globex.ready.http + (link ? fragment(link) : '/card'));
    await bob.waitForSelector('h1 ::-p-text(Without a server)');
  }

  test('Chromium makes a link and Firefox answers it', async () => {
    await openInChromium();
    await alice.page.getByLabel('Your name').fill('Alice');
    await alice.page.getByRole('button', { name: 'Make the link' }).click();
    await openInFirefox(await alice.page.locator('code.long').textContent());
    await press('Answer');
    await alice.page.getByLabel('Link or text of the answer').fill(await textOf('code.long'));
    await alice.page.getByRole('button', { name: 'Open', exact: true }).click();
    await alice.page.getByRole('button', { name: /^Connect with/ }).click();
    await seeEachOther();
    await hangUp();
  });

  test('Firefox makes a link and Chromium answers it', async () => {
    await openInFirefox();
    await fill('input[autocomplete=nickname]', 'Bob');
    await press('Make the link');
    await openInChromium(await textOf('code.long'));
    await alice.page.getByRole('button', { name: 'Answer', exact: true }).click();
    await fill('textarea', await alice.page.locator('code.long').textContent());
    await click('::-p-xpath(//button[normalize-space(.)="Open"])');
    await press('Connect with');
    await seeEachOther();
    await hangUp();
  });
});

describe('Firefox and the Go client', () => {
  const data = () => path.join(world.dir, 'carol');
  const record = () => path.join(world.dir, 'recorded');
  const go = (...args) => world.run(...args, '--data', data());
  const size = (name) => { try { return statSync(path.join(record(), name)).size; } catch { return 0; } };

  test('the Go client answers, and records sound and picture that Firefox sealed', async () => {
    go('id', 'new');
    go('register', world.invite(acme));
    go('contact', 'add', bobsAddress, '--text', 'Carol at a terminal', '--name', 'Carol');
    await click('::-p-xpath(//a[contains(., "Carol")])');
    await press('Accept');
    await bob.waitForSelector('.composer textarea');
    go('inbox');
    mkdirSync(record());
    const child = spawn(world.binary, ['answer', '--auto', '--once', '--record', record(), '--data', data(), '--json'], { stdio: 'ignore', env: { PATH: process.env.PATH, HOME: world.dir } });
    world.children.push(child);
    await click('button[aria-label^="Video call with"]');
    await bob.waitForSelector('.preview video');
    await click('.call-actions .button.main');
    await bob.waitForSelector('[data-testid="code"]');
    // So much that the next test has some seconds to look at.
    await expect.poll(() => Math.min(size('audio.ogg') / 40_000, size('video.ivf') / 100_000)).toBeGreaterThan(1);
    await click('[data-testid="hangup"]');
    await press('Back');
    clean();
  });

  test('the Go client rings, and Firefox shows what it sealed', async () => {
    const child = spawn(
      world.binary,
      ['call', bobsAddress.split('@')[0], '--audio', path.join(record(), 'audio.ogg'), '--video', path.join(record(), 'video.ivf'), '--seconds', '600', '--data', data(), '--json'],
      { stdio: 'ignore', env: { PATH: process.env.PATH, HOME: world.dir } },
    );
    world.children.push(child);
    await press('Answer with camera');
    await movesInFirefox();
    await heard(bob);
    await click('[data-testid="hangup"]');
    await press('Back');
    clean();
  });
});
