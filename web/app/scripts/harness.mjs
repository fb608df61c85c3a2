// What the scripts and tests that use a real browser share: a real node, a real Chromium, a log of
// every request, and axe. Everything that is started here ends with stop().
import { spawn, execFileSync } from 'node:child_process';
import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import readline from 'node:readline';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

// A browser reads the names of files by its locale: without one it cannot open a file with a letter outside of ASCII.
if (!/utf-?8/i.test(process.env.LC_ALL || process.env.LC_CTYPE || process.env.LANG || '')) process.env.LC_ALL = 'C.UTF-8';

const repository = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..', '..', '..');
const axeSource = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** How long something is waited for that never comes. On a busy machine what does come can take long. */
export const patience = 120_000;

export const sizes = { desktop: { width: 1280, height: 800 }, phone: { width: 390, height: 844 } };

const common = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update',
  '--disable-sync', '--use-fake-device-for-media-stream', '--mute-audio'];
// What the browser asks is answered with yes.
const answered = '--use-fake-ui-for-media-stream';

export class World {
  constructor() {
    this.dir = mkdtempSync(path.join(os.tmpdir(), 'trunkline-look-'));
    this.children = [];
    this.contexts = [];
    this.origins = new Set();
    this.foreign = [];
    this.browsers = [];
    // What the command of a domain's node begins with: that which runs it on a machine of its own, for one.
    this.on = () => [];
    // What the service workers fetched.
    this.byServiceWorkers = 0;
    this.problems = [];
  }

  build() {
    this.binary = process.env.TRUNKLINE_BINARY;
    if (this.binary) return this;
    this.binary = path.join(this.dir, 'trunkline');
    goBuild(this.binary, 'cmd/trunkline');
    return this;
  }

  /** Builds another command of the repository and returns where it is. */
  tool(source) {
    const to = path.join(this.dir, path.basename(source));
    goBuild(to, source);
    return to;
  }

  /** Starts a node and returns its ready line and how to end it. */
  async node(name, domain, extra = []) {
    const [program, ...before] = [...this.on(domain), this.binary];
    const child = spawn(
      program,
      [...before, 'serve', '--data', path.join(this.dir, name), '--domain', domain, '--http-listen', '127.0.0.1:0', '--federation-listen', '127.0.0.1:0',
        '--turn-listen', '127.0.0.1:0', '--sfu-listen', '127.0.0.1:0', '--metrics-listen', '127.0.0.1:0', '--json', ...extra],
      { stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: process.env.PATH, HOME: this.dir } },
    );
    this.children.push(child);
    let errors = '';
    child.stderr.on('data', (data) => {
      errors = (errors + data).slice(-4000);
    });
    const lines = readline.createInterface({ input: child.stdout });
    const ready = await new Promise((resolve, reject) => {
      lines.once('line', (line) => resolve(JSON.parse(line)));
      child.once('exit', (code) => reject(new Error(`the node ended with ${code}: ${errors}`)));
    });
    this.origins.add(ready.http);
    this.origins.add(ready.http.replace(/^http/, 'ws'));
    // Where clients look for it does not change when it comes back.
    const again = () => this.node(name, domain, [...extra, '--http-listen', new URL(ready.http).host]);
    const kill = () => new Promise((resolve) => {
      child.once('exit', resolve);
      child.kill('SIGKILL');
    });
    return { ready, child, data: path.join(this.dir, name), stop: () => end(child), kill, again };
  }

  /** Starts a node as a new user does, and returns the address that it prints for a browser. */
  async printed() {
    const child = spawn(
      this.binary,
      ['serve', '--data', path.join(this.dir, 'first'), '--http-listen', '127.0.0.1:0', '--federation-listen', '127.0.0.1:0', '--turn-listen', '127.0.0.1:0',
        '--sfu-listen', '127.0.0.1:0', '--metrics-listen', '127.0.0.1:0'],
      { stdio: ['ignore', 'pipe', 'ignore'], env: { PATH: process.env.PATH, HOME: this.dir } },
    );
    this.children.push(child);
    const address = await new Promise((resolve, reject) => {
      readline.createInterface({ input: child.stdout }).on('line', (line) => /^ {2}(http:\/\/\S+#invite=\S+)$/.test(line) && resolve(line.trim()));
      child.once('exit', (code) => reject(new Error(`the node ended with ${code}`)));
    });
    this.origins.add(new URL(address).origin);
    this.origins.add(new URL(address).origin.replace(/^http/, 'ws'));
    return address;
  }

  /** The addresses that `trunkline demo --browser` prints, one for each of two nodes. */
  async demo() {
    const child = spawn(this.binary, ['demo', '--browser'], { stdio: ['ignore', 'pipe', 'ignore'], env: { PATH: process.env.PATH, HOME: this.dir, TMPDIR: this.dir } });
    this.children.push(child);
    const addresses = await new Promise((resolve, reject) => {
      const seen = [];
      readline.createInterface({ input: child.stdout }).on('line', (line) => {
        const address = /(http:\/\/\S+#invite=\S+)$/.exec(line)?.[1];
        if (address && seen.push(address) === 2) resolve(seen);
      });
      child.once('exit', (code) => reject(new Error(`the demo ended with ${code}`)));
    });
    for (const { origin } of addresses.map((a) => new URL(a))) this.origins.add(origin).add(origin.replace(/^http/, 'ws'));
    return addresses;
  }

  /** Two nodes that trust each other, as docs/TWO-NODES.md sets them up. */
  async pair(first, second, extra = []) {
    const [a, b] = [first, second].map((domain) => {
      const data = path.join(this.dir, domain);
      return { domain, data, key: JSON.parse(this.run('init', '--data', data, '--domain', domain, '--json')).domain_key };
    });
    const trust = (one, other) =>
      appendFileSync(
        path.join(one.data, 'policy.toml'),
        `\n[[domain]]\nname = "${other.domain}"\nlevel = "partner"\nkey = "${other.key}"\n\n[[rule]]\nname = "partners"\nlevel = "partner"\n` +
          'direction = "both"\nactions = ["federate", "signal", "knock", "store", "query", "turn"]\nlimit = { per_second = 200, bytes_per_second = "2MiB", concurrent = 500 }\n',
      );
    trust(a, b);
    trust(b, a);
    const more = (one, other) => [...(typeof extra === 'function' ? extra(one.domain) : extra), '--federation-peer', `${other.domain}=${path.join(other.data, 'domain.document')}`];
    return [await this.node(first, first, more(a, b)), await this.node(second, second, more(b, a))];
  }

  /** Runs a command of the binary and returns what it printed. Nothing else happens here meanwhile, so that no other limit
   * would end one that does not end. */
  run(...args) {
    return execFileSync(this.binary, args, { encoding: 'utf8', timeout: patience, killSignal: 'SIGKILL', env: { PATH: process.env.PATH, HOME: this.dir } });
  }

  invite(node) {
    return JSON.parse(this.run('invite', 'create', '--data', node.data, '--json')).url;
  }

  /** With `asks`, pages get what a person said to the browser, as say() does, and nothing by itself. */
  async browser(flags = [], asks = false, executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium') {
    this.chromium = await chromium.launch({
      executablePath,
      args: [...common, ...(asks ? [] : [answered]), ...flags],
    });
    this.browsers.push(this.chromium);
    return this.chromium;
  }

  /** A person: a browser profile of its own, whose every request is looked at. */
  async person({ browser = this.chromium, ...options } = {}) {
    const context = await browser.newContext({ viewport: sizes.desktop, locale: 'en-GB', permissions: ['clipboard-read', 'clipboard-write'], ...options });
    context.setDefaultTimeout(patience);
    // Script that the person's pages and their workers fetched.
    const scripts = new Set();
    context.on('request', (request) => {
      this.seen(request.url());
      if (request.serviceWorker()) this.byServiceWorkers++;
      else if (request.url().endsWith('.js')) scripts.add(new URL(request.url()).pathname.slice(1));
    });
    // Later tabs and windows, too, whoever opens them.
    context.on('page', (page) => this.watch(page));
    const page = await context.newPage();
    return { context, page, scripts };
  }

  /** What a person says to the browser about a device of this page: granted, denied or prompt. */
  async say({ context, page }, setting, ...names) {
    const session = await context.newCDPSession(page);
    const { targetInfo } = await session.send('Target.getTargetInfo');
    await session.detach();
    // What is said lasts as long as the session in which it was said.
    this.sayings ??= await this.chromium.newBrowserCDPSession();
    for (const name of names) {
      await this.sayings.send('Browser.setPermission', { permission: { name }, setting, origin: new URL(page.url()).origin, browserContextId: targetInfo.browserContextId });
    }
  }

  /** A person with a whole browser, whose storage is a real disk with its limits. */
  async owner(name, flags = []) {
    const context = await chromium.launchPersistentContext(path.join(this.dir, `profile ${name}`), {
      executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: [...common, answered, ...flags], viewport: sizes.desktop, locale: 'en-GB', permissions: ['clipboard-read', 'clipboard-write'],
    });
    this.contexts.push(context);
    context.setDefaultTimeout(patience);
    context.on('request', (request) => this.seen(request.url()));
    for (const page of context.pages()) this.watch(page);
    context.on('page', (page) => this.watch(page));
    const page = context.pages()[0] ?? (await context.newPage());
    return { context, page };
  }

  /** Notes what a page asks for and what goes wrong in it. */
  watch(page) {
    page.on('websocket', (socket) => this.seen(socket.url()));
    page.on('pageerror', (error) => this.problems.push(`${error.name}: ${error.message}\n${error.stack ?? ''}`));
    page.on('console', (message) => {
      if (message.type() === 'error' && !/ERR_INTERNET_DISCONNECTED|ERR_CONNECTION_REFUSED/.test(message.text())) this.problems.push(`console: ${message.text()} ${message.location().url}`);
    });
  }

  seen(url) {
    const { protocol, origin } = new URL(url);
    if (protocol === 'blob:' || protocol === 'data:') return;
    if (!this.origins.has(origin)) this.foreign.push(url);
  }

  /** Violations that axe finds on the page as it is now, and what runs out of its sides: light and dark, from left to right and from right to left. */
  async axe(page) {
    // The page's policy forbids what a test injects as a script; the debugger's evaluation is not
    // bound by it.
    await page.evaluate(axeSource);
    return page.evaluate(inEveryLook);
  }

  async stop() {
    await Promise.all([...this.browsers, ...this.contexts].map((b) => b.close()));
    await Promise.all(this.children.map(end));
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** Runs in the page. Theme and direction are two attributes of its root, whatever the system and the person want. */
async function inEveryLook() {
  const root = document.documentElement;
  const { dir, dataset: { theme } } = root;
  const found = [];
  for (const [look, way] of [['light', 'ltr'], ['light', 'rtl'], ['dark', 'ltr'], ['dark', 'rtl']]) {
    root.dataset.theme = look;
    root.dir = way;
    // Nobody chose a colour or a place in the middle of a transition; the end of one may begin another.
    const running = () => document.getAnimations().filter((a) => a instanceof CSSTransition);
    for (let left = running(); left.length > 0; left = running()) for (const transition of left) transition.finish();
    const { violations } = await globalThis.axe.run(document, { resultTypes: ['violations'] });
    for (const v of violations) found.push(`${look} ${way}: ${v.id}: ${v.help}: ${v.nodes.map((n) => `${n.target.join(' ')} ${n.any[0]?.message ?? ''}`).join(' | ')}`);
    // What may be long by nature is scrolled by itself.
    const wide = [...document.querySelectorAll('*')].filter((e) => e.scrollWidth > e.clientWidth && !e.matches('.dump, .long, .tabs') && (e === root || /auto|scroll/.test(getComputedStyle(e).overflowX)));
    const outside = [...document.querySelectorAll('a, button, input, textarea, [role]')].filter((e) => {
      const { left, right, width, height } = e.getBoundingClientRect();
      return width > 0 && height > 0 && (left < -1 || right > innerWidth + 1) && !e.closest('.tabs');
    });
    for (const e of [...wide, ...outside]) found.push(`${look} ${way}: out of its place: ${e.tagName} ${e.className} ${e.textContent.trim().slice(0, 40)}`);
  }
  root.dataset.theme = theme;
  root.dir = dir;
  return found;
}

/** What photographs a page as it is, in every size and theme, and holds it to axe. */
export function camera(world, shots, only, violations) {
  return async (page, name, before = async () => {}) => {
    if (only.length > 0 && !only.some((o) => name.startsWith(o))) return;
    for (const [size, viewport] of Object.entries(sizes)) {
      await page.setViewportSize(viewport);
      for (const theme of ['light', 'dark']) {
        await page.emulateMedia({ colorScheme: theme, reducedMotion: 'reduce' });
        await page.waitForFunction((want) => document.documentElement.dataset.theme === want, theme);
        await before();
        // Two frames: the first one begins with the styles of before.
        await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
        await page.screenshot({ path: path.join(shots, `${name}-${size}-${theme}.png`) });
      }
      for (const v of await world.axe(page)) violations.push(`${name} ${size} ${v}`);
    }
    await page.setViewportSize(sizes.desktop);
  };
}

/** Runs one part of the pictures when its own file was started: `node scripts/PART.mjs [SCREEN…]`. */
export async function alone(url, flags, story) {
  if (process.argv[1] !== fileURLToPath(url)) return;
  const shots = path.join(repository, 'web', 'app', 'shots');
  mkdirSync(shots, { recursive: true });
  const world = new World().build();
  const found = [];
  try {
    await world.browser(flags);
    await story(world, camera(world, shots, process.argv.slice(2), found));
  } catch (error) {
    found.push(String(error?.stack ?? error));
  } finally {
    await world.stop();
  }
  for (const line of [...found, ...world.problems]) console.error(line);
  process.exit(found.length + world.problems.length === 0 ? 0 : 1);
}

function goBuild(to, source) {
  execFileSync('go', ['build', '-buildvcs=false', '-o', to, `./${source}`], { cwd: repository, stdio: 'inherit', env: { ...process.env, CGO_ENABLED: '0' } });
}

function end(child) {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => {
    child.once('exit', resolve);
    child.kill('SIGTERM');
    // A node that does not drain is killed, so that nothing outlives the test.
    setTimeout(() => child.kill('SIGKILL'), 10_000).unref();
  });
}
