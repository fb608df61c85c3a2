import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import puppeteer from 'puppeteer-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { World } from '../../scripts/harness.mjs';

// One person in Chromium, one in Firefox, at two nodes: what works in one engine alone shows here.
let world;
let alice; // Chromium
let firefox;
let bob; // Firefox
const errors = [];
const asked = [];

beforeAll(async () => {
  world = new World().build();
  const [acme, globex] = await world.pair('acme.example', 'globex.example');
  await world.browser(['--disable-features=WebRtcHideLocalIpsWithMdns']);
  alice = await world.person();
  await alice.page.goto(world.invite(acme));
  await alice.page.getByRole('button', { name: 'Copy link' }).click();
  const link = await alice.page.evaluate(() => navigator.clipboard.readText());

  firefox = await puppeteer.launch({
    browser: 'firefox',
    executablePath: process.env.FIREFOX ?? '/usr/bin/firefox-esr',
    headless: true,
    extraPrefsFirefox: {
      'media.peerconnection.ice.loopback': true,
      'media.peerconnection.ice.obfuscate_host_addresses': false,
      'browser.download.folderList': 2,
      'browser.download.dir': world.dir,
      'browser.helperApps.neverAsk.saveToDisk': 'application/octet-stream',
      'intl.accept_languages': 'en',
    },
  });
  bob = await firefox.newPage();
  bob.setDefaultTimeout(30_000);
  bob.on('pageerror', (error) => errors.push(String(error)));
  bob.on('request', (request) => asked.push(new URL(request.url()).origin));
  await bob.goto(world.invite(globex));
  await bob.waitForSelector('::-p-text(How others reach you)');
  await bob.goto(globex.ready.http + link.slice(link.indexOf('/#')));
  await fill('input[autocomplete=nickname]', 'Bob');
  await press('Ask to connect');
  await alice.page.getByRole('link', { name: /Bob/ }).click();
  await alice.page.getByRole('button', { name: 'Accept' }).click();
  await bob.waitForSelector('.composer textarea');
});

/** Firefox's tab is in the background here, where an animation frame may not come: no locators. */
async function press(text) {
  const button = await bob.waitForSelector(`::-p-xpath(//button[contains(., "${text}")])`);
  await button.evaluate((b) => b.click());
}

async function fill(selector, text) {
  const field = await bob.waitForSelector(selector);
  await field.evaluate((f) => f.focus());
  await field.type(text);
}

afterAll(async () => {
  await firefox?.close();
  await world?.stop();
});

test('notes go both ways between Chromium and Firefox', async () => {
  await alice.page.getByRole('textbox', { name: 'Write to Bob' }).fill('from Chromium');
  await alice.page.keyboard.press('Enter');
  await bob.waitForSelector('.bubble ::-p-text(from Chromium)');
  await fill('.composer textarea', 'from Firefox');
  await bob.keyboard.press('Enter');
  await alice.page.locator('.bubble', { hasText: 'from Firefox' }).waitFor();
  await bob.waitForSelector('.bubble.mine .fate.read');
  expect(errors).toEqual([]);
});

test('files go both ways between Chromium and Firefox', async () => {
  const folder = path.join(world.dir, 'offered');
  mkdirSync(folder);
  const content = randomBytes(3_000_000);
  for (const name of ['to firefox.bin', 'to chromium.bin']) writeFileSync(path.join(folder, name), content);
  await alice.page.locator('input[type=file]').setInputFiles(path.join(folder, 'to firefox.bin'));
  await press('Receive');
  await bob.waitForSelector('.file[data-state=arrived]');
  await alice.page.locator('.file[data-state=delivered]').waitFor();
  await press('Save');
  const saved = path.join(world.dir, 'to firefox.bin');
  await expect.poll(() => existsSync(saved) && !readdirSync(world.dir).some((n) => n.endsWith('.part')), { timeout: 20_000 }).toBe(true);
  const sha = (data) => createHash('sha256').update(data).digest('hex');
  expect(sha(readFileSync(saved))).toBe(sha(content));

  const input = await bob.$('input[type=file]');
  await input.uploadFile(path.join(folder, 'to chromium.bin'));
  await alice.page.getByRole('button', { name: 'Receive' }).click();
  await alice.page.locator('.file[data-state=arrived]').waitFor();
  await bob.waitForSelector('.file.mine[data-state=delivered]');
  expect(errors).toEqual([]);
  expect(world.problems).toEqual([]);
});

test('neither asked a third party for anything', () => {
  expect(world.foreign).toEqual([]);
  expect([...new Set(asked)].filter((origin) => origin !== 'null' && !world.origins.has(origin))).toEqual([]);
});
