// How much script the app is: a line for each file of a built bundle (web/dist, or the folder that is named), what of
// it is on the way into a call, and the whole. In bytes after gzip -9, since that is what a page costs; they are the
// same on every machine, so test/sizes.test.ts holds both to a budget.
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

/** What a page fetches from an opened link until there is sound and picture: always, and by whoever comes for the first
 * time. The journey of a first call holds what the browser asks for against this. The service worker is not in it: it copies the whole
 * bundle after the page has started, and nobody waits for it. */
export const callPath = ['app.js', 'en.js', 'frames.js'];
export const firstVisit = ['arrive.js', 'problems.js', 'rest.js', 'sdk-phrase.js'];

/** Bytes after gzip. The design's goals, 60 KB on the way into a call and 250 KB in all, are not reached: docs/BENCHMARKS.md. */
export const budget = { callPath: 75_500, firstVisit: 88_500, whole: 270_000 };

export function measure(dist) {
  const files = readdirSync(dist)
    .filter((name) => name.endsWith('.js'))
    .sort()
    .map((name) => {
      const content = readFileSync(path.join(dist, name));
      return { name, bytes: content.length, gzip: gzipSync(content, { level: 9 }).length };
    });
  const sum = (names) =>
    names.reduce((n, name) => {
      const file = files.find((f) => f.name === name);
      if (!file) throw new Error(`${name} is not in ${dist}`);
      return n + file.gzip;
    }, 0);
  return { files, callPath: sum(callPath), firstVisit: sum([...callPath, ...firstVisit]), whole: files.reduce((n, f) => n + f.gzip, 0) };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const args = process.argv.slice(2);
  const dist = args.find((a) => !a.startsWith('--')) ?? fileURLToPath(new URL('../../dist', import.meta.url));
  const sizes = measure(dist);
  if (args.includes('--json')) console.log(JSON.stringify({ ...sizes, budget }));
  else {
    const line = (name, bytes, gzip, note) => console.log(`${name.padEnd(20)} ${String(bytes).padStart(8)} ${String(gzip).padStart(8)}  ${note}`);
    line('', 'bytes', 'gzip', '');
    for (const f of sizes.files) line(f.name, f.bytes, f.gzip, callPath.includes(f.name) ? 'call path' : firstVisit.includes(f.name) ? 'first visit' : '');
    line('call path', '', sizes.callPath, `of ${budget.callPath}`);
    line('  first visit', '', sizes.firstVisit, `of ${budget.firstVisit}`);
    line('whole', '', sizes.whole, `of ${budget.whole}`);
  }
}
