// Two people meet without a server: both nodes are stopped once the app was loaded, and it comes from the browser's own
// store. Then what goes wrong with links, the keyboard alone, and the Go command line at the other end.
import { spawn } from 'node:child_process';
import { mkdirSync, statSync } from 'node:fs';
import path from 'node:path';
import readline from 'node:readline';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { World } from '../../scripts/harness.mjs';
import { fakes, join, moving } from './people.mjs';

let world;
let acme;
let globex;
let alice;
let bob;
/** What was answered by a server, and what was said on a socket, since the nodes were stopped. */
const heard = [];

/** Keeps the connections of a page within a test's reach, and leaves no dialog that nobody is there to answer. */
const keep = `delete globalThis.showSaveFilePicker; { const Real = RTCPeerConnection; globalThis.connections = []; globalThis.RTCPeerConnection = class extends Real { constructor(...a) { super(...a); globalThis.connections.push(this); this.tried = 0; } addIceCandidate(c) { this.tried++; return super.addIceCandidate(c); } }; }`;

beforeAll(async () => {
  world = new World().build();
  [acme, globex] = await world.pair('acme.example', 'globex.example');
  await world.browser(fakes);
  const init = async ({ context }) => context.addInitScript(keep);
  alice = await join(world, acme, {}, init);
  bob = await join(world, globex, {}, init);
  for (const person of [alice, bob]) {
    await person.page.evaluate(async () => void (await navigator.serviceWorker.ready));
    await person.page.waitForFunction(async () => (await caches.keys()).length > 1);
  }
  await acme.stop();
  await globex.stop();
  for (const { context, page } of [alice, bob]) {
    context.on('response', (r) => { if (!r.fromServiceWorker() && !/^(blob|data):/.test(r.url())) heard.push(r.url()); });
    page.on('websocket', (s) => s.on('framesent', () => heard.push(`frame to ${s.url()}`)));
  }
});

afterAll(async () => {
  await world?.stop();
});

const home = (person) => (person === alice ? acme : globex).ready.http;

async function open(person, link = '') {
  await person.page.goto('about:blank');
  await person.page.goto(link === '' ? `${home(person)}/card` : `${home(person)}/#${link.split('#')[1]}`);
  await person.page.getByRole('heading', { name: 'Without a server', level: 1 }).waitFor();
}

async function begin(person, name) {
  await open(person);
  const anew = person.page.getByRole('button', { name: 'Begin anew', exact: true });
  await anew.or(person.page.getByLabel('Your name')).first().waitFor();
  if (await anew.isVisible()) await anew.click();
  await person.page.getByLabel('Your name').fill(name);
  await person.page.getByRole('button', { name: 'Make the link' }).click();
  return linkOf(person);
}

/** The link that a page gives out. */
async function linkOf(person) {
  await person.page.locator('code.long').waitFor();
  return person.page.locator('code.long').textContent();
}

async function agree(person, link) {
  await open(person, link);
  await person.page.getByRole('button', { name: 'Answer', exact: true }).click();
  return linkOf(person);
}

async function give(person, text) {
  await person.page.getByLabel('Link or text of the answer').fill(text);
  await person.page.getByRole('button', { name: 'Open', exact: true }).click();
}

async function shows(person, text) {
  await person.page.getByText(text, { exact: true }).first().waitFor();
}

function silent() {
  expect(heard).toEqual([]);
  expect(world.foreign).toEqual([]);
  expect(world.problems).toEqual([]);
}

test('two windows whose nodes are gone make a call by links, with sound and picture, words and a file', async () => {
  const link = await begin(alice, 'Alice');
  // Bob sees who it is before anything is sent: his page has made no connection.
  await open(bob, link);
  await bob.page.getByRole('heading', { name: 'Somebody wants to talk with you, with picture' }).waitFor();
  await bob.page.locator('.card').getByText('Alice', { exact: true }).waitFor();
  await bob.page.getByText('You do not know this person yet', { exact: false }).waitFor();
  expect(await bob.page.evaluate(() => [globalThis.connections.length, location.hash])).toEqual([0, '']);
  expect(await world.axe(bob.page)).toEqual([]);
  await bob.page.getByLabel('Your name').fill('Bob');
  await bob.page.getByRole('button', { name: 'Answer', exact: true }).click();
  const answer = await linkOf(bob);
  // Alice takes her time: a browser gives an address up after fifteen seconds, and Bob's tries it anew every five.
  await bob.page.waitForFunction(() => globalThis.connections[0].tried >= 4);
  await give(alice, answer);
  await alice.page.getByRole('button', { name: 'Connect with Bob' }).waitFor();
  expect(await world.axe(alice.page)).toEqual([]);
  await alice.page.getByRole('button', { name: 'Connect with Bob' }).click();
  await Promise.all([moving(alice), moving(bob)]);
  const [one, other] = await Promise.all([alice, bob].map((p) => p.page.getByTestId('code').textContent()));
  expect(one).toBe(other);
  // Words and a small file over the call itself.
  await alice.page.keyboard.press('c');
  await bob.page.keyboard.press('c');
  await alice.page.getByRole('textbox', { name: /^Write to/ }).fill('hello without a server');
  await alice.page.keyboard.press('Enter');
  await bob.page.locator('.call-chat').getByText('hello without a server').waitFor();
  await bob.page.locator('.composer input[type=file]').setInputFiles({ name: 'small.txt', mimeType: 'text/plain', buffer: Buffer.from('small '.repeat(20_000)) });
  await alice.page.getByRole('button', { name: 'Receive' }).click();
  const saved = alice.page.waitForEvent('download');
  await alice.page.getByRole('button', { name: 'Save', exact: true }).click();
  expect(statSync(await (await saved).path()).size).toBe(120_000);
  // It lies in the browser's own file system, so that a reload does not take it away.
  const kept = () => alice.page.evaluate(async () => {
    const sizes = [];
    for await (const file of (await (await navigator.storage.getDirectory()).getDirectoryHandle('files')).values()) sizes.push((await file.getFile()).size);
    return sizes;
  });
  expect(await kept()).toEqual([120_000]);
  await alice.page.getByTestId('hangup').click();
  for (const p of [alice, bob]) {
    await p.page.getByRole('heading', { name: 'Call ended' }).waitFor();
    await p.page.getByRole('button', { name: 'Back' }).click();
  }
  await alice.page.reload();
  await alice.page.locator('nav.list a').filter({ hasText: 'Bob' }).first().click();
  const file = alice.page.locator('.bubble.file[data-state="saved"]', { hasText: 'small.txt' });
  await file.getByRole('button', { name: /More about/ }).click();
  await alice.page.getByRole('menuitem', { name: 'Remove from this browser' }).click();
  await file.waitFor({ state: 'detached' });
  expect(await kept()).toEqual([]);
  silent();
});

test('what is wrong with a link is said, each with its own words and next step', async () => {
  const link = await begin(alice, 'Alice');
  await give(alice, link);
  await shows(alice, 'This is your own link');
  await give(alice, link.slice(0, -30));
  await shows(alice, 'This is not a link of this kind, or not all of it');
  const answer = await agree(bob, link);
  const changed = answer.replace(/#c1\.(.{20})(.)/, (_, head, c) => `#c1.${head}${c === 'A' ? 'B' : 'A'}`);
  await give(alice, changed);
  await shows(alice, 'This link was changed on its way');
  await give(alice, answer.replace('#c1.', '#c2.'));
  await shows(alice, 'This link is of a newer version');
  // The same link again, where it was answered.
  await open(bob, link);
  await bob.page.getByRole('heading', { name: 'This link was used before' }).waitFor();
  expect(await world.axe(bob.page)).toEqual([]);
  // Both begin: a first link is no answer.
  await bob.page.getByRole('button', { name: 'Begin anew' }).click();
  const theirs = await begin(bob, 'Bob');
  await give(alice, theirs);
  await shows(alice, 'This is a first link, and not an answer');
  expect(await world.axe(alice.page)).toEqual([]);
  // An answer where nothing waits for one, and one to an offer from before.
  await open(bob, answer);
  await bob.page.getByRole('heading', { name: 'This is your own link' }).waitFor();
  await alice.page.getByRole('button', { name: 'Give up and begin anew' }).click();
  await begin(alice, 'Alice');
  await give(alice, answer);
  await shows(alice, 'This answers another link than yours');
  // After a reload the text is there and what it led to is not.
  await alice.page.reload();
  await alice.page.getByRole('heading', { name: 'This page was loaded anew' }).waitFor();
  expect(await world.axe(alice.page)).toEqual([]);
  await open(alice, answer);
  await alice.page.getByRole('heading', { name: 'This is an answer, and nothing here waits for one' }).waitFor();
  silent();
});

test('the whole way by keyboard alone', async () => {
  for (const p of [alice, bob]) {
    await p.page.close();
    p.page = await p.context.newPage();
  }
  await open(alice);
  await press(alice, 'Make the link');
  const link = await linkOf(alice);
  await open(bob, link);
  await press(bob, 'Answer');
  const answer = await linkOf(bob);
  await reach(alice, (e) => e.matches('textarea'));
  await alice.page.keyboard.insertText(answer);
  await press(alice, 'Open');
  await press(alice, /^Connect with/);
  await Promise.all([moving(alice), moving(bob)]);
  await press(alice, 'Hang up');
  await alice.page.getByRole('heading', { name: 'Call ended' }).waitFor();
  silent();
});

/** Goes on with Tab until something has the focus. */
async function reach(person, what, more) {
  for (let i = 0; i < 60; i++) {
    await person.page.keyboard.press('Tab');
    const found = await person.page.evaluate(([f, arg]) => document.activeElement && new Function(`return (${f})`)()(document.activeElement, arg), [String(what), more]);
    if (found) return;
  }
  throw new Error('nothing of that kind is reached with the keyboard');
}

async function press(person, name) {
  const button = person.page.getByRole('button', { name, ...(typeof name === 'string' ? { exact: true } : {}) });
  await button.waitFor();
  for (let i = 0; i < 60; i++) {
    if (await button.evaluate((e) => e === document.activeElement)) return person.page.keyboard.press('Enter');
    await person.page.keyboard.press('Tab');
  }
  throw new Error(`${name} is not reached with the keyboard`);
}

/** Somebody at a terminal, without a node, who answers a link. */
function terminal(name, link, ...more) {
  const data = path.join(world.dir, name);
  world.run('id', 'new', '--data', data);
  const child = spawn(world.binary, ['card', 'answer', link, '--name', name[0].toUpperCase() + name.slice(1), '--data', data, '--json', '--quiet', ...more], { stdio: ['pipe', 'pipe', 'inherit'], env: { PATH: process.env.PATH, HOME: world.dir } });
  world.children.push(child);
  const events = [];
  const wake = [];
  readline.createInterface({ input: child.stdout }).on('line', (l) => { events.push(JSON.parse(l)); for (const f of wake.splice(0)) f(); });
  const event = async (wanted) => {
    for (;;) {
      const e = events.find((x) => x.event === wanted);
      if (e) return e.what;
      await new Promise((resolve) => wake.push(resolve));
    }
  };
  return { child, event };
}

test('the Go command line answers, and records what the browser seals', async () => {
  const record = path.join(world.dir, 'carol-record');
  mkdirSync(record);
  const link = await begin(alice, 'Alice');
  const carol = terminal('carol', link, '--record', record);
  // Somebody else has the link, too.
  const dave = terminal('dave', link);
  const second = (await dave.event('card')).link;
  await give(alice, (await carol.event('card')).link);
  await alice.page.getByRole('button', { name: 'Connect with Carol' }).click();
  await carol.event('connected');
  await alice.page.getByTestId('code').waitFor();
  carol.child.stdin.write('hello from a terminal\n');
  await alice.page.keyboard.press('c');
  await alice.page.locator('.call-chat').getByText('hello from a terminal').waitFor();
  await expect.poll(() => { try { return statSync(path.join(record, 'video.ivf')).size; } catch { return 0; } }).toBeGreaterThan(10_000);
  await alice.page.evaluate((hash) => { location.hash = hash; }, `c1.${second.split('c1.')[1]}`);
  await alice.page.getByText('A second answer came to your link').waitFor();
  await alice.page.getByTestId('hangup').click();
  expect(await carol.event('call')).toMatchObject({ channel_binding: true, sframe: true, ended: 'hangup' });
  silent();
});

test('a second answer is told of, and an expired link is', async () => {
  const link = await begin(alice, 'Alice');
  const answer = await agree(bob, link);
  await give(alice, answer);
  await alice.page.getByRole('button', { name: /^Connect with/ }).click();
  await moving(alice);
  // The same answer once more, opened in this very window: the call stays, and what came is told of.
  await alice.page.evaluate((hash) => { location.hash = hash; }, answer.split('#')[1]);
  await alice.page.getByText('That link does not belong to this meeting').waitFor();
  await alice.page.getByTestId('hangup').click();
  for (const p of [alice, bob]) {
    await p.page.getByRole('heading', { name: 'Call ended' }).waitFor();
    await p.page.getByRole('button', { name: 'Back' }).click();
  }
  const late = await begin(alice, 'Alice');
  // From here on both clocks are a quarter of an hour ahead.
  for (const p of [alice, bob]) {
    await p.page.clock.install();
    await p.page.clock.fastForward('15:00');
  }
  await alice.page.getByText('The link has expired.').waitFor();
  expect(await world.axe(alice.page)).toEqual([]);
  await bob.page.evaluate((hash) => { location.hash = hash; }, late.split('#')[1]);
  await bob.page.getByRole('heading', { name: 'This link has expired' }).waitFor();
  await alice.page.getByRole('button', { name: 'Begin anew', exact: true }).click();
  await alice.page.getByRole('button', { name: 'Make the link' }).waitFor();
  silent();
});
