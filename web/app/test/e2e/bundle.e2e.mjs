import { createHash } from 'node:crypto';
import http from 'node:http';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { World } from '../../scripts/harness.mjs';

// A node whose files change: a proxy before a real one.
let world;
let node;
let proxy;
let change = null; // (name, body) => body
let origin;

const sha = (data) => createHash('sha256').update(data).digest('hex');

async function fetchNode(path) {
  const response = await fetch(node.ready.http + path);
  return { status: response.status, headers: response.headers, body: Buffer.from(await response.arrayBuffer()) };
}

/** bundle.txt as it would be with the changed files. */
async function listing() {
  const { body } = await fetchNode('/bundle.txt');
  const lines = [];
  for (const line of body.toString().trimEnd().split('\n')) {
    const name = line.slice(66);
    lines.push(`${sha(change(name, (await fetchNode(`/${name}`)).body))}  ${name}\n`);
  }
  return Buffer.from(lines.join(''));
}

beforeAll(async () => {
  world = new World().build();
  node = await world.node('acme', 'acme.example');
  await world.browser();
  proxy = http.createServer(async (request, response) => {
    const { status, headers, body } = await fetchNode(request.url);
    for (const [name, value] of headers) if (!['content-encoding', 'content-length', 'transfer-encoding', 'connection', 'etag'].includes(name)) response.setHeader(name, value);
    response.statusCode = status;
    const name = request.url.slice(1);
    response.end(change === null ? body : name === 'bundle.txt' ? (change.listing ?? (await listing())) : change(name, body));
  });
  await new Promise((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  origin = `http://127.0.0.1:${proxy.address().port}`;
  world.origins.add(origin).add(origin.replace('http', 'ws'));
});

afterAll(async () => {
  proxy?.closeAllConnections();
  proxy?.close();
  await world?.stop();
});

beforeEach(() => {
  change = null;
  world.problems.length = 0;
});

const marked = (name, body) => (name === 'app.js' ? Buffer.concat([body, Buffer.from('\nglobalThis.another = true;\n')]) : body);

/** A browser in which the app has been installed, at its About page. */
async function installed() {
  const { page, context } = await world.person();
  await page.goto(`${origin}/about`);
  await page.evaluate(() => navigator.serviceWorker.ready);
  await page.waitForFunction(() => navigator.serviceWorker.controller !== null);
  await page.reload();
  const digest = await page.getByTestId('digest').textContent();
  return { page, context, digest };
}

/** An address that no page of the app may ask for. */
const nowhere = 'http://127.0.0.1:9';

const another = (page) => page.evaluate(() => globalThis.another === true);

test('the digest on the About page is that of trunkline version', async () => {
  const { context, digest } = await installed();
  expect(digest).toBe(JSON.parse(world.run('version', '--json')).web);
  expect(digest).toBe(`sha256:${sha((await fetchNode('/bundle.txt')).body)}`);
  await context.close();
});

test('a changed bundle is not run before somebody says yes', async () => {
  const { page, context, digest } = await installed();
  change = marked;
  const offered = `sha256:${sha(await listing())}`;
  await page.reload();
  await page.getByText('The node serves a new version').waitFor();
  expect(await another(page)).toBe(false);
  expect(await page.getByTestId('digest').textContent()).toBe(digest);
  expect(await page.locator('.update code').textContent()).toBe(offered);
  expect(await world.axe(page)).toEqual([]);

  await page.getByRole('button', { name: 'Stay with mine' }).click();
  await page.locator('.update').waitFor({ state: 'detached' });
  await page.reload();
  await page.locator('.update').waitFor();
  expect(await another(page)).toBe(false);

  await page.getByRole('button', { name: 'Run the new one' }).click();
  await page.waitForFunction(() => globalThis.another === true);
  await page.getByTestId('digest').waitFor();
  expect(await page.getByTestId('digest').textContent()).toBe(offered);
  await context.close();
});

test('a bundle whose files do not match its list is refused', async () => {
  const { page, context, digest } = await installed();
  change = marked;
  const list = await listing();
  change = (name, body) => (name === 'app.css' ? Buffer.from('body{display:none}') : marked(name, body));
  change.listing = list;
  await page.reload();
  await page.getByRole('button', { name: 'Run the new one' }).click();
  await page.getByText('The files do not match their list').waitFor();
  expect(await world.axe(page)).toEqual([]);
  change = null;
  await page.reload();
  expect(await page.getByTestId('digest').textContent()).toBe(digest);
  expect(await another(page)).toBe(false);
  await context.close();
});

test('a bundle that changed again since it was looked at is refused', async () => {
  const { page, context, digest } = await installed();
  change = marked;
  await page.reload();
  await page.locator('.update').waitFor();
  change = (name, body) => (name === 'app.js' ? Buffer.concat([marked(name, body), Buffer.from('//')]) : body);
  await page.getByRole('button', { name: 'Run the new one' }).click();
  await page.getByText('serves yet another version').waitFor();
  expect(await another(page)).toBe(false);
  expect(await page.getByTestId('digest').textContent()).toBe(digest);
  await context.close();
});

test('the app starts without any node, under the same policy', async () => {
  const { page, context } = await installed();
  await context.setOffline(true);
  const response = await page.goto(`${origin}/settings`);
  await page.getByRole('heading', { name: 'Settings' }).waitFor();
  expect(response.headers()['content-security-policy']).toContain("default-src 'self'");
  expect(response.headers()['cross-origin-embedder-policy']).toBe('require-corp');
  await context.close();
});

test('the policy of the page refuses what it should', async () => {
  const { page, context } = await installed();
  const blocked = await page.evaluate(async (nowhere) => {
    const found = new Set();
    document.addEventListener('securitypolicyviolation', (e) => found.add(e.effectiveDirective));
    const script = document.createElement('script');
    script.append('1');
    try {
      document.head.append(script);
    } catch {
      found.add('thrown');
    }
    const image = new Image();
    image.src = `${nowhere}/x.png`;
    document.body.append(image);
    await fetch(`${nowhere}/`).catch(() => undefined);
    let html = false;
    try {
      document.body.insertAdjacentHTML('beforeend', '<b>x</b>');
      html = true;
    } catch {
      found.add('trusted-types');
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
    return { found: [...found], html };
  }, nowhere);
  expect(blocked.html).toBe(false);
  for (const directive of ['img-src', 'connect-src', 'trusted-types']) expect(blocked.found).toContain(directive);
  expect(blocked.found.some((d) => d.startsWith('script-src') || d === 'require-trusted-types-for')).toBe(true);
  // What was tried on purpose, and only that: whatever else was asked for is held against the next test.
  world.foreign = world.foreign.filter((url) => url !== `${nowhere}/` && url !== `${nowhere}/x.png`);
  await context.close();
});

test('no third party was asked for anything', () => {
  expect(world.foreign).toEqual([]);
});
