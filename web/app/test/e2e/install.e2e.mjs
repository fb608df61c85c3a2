// The app as one that a browser installs: what the browser itself says of it, and a start after the node was stopped.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { World } from '../../scripts/harness.mjs';

let world;
let node;
let alice;

beforeAll(async () => {
  world = new World().build();
  node = await world.node('acme', 'acme.example');
  // A browser installs nothing out of a private window.
  alice = await world.owner('alice');
  await alice.page.goto(world.invite(node));
  await alice.page.getByRole('heading', { name: 'How others reach you' }).waitFor();
  await alice.page.waitForFunction(() => navigator.serviceWorker.controller !== null);
});

afterAll(async () => {
  await world?.stop();
});

test('the browser reads the manifest, and finds nothing that keeps it from installing', async () => {
  const session = await alice.context.newCDPSession(alice.page);
  const { url, errors, data } = await session.send('Page.getAppManifest');
  expect(url).toBe(`${node.ready.http}/manifest.webmanifest`);
  expect(errors).toEqual([]);
  const { icons, start_url: start } = JSON.parse(data);
  expect(start).toBe('/');
  for (const { src, sizes, type } of icons) {
    const seen = await alice.page.evaluate(async (address) => {
      const image = new Image();
      image.src = address;
      await image.decode();
      return `${image.naturalWidth}x${image.naturalHeight}`;
    }, src);
    if (type === 'image/png') expect(seen).toBe(sizes);
  }
  expect((await session.send('Page.getInstallabilityErrors')).installabilityErrors).toEqual([]);
  await session.detach();
  // It does find something where there is no app.
  const plain = await alice.context.newPage();
  await plain.goto(`${node.ready.http}/bundle.txt`);
  const other = await alice.context.newCDPSession(plain);
  expect((await other.send('Page.getInstallabilityErrors')).installabilityErrors.map((e) => e.errorId)).toContain('no-manifest');
  await plain.close();
  expect(world.problems).toEqual([]);
});

test('it starts after the node was stopped, as who one is, and says that the node is away', async () => {
  const address = await alice.page.locator('.share code').textContent();
  await node.kill();
  await alice.page.close();
  alice.page = await alice.context.newPage();
  await alice.page.goto(`${node.ready.http}/`);
  await alice.page.getByRole('heading', { name: 'How others reach you' }).waitFor();
  expect(await alice.page.locator('.share code').textContent()).toBe(address);
  await alice.page.getByText('No link').or(alice.page.getByText('Connecting')).first().waitFor();
  await node.again();
  await alice.page.getByText('Connected').first().waitFor();
  expect(world.foreign).toEqual([]);
});
