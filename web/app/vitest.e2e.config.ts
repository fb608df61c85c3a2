import { defineConfig } from 'vitest/config';

// Real nodes and a real Chromium, so one after the other.
export default defineConfig({
  test: { include: ['test/e2e/*.e2e.mjs'], globalSetup: 'test/e2e/once.mjs', fileParallelism: false, testTimeout: 180_000, hookTimeout: 180_000 },
});
