// People in meetings, for tests: in a Chromium of Playwright, and at terminals.
import { spawn } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import readline from 'node:readline';
import { expect } from 'vitest';

/** A process that prints events as lines of JSON, of which take says whether they are to be kept. */
function tells(world, command, name, take, options = {}) {
  const [program, ...args] = command;
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'], env: { PATH: process.env.PATH, HOME: world.dir }, ...options });
  world.children.push(child);
  const events = [];
  const waits = [];
  readline.createInterface({ input: child.stdout }).on('line', (line) => {
    const event = JSON.parse(line);
    if (take(event)) events.push(event);
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
    name, child, ended, events, until,
    /** The first event that matches, now or later. */
    event: (match) => until(() => events.find(match)),
    leave: () => {
      child.kill('SIGINT');
      return ended;
    },
  };
}

/** Linux may give each session the same share of the processors, whatever is in it; a browser is one, and so is what runs the
 * tests. weight is as of nice, and takes root to be less than 0. */
function share(pid, weight) {
  const group = `/proc/${pid}/autogroup`;
  if (existsSync(group)) writeFileSync(group, String(process.getuid() === 0 ? weight : Math.max(weight, 0)));
}

/** What a page of Chromium shows is drawn by the processor here, with a higher priority than its script has: without enough for
 * both it is the script that gets nothing. */
export async function prefer(browser) {
  const session = await browser.newBrowserCDPSession();
  const { processInfo } = await session.send('SystemInfo.getProcessInfo');
  await session.detach();
  share(processInfo.find((p) => p.type === 'browser').id, -8);
}

/** From here on this page's encoders never say that the processor holds them back, or the line, which is what a machine that has
 * many people's pages to draw looks like. Both have tests of their own, and would be one more reason to go over the node. */
export function tireless() {
  const { getStats } = RTCPeerConnection.prototype;
  RTCPeerConnection.prototype.getStats = async function (...args) {
    const all = new Map(await getStats.apply(this, args));
    for (const [id, s] of all) if (s.qualityLimitationReason) all.set(id, { ...s, qualityLimitationReason: 'none' });
    return all;
  };
}

/** A participant of the Go client. Ends with the world. */
export function startTerminal(world, link, name, ...more) {
  let counts;
  const told = tells(world, [world.binary, 'room', 'join', link, '--guest', '--as', name, '--data', path.join(world.dir, name), '--json', ...more], name, (e) => {
    if (e.event === 'counts') counts = e.what;
    return e.event !== 'counts';
  });
  return {
    ...told,
    /** Waits until more frames of somebody's slot have opened than just now; it needs --counts. */
    hears: async (who, slot, over, more = 5) => {
      const opened = () => counts?.members.find((m) => m.name === who)?.frames.find((f) => f.slot === slot)?.[over] ?? 0;
      const before = opened();
      await told.until(() => opened() >= before + more);
    },
  };
}

/** Many participants of the Go client in one process of `program`, Guest 1 and so on, who hear whoever talks. Ends with the
 * world. */
export function startCrowd(world, program, link, people) {
  const told = tells(world, [program, link, String(people)], 'the crowd', () => true, { detached: true });
  share(told.child.pid, 10);
  return {
    ...told,
    /** Waits until each of them has told this. */
    all: (event, names) => told.until(() => names.every((name) => told.events.some((e) => e.name === name && e.event === event))),
  };
}

export const tile = (person, name) => person.page.locator('.room-tile', { hasText: name });

/** A tile's picture moves: frames of it are decoded from now on. */
export async function moves(person, name) {
  const video = tile(person, name).locator('video');
  await video.waitFor();
  const frames = () => video.evaluate((v) => (v.videoWidth ? v.getVideoPlaybackQuality().totalVideoFrames : 0));
  const before = await frames();
  await expect.poll(frames, `pictures of ${name}`).toBeGreaterThan(before + 3);
}

/** From standing before a meeting into it. */
export async function enter(person, name) {
  await person.page.locator('[data-stage="prejoin"]').waitFor();
  await person.page.locator('.preview video').waitFor();
  if (name) await person.page.getByLabel('Your name').fill(name);
  await person.page.locator('[data-stage] button[type="submit"]').click();
}
