// What a file costs in a browser: memory of the two renderers by the system's own account, throughput beside a bare
// page-to-page channel in the same run, and files whose tabs are killed at random. `npm run figures:files -- --size 2048
// --kills 20 --kill-size 64 --seed 7` (MiB); one line of JSON for each row.
import { createHash } from 'node:crypto';
import { closeSync, createReadStream, openSync, readFileSync, readdirSync, writeSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { content, crash, joined, meet, receive, reopened, row } from '../test/e2e/filepeople.mjs';
import { World } from './harness.mjs';

const MiB = 1 << 20;
const { values } = parseArgs({ options: { size: { type: 'string', default: '2048' }, rounds: { type: 'string', default: '4' }, ratio: { type: 'string', default: '192' }, kills: { type: 'string', default: '20' }, 'kill-size': { type: 'string', default: '64' }, seed: { type: 'string', default: String(Date.now() >>> 0) } } });
const [size, rounds, ratioSize, kills, killSize, seed] = [values.size, values.rounds, values.ratio, values.kills, values['kill-size'], values.seed].map(Number);
const say = (o) => console.log(JSON.stringify(o));
const world = new World().build();

/** Where and whom a kill hits, between 0 and 1: the same again from the seed that is printed. */
let drawn = seed >>> 0 || 1;
function draw() {
  drawn ^= drawn << 13;
  drawn ^= drawn >>> 17;
  drawn ^= drawn << 5;
  return (drawn >>> 0) / 2 ** 32;
}

/** Written a MiB at a time: a file of any size costs no memory here. */
function make(name, mib, seed) {
  const file = path.join(world.dir, name);
  const fd = openSync(file, 'w');
  const block = content(MiB, seed);
  for (let i = 0; i < mib; i++) {
    block.writeUInt32LE(i, 0);
    writeSync(fd, block);
  }
  closeSync(fd);
  return file;
}

async function hashOf(file) {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(file)) hash.update(piece);
  return hash.digest('hex');
}

/** The file as it lies in the receiver's browser, hashed in the page, a MiB at a time. */
async function hashInPage(person, wanted) {
  const stored = await person.page.evaluate(async () => {
    const dir = await (await navigator.storage.getDirectory()).getDirectoryHandle('files');
    const out = [];
    for await (const h of dir.values()) if (h.name.endsWith('.file')) out.push({ size: (await h.getFile()).size, name: h.name, at: (await h.getFile()).lastModified });
    return out.sort((a, b) => b.at - a.at)[0];
  });
  const hash = createHash('sha256');
  for (let at = 0; at < stored.size; at += 4 * MiB) {
    const part = await person.page.evaluate(
      async ([name, from, to]) => {
        const file = await (await (await (await navigator.storage.getDirectory()).getDirectoryHandle('files')).getFileHandle(name)).getFile();
        const bytes = new Uint8Array(await file.slice(from, to).arrayBuffer());
        let s = '';
        for (let i = 0; i < bytes.length; i += 8192) s += String.fromCharCode(...bytes.subarray(i, i + 8192));
        return btoa(s);
      },
      [stored.name, at, Math.min(at + 4 * MiB, stored.size)],
    );
    hash.update(Buffer.from(part, 'base64'));
  }
  return hash.digest('hex') === wanted;
}

/** Renderer processes of one person's browser, as the browser names them, and what the system counts as theirs alone. */
async function renderers(person) {
  const browser = await person.context.newCDPSession(person.page);
  const { processInfo } = await browser.send('SystemInfo.getProcessInfo').catch(() => ({ processInfo: [] }));
  await browser.detach();
  let pids = processInfo.filter((p) => p.type === 'renderer').map((p) => p.id);
  if (pids.length === 0) {
    const profile = person.profile;
    const all = readdirSync('/proc').filter((n) => /^\d+$/.test(n));
    const command = (pid) => { try { return readFileSync(`/proc/${pid}/cmdline`, 'utf8'); } catch { return ''; } };
    const parent = (pid) => { try { return Number(/\nPPid:\t(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]); } catch { return 0; } };
    const roots = new Set(all.filter((p) => command(p).includes(profile) && !command(p).includes('--type=')).map(Number));
    pids = all.map(Number).filter((p) => {
      if (!command(p).includes('--type=renderer')) return false;
      for (let q = p; q > 1; q = parent(q)) if (roots.has(q)) return true;
      return false;
    });
  }
  return pids;
}

function privateBytes(pids) {
  let kib = 0;
  for (const pid of pids) {
    let text = '';
    try {
      text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
    } catch {
      continue; // it has ended meanwhile
    }
    for (const m of text.matchAll(/^Private_(?:Clean|Dirty):\s+(\d+) kB/gm)) kib += Number(m[1]);
  }
  return kib * 1024;
}

/** The most that a person's renderers have grown by while work was under way. */
async function growth(people, work) {
  const pids = await Promise.all(people.map(renderers));
  const before = pids.map(privateBytes);
  const most = [...before];
  const look = () => pids.forEach((p, i) => (most[i] = Math.max(most[i], privateBytes(p))));
  const timer = setInterval(look, 250);
  await work();
  clearInterval(timer);
  look();
  return people.map((_, i) => Math.round(((most[i] - before[i]) / MiB) * 10) / 10);
}

async function sendOne(alice, bob, file, name) {
  await alice.page.locator('.composer input[type=file]').setInputFiles(file);
  await receive(bob);
  await row(bob, name, 'moving').waitFor({ timeout: 600_000 });
  const began = performance.now();
  await row(alice, name, 'delivered').waitFor({ timeout: 3_600_000 });
  return performance.now() - began;
}

/** A channel between the two pages with nothing of ours in between: same size of messages, same high water. */
async function bare(alice, bob, bytes) {
  const start = () => {
    globalThis.bare = new RTCPeerConnection();
    globalThis.line = globalThis.bare.createDataChannel('bare', { negotiated: true, id: 0, ordered: true });
    globalThis.line.binaryType = 'arraybuffer';
    globalThis.got = 0;
    globalThis.line.onmessage = (e) => (globalThis.got += e.data.byteLength);
  };
  const described = (page, type, sdp) =>
    page.evaluate(
      async ([type, sdp]) => {
        const pc = globalThis.bare;
        if (sdp) await pc.setRemoteDescription({ type: type === 'answer' ? 'offer' : 'answer', sdp });
        if (type === 'done') return '';
        await pc.setLocalDescription();
        if (pc.iceGatheringState !== 'complete') await new Promise((r) => (pc.onicegatheringstatechange = () => pc.iceGatheringState === 'complete' && r()));
        return pc.localDescription.sdp;
      },
      [type, sdp],
    );
  await alice.page.evaluate(start);
  await bob.page.evaluate(start);
  const offer = await described(alice.page, 'offer');
  await described(alice.page, 'done', await described(bob.page, 'answer', offer));
  await alice.page.waitForFunction(() => globalThis.line.readyState === 'open');
  const began = performance.now();
  await Promise.all([
    alice.page.evaluate(async (total) => {
      const { line } = globalThis;
      const high = 1 << 20;
      line.bufferedAmountLowThreshold = high / 4;
      for (let sent = 0; sent < total; sent += 58297) {
        line.send(new Uint8Array(58297));
        if (line.bufferedAmount >= high) await new Promise((r) => line.addEventListener('bufferedamountlow', r, { once: true }));
      }
    }, bytes),
    bob.page.waitForFunction((total) => globalThis.got >= total, bytes, { polling: 50, timeout: 600_000 }),
  ]);
  const took = performance.now() - began;
  for (const p of [alice, bob]) await p.page.evaluate(() => globalThis.bare.close());
  return took;
}

function median(a) {
  const sorted = [...a].sort((x, y) => x - y);
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

try {
  const [acme, globex] = await world.pair('acme.example', 'globex.example');
  const [alice, bob] = [await joined(world, acme, 'alice'), await joined(world, globex, 'bob')];
  alice.profile = path.join(world.dir, 'profile alice');
  bob.profile = path.join(world.dir, 'profile bob');
  await meet(alice, bob);
  await sendOne(alice, bob, make('warm.bin', 16, 1), 'warm.bin');

  if (rounds > 0) {
    const ratios = [];
    for (let r = 0; r < rounds; r++) {
      // Who is first changes with the round, so that what the machine does meanwhile favours neither.
      const file = make(`round ${r}.bin`, ratioSize, 30 + r);
      const own = () => sendOne(alice, bob, file, `round ${r}.bin`);
      const first = r % 2 ? await bare(alice, bob, ratioSize * MiB) : await own();
      const second = r % 2 ? await own() : await bare(alice, bob, ratioSize * MiB);
      const [ours, theirs] = r % 2 ? [second, first] : [first, second];
      ratios.push(theirs / ours);
      say({ row: 'throughput', round: r, ours_mb_s: +((ratioSize * MiB) / ours / 1000).toFixed(1), bare_mb_s: +((ratioSize * MiB) / theirs / 1000).toFixed(1), ratio: +(theirs / ours).toFixed(2) });
    }
    say({ row: 'throughput', rounds, mib: ratioSize, ratio_median: +median(ratios).toFixed(2) });
  }

  if (size > 0) {
    const file = make('memory.bin', size, 40);
    let took = 0;
    const [sender, receiver] = await growth([alice, bob], async () => {
      took = await sendOne(alice, bob, file, 'memory.bin');
    });
    say({ row: 'memory', mib: size, sender_growth_mib: sender, receiver_growth_mib: receiver, mb_s: +((size * MiB) / took / 1000).toFixed(1), right: await hashInPage(bob, await hashOf(file)) });
  }

  if (kills > 0) {
    let right = 0;
    say({ row: 'seed', seed });
    for (let k = 0; k < kills; k++) {
      const name = `killed ${k}.bin`;
      const file = make(name, killSize, 50 + k);
      await alice.page.locator('.composer input[type=file]').setInputFiles(file);
      await receive(bob);
      const at = draw() * killSize * MiB * 0.9;
      const who = draw() < 0.5 ? alice : bob;
      await bob.page.waitForFunction(
        ([n, b]) => [...document.querySelectorAll('.bubble.file')].some((e) => e.textContent.includes(n) && ((e.querySelector('progress')?.value ?? 0) >= b || e.dataset.state === 'arrived')),
        [name, at],
        { timeout: 600_000 },
      );
      await crash(who);
      await reopened(who);
      if (who === alice) {
        const choose = row(alice, name, 'choose').or(row(alice, name, 'delivered'));
        await choose.waitFor();
        if ((await row(alice, name).getAttribute('data-state')) === 'choose') await row(alice, name).locator('input[type=file]').setInputFiles(file);
      }
      await row(alice, name, 'delivered').waitFor({ timeout: 600_000 });
      const ok = await hashInPage(bob, await hashOf(file));
      if (ok) right++;
      say({ row: 'kill', k, who: who === alice ? 'sender' : 'receiver', at_mib: Math.round(at / MiB), right: ok });
    }
    say({ row: 'kills', kills, mib: killSize, right });
  }
} finally {
  await world.stop();
}
