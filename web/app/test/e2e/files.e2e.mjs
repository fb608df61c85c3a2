import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, beforeEach, expect, onTestFailed, test } from 'vitest';
import { World } from '../../scripts/harness.mjs';
import { content, crash, gate, joined, meet, offer, reached, receive, reopened, row, saved, sha, written } from './filepeople.mjs';

let world;
let alice;
let bob;
const MiB = 1 << 20;

beforeAll(async () => {
  world = new World().build();
  const [acme, globex] = await world.pair('acme.example', 'globex.example');
  [alice, bob] = [await joined(world, acme, 'alice'), await joined(world, globex, 'bob')];
  await meet(alice, bob);
});

// What both see tells more of a failure than what was waited for.
beforeEach(() => {
  onTestFailed(async () => {
    for (const [name, { page }] of Object.entries({ alice, bob })) {
      console.error(name, await page.locator('.bubble.file').evaluateAll((all) => all.map((b) => `${b.dataset.state}: ${b.innerText.replace(/\s+/g, ' ')}`)));
    }
    console.error(world.problems);
  });
});

afterAll(async () => {
  await world?.stop();
});

test('a file arrives whole, and each side says what is true', async () => {
  const data = content(5_000_000);
  await offer(world, alice, 'plans of the quay.bin', data);
  await bob.page.locator('.bubble.file[data-state="asking"]').waitFor();
  expect(await world.axe(bob.page)).toEqual([]);
  await receive(bob);
  await row(alice, 'plans of the quay.bin', 'delivered').getByText('Bob has it, checked').waitFor();
  await row(bob, 'plans of the quay.bin', 'arrived').getByText('here and checked').waitFor();
  for (const { page } of [alice, bob]) expect(await world.axe(page)).toEqual([]);
  const got = await saved(bob, 'plans of the quay.bin');
  expect(got.name).toBe('plans of the quay.bin');
  expect(sha(got.content)).toBe(sha(data));
  // A page cannot know more of a download than that the browser has it.
  await row(bob, 'plans of the quay.bin', 'saved').getByText('handed to your browser').waitFor();
  expect(world.foreign).toEqual([]);
  expect(world.problems).toEqual([]);
});

test('an empty file, and a name that means harm', async () => {
  await offer(world, alice, '..\\..\\\u202egnp.exe', Buffer.alloc(0));
  await receive(bob);
  await row(bob, 'gnp.exe', 'arrived').waitFor();
  expect(await row(bob, 'gnp.exe').locator('bdi').textContent()).toBe('gnp.exe');
  const got = await saved(bob, 'gnp.exe');
  expect(got.name).toBe('gnp.exe');
  expect(got.content).toHaveLength(0);
});

test('no is no, and can be asked again', async () => {
  await offer(world, alice, 'unwanted.bin', content(1000));
  await bob.page.locator('.bubble.file[data-state="asking"]').getByRole('button', { name: 'Decline' }).click();
  const failed = row(alice, 'unwanted.bin', 'failed');
  await failed.getByText('Bob does not want it').waitFor();
  await failed.getByRole('button', { name: 'Send again' }).waitFor();
  expect(await world.axe(alice.page)).toEqual([]);
});

test('what arrived is there after a reload, until it is removed', async () => {
  await offer(world, alice, 'kept.bin', content(3000));
  await receive(bob);
  await row(bob, 'kept.bin', 'arrived').waitFor();
  await bob.page.reload();
  await row(bob, 'kept.bin', 'arrived').waitFor();
  await row(bob, 'plans of the quay.bin', 'saved').waitFor();
  expect(sha((await saved(bob, 'kept.bin')).content)).toBe(sha(content(3000)));
  await row(bob, 'kept.bin').getByRole('button', { name: /More about/ }).click();
  await bob.page.getByRole('menuitem', { name: 'Remove from this browser' }).click();
  await row(bob, 'kept.bin').waitFor({ state: 'detached' });
  expect(await bob.page.evaluate(() => document.activeElement.tagName)).toBe('H1');
  const names = await bob.page.evaluate(async () => {
    const dir = await (await navigator.storage.getDirectory()).getDirectoryHandle('files');
    const sizes = [];
    for await (const file of dir.values()) sizes.push((await file.getFile()).size);
    return sizes;
  });
  expect(names).not.toContain(3000);
});

test('with a dialog for it, a file goes where the person says, and is saved when it is there', async () => {
  const data = content(2_500_000);
  await offer(world, alice, 'chosen place.bin', data);
  await receive(bob);
  await row(bob, 'chosen place.bin', 'arrived').waitFor();
  // The dialog answers with a file; only that there is no person is not real here.
  await bob.page.evaluate(() => {
    globalThis.showSaveFilePicker = async ({ suggestedName }) => (await navigator.storage.getDirectory()).getFileHandle(`out ${suggestedName}`, { create: true });
  });
  await row(bob, 'chosen place.bin').getByRole('button', { name: 'Save' }).click();
  await row(bob, 'chosen place.bin', 'saved').getByText('saved where you chose').waitFor();
  const hex = await bob.page.evaluate(async () => {
    const file = await (await (await navigator.storage.getDirectory()).getFileHandle('out chosen place.bin')).getFile();
    const sum = await crypto.subtle.digest('SHA-256', await file.arrayBuffer());
    return [...new Uint8Array(sum)].map((b) => b.toString(16).padStart(2, '0')).join('');
  });
  expect(hex).toBe(sha(data));
  await bob.page.evaluate(() => delete globalThis.showSaveFilePicker);
});

test('each person can hold it, the other is told, and several files wait for their turn', async () => {
  const data = content(24 * MiB, 7);
  await gate(alice, 6 * MiB);
  await offer(world, alice, 'held.bin', data);
  await receive(bob);
  await reached(bob, 'held.bin', 4 * MiB);
  await offer(world, alice, 'second.bin', content(70_000));
  await row(alice, 'second.bin', 'queued').getByText('waits until the file before it is there').waitFor();
  await row(bob, 'held.bin').getByRole('button', { name: 'Pause' }).click();
  await row(bob, 'held.bin', 'paused').waitFor();
  await row(alice, 'held.bin', 'paused').getByText('Bob has paused it').waitFor();
  for (const { page } of [alice, bob]) expect(await world.axe(page)).toEqual([]);
  await row(bob, 'held.bin').getByRole('button', { name: 'Resume' }).click();
  await gate(alice);
  await row(alice, 'held.bin', 'delivered').waitFor();
  await receive(bob);
  await row(alice, 'second.bin', 'delivered').waitFor();
  expect(sha((await saved(bob, 'held.bin')).content)).toBe(sha(data));
  // The sender holds it: here nobody waits behind it, so that the line is kept.
  await gate(alice, 6 * MiB);
  await offer(world, alice, 'held here.bin', content(24 * MiB, 8));
  await receive(bob);
  await reached(alice, 'held here.bin', 4 * MiB);
  await row(alice, 'held here.bin').getByRole('button', { name: 'Pause' }).click();
  await row(bob, 'held here.bin', 'paused').waitFor();
  await gate(alice);
  await row(alice, 'held here.bin').getByRole('button', { name: 'Resume' }).click();
  await row(bob, 'held here.bin', 'arrived').waitFor();
  expect(world.problems).toEqual([]);
});

test('whoever sends stops it, and the other side knows', async () => {
  await gate(alice, 3 * MiB);
  await offer(world, alice, 'stopped.bin', content(12 * MiB, 9));
  await receive(bob);
  await reached(bob, 'stopped.bin', MiB);
  await row(alice, 'stopped.bin').getByRole('button', { name: 'Stop' }).click();
  await row(alice, 'stopped.bin', 'failed').getByText(/· stopped/).waitFor();
  await row(bob, 'stopped.bin', 'failed').getByText('stopped it').waitFor();
  await gate(alice);
});

test('a receiver whose tab is closed in the middle goes on where it was', async () => {
  const data = content(40_000_000, 3);
  await gate(alice, 20 * MiB);
  await offer(world, alice, 'long.bin', data);
  await receive(bob);
  await reached(bob, 'long.bin', 16 * MiB);
  await gate(alice);
  await bob.page.close({ runBeforeUnload: false }); // without a word to anybody
  await reopened(bob);
  await row(alice, 'long.bin', 'delivered').waitFor();
  await row(bob, 'long.bin', 'arrived').waitFor();
  expect(sha((await saved(bob, 'long.bin')).content)).toBe(sha(data));
});

test('a sender that is reloaded asks for the same file, knows another one, and goes on', async () => {
  const data = content(40 * MiB, 4);
  await gate(alice, 20 * MiB);
  await offer(world, alice, 'again.bin', data);
  await receive(bob);
  await reached(alice, 'again.bin', 12 * MiB);
  await crash(alice);
  await row(bob, 'again.bin', 'interrupted').getByText('It goes on when').waitFor();
  expect(await world.axe(bob.page)).toEqual([]);
  await reopened(alice);
  const asked = row(alice, 'again.bin', 'choose');
  await asked.getByText('Choose the same file to go on').waitFor();
  const other = Buffer.from(data);
  other[other.length - 1] ^= 1; // same size, same name, one bit
  await asked.locator('input[type=file]').setInputFiles(written(world, 'again.bin', other));
  await asked.getByText('That is another file').waitFor();
  expect(await world.axe(alice.page)).toEqual([]);
  await asked.locator('input[type=file]').setInputFiles(written(world, 'renamed since.bin', data));
  await row(alice, 'again.bin', 'delivered').waitFor();
  await row(bob, 'again.bin', 'arrived').waitFor();
  expect(sha((await saved(bob, 'again.bin')).content)).toBe(sha(data));
});

test('where the browser gives out handles, a reloaded sender goes on by itself', async () => {
  const data = content(40 * MiB, 5);
  await gate(alice, 20 * MiB);
  // A handle of the browser's own file system, in place of the dialog: it outlives the tab as every handle does.
  await alice.page.evaluate(
    async ([size, block]) => {
      const handle = await (await navigator.storage.getDirectory()).getFileHandle('handed out.bin', { create: true });
      const out = await handle.createWritable();
      for (let at = 0; at < size; at += block.length) {
        const b = new Uint8Array(block);
        new DataView(b.buffer).setUint32(0, at >>> 20, true);
        await out.write(b.subarray(0, Math.min(b.length, size - at)));
      }
      await out.close();
      globalThis.showOpenFilePicker = async () => [handle];
    },
    [data.length, [...content(MiB, 5)]],
  );
  await alice.page.locator('.composer input[type=file]').click();
  await receive(bob);
  await reached(alice, 'handed out.bin', 12 * MiB);
  await crash(alice);
  await reopened(alice);
  await row(alice, 'handed out.bin', 'delivered').waitFor();
  expect(sha((await saved(bob, 'handed out.bin')).content)).toBe(sha(data));
});

test('without room, both are told; then it goes straight to where the person says, or there is room', async () => {
  const data = content(12 * MiB, 6);
  const usage = await bob.page.evaluate(async () => (await navigator.storage.estimate()).usage);
  const session = await bob.context.newCDPSession(bob.page);
  const quota = (quotaSize) => session.send('Storage.overrideQuotaForOrigin', { origin: bob.home, ...(quotaSize === undefined ? {} : { quotaSize }) });
  await quota(usage + 4 * MiB);
  await bob.page.evaluate(() => {
    globalThis.passed = [];
    // A file of the browser's own would count against the same limit: the stream of this one is memory.
    globalThis.showSaveFilePicker = async () => ({
      createWritable: async () => ({ write: async (b) => void globalThis.passed.push(b), close: async () => undefined, abort: async () => undefined }),
    });
  });
  await offer(world, alice, 'too much.bin', data);
  await receive(bob);
  await row(bob, 'too much.bin', 'room').getByText('This browser has no room for it').waitFor();
  expect(await world.axe(bob.page)).toEqual([]);
  await row(alice, 'too much.bin', 'waiting').waitFor();
  await row(bob, 'too much.bin').getByRole('button', { name: 'Decline' }).click();
  await row(bob, 'too much.bin', 'failed').waitFor();
  await row(alice, 'too much.bin', 'failed').getByText('Bob has no room for it').waitFor();
  await row(alice, 'too much.bin').getByRole('button', { name: 'Send again' }).click();
  await receive(bob);
  await row(bob, 'too much.bin', 'room').getByRole('button', { name: 'Choose where it goes' }).click();
  await row(alice, 'too much.bin', 'delivered').waitFor();
  await row(bob, 'too much.bin', 'saved').waitFor();
  const hex = await bob.page.evaluate(async () => {
    const sum = await crypto.subtle.digest('SHA-256', await new Blob(globalThis.passed).arrayBuffer());
    return [...new Uint8Array(sum)].map((b) => b.toString(16).padStart(2, '0')).join('');
  });
  expect(hex).toBe(sha(data));
  await bob.page.evaluate(() => delete globalThis.showSaveFilePicker);
  await offer(world, alice, 'room later.bin', data);
  await receive(bob);
  await row(bob, 'room later.bin', 'room').getByRole('button', { name: 'Decline' }).click();
  await quota();
  await row(alice, 'room later.bin', 'failed').getByRole('button', { name: 'Send again' }).click();
  await receive(bob);
  await row(alice, 'room later.bin', 'delivered').waitFor();
  expect(sha((await saved(bob, 'room later.bin')).content)).toBe(sha(data));
});

test('without room and without a dialog for it, a file goes into the downloads while it comes', async () => {
  const data = content(40 * MiB, 13);
  const usage = await bob.page.evaluate(async () => (await navigator.storage.estimate()).usage);
  const session = await bob.context.newCDPSession(bob.page);
  const quota = (quotaSize) => session.send('Storage.overrideQuotaForOrigin', { origin: bob.home, ...(quotaSize === undefined ? {} : { quotaSize }) });
  await quota(usage + 4 * MiB);
  const name = "it's (the) \u201cminutes\u201d 50%.bin";
  await offer(world, alice, name, data);
  await receive(bob);
  const [download] = await Promise.all([bob.page.waitForEvent('download'), row(bob, name, 'room').getByRole('button', { name: 'Into your downloads' }).click()]);
  await row(bob, name, 'saved').getByText('handed to your browser').waitFor();
  await row(alice, name, 'delivered').waitFor();
  expect(download.suggestedFilename()).toBe("it's (the) \u201cminutes\u201d 50%.bin");
  expect(sha(readFileSync(await download.path()))).toBe(sha(data));
  // Whoever stops the download wants no more of it, and its sender hears so.
  await gate(alice, 20 * MiB);
  await offer(world, alice, 'unwanted half way.bin', content(40 * MiB, 14));
  await receive(bob);
  const [stopped] = await Promise.all([bob.page.waitForEvent('download'), row(bob, 'unwanted half way.bin', 'room').getByRole('button', { name: 'Into your downloads' }).click()]);
  await reached(bob, 'unwanted half way.bin', 8 * MiB);
  await stopped.cancel();
  await gate(alice);
  await row(bob, 'unwanted half way.bin', 'failed').waitFor();
  await row(alice, 'unwanted half way.bin', 'failed').waitFor();
  await quota();
});

test('what the browser has cleared is not said to be there, and comes whole all the same', async () => {
  const clear = async () => {
    const session = await bob.context.newCDPSession(bob.page);
    await session.send('Storage.clearDataForOrigin', { origin: bob.home, storageTypes: 'file_systems' });
  };
  await offer(world, alice, 'emptied.bin', content(5000));
  await receive(bob);
  await row(bob, 'emptied.bin', 'arrived').waitFor();
  await clear();
  await row(bob, 'emptied.bin').getByRole('button', { name: 'Save' }).click();
  await row(bob, 'emptied.bin', 'lost').getByText('the browser has cleared it').waitFor();
  expect(await world.axe(bob.page)).toEqual([]);
  // In the middle: what is gone is sent again.
  const data = content(40 * MiB, 11);
  await gate(alice, 20 * MiB);
  await offer(world, alice, 'half cleared.bin', data);
  await receive(bob);
  await reached(bob, 'half cleared.bin', 16 * MiB);
  await bob.page.close({ runBeforeUnload: false });
  bob.page = await bob.context.newPage();
  await bob.page.goto(`${bob.home}/bundle.txt`); // the origin, without the app
  await clear();
  await gate(alice);
  await bob.page.close();
  await reopened(bob);
  await row(alice, 'half cleared.bin', 'delivered').waitFor();
  expect(sha((await saved(bob, 'half cleared.bin')).content)).toBe(sha(data));
});

test('a second tab says that the first one has it, takes over when asked, and goes on', async () => {
  const data = content(40 * MiB, 12);
  await gate(alice, 20 * MiB);
  await offer(world, alice, 'two tabs.bin', data);
  await receive(bob);
  await reached(bob, 'two tabs.bin', 16 * MiB);
  const first = bob.page;
  bob.page = await bob.context.newPage();
  await bob.page.goto(`${bob.home}/`);
  const over = bob.page.getByRole('button', { name: 'Use it here' });
  await over.waitFor();
  await gate(alice);
  await over.click();
  await bob.page.locator('nav.list a').filter({ hasText: /tl1/ }).first().click();
  await row(alice, 'two tabs.bin', 'delivered').waitFor();
  expect(sha((await saved(bob, 'two tabs.bin')).content)).toBe(sha(data));
  await first.getByRole('button', { name: 'Use it here' }).waitFor();
  expect(world.problems).toEqual([]);
});
