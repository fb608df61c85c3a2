import { afterAll, beforeAll, expect, test } from 'vitest';
import { World } from '../../scripts/harness.mjs';
import { connect, fakes, join } from './people.mjs';

let world;
let alice;
let bob;

beforeAll(async () => {
  world = new World().build();
  const [acme, globex] = await world.pair('acme.example', 'globex.example');
  await world.browser(fakes);
  alice = await join(world, acme);
  bob = await join(world, globex);
  await connect(alice, bob, globex.ready.http);
});

afterAll(async () => {
  await world?.stop();
});

const bubbles = (person) => person.page.locator('.bubble .text');

test('a chat shows the newest notes after a reload, and the earlier ones on a press', async () => {
  const { page } = alice;
  const write = page.getByRole('textbox', { name: 'Write to Bob' });
  for (let n = 1; n <= 60; n++) {
    await write.fill(`note ${n}`);
    await write.press('Enter');
  }
  await bubbles(bob).getByText('note 60', { exact: true }).waitFor();
  await page.reload();
  await bubbles(alice).getByText('note 60', { exact: true }).waitFor();
  expect(await bubbles(alice).first().textContent()).toBe('note 11');
  expect(await bubbles(alice).count()).toBe(50);
  await page.getByRole('button', { name: 'Show earlier messages' }).click();
  await bubbles(alice).getByText('note 1', { exact: true }).waitFor();
  expect(await bubbles(alice).count()).toBe(60);
  expect(await page.getByRole('button', { name: 'Show earlier messages' }).count()).toBe(0);
});

test('a conversation is deleted here after a question, stays deleted, and the other side keeps its own', async () => {
  const { page } = alice;
  await page.getByRole('button', { name: 'More about Bob' }).click();
  await page.getByRole('menuitem', { name: 'Delete messages' }).click();
  const dialog = page.getByRole('alertdialog');
  await dialog.getByText('Delete all messages with Bob?').waitFor();
  expect(await world.axe(page)).toEqual([]);
  await dialog.getByRole('button', { name: 'Cancel' }).click();
  expect(await bubbles(alice).count()).toBe(60);
  await page.getByRole('button', { name: 'More about Bob' }).click();
  await page.getByRole('menuitem', { name: 'Delete messages' }).click();
  await dialog.getByRole('button', { name: 'Delete messages' }).click();
  await bubbles(alice).first().waitFor({ state: 'detached' });
  await page.reload();
  await page.getByRole('textbox', { name: 'Write to Bob' }).waitFor();
  expect(await bubbles(alice).count()).toBe(0);
  expect(await bubbles(bob).count()).toBeGreaterThan(0);
  // It goes on from nothing.
  await bob.page.getByRole('textbox', { name: /Write to/ }).fill('still there?');
  await bob.page.getByRole('textbox', { name: /Write to/ }).press('Enter');
  await bubbles(alice).getByText('still there?').waitFor();
  expect(await bubbles(alice).count()).toBe(1);
  expect(world.problems).toEqual([]);
});
