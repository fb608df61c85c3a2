// How long it takes from a link to sound and picture, and from a cut route until there is picture again: two real nodes,
// one real Chromium, both ends' pages. npm run figures:calls -- [--runs=30] [--cuts=10] [--json] prints a table.
//
// What people do is pressed by the page itself in the moment in which it can be, so that a figure is the program's time;
// camera and microphone are permitted beforehand. The cuts are made with nftables in a network namespace of their own,
// which takes root; everything else runs there, too.
import { execFileSync, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { World } from './harness.mjs';

const args = process.argv.slice(2);
const option = (name, otherwise) => Number(args.find((a) => a.startsWith(`--${name}=`))?.split('=')[1] ?? otherwise);
const [runs, cuts] = [option('runs', 30), option('cuts', 10)];
const inside = args.includes('--inside');

if (!inside) {
  const script = fileURLToPath(import.meta.url);
  if (process.getuid?.() !== 0) {
    if (cuts > 0) throw new Error('cutting routes takes root: run as root, or with --cuts=0');
    process.exit(spawnSync(process.execPath, [script, ...args, '--inside'], { stdio: 'inherit' }).status ?? 1);
  }
  const space = `trunkline-${process.pid}`;
  const ip = (...a) => execFileSync('ip', a, { stdio: 'inherit' });
  ip('netns', 'add', space);
  let status = 1;
  try {
    ip('-n', space, 'link', 'set', 'lo', 'up');
    // An address that is not loopback, since browsers offer no other to each other, and a way out.
    ip('-n', space, 'link', 'add', 'out', 'type', 'veth', 'peer', 'name', 'in');
    ip('-n', space, 'link', 'set', 'in', 'up');
    ip('-n', space, 'addr', 'add', '10.64.0.1/24', 'dev', 'out');
    ip('-n', space, 'link', 'set', 'out', 'up');
    ip('-n', space, 'route', 'add', 'default', 'dev', 'out');
    status = spawnSync('ip', ['netns', 'exec', space, process.execPath, script, ...args, '--inside'], { stdio: 'inherit' }).status ?? 1;
  } finally {
    ip('netns', 'del', space);
  }
  process.exit(status);
}

/** In every page: presses what may be pressed as soon as it is there, and notes when what happened. */
function watch() {
  globalThis.marks = {};
  globalThis.frames = [];
  globalThis.peers = [];
  const now = () => performance.timeOrigin + performance.now();
  const mark = (name) => {
    globalThis.marks[name] ??= now();
  };
  mark('opened');
  const Peer = globalThis.RTCPeerConnection;
  globalThis.RTCPeerConnection = class extends Peer {
    constructor(...a) {
      super(...a);
      mark('peer');
      globalThis.peers.push(this);
      this.addEventListener('connectionstatechange', () => {
        if (this.connectionState === 'connected') mark('connected');
        globalThis.frames.push({ at: now(), state: this.connectionState });
      });
    }
  };
  globalThis.presses = new Set();
  const seen = new WeakSet();
  const look = () => {
    for (const button of document.querySelectorAll('button')) {
      const name = (button.getAttribute('aria-label') ?? button.textContent ?? '').trim();
      if (!globalThis.presses.has(name) || button.disabled || button.closest('[inert]')) continue;
      globalThis.presses.delete(name);
      mark(name);
      button.click();
    }
    const broken = document.querySelector('.tile-broken') !== null;
    if (broken !== globalThis.broken) globalThis.frames.push({ at: now(), state: broken ? 'noticed' : 'another way' });
    globalThis.broken = broken;
    const video = document.querySelector('[data-testid="them"] video');
    if (!video || seen.has(video)) return;
    seen.add(video);
    mark('tile');
    const frame = () => {
      mark('picture');
      globalThis.frames.push({ at: now() });
      video.requestVideoFrameCallback(frame);
    };
    video.requestVideoFrameCallback(frame);
  };
  new MutationObserver(look).observe(document, { subtree: true, childList: true, attributes: true });
  globalThis.pressing = (...names) => {
    globalThis.marks = {};
    for (const name of names) globalThis.presses.add(name);
    look();
  };
}

const world = new World().build();
const own = { permissions: ['camera', 'microphone', 'clipboard-read', 'clipboard-write'], viewport: { width: 900, height: 640 } };
const quantile = (values, q) => [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.ceil(q * values.length) - 1)];
const figures = {};

function figure(name, goal, values) {
  figures[name] = { runs: values.length, p50: Math.round(quantile(values, 0.5)), p95: Math.round(quantile(values, 0.95)), most: Math.round(Math.max(...values)), goal };
}

async function hangUp(...pages) {
  await pages[0].getByTestId('hangup').click();
  for (const page of pages) {
    await page.getByRole('button', { name: 'Back' }).click();
    await page.locator('.call-layer').waitFor({ state: 'detached' });
  }
}

/** Both see a picture; when the later of the two did. */
async function picture(...pages) {
  const at = await Promise.all(pages.map(async (page) => (await page.waitForFunction(() => globalThis.marks.picture)).jsonValue()));
  return Math.max(...at);
}

const steps = (marks, begin) => Object.entries(marks).map(([name, at]) => [name, at - begin]);
const shares = new Map();
function share(who, marks, begin) {
  for (const [name, ms] of steps(marks, begin)) shares.set(`${who}: ${name}`, [...(shares.get(`${who}: ${name}`) ?? []), ms]);
}

try {
  const [acme, globex] = await world.pair('acme.example', 'globex.example', ['--turn-external-ip', '127.0.0.1', '--turn-allow-peers', '127.0.0.1/32:1024-65535,10.64.0.0/24:1024-65535']);
  await world.browser(['--use-fake-device-for-media-stream=device-count=1,fps=20']);
  const open = async (address, options) => {
    const person = await world.person(options);
    await person.context.addInitScript(watch);
    await person.page.goto(address);
    await person.page.getByRole('link', { name: 'New call' }).waitFor();
    return person;
  };
  const alice = await open(world.invite(acme), own);
  const bob = await open(world.invite(globex), own);
  await alice.page.getByRole('link', { name: 'New call' }).click();
  await alice.page.getByLabel('Your name').fill('Alice');
  const link = await alice.page.locator('code.long').textContent();
  const meeting = link.slice(link.indexOf('/', 'https://'.length)).replace(/&invite=[^&]*/, '');

  // Somebody who has never been here, with a link that invites to the node.
  const first = [];
  for (let n = 0; n < runs; n++) {
    const token = new URL(world.invite(acme)).hash.slice('#invite='.length);
    const guest = await world.person(own);
    await guest.context.addInitScript(watch);
    await guest.page.addInitScript(() => ['Ask to join'].forEach((name) => globalThis.presses.add(name)));
    await alice.page.evaluate(() => globalThis.pressing('Let in'));
    await guest.page.goto(`${acme.ready.http}${meeting}&invite=${token}`, { waitUntil: 'commit' });
    const begin = await guest.page.evaluate(() => performance.timeOrigin);
    const end = await picture(guest.page, alice.page);
    first.push(end - begin);
    share('first visit, who came', await guest.page.evaluate(() => globalThis.marks), begin);
    share('first visit, who let in', await alice.page.evaluate(() => globalThis.marks), begin);
    await hangUp(guest.page, alice.page);
    await guest.context.close();
  }
  if (runs > 0) figure('a link to somebody new, until both see each other', 2000, first);

  // The two know each other from here on.
  await bob.page.evaluate(() => globalThis.pressing('Ask to join'));
  await alice.page.evaluate(() => globalThis.pressing('Let in'));
  await bob.page.goto(globex.ready.http + meeting);
  await bob.page.evaluate(() => globalThis.pressing('Ask to join'));
  await picture(alice.page, bob.page);
  await hangUp(alice.page, bob.page);
  await bob.page.close();

  /** Bob opens the link in a tab, at his own node, and calls. */
  const call = async () => {
    const page = await bob.context.newPage();
    await page.addInitScript(() => ['Call'].forEach((name) => globalThis.presses.add(name)));
    await alice.page.evaluate(() => globalThis.pressing('Answer with camera'));
    await page.goto(globex.ready.http + meeting, { waitUntil: 'commit' });
    // The second of the two that are called so is the one under one's own picture.
    await page.waitForFunction(() => globalThis.marks.Call);
    await page.locator('.call-layer').waitFor();
    await page.evaluate(() => globalThis.presses.add('Call') && document.querySelector('.call-layer').setAttribute('data-look', ''));
    const begin = await page.evaluate(() => performance.timeOrigin);
    const end = await picture(page, alice.page);
    return { page, begin, end };
  };
  const known = [];
  for (let n = 0; n < runs; n++) {
    const { page, begin, end } = await call();
    known.push(end - begin);
    share('known, who came', await page.evaluate(() => globalThis.marks), begin);
    share('known, who answered', await alice.page.evaluate(() => globalThis.marks), begin);
    await hangUp(page, alice.page);
    await page.close();
  }
  if (runs > 0) figure('a link to somebody known, two nodes, until both see each other', 2000, known);

  // The pair's ports are cut, so that another pair has to be found; then every direct way, so that only a relay is left.
  const nft = (rules) => execFileSync('nft', ['-f', '-'], { input: rules });
  for (const [name, drop] of [
    ['the pair was cut', (ports) => `udp dport { ${ports.join(', ')} } drop`],
    ['every direct way was cut', () => 'ip daddr 10.64.0.1 udp dport 1-65535 drop'],
  ]) {
    const again = [];
    for (let n = 0; n < cuts; n++) {
      const { page } = await call();
      // A call that has found its pace.
      for (const p of [page, alice.page]) await p.waitForFunction(() => globalThis.frames.filter((f) => !f.state && f.at > globalThis.marks.picture).length > 60);
      const ports = await page.evaluate(async () => {
        const stats = [...(await globalThis.peers.at(-1).getStats()).values()];
        const transport = stats.find((s) => s.type === 'transport');
        const pair = stats.find((s) => s.id === transport.selectedCandidatePairId);
        return [pair.localCandidateId, pair.remoteCandidateId].map((id) => stats.find((s) => s.id === id).port);
      });
      nft(`table inet cut { chain out { type filter hook output priority 0; ${drop(ports)}; }\n}`);
      const cut = Date.now();
      try {
        const back = await Promise.all(
          [page, alice.page].map(async (p) =>
            (await p.waitForFunction(
              (since) => {
                // The first picture after a second or more without one.
                const shown = globalThis.frames.filter((f) => !f.state && f.at > since - 1000);
                for (let i = 1; i < shown.length; i++) if (shown[i].at > since && shown[i].at - shown[i - 1].at > 1000) return shown[i].at;
                return 0;
              },
              cut,
              { timeout: 60_000 },
            )).jsonValue(),
          ),
        );
        again.push(Math.max(...back) - cut);
        const states = (await page.evaluate(() => globalThis.frames.filter((f) => f.state))).filter((f) => f.at > cut);
        for (const s of states) shares.set(`${name}: ${s.state}`, [...(shares.get(`${name}: ${s.state}`) ?? []), s.at - cut]);
      } finally {
        nft('delete table inet cut');
      }
      await hangUp(page, alice.page);
      await page.close();
    }
    if (cuts > 0) figure(`picture again after ${name}`, 5000, again);
  }
  if (world.problems.length > 0) throw new Error(world.problems.join('\n'));
} finally {
  await world.stop();
}

if (args.includes('--json')) console.log(JSON.stringify({ figures, steps: Object.fromEntries([...shares].map(([k, v]) => [k, Math.round(quantile(v, 0.5))])) }));
else {
  for (const [name, f] of Object.entries(figures)) console.log(`${name.padEnd(64)} p50 ${String(f.p50).padStart(6)} ms   p95 ${String(f.p95).padStart(6)} ms   of ${f.goal} ms, ${f.runs} runs`);
  console.log('\nsteps, p50 after the link was opened or the route cut');
  for (const [name, values] of shares) console.log(`  ${name.padEnd(62)} ${String(Math.round(quantile(values, 0.5))).padStart(6)} ms`);
}
