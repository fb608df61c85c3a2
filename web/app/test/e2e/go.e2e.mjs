// Calls between a browser and the Go client, over two nodes: the two implementations share nothing but the
// specification, so what passes here is what it says.
import { spawn } from 'node:child_process';
import { mkdirSync, statSync } from 'node:fs';
import path from 'node:path';
import readline from 'node:readline';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { World } from '../../scripts/harness.mjs';
import { fakes, join, moving, ring } from './people.mjs';

let world;
let alice;
let data;
let id;
let address;

beforeAll(async () => {
  world = new World().build();
  const [acme, globex] = await world.pair('acme.example', 'globex.example');
  await world.browser(fakes);
  alice = await join(world, acme);
  address = await alice.page.locator('.share code').textContent();
  data = path.join(world.dir, 'bob');
  go('id', 'new');
  go('register', world.invite(globex));
  id = JSON.parse(go('id', 'show', '--json')).id;
  go('contact', 'add', address, '--text', 'Bob at a terminal', '--name', 'Bob');
  await alice.page.getByRole('link', { name: /Bob/ }).click();
  await alice.page.getByRole('button', { name: 'Accept' }).click();
  await alice.page.getByRole('button', { name: 'Video call with Bob' }).waitFor();
  go('inbox');
});

afterAll(async () => {
  await world?.stop();
});

function go(...args) {
  return world.run(...args, '--data', data);
}

/** A command that runs on; its events are what it prints. */
function running(...args) {
  const child = spawn(world.binary, [...args, '--data', data, '--json'], { stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: process.env.PATH, HOME: world.dir } });
  world.children.push(child);
  let errors = '';
  child.stderr.on('data', (d) => (errors = (errors + d).slice(-4000)));
  const lines = [];
  readline.createInterface({ input: child.stdout }).on('line', (line) => lines.push(JSON.parse(line)));
  const ended = new Promise((resolve) => child.once('close', (code) => resolve({ code, lines, errors })));
  return { child, ended };
}

async function hangup() {
  await alice.page.getByTestId('hangup').click();
  await alice.page.getByRole('heading', { name: 'Call ended' }).waitFor();
  await alice.page.getByRole('button', { name: 'Back' }).click();
}

/** Waits until a recording has grown to so many bytes. */
async function recorded(file, size) {
  await expect.poll(() => { try { return statSync(file).size; } catch { return 0; } }).toBeGreaterThan(size);
}

function clean() {
  expect(world.foreign).toEqual([]);
  expect(world.problems).toEqual([]);
}

const first = () => path.join(world.dir, 'first');

test('the Go client answers, and records sound and picture that the browser sealed', async () => {
  mkdirSync(first());
  const bob = running('answer', '--auto', '--once', '--record', first());
  await ring(alice);
  await alice.page.getByTestId('code').waitFor();
  await Promise.all([recorded(path.join(first(), 'audio.ogg'), 8_000), recorded(path.join(first(), 'video.ivf'), 30_000)]);
  await hangup();
  const { lines, errors } = await bob.ended;
  const over = lines.find((l) => l.event === 'call');
  expect(over, errors).toBeDefined();
  expect(over.what).toMatchObject({ channel_binding: true, sframe: true, ended: 'hangup' });
  expect(over.what.audio.received).toBeGreaterThan(100);
  expect(over.what.video.frames_received).toBeGreaterThan(3);
  clean();
});

test('the Go client rings, and the browser shows and plays what it sealed', async () => {
  const second = path.join(world.dir, 'second');
  mkdirSync(second);
  const bob = running('call', address.split('@')[0], '--audio', path.join(first(), 'audio.ogg'), '--video', path.join(first(), 'video.ivf'), '--record', second, '--seconds', '600');
  await alice.page.getByRole('heading', { name: /Bob is calling with camera/ }).waitFor();
  await alice.page.getByRole('button', { name: 'Answer with camera' }).click();
  await moving(alice);
  await alice.page.getByTestId('route').click();
  await alice.page.getByText(/frames? opened, 0 dropped, none in plain/).waitFor();
  await recorded(path.join(second, 'video.ivf'), 10_000);
  await hangup();
  const { lines, errors } = await bob.ended;
  expect(lines, errors).toHaveLength(1);
  expect(lines[0]).toMatchObject({ channel_binding: true, sframe: true, ended: 'hangup' });
  expect(lines[0].audio.received).toBeGreaterThan(50);
  clean();
});
