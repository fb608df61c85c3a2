// People in browsers who send files, for tests of what becomes of them.
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

/** Chromium for files: without a microphone it shows names in place of the machine's addresses, which mean nothing here. */
export const fileFlags = ['--disable-features=WebRtcHideLocalIpsWithMdns'];

export const sha = (data) => createHash('sha256').update(data).digest('hex');

/** Content that looks random and is made again from its seed, whatever its size. */
export function content(size, seed = 1) {
  const block = Buffer.alloc(1 << 20);
  let x = seed >>> 0 || 1;
  for (let i = 0; i < block.length; i += 4) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    block.writeInt32LE(x | 0, i);
  }
  const out = Buffer.alloc(size);
  for (let at = 0; at < size; at += block.length) {
    block.writeUInt32LE(at >>> 20, 0); // no two units are the same
    block.copy(out, at, 0, Math.min(block.length, size - at));
  }
  return out;
}

/** Before the app starts: no dialogs, which cannot be answered without a screen, and a gate on what goes out. */
export function prepared() {
  delete globalThis.showSaveFilePicker;
  delete globalThis.showOpenFilePicker;
  const gate = (globalThis.gate = {
    limit: Infinity,
    sent: 0,
    channels: new Set(),
    /** Lets so many more bytes of files out, then no more until it is called again. */
    open(bytes) {
      this.sent = 0;
      this.limit = bytes;
      for (const c of this.channels) c.dispatchEvent(new Event('bufferedamountlow'));
    },
  });
  const { send } = RTCDataChannel.prototype;
  const unsent = Object.getOwnPropertyDescriptor(RTCDataChannel.prototype, 'bufferedAmount').get;
  RTCDataChannel.prototype.send = function (data) {
    if (this.label === 'file') {
      gate.channels.add(this);
      gate.sent += data.byteLength;
    }
    return send.call(this, data);
  };
  Object.defineProperty(RTCDataChannel.prototype, 'bufferedAmount', {
    get() {
      return this.label === 'file' && gate.sent >= gate.limit ? 1 << 30 : unsent.call(this);
    },
  });
}

/** Somebody at a node, in a browser of their own. */
export async function joined(world, node, name) {
  const person = await world.owner(name, fileFlags);
  await person.context.addInitScript(prepared);
  await person.page.goto(world.invite(node));
  await person.page.getByRole('heading', { name: 'How others reach you' }).waitFor();
  person.home = node.ready.http;
  return person;
}

/** Makes two people know each other, and opens their conversation on both sides. Bob is called so by Alice. */
export async function meet(alice, bob) {
  await alice.page.getByRole('button', { name: 'Copy link' }).click();
  const link = await alice.page.evaluate(() => navigator.clipboard.readText());
  await bob.page.goto(bob.home + link.slice(link.indexOf('/#')));
  await bob.page.getByLabel('Your name').fill('Bob');
  await bob.page.getByRole('button', { name: 'Ask to connect' }).click();
  await alice.page.getByRole('link', { name: /Bob/ }).click();
  await alice.page.getByRole('button', { name: 'Accept' }).click();
  await alice.page.getByRole('textbox', { name: 'Write to Bob' }).waitFor();
  await bob.page.getByRole('textbox', { name: /Write to/ }).waitFor();
}

/** The row of one file in its conversation. */
export function row(person, name, state = undefined) {
  return person.page.locator(`.bubble.file${state ? `[data-state="${state}"]` : ''}`, { hasText: name });
}

export function written(world, name, data) {
  const folder = path.join(world.dir, 'offered');
  mkdirSync(folder, { recursive: true });
  const file = path.join(folder, name);
  writeFileSync(file, data);
  return file;
}

/** Chooses a file to send. It is offered when it has a row: what is waited for after that is not the choosing. */
export async function offer(world, from, name, data) {
  const rows = from.page.locator('.bubble.file');
  const before = await rows.count();
  await from.page.locator('.composer input[type=file]').setInputFiles(written(world, name, data));
  await rows.nth(before).waitFor();
}

/** Says yes to what is being asked. */
export async function receive(person) {
  await person.page.locator('.bubble.file[data-state="asking"]').getByRole('button', { name: 'Receive' }).click();
}

export async function saved(person, name) {
  const [download] = await Promise.all([person.page.waitForEvent('download'), row(person, name, 'arrived').getByRole('button', { name: 'Save' }).click()]);
  return { name: download.suggestedFilename(), content: readFileSync(await download.path()) };
}

/** Waits until a row has come so far, in bytes. */
export async function reached(person, name, bytes) {
  await row(person, name).locator('progress').waitFor();
  await person.page.waitForFunction(
    ([n, b]) => {
      const bubble = [...document.querySelectorAll('.bubble.file')].find((e) => e.textContent.includes(n));
      // What was hashed is not what was sent.
      return bubble?.dataset.state !== 'hashing' && (bubble?.querySelector('progress')?.value ?? 0) >= b;
    },
    [name, bytes],
    { timeout: 170_000 },
  );
}

/** Bytes that may go out of this page from now on. */
export async function gate(person, bytes) {
  await person.page.evaluate((b) => globalThis.gate.open(b), bytes ?? Infinity);
}

/** A new tab of somebody whose old one is gone, at their conversation. */
export async function reopened(person) {
  person.page = await person.context.newPage();
  await person.page.goto(`${person.home}/`);
  await person.page.locator('nav.list a').filter({ hasText: /Bob|tl1/ }).first().click();
}

/** Kills the tab: the process that draws it crashes, as when the system takes its memory. */
export async function crash(person) {
  const session = await person.context.newCDPSession(person.page);
  const crashed = person.page.waitForEvent('crash');
  session.send('Page.crash').catch(() => undefined); // nobody is left to answer
  await crashed;
  await person.page.close();
}
