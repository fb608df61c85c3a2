// A file that survives what happens to both ends: tabs that are killed in the middle, and a Go client that is.
import { createHash } from 'node:crypto';
import { spawn } from 'node:child_process';
import { createReadStream, existsSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { World } from '../../scripts/harness.mjs';
import { content, crash, gate, joined, meet, receive, reached, reopened, row, written } from './filepeople.mjs';

const MiB = 1 << 20;
let world;
let acme;
let globex;
let alice;

beforeAll(async () => {
  world = new World().build();
  [acme, globex] = await world.pair('acme.example', 'globex.example');
  alice = await joined(world, acme, 'alice');
});

afterAll(async () => {
  await world?.stop();
});

async function fileHash(file) {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(file)) hash.update(piece);
  return hash.digest('hex');
}

test('256 MiB arrive right although first the receiver and then the sender is killed in the middle', async () => {
  const bob = await joined(world, globex, 'bob');
  await meet(alice, bob);
  const file = written(world, 'large.bin', content(256 * MiB, 21));
  // What goes out is gated, so that the middle is the middle on every machine.
  await gate(alice, 110 * MiB);
  await alice.page.locator('.composer input[type=file]').setInputFiles(file);
  await receive(bob);
  await reached(bob, 'large.bin', 96 * MiB);
  await gate(alice, 70 * MiB);
  await crash(bob);
  await reopened(bob);
  // It goes on where it was: from the beginning it would not come so far with what may go out.
  await reached(alice, 'large.bin', 150 * MiB);
  await crash(alice);
  await reopened(alice);
  await row(alice, 'large.bin', 'choose').locator('input[type=file]').setInputFiles(file);
  await row(alice, 'large.bin', 'delivered').waitFor({ timeout: 170_000 });
  await row(bob, 'large.bin', 'arrived').waitFor();
  const [download] = await Promise.all([bob.page.waitForEvent('download'), row(bob, 'large.bin').getByRole('button', { name: 'Save' }).click()]);
  expect(await fileHash(await download.path())).toBe(await fileHash(file));
  expect(world.foreign).toEqual([]);
}, 400_000);

/** A command of a Go client that runs on. */
function running(data, ...args) {
  const child = spawn(world.binary, [...args, '--data', data, '--json'], { stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: process.env.PATH, HOME: world.dir } });
  world.children.push(child);
  let out = '';
  let errors = '';
  child.stdout.on('data', (d) => (out += d));
  child.stderr.on('data', (d) => (errors = (errors + d).slice(-4000)));
  const ended = new Promise((resolve) => child.once('close', (code) => resolve({ code, out, errors })));
  return { child, ended };
}

test('a Go client that is killed in the middle goes on, in both directions', async () => {
  const data = path.join(world.dir, 'carol');
  const go = (...args) => world.run(...args, '--data', data);
  await alice.page.goto(`${alice.home}/`);
  const address = await alice.page.locator('.share code').first().textContent();
  go('id', 'new');
  go('register', world.invite(globex));
  go('contact', 'add', address, '--text', 'Carol at a terminal', '--name', 'Carol');
  await alice.page.getByRole('link', { name: /Carol/ }).click();
  await alice.page.getByRole('button', { name: 'Accept' }).click();
  await alice.page.getByRole('textbox', { name: 'Write to Carol' }).waitFor();
  go('inbox');
  const id = JSON.parse(go('id', 'show', '--json')).id;
  expect(id).toMatch(/^tl1/);

  // To the Go client.
  const folder = path.join(world.dir, 'taken');
  mkdirSync(folder);
  const bytes = content(48 * MiB, 22);
  await gate(alice, 24 * MiB);
  const first = running(data, 'file', 'receive', '--dir', folder);
  await alice.page.locator('.composer input[type=file]').setInputFiles(written(world, 'to a terminal.bin', bytes));
  await reached(alice, 'to a terminal.bin', 16 * MiB);
  const part = () => readdirSync(folder).find((n) => n.endsWith('.part'));
  expect(statSync(path.join(folder, part())).size).toBeGreaterThanOrEqual(16 * MiB);
  first.child.kill('SIGKILL');
  await first.ended;
  await gate(alice, 40 * MiB); // less than the whole: it has to go on where it was
  const second = running(data, 'file', 'receive', '--dir', folder, '--once');
  await row(alice, 'to a terminal.bin', 'delivered').waitFor();
  expect((await second.ended).code).toBe(0);
  expect(existsSync(path.join(folder, 'to a terminal.bin'))).toBe(true);
  expect(createHash('sha256').update(readFileSync(path.join(folder, 'to a terminal.bin'))).digest('hex')).toBe(createHash('sha256').update(bytes).digest('hex'));
  await gate(alice);

  // From the Go client. The page holds it by a pause, so that the middle is the middle.
  const out = written(world, 'from a terminal.bin', content(48 * MiB, 23));
  const sending = running(data, 'file', 'send', address.split('@')[0], out);
  await receive(alice);
  await row(alice, 'from a terminal.bin').getByRole('button', { name: 'Pause' }).click();
  await row(alice, 'from a terminal.bin', 'paused').waitFor();
  sending.child.kill('SIGKILL');
  await sending.ended;
  await row(alice, 'from a terminal.bin').getByRole('button', { name: 'Resume' }).click();
  const again = running(data, 'file', 'send', address.split('@')[0], out);
  await row(alice, 'from a terminal.bin', 'arrived').waitFor();
  const told = JSON.parse((await again.ended).out);
  expect(told.bytes).toBe(48 * MiB);
  const [download] = await Promise.all([alice.page.waitForEvent('download'), row(alice, 'from a terminal.bin').getByRole('button', { name: 'Save' }).click()]);
  expect(await fileHash(await download.path())).toBe(await fileHash(out));
}, 300_000);
