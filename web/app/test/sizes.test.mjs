import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { budget, measure } from '../scripts/sizes.mjs';

const sizes = measure(fileURLToPath(new URL('../../dist', import.meta.url)));

test('the way into a call, the first visit and the whole app stay within their budgets', () => {
  expect(sizes.callPath).toBeLessThanOrEqual(budget.callPath);
  expect(sizes.firstVisit).toBeLessThanOrEqual(budget.firstVisit);
  expect(sizes.whole).toBeLessThanOrEqual(budget.whole);
});
