import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { World } from '../../scripts/harness.mjs';

let world;
let alice;
let bob;
let home;

const sha = (data) => createHash('sha256').update(data).digest('hex');

beforeAll(async () => {
  world = new World().build();
  const [acme, globex] = await world.pair('acme.example', 'globex.example');
  home = globex.ready.http;
  // Without a microphone a browser shows names in place of the machine's addresses, which mean
  // nothing to the other one here.
  await world.browser(['--disable-features=WebRtcHideLocalIpsWithMdns']);
  [alice, bob] = await Promise.all([acme, globex].map(async (node) => {
    const person = await world.person();
    await person.page.goto(world.invite(node));
    await person.page.getByRole('heading', { name: 'How others reach you' }).waitFor();
    return person;
  }));
  await alice.page.getByRole('button', { name: 'Copy link' }).click();
  const link = await alice.page.evaluate(() => navigator.clipboard.readText());
  await bob.page.goto(home + link.slice(link.indexOf('/#')));
  await bob.page.getByLabel('Your name').fill('Bob');
  await bob.page.getByRole('button', { name: 'Ask to connect' }).click();
  await alice.page.getByRole('link', { name: /Bob/ }).click();
  await alice.page.getByRole('button', { name: 'Accept' }).click();
  await alice.page.getByRole('textbox', { name: 'Write to Bob' }).waitFor();
  await bob.page.getByRole('textbox', { name: /Write to/ }).waitFor();
});

afterAll(async () => {
  await world?.stop();
});

const row = (person, state) => person.page.locator(`.bubble.file[data-state="${state}"]`).last();

async function offer(from, name, content) {
  const folder = path.join(world.dir, 'offered');
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, name), content);
  await from.page.locator('input[type=file]').setInputFiles(path.join(folder, name));
}

async function saved(person) {
  const [download] = await Promise.all([person.page.waitForEvent('download'), row(person, 'arrived').getByRole('button', { name: 'Save' }).click()]);
  return { name: download.suggestedFilename(), content: readFileSync(await download.path()) };
}

test('a file arrives whole, and each side says what is true', async () => {
  const content = randomBytes(5_000_000);
  await offer(alice, 'plans of the quay.bin', content);
  await row(bob, 'asking').getByRole('button', { name: 'Receive' }).click();
  await row(alice, 'delivered').waitFor();
  await row(bob, 'arrived').waitFor();
  const got = await saved(bob);
  expect(got.name).toBe('plans of the quay.bin');
  expect(sha(got.content)).toBe(sha(content));
  expect(world.foreign).toEqual([]);
  expect(world.problems).toEqual([]);
});

test('an empty file, and a name that means harm', async () => {
  await offer(alice, '..\\..\\\u202egnp.exe', Buffer.alloc(0));
  await row(bob, 'asking').getByRole('button', { name: 'Receive' }).click();
  await bob.page.locator('.bubble.file[data-state="arrived"]').nth(1).waitFor();
  const got = await saved(bob);
  expect(got.name).toBe('gnp.exe');
  expect(got.content).toHaveLength(0);
});

test('no is no', async () => {
  await offer(alice, 'unwanted.bin', randomBytes(1000));
  await row(bob, 'asking').getByRole('button', { name: 'Decline' }).click();
  await alice.page.getByText('does not want it').waitFor();
});

test('what arrived is there after a reload, until it is removed', async () => {
  await bob.page.reload();
  const arrived = bob.page.locator('.bubble.file[data-state="arrived"]');
  await arrived.first().waitFor();
  expect(await arrived.count()).toBe(2);
  expect((await saved(bob)).name).toBe('gnp.exe');
  await arrived.last().getByRole('button', { name: /More about/ }).click();
  await bob.page.getByRole('menuitem', { name: 'Remove from this browser' }).click();
  await expect.poll(() => arrived.count()).toBe(1);
});

test('a tab that is closed in the middle goes on where it was', async () => {
  const content = randomBytes(40_000_000);
  await offer(alice, 'long.bin', content);
  await row(bob, 'asking').getByRole('button', { name: 'Receive' }).click();
  // As soon as a good part is on the disk the tab goes, without a word to anybody.
  await bob.page.waitForFunction(() => {
    const bar = [...document.querySelectorAll('.bubble.file progress')].at(-1);
    return bar && bar.value >= 4 << 20;
  });
  const { context } = bob;
  await bob.page.close({ runBeforeUnload: false });
  bob.page = await context.newPage();
  await bob.page.goto(`${home}/`);
  await bob.page.getByRole('link', { name: /tl1/ }).first().click();
  await row(alice, 'delivered').waitFor({ timeout: 120_000 });
  await bob.page.locator('.bubble.file[data-state="arrived"]').nth(1).waitFor();
  const got = await saved(bob);
  expect(got.name).toBe('long.bin');
  expect(sha(got.content)).toBe(sha(content));
});
