// Builds the app twice, in two folders of different depth, and compares both with web/dist and
// with each other. Ends with 1 and names the first file that differs.
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const web = path.dirname(path.dirname(path.dirname(fileURLToPath(import.meta.url))));
const scratch = mkdtempSync(path.join(os.tmpdir(), 'trunkline-web-'));

function tree(dir) {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((e) => e.isFile())
    .map((e) => path.relative(dir, path.join(e.parentPath, e.name)))
    .sort();
}

function compare(a, b) {
  const [left, right] = [tree(a), tree(b)];
  for (const name of new Set([...left, ...right])) {
    if (!left.includes(name) || !right.includes(name)) return `${name} is only in one of them`;
    if (!readFileSync(path.join(a, name)).equals(readFileSync(path.join(b, name)))) return `${name} differs`;
  }
  return null;
}

let bad = null;
try {
  const here = path.join(scratch, 'here');
  execFileSync(process.execPath, [path.join(web, 'app', 'scripts', 'build.mjs'), here], { stdio: 'inherit' });

  // The second build is of a copy of the sources elsewhere, with real modules: a build that
  // depended on the folder would show it.
  const copy = path.join(scratch, 'a', 'deeper', 'folder');
  cpSync(web, copy, { recursive: true, verbatimSymlinks: true, filter: (from) => from !== path.join(web, 'dist') });
  const there = path.join(scratch, 'there');
  execFileSync(process.execPath, [path.join(copy, 'app', 'scripts', 'build.mjs'), there], { stdio: 'inherit' });

  const between = compare(here, there);
  if (between) bad = `two builds in two folders are not the same: ${between}`;
  const committed = path.join(web, 'dist');
  const stale = existsSync(committed) ? compare(here, committed) : 'there is none';
  if (!bad && stale) bad = `web/dist is not what the sources build now: ${stale}: run make web and commit it`;
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
if (bad) {
  console.error(bad);
  process.exit(1);
}
console.log('web/dist is what the sources build, in any folder');
