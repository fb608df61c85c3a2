// A meeting: people in browsers and at terminals, at one real node.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { World } from '../../scripts/harness.mjs';
import { enter, moves, startTerminal, tile } from './meetings.mjs';
import { devices, fakes, join } from './people.mjs';

let world;
let node;
let owner;
let guest;
let link;
const terminals = [];

beforeAll(async () => {
  world = new World().build();
  node = await world.node('acme', 'acme.example');
  await world.browser(fakes);
  owner = await join(world, node, { acceptDownloads: true });
});

afterAll(async () => {
  for (const t of terminals) t.child.kill('SIGKILL');
  await world?.stop();
});

function clean() {
  expect(world.foreign).toEqual([]);
  expect(world.problems).toEqual([]);
}

/** A participant of the Go client, without devices. */
function terminal(name) {
  const t = startTerminal(world, link(), name);
  terminals.push(t);
  return t;
}

test('a meeting with a lobby is made, and its link opens it for somebody without an account', async () => {
  const { page } = owner;
  await page.getByRole('link', { name: 'New meeting' }).click();
  await page.getByLabel('What it is about').fill('Plans for the old mill');
  await page.getByRole('radio', { name: /Whom you let in/ }).check();
  expect(await world.axe(owner.page)).toEqual([]);
  await page.getByRole('button', { name: 'Make the meeting' }).click();
  await page.getByTestId('made').waitFor();
  await page.getByRole('img', { name: 'Code for the link' }).waitFor();
  expect(await world.axe(owner.page)).toEqual([]);
  const text = await page.getByLabel('Link of the meeting').textContent();
  link = () => text.trim();
  await page.getByTestId('made').getByRole('link', { name: 'Enter' }).click();
  await enter(owner, 'Olga');
  await page.getByTestId('stage').waitFor();
  await page.getByRole('heading', { name: 'Plans for the old mill', level: 1 }).waitFor();
  await page.getByText('Nobody else is here yet').waitFor();

  guest = await world.person(devices);
  await guest.page.goto(link());
  await guest.page.getByText('You go in as a guest').waitFor();
  expect(await world.axe(guest.page)).toEqual([]);
  await enter(guest, 'Gus');
  await guest.page.getByRole('heading', { name: 'Waiting to be let in…' }).waitFor();
  expect(await world.axe(guest.page)).toEqual([]);
  clean();
});

test('whoever waits is let in, and both see and hear each other over the mesh', async () => {
  const { page } = owner;
  await page.getByTestId('people').click();
  await page.getByText('Waiting to be let in').waitFor();
  expect(await world.axe(owner.page)).toEqual([]);
  await page.getByRole('button', { name: 'Let Gus in' }).click();
  await guest.page.getByTestId('stage').waitFor();
  await Promise.all([moves(owner, 'Gus'), moves(guest, 'Olga')]);
  await page.getByTestId('topology').filter({ hasText: 'Mesh' }).waitFor();
  await tile(owner, 'Gus').getByText(/^Mesh, (LAN|direct)$/).waitFor({ state: 'attached' });
  expect(await world.axe(guest.page)).toEqual([]);
  clean();
});

test('what is written, shown and raised reaches the others', async () => {
  await guest.page.keyboard.press('h');
  await owner.page.getByText('Gus has raised a hand, place 1').first().waitFor({ state: 'attached' });
  await guest.page.keyboard.press('h');
  await guest.page.keyboard.press('m');
  await tile(owner, 'Gus').getByText('Gus is muted').waitFor({ state: 'attached' });
  await guest.page.keyboard.press('m');
  await guest.page.getByTestId('chat').click();
  await guest.page.getByLabel('Write to everybody').fill('is it <b>on</b>?');
  await guest.page.keyboard.press('Enter');
  await owner.page.getByText('1 line not read').waitFor({ state: 'attached' });
  await owner.page.getByTestId('chat').click();
  await owner.page.getByRole('log').getByText('is it <b>on</b>?').waitFor();
  expect(await world.axe(owner.page)).toEqual([]);
  await owner.page.getByRole('complementary').getByRole('button', { name: 'Close' }).click();
  await guest.page.getByRole('complementary').getByRole('button', { name: 'Close' }).click();
  await guest.page.getByRole('button', { name: 'React' }).click();
  await guest.page.getByRole('menuitem', { name: 'Heart' }).click();
  await tile(owner, 'Gus').locator('.reaction', { hasText: 'Heart' }).waitFor();
  clean();
});

test('a request to mute is a question', async () => {
  await owner.page.getByTestId('people').click();
  await owner.page.getByRole('button', { name: 'More about Gus' }).click();
  await owner.page.getByRole('menuitem', { name: 'Ask to mute' }).click();
  const asked = guest.page.getByRole('alertdialog', { name: 'Olga asks you to mute yourself' });
  await asked.waitFor();
  expect(await world.axe(guest.page)).toEqual([]);
  await asked.getByRole('button', { name: 'Mute' }).click();
  await tile(owner, 'Gus').getByText('Gus is muted').waitFor({ state: 'attached' });
  await guest.page.getByTestId('microphone').click();
  clean();
});

test('a recording is told to all while it runs, and its file plays from end to end', async () => {
  const { page } = owner;
  // The browser's own dialog for a place cannot be answered here: the file goes to the downloads.
  await page.evaluate(() => { delete globalThis.showSaveFilePicker; });
  await page.getByRole('button', { name: 'More of the meeting' }).click();
  await page.getByRole('menuitem', { name: 'Record' }).click();
  expect(await world.axe(owner.page)).toEqual([]);
  await page.getByRole('button', { name: 'Tell everybody and record' }).click();
  await guest.page.getByTestId('recorded').filter({ hasText: 'Olga records' }).waitFor();
  const before = await tile(owner, 'Gus').locator('video').evaluate((v) => v.currentTime);
  await expect.poll(() => tile(owner, 'Gus').locator('video').evaluate((v) => v.currentTime)).toBeGreaterThan(before + 4);
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByTestId('recording').click()]);
  await guest.page.getByTestId('recorded').waitFor({ state: 'detached' });
  expect(download.suggestedFilename()).toMatch(/^Plans for the old mill .*\.webm$/);
  const player = await owner.context.newPage();
  await player.goto(`${node.ready.http}/about`);
  await player.evaluate(() => document.body.append(Object.assign(document.createElement('input'), { type: 'file', id: 'file' })));
  await player.setInputFiles('#file', await download.path());
  const played = await player.evaluate(async () => {
    const video = Object.assign(document.createElement('video'), { muted: true, src: URL.createObjectURL(document.getElementById('file').files[0]) });
    document.body.append(video);
    const happens = (name) => new Promise((resolve, reject) => {
      video.addEventListener(name, resolve, { once: true });
      video.addEventListener('error', () => reject(new Error(video.error?.message)), { once: true });
    });
    await happens('loadedmetadata');
    const { duration, videoWidth, videoHeight } = video;
    const seeked = happens('seeked');
    video.currentTime = duration / 2;
    await seeked;
    const ended = happens('ended');
    await video.play();
    await ended;
    return { duration, videoWidth, videoHeight, at: video.currentTime, pictures: video.getVideoPlaybackQuality().totalVideoFrames, sound: video.webkitAudioDecodedByteCount };
  });
  expect(played).toMatchObject({ videoWidth: 1280, videoHeight: 720 });
  expect(played.duration).toBeGreaterThan(3);
  expect(played.duration).toBeLessThan(600);
  expect(played.pictures).toBeGreaterThan(3);
  expect(played.sound).toBeGreaterThan(0);
  await player.close();
  clean();
});

test('more people than a mesh carries go over the node, which the badge says with its reason', async () => {
  const { page } = owner;
  for (const name of ['Tess', 'Timo', 'Tara']) terminal(name);
  for (const name of ['Tess', 'Timo', 'Tara']) {
    await page.getByRole('button', { name: `Let ${name} in` }).click();
    await terminals.find((t) => t.child.spawnargs.includes(name)).event((e) => e.event === 'admitted');
  }
  await page.getByTestId('topology').filter({ hasText: 'SFU acme.example' }).waitFor();
  await guest.page.getByTestId('topology').filter({ hasText: 'SFU acme.example' }).waitFor();
  await page.getByTestId('topology').click();
  await page.getByText('There are more than 4 people').waitFor();
  await page.getByText('Your own app, by itself').waitFor();
  expect(await world.axe(owner.page)).toEqual([]);
  await page.keyboard.press('Escape');
  await Promise.all([moves(owner, 'Gus'), moves(guest, 'Olga')]);
  await tile(owner, 'Gus').getByText('SFU acme.example').waitFor({ state: 'attached' });
  clean();
});

test('somebody who is sent away is told so, and the others go on under another link', async () => {
  const { page } = owner;
  const before = await page.getByLabel('Link of the meeting').textContent();
  await page.getByRole('button', { name: 'More about Tara' }).click();
  await page.getByRole('menuitem', { name: 'Send away' }).click();
  const confirm = page.getByRole('alertdialog', { name: 'Send Tara away?' });
  await confirm.getByText('everybody who stays gets new keys').waitFor();
  expect(await world.axe(owner.page)).toEqual([]);
  await confirm.getByRole('button', { name: 'Send away' }).click();
  await tile(owner, 'Tara').waitFor({ state: 'detached' });
  await expect.poll(() => page.getByLabel('Link of the meeting').textContent()).not.toBe(before);
  await Promise.all([moves(owner, 'Gus'), moves(guest, 'Olga')]);
  clean();
});

test('a reload comes back by itself', async () => {
  await owner.page.reload();
  await owner.page.getByTestId('stage').waitFor();
  await Promise.all([moves(owner, 'Gus'), moves(guest, 'Olga')]);
  clean();
});

test('the end for all has its own words, and the old link opens nothing', async () => {
  const { page } = owner;
  await page.getByTestId('people').click();
  await page.getByRole('button', { name: 'End for all' }).click();
  await page.getByRole('alertdialog').getByRole('button', { name: 'End for all' }).click();
  for (const person of [owner, guest]) {
    await person.page.getByRole('heading', { name: 'The meeting was ended for all' }).waitFor();
    expect(await world.axe(person.page)).toEqual([]);
  }
  const late = await world.person(devices);
  await late.page.goto(link());
  await enter(late, 'Late');
  await late.page.getByRole('heading', { name: 'There is no such meeting' }).waitFor();
  await late.page.goto(link().slice(0, -5));
  await enter(late, '');
  await late.page.getByRole('heading', { name: 'This link is not whole' }).waitFor();
  expect(await world.axe(late.page)).toEqual([]);
  await late.context.close();
  clean();
});
