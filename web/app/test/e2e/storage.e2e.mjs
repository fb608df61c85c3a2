// A browser that has no room, or that threw away what it kept.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { World } from '../../scripts/harness.mjs';
import { connect, join } from './people.mjs';

let world;
let node;
let alice;
let bob;
let address;
let disk;

beforeAll(async () => {
  world = new World().build();
  await world.browser();
  node = await world.node('acme', 'acme.example');
  alice = await join(world, node, {}, async ({ context, page }) => {
    disk = await context.newCDPSession(page);
    // The app itself takes three quarters of a million, and an identity a tenth of that.
    await room(disk, 1_300_000);
  });
  address = await alice.page.locator('.share code').textContent();
  bob = await join(world, node);
  await connect(alice, bob, node.ready.http);
});

afterAll(async () => {
  await world?.stop();
});

function clean() {
  expect(world.foreign).toEqual([]);
  expect(world.problems).toEqual([]);
}

/** Says how much room there is, as long as the session is open; nothing: as much as the disk has. */
function room(session, quotaSize) {
  return session.send('Storage.overrideQuotaForOrigin', { origin: node.ready.http, ...(quotaSize === undefined ? {} : { quotaSize }) });
}

async function throwAway({ context, page }) {
  const session = await context.newCDPSession(page);
  await session.send('Storage.clearDataForOrigin', { origin: node.ready.http, storageTypes: 'indexeddb,file_systems' });
  await session.detach();
}

const write = async ({ page }, text) => {
  await page.getByRole('textbox', { name: /Write to/ }).fill(text);
  await page.keyboard.press('Enter');
};

test('a disk that becomes full is told as that, and with room everything is there again', async () => {
  const { page } = alice;
  const full = page.locator('main').getByText('no room left');
  const box = page.getByRole('textbox', { name: 'Write to Bob' });
  let written = 0;
  for (;;) {
    expect(written).toBeLessThan(200);
    await box.or(full).waitFor();
    if ((await full.count()) > 0) break;
    // The page may tell it between the look and the typing.
    if (!(await box.fill(`${written}: `.padEnd(16_000, 'x'), { timeout: 3000 }).then(() => true, () => false))) continue;
    await page.keyboard.press('Enter');
    await box.and(page.locator(':placeholder-shown')).or(full).waitFor();
    written++;
  }
  await full.waitFor();
  expect(await world.axe(page)).toEqual([]);
  await room(disk);
  await page.getByRole('button', { name: 'Try again' }).click();
  await page.locator('.bubble.mine', { hasText: `${written - 3}: x` }).waitFor();
  await write(alice, 'there is room again');
  await bob.page.locator('.bubble', { hasText: 'there is room again' }).waitFor();
  clean();
});

test('what is thrown away under an open page is told at once, and then what brings it back', async () => {
  await throwAway(bob);
  await write(bob, 'into nothing');
  await bob.page.locator('main').getByText('cleared it while this page was open').waitFor();
  await bob.page.getByRole('button', { name: 'Try again' }).click();
  await bob.page.getByText('no longer has your identity').waitFor();
  expect(await world.axe(bob.page)).toEqual([]);
  // Whoever has no words goes on as somebody new, and needs what everybody new needs.
  await bob.page.getByRole('button', { name: 'Begin as somebody new' }).click();
  await bob.page.getByText('wants an invitation').waitFor();
  await bob.page.getByLabel('Invitation').fill(world.invite(node));
  await bob.page.getByRole('button', { name: 'Join' }).click();
  await bob.page.getByRole('link', { name: 'New call' }).waitFor();
  clean();
});

test('what was thrown away meanwhile is not replaced by somebody new, and the words bring it back', async () => {
  const { page } = alice;
  await page.goto(`${node.ready.http}/phrase`);
  await page.getByRole('button', { name: 'Show the words' }).click();
  const words = await page.locator('.words li').allTextContents();
  await page.goto('about:blank');
  await throwAway(alice);
  await page.goto(`${node.ready.http}/`);
  for (let i = 0; i < 2; i++) {
    await page.getByText('no longer has your identity').waitFor();
    await page.reload();
  }
  await page.getByRole('button', { name: 'I have recovery words' }).click();
  await page.getByLabel('Recovery words').fill(words.join(' '));
  await page.getByRole('button', { name: 'Use these words' }).click();
  await page.getByRole('heading', { name: 'How others reach you' }).waitFor();
  expect(await page.locator('.share code').textContent()).toBe(address);
  clean();
});

test('a character of an address that was changed on its way is caught', async () => {
  const { page } = bob;
  const at = address.indexOf('@');
  const changed = `${address.slice(0, at - 3)}${address[at - 3] === 'q' ? 'p' : 'q'}${address.slice(at - 2)}`;
  await page.goto(`${node.ready.http}/add`);
  await page.getByLabel('Address, link or code').fill(changed);
  await page.getByRole('button', { name: 'Ask to connect' }).click();
  await page.getByText('a character in it is wrong').waitFor();
  await page.getByLabel('Address, link or code').fill(address);
  await page.getByRole('button', { name: 'Ask to connect' }).click();
  await page.getByText('has not answered yet').waitFor();
  clean();
});
