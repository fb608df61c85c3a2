import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { texts } from './build/texts.ts';

export default defineConfig({
  plugins: [texts],
  resolve: { alias: { '@trunkline/sdk': fileURLToPath(new URL('../sdk/src/index.ts', import.meta.url)) } },
  test: { include: ['test/*.test.{ts,mjs}'] },
});
