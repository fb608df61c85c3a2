import { defineConfig } from 'vitest/config';

// Real nodes and a real Chromium, so one after the other. What is waited for comes when it comes: on a machine that does much
// else that takes long, and the limits are there only for what never does.
export default defineConfig({
  test: { include: ['test/e2e/*.e2e.mjs'], globalSetup: 'test/e2e/once.mjs', fileParallelism: false, testTimeout: 600_000, hookTimeout: 600_000, expect: { poll: { timeout: 120_000 } } },
});
