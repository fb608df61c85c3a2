// A page that is loaded again in the middle of a file: it goes in the browser's own way, and is back at once.
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { World } from '../../scripts/harness.mjs';
import { content, gate, joined, meet, offer, prepared, reached, receive, row, saved, sha, written } from './filepeople.mjs';
import { firefoxPage, launchFirefox } from './firefox.mjs';

let world;
let globex;
let alice;
let bob;
const MiB = 1 << 20;
const size = 40 * MiB;
/** What goes out before a reload, and after it: neither is the whole, so that nothing that is there may be sent again. */
const before = 20 * MiB;
const after = 32 * MiB;
const middle = 16 * MiB;

/** Notes whatever a page says of its files, from its beginning on. */
function noteFiles() {
  const last = new Map();
  globalThis.told = [];
  new MutationObserver(() => {
    for (const bubble of document.querySelectorAll('.bubble.file')) {
      const name = bubble.querySelector('bdi')?.textContent ?? '';
      const { state } = bubble.dataset;
      if (last.get(name) === state) continue;
      last.set(name, state);
      globalThis.told.push({ name, state, text: bubble.querySelector('.small').textContent });
    }
  }).observe(document, { subtree: true, childList: true, attributes: true, attributeFilter: ['data-state'] });
}

/** What a page has said of a file since it was loaded. */
const told = async ({ page }, name) => (await page.evaluate(() => globalThis.told)).filter((t) => t.name === name);

/** The states of a file in their order, without how often it tried: a busy machine may need more than one ring. */
const states = (all) => all.map((t) => t.state);
const going = ['ringing', 'connecting', 'waiting', 'verifying', 'moving'];

/** How much a row says that there is. */
const part = (t) => Number(/· ([\d.]+) MB of/.exec(t.text)?.[1]) * 1e6;

/** The other side says that it was interrupted, with what there is, and then nothing but that it goes on, to its end. */
async function wentOn(person, name, ...ends) {
  const all = await told(person, name);
  const from = all.findIndex((t) => t.state === 'interrupted');
  expect(from, JSON.stringify(all)).toBeGreaterThan(0);
  expect(part(all[from])).toBeGreaterThanOrEqual(middle);
  expect(states(all.slice(from)).filter((s) => s !== 'interrupted' && !going.includes(s))).toEqual(ends);
}

/** The reloaded page says first that it was interrupted, with what was written down of what there is. */
async function saysInterrupted(person, name) {
  const [first] = await told(person, name);
  expect(first.state).toBe('interrupted');
  expect(part(first)).toBeGreaterThanOrEqual(middle / 2);
}

beforeAll(async () => {
  world = new World().build();
  let acme;
  [acme, globex] = await world.pair('acme.example', 'globex.example');
  [alice, bob] = [await joined(world, acme, 'alice'), await joined(world, globex, 'bob')];
  for (const { context } of [alice, bob]) await context.addInitScript(noteFiles);
  await meet(alice, bob);
  for (const { page } of [alice, bob]) {
    await page.reload();
    await page.getByRole('textbox', { name: /Write to/ }).waitFor();
  }
});

afterAll(async () => {
  await world?.stop();
});

function clean() {
  expect(world.foreign).toEqual([]);
  expect(world.problems).toEqual([]);
}

describe('Chromium and Chromium', () => {
  /** A file that is on its way from Alice to Bob, in the middle. */
  async function halfWay(name, seed) {
    const data = content(size, seed);
    await gate(alice, before);
    await offer(world, alice, name, data);
    await receive(bob);
    await reached(bob, name, middle);
    return data;
  }

  /** Whoever sends chooses the same file, as the page asks. */
  async function chooseAgain(name, data) {
    const asks = row(alice, name, 'choose');
    await asks.getByText('interrupted by a reload. Choose the same file to go on').waitFor();
    await gate(alice, after);
    await asks.locator('input[type=file]').setInputFiles(written(world, name, data));
  }

  async function arrives(name, data) {
    await row(alice, name, 'delivered').waitFor();
    await row(bob, name, 'arrived').waitFor();
    await gate(alice);
    expect(sha((await saved(bob, name)).content)).toBe(sha(data));
    clean();
  }

  test('the receiver reloads', async () => {
    const data = await halfWay('receiver.bin', 31);
    await bob.page.reload();
    await gate(alice, after);
    await arrives('receiver.bin', data);
    await wentOn(alice, 'receiver.bin', 'delivered');
    await saysInterrupted(bob, 'receiver.bin');
  });

  test('the sender reloads', async () => {
    const data = await halfWay('sender.bin', 32);
    await alice.page.reload();
    await row(bob, 'sender.bin', 'interrupted').getByText('It goes on when').waitFor();
    await chooseAgain('sender.bin', data);
    await arrives('sender.bin', data);
    await wentOn(bob, 'sender.bin', 'arrived', 'saved');
  });

  test('both reload at once', async () => {
    const data = await halfWay('both.bin', 33);
    await Promise.all([alice.page.reload(), bob.page.reload()]);
    await row(bob, 'both.bin', 'interrupted').waitFor();
    await chooseAgain('both.bin', data);
    await arrives('both.bin', data);
    await saysInterrupted(bob, 'both.bin');
  });
});

describe('Chromium and Firefox', () => {
  let firefox;
  let carol;
  const errors = [];

  const press = (text) => carol.page.waitForSelector(`::-p-xpath(//button[contains(., "${text}")])`).then((b) => b.evaluate((e) => e.click()));
  /** Waits for a row of hers. */
  const hers = (name, state) => carol.page.waitForSelector(`.bubble.file[data-state=${state}] ::-p-text(${name})`);
  const come = (name) => carol.page.evaluate((n) => {
    const bubble = [...document.querySelectorAll('.bubble.file')].find((b) => b.textContent.includes(n));
    return bubble?.dataset.state === 'moving' ? bubble.querySelector('progress').value : 0;
  }, name);

  beforeAll(async () => {
    await alice.page.goto(`${alice.home}/`);
    await alice.page.getByRole('button', { name: 'Copy link' }).click();
    const link = await alice.page.evaluate(() => navigator.clipboard.readText());
    firefox = await launchFirefox({
      'browser.download.folderList': 2,
      'browser.download.dir': world.dir,
      'browser.helperApps.neverAsk.saveToDisk': 'application/octet-stream',
    });
    carol = { page: await firefoxPage(firefox, errors) };
    await carol.page.evaluateOnNewDocument(prepared);
    await carol.page.evaluateOnNewDocument(noteFiles);
    await carol.page.goto(world.invite(globex));
    await carol.page.waitForSelector('::-p-text(How others reach you)');
    await carol.page.goto(globex.ready.http + link.slice(link.indexOf('/#')));
    await (await carol.page.waitForSelector('input[autocomplete=nickname]')).type('Carol');
    await press('Ask to connect');
    await alice.page.getByRole('link', { name: /Carol/ }).click();
    await alice.page.getByRole('button', { name: 'Accept' }).click();
    await carol.page.waitForSelector('.composer textarea');
  });

  afterAll(async () => {
    await firefox?.close();
  });

  test('Firefox receives and reloads', async () => {
    const data = content(size, 34);
    await gate(alice, before);
    await offer(world, alice, 'to firefox.bin', data);
    await press('Receive');
    await expect.poll(() => come('to firefox.bin')).toBeGreaterThanOrEqual(middle);
    await carol.page.reload();
    await gate(alice, after);
    await row(alice, 'to firefox.bin', 'delivered').waitFor();
    await hers('to firefox.bin', 'arrived');
    await wentOn(alice, 'to firefox.bin', 'delivered');
    await saysInterrupted(carol, 'to firefox.bin');
    await gate(alice);
    await press('Save');
    const there = path.join(world.dir, 'to firefox.bin');
    await expect.poll(() => existsSync(there) && !readdirSync(world.dir).some((n) => n.endsWith('.part'))).toBe(true);
    expect(sha(readFileSync(there))).toBe(sha(data));
    expect(errors).toEqual([]);
    clean();
  });

  test('Firefox sends and reloads', async () => {
    const data = content(size, 35);
    const file = written(world, 'from firefox.bin', data);
    await gate(carol, before);
    await (await carol.page.waitForSelector('.composer input[type=file]')).uploadFile(file);
    await receive(alice);
    await reached(alice, 'from firefox.bin', middle);
    await carol.page.reload();
    await row(alice, 'from firefox.bin', 'interrupted').getByText('It goes on when Carol is back').waitFor();
    await hers('from firefox.bin', 'choose');
    await gate(carol, after);
    await (await carol.page.waitForSelector('.bubble.file[data-state=choose] input[type=file]')).uploadFile(file);
    await hers('from firefox.bin', 'delivered');
    await row(alice, 'from firefox.bin', 'arrived').waitFor();
    await wentOn(alice, 'from firefox.bin', 'arrived');
    await gate(carol);
    expect(sha((await saved(alice, 'from firefox.bin')).content)).toBe(sha(data));
    expect(errors).toEqual([]);
    clean();
  });
});
