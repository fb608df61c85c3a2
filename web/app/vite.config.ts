import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vite';
import manifest from './package.json' with { type: 'json' };

const at = (name: string) => fileURLToPath(new URL(name, import.meta.url));

// File names are stable: what changed is said by bundle.txt, not by names. Chunks are few and
// named, so that a person can say what each of them is for.
export default defineConfig({
  root: at('.'),
  define: { __VERSION__: JSON.stringify(manifest.version) },
  resolve: {
    // The SDK's sources, so that what nobody calls is left out.
    alias: [
      { find: /^@trunkline\/sdk\/browser$/, replacement: at('../sdk/src/browser.ts') },
      { find: /^@trunkline\/sdk\/frames$/, replacement: at('../sdk/src/call/worker.ts') },
      { find: /^@trunkline\/sdk$/, replacement: at('../sdk/src/index.ts') },
    ],
    dedupe: ['preact', '@noble/curves', '@noble/hashes', '@noble/ciphers', '@noble/post-quantum', '@scure/base'],
  },
  esbuild: { jsx: 'automatic', jsxImportSource: 'preact', legalComments: 'none' },
  build: {
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    sourcemap: false,
    cssCodeSplit: false,
    reportCompressedSize: false,
    rollupOptions: {
      output: {
        entryFileNames: 'app.js',
        chunkFileNames: (chunk) => `${chunk.name.toLowerCase()}.js`,
        assetFileNames: (asset) => (asset.names[0]?.endsWith('.css') ? 'app.css' : '[name][extname]'),
      },
    },
  },
});
