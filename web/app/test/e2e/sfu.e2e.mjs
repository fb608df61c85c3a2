import { spawn } from 'node:child_process';
import http from 'node:http';
import readline from 'node:readline';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { World } from '../../scripts/harness.mjs';
import { launchFirefox } from './firefox.mjs';
import { fakes } from './people.mjs';

// The node's SFU and browsers' own WebRTC, without an app between them: who sends and who receives is each engine once.
// The server is the one that the benchmark starts, which takes its orders line by line.
let world;
let firefox;
let server;
let answers;
let blank; // serves an empty page: only a page from somewhere may have a camera, and only who has one is shown every address
const pages = {};

async function order(o) {
  server.stdin.write(`${JSON.stringify({ room: 1, ...o })}\n`);
  const answer = JSON.parse((await answers.next()).value);
  if (answer.error) throw new Error(answer.error);
  return answer;
}

const join = (index, publish, sdp) => order({ op: 'join', grant: { Index: index, Publish: publish }, sdp });

beforeAll(async () => {
  world = new World().build();
  server = spawn(world.binary, ['bench', 'part', 'sfu-any'], { stdio: ['pipe', 'pipe', 'inherit'], env: { PATH: process.env.PATH, HOME: world.dir } });
  answers = readline.createInterface({ input: server.stdout })[Symbol.asyncIterator]();
  await answers.next(); // its address
  blank = http.createServer((_, response) => response.setHeader('content-type', 'text/html').end('<!doctype html><title>blank</title>'));
  await new Promise((resolve) => blank.listen(0, '127.0.0.1', resolve));
  await world.browser(fakes);
  pages.chromium = await (await world.chromium.newContext()).newPage();
  firefox = await launchFirefox();
  pages.firefox = await firefox.newPage();
});

afterAll(async () => {
  await firefox?.close();
  blank?.close();
  await world?.stop();
  server?.stdin.end();
  await new Promise((resolve) => (server ? server.once('exit', resolve) : resolve()));
});

/** Makes an offer that sends a camera and a microphone, or receives one of each. */
async function offer(sends) {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: true });
  const pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
  for (const kind of ['audio', 'video']) {
    const track = stream.getTracks().find((t) => t.kind === kind);
    if (sends) pc.addTransceiver(track, { direction: 'sendonly' });
    else pc.addTransceiver(kind, { direction: 'recvonly' });
  }
  pc.ontrack = ({ track }) => {
    const element = document.createElement(track.kind);
    element.srcObject = new MediaStream([track]);
    element.muted = true;
    document.body.append(element);
    void element.play();
  };
  globalThis.pc = pc;
  await pc.setLocalDescription();
  return pc.localDescription.sdp;
}

async function again() {
  globalThis.pc.restartIce();
  await globalThis.pc.setLocalDescription();
  return globalThis.pc.localDescription.sdp;
}

const answered = (sdp) => globalThis.pc.setRemoteDescription({ type: 'answer', sdp });

/** Waits until the page's connection has decoded this many more pictures and heard this many more packets. */
async function flows([pictures, packets]) {
  const read = async () => {
    const now = { pictures: 0, packets: 0, state: globalThis.pc.connectionState };
    for (const s of (await globalThis.pc.getStats()).values()) {
      if (s.type !== 'inbound-rtp') continue;
      if (s.kind === 'video') now.pictures = s.framesDecoded ?? 0;
      else now.packets = s.packetsReceived ?? 0;
    }
    return now;
  };
  const before = await read();
  for (let left = 300; left > 0; left--) {
    const now = await read();
    if (now.pictures - before.pictures >= pictures && now.packets - before.packets >= packets) return now;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return { before, now: await read() };
}

let index = 0;

describe.each([['chromium', 'firefox'], ['firefox', 'chromium'], ['chromium', 'chromium'], ['firefox', 'firefox']])('%s to %s', (from, to) => {
  test('pictures and sound go through, also after an ICE restart of both', async () => {
    const publisher = ++index;
    const subscriber = ++index;
    const sender = pages[from];
    const receiver = from === to ? await (from === 'firefox' ? firefox : world.chromium).newPage() : pages[to];
    for (const page of new Set([sender, receiver])) await page.goto(`http://127.0.0.1:${blank.address().port}/`);
    await sender.evaluate(answered, (await join(publisher, true, await sender.evaluate(offer, true))).sdp);
    await receiver.evaluate(answered, (await join(subscriber, false, await receiver.evaluate(offer, false))).sdp);
    await order({ op: 'want', index: subscriber, wants: { Subscriptions: [{ Mid: '0', Publisher: publisher, Slot: 0 }, { Mid: '1', Publisher: publisher, Slot: 1 }] } });
    expect(await receiver.evaluate(flows, [20, 50])).toMatchObject({ state: 'connected' });
    for (const [i, page] of [[publisher, sender], [subscriber, receiver]]) {
      await page.evaluate(answered, (await order({ op: 'offer', index: i, sdp: await page.evaluate(again) })).sdp);
      expect(await receiver.evaluate(flows, [20, 50])).toMatchObject({ state: 'connected' });
    }
    // Who closes the connection is gone, without anybody saying so.
    const { stats } = await order({ op: 'stats' });
    await receiver.evaluate(() => globalThis.pc.close());
    await sender.evaluate(() => globalThis.pc.close());
    for (let left = 100, now = stats; now.Seats !== stats.Seats - 2; left--) {
      expect(left, 'the seats are kept').toBeGreaterThan(0);
      await new Promise((resolve) => setTimeout(resolve, 100));
      now = (await order({ op: 'stats' })).stats;
    }
    if (from === to) await receiver.close();
  });
});
