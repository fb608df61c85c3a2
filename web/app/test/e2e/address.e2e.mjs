// A node in a local network, which is reached by number and not by its domain.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { World } from '../../scripts/harness.mjs';

let world;
let node;
let base;

beforeAll(async () => {
  world = new World().build();
  node = await world.node('acme', 'acme.example', ['--http-tls', 'local', '--http-public-url', 'https://192.168.77.7']);
  base = `https://192.168.77.7:${new URL(node.ready.http).port}`;
  world.origins.add(base).add(base.replace('https', 'wss'));
  // The authority of the node is trusted where it is installed; here every certificate is.
  await world.browser(['--host-resolver-rules=MAP 192.168.77.7 127.0.0.1', '--ignore-certificate-errors']);
});

afterAll(async () => {
  await world?.stop();
});

const printed = () => world.invite(node).split('#')[1];

test('the person compares what the node printed, and from then on it is that node', async () => {
  const { page, context } = await world.person();
  await page.goto(`${base}/#${printed()}`);
  await page.getByRole('heading', { name: 'Is this your node?' }).waitFor();
  await page.getByText('it speaks for acme.example').waitFor();
  expect((await page.getByTestId('node').textContent()).replaceAll(' ', '')).toBe(node.ready.peer_id);
  expect(await world.axe(page)).toEqual([]);
  await page.getByRole('button', { name: 'It is the same' }).click();
  await page.getByRole('link', { name: 'New call' }).waitFor();
  await page.getByText('Connected to').waitFor({ state: 'attached' });
  // It is kept: nobody is asked a second time.
  await page.reload();
  await page.getByText('Connected to').waitFor({ state: 'attached' });
  await context.close();
  expect(world.foreign).toEqual([]);
});

test('whoever sees something else is told to stop, and nothing was sent', async () => {
  const { page, context } = await world.person();
  await page.goto(`${base}/#${printed()}`);
  await page.getByRole('button', { name: 'They differ' }).click();
  await page.getByText('Nothing was sent').waitFor();
  expect(await world.axe(page)).toEqual([]);
  await context.close();
});
