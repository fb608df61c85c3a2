// People in meetings, for tests: in a Chromium of Playwright, and at terminals.
import { spawn } from 'node:child_process';
import path from 'node:path';
import readline from 'node:readline';
import { expect } from 'vitest';

/** A participant of the Go client. Ends with the world. */
export function startTerminal(world, link, name, ...more) {
  const command = ['room', 'join', link, '--guest', '--as', name, '--data', path.join(world.dir, name), '--json', ...more];
  const child = spawn(world.binary, command, { stdio: ['ignore', 'pipe', 'inherit'], env: { PATH: process.env.PATH, HOME: world.dir } });
  world.children.push(child);
  const events = [];
  const waits = [];
  let counts;
  readline.createInterface({ input: child.stdout }).on('line', (line) => {
    const event = JSON.parse(line);
    if (event.event === 'counts') counts = event.what;
    else events.push(event);
    for (const look of [...waits]) look();
  });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  const until = (find) => new Promise((resolve, reject) => {
    const look = () => {
      const found = find();
      if (!found) return;
      waits.splice(waits.indexOf(look), 1);
      resolve(found);
    };
    waits.push(look);
    void ended.then((code) => reject(new Error(`${name} ended with ${code}: ${JSON.stringify(events)}`)));
    look();
  });
  return {
    name, child, ended,
    /** The first event that matches, now or later. */
    event: (match) => until(() => events.find(match)),
    /** Waits until more frames of somebody's slot have opened than just now; it needs --counts. */
    hears: async (who, slot, over, more = 5) => {
      const opened = () => counts?.members.find((m) => m.name === who)?.frames.find((f) => f.slot === slot)?.[over] ?? 0;
      const before = opened();
      await until(() => opened() >= before + more);
    },
    leave: () => {
      child.kill('SIGINT');
      return ended;
    },
  };
}

export const tile = (person, name) => person.page.locator('.room-tile', { hasText: name });

/** A tile's picture moves: frames of it are decoded from now on. */
export async function moves(person, name) {
  const video = tile(person, name).locator('video');
  await video.waitFor();
  const frames = () => video.evaluate((v) => (v.videoWidth ? v.getVideoPlaybackQuality().totalVideoFrames : 0));
  const before = await frames();
  await expect.poll(frames).toBeGreaterThan(before + 3);
}

/** From standing before a meeting into it. */
export async function enter(person, name) {
  await person.page.locator('[data-stage="prejoin"]').waitFor();
  await person.page.locator('.preview video').waitFor();
  if (name) await person.page.getByLabel('Your name').fill(name);
  await person.page.locator('[data-stage] button[type="submit"]').click();
}
