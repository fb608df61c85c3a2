// Takes a picture of every screen, on a desktop and a phone, in both themes, with real nodes, and
// holds each of them to axe. The pictures go into web/app/shots, for a person to look at:
//
//   npm run look --workspace app [SCREEN…]
//
// Ends with 1 when axe finds something, the page throws, or a third party was asked for anything.
import { mkdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { sizes, World } from './harness.mjs';

const shots = path.join(path.dirname(path.dirname(fileURLToPath(import.meta.url))), 'shots');
const only = process.argv.slice(2);
rmSync(shots, { recursive: true, force: true });
mkdirSync(shots, { recursive: true });

const world = new World().build();
const violations = [];

/** Photographs a page as it is, in every size and theme. */
async function look(page, name, before = async () => {}) {
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
      for (const v of await world.axe(page)) violations.push(`${name} ${size} ${theme}: ${v}`);
    }
  }
  await page.setViewportSize(sizes.desktop);
}

try {
  await world.browser();
  await story(world, look);
} catch (error) {
  violations.push(String(error?.stack ?? error));
} finally {
  await world.stop();
}

const bad = [...violations, ...world.problems.map((p) => `page: ${p}`), ...world.foreign.map((u) => `third party: ${u}`)];
for (const line of bad) console.error(line);
console.log(`${bad.length === 0 ? 'nothing' : bad.length} to mend; pictures in ${shots}`);
process.exit(bad.length === 0 ? 0 : 1);

async function story(world, look) {
  const acme = await world.node('acme', 'acme.example');
  const alice = await world.person();
  await alice.page.goto(`${acme.ready.http}/`);
  await alice.page.getByRole('heading', { name: 'Trunkline' }).waitFor();
  await look(alice.page, 'welcome');
  await alice.page.goto(`${acme.ready.http}/settings`);
  await alice.page.getByRole('heading', { name: 'Settings' }).waitFor();
  await look(alice.page, 'settings');
  await alice.page.goto(`${acme.ready.http}/about`);
  await alice.page.getByTestId('digest').waitFor();
  await look(alice.page, 'about');
}
