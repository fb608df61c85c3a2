import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { budget, measure } from '../scripts/sizes.mjs';

const sizes = measure(fileURLToPath(new URL('../../dist', import.meta.url)));

test('the app is one file, and so is each worker and what a browser lacks: nothing is fetched with them', () => {
  const dist = fileURLToPath(new URL('../../dist', import.meta.url));
  expect(readFileSync(path.join(dist, 'app.js'), 'utf8')).not.toMatch(/\bfrom ?"\.\//);
  for (const worker of ['files.js', 'frames.js', 'roomframes.js', 'sw.js', 'noise-gate.js', 'sdk-noble.js']) {
    expect(readFileSync(path.join(dist, worker), 'utf8'), worker).not.toMatch(/\bfrom ?"\.\//);
  }
});

test('the way into a call, the first visit and the whole app stay within their budgets', () => {
  expect(sizes.callPath).toBeLessThanOrEqual(budget.callPath);
  expect(sizes.firstVisit).toBeLessThanOrEqual(budget.firstVisit);
  expect(sizes.whole).toBeLessThanOrEqual(budget.whole);
});
