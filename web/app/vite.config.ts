import { fileURLToPath } from 'node:url';
import { defineConfig, type Plugin } from 'vite';
import { texts } from './build/texts.ts';
import manifest from './package.json' with { type: 'json' };

const at = (name: string) => fileURLToPath(new URL(name, import.meta.url));

// The SDK says with each refusal a code, which the app has its own words for, and a sentence for whoever reads a log.
// Here nobody does, and the sentences are a twentieth of the way into a call.
const noSentences: Plugin = {
  name: 'no-sentences',
  transform(code, id) {
    if (!id.includes('/sdk/src/') || !code.includes('refuse(')) return null;
    const found: { start: number; end: number }[] = [];
    const look = (node: unknown): void => {
      if (Array.isArray(node)) return node.forEach(look);
      if (typeof node !== 'object' || node === null) return;
      const { type, callee, arguments: args } = node as { type?: string; callee?: { name?: string }; arguments?: { type: string; start: number; end: number }[] };
      const text = type === 'CallExpression' && callee?.name === 'refuse' ? args?.[1] : undefined;
      if (text?.type === 'Literal' || text?.type === 'TemplateLiteral') found.push(text);
      Object.values(node).forEach(look);
    };
    look(this.parse(code));
    let out = code;
    for (const { start, end } of found.sort((a, b) => b.start - a.start)) out = `${out.slice(0, start)}''${out.slice(end)}`;
    return { code: out, map: null };
  },
};

// Nothing is preloaded by script (modulePreload below), so what the bundler puts around each import() for that is left out.
const noPreload: Plugin = {
  name: 'no-preload',
  enforce: 'pre',
  load: (id) => (id === '\0vite/preload-helper.js' ? 'export const __vitePreload = (load) => load();' : null),
};

// File names are stable: what changed is said by bundle.txt, not by names. Chunks are few and
// named, so that a person can say what each of them is for.
export default defineConfig({
  root: at('.'),
  plugins: [texts, noSentences, noPreload],
  define: { __VERSION__: JSON.stringify(manifest.version) },
  resolve: {
    // The SDK's sources, so that what nobody calls is left out.
    alias: [
      { find: /^@trunkline\/sdk\/browser$/, replacement: at('../sdk/src/browser.ts') },
      { find: /^@trunkline\/sdk\/files$/, replacement: at('../sdk/src/transfer/worker.ts') },
      { find: /^@trunkline\/sdk\/frames$/, replacement: at('../sdk/src/call/worker.ts') },
      { find: /^@trunkline\/sdk\/room$/, replacement: at('../sdk/src/room/index.ts') },
      { find: /^@trunkline\/sdk\/roomframes$/, replacement: at('../sdk/src/room/worker.ts') },
      { find: /^@trunkline\/sdk$/, replacement: at('../sdk/src/index.ts') },
    ],
    dedupe: ['preact', '@noble/curves', '@noble/hashes', '@noble/ciphers', '@noble/post-quantum', '@scure/base'],
  },
  json: { namedExports: false, stringify: true },
  esbuild: { jsx: 'automatic', jsxImportSource: 'preact', legalComments: 'none' },
  build: {
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: false,
    sourcemap: false,
    // A twenty-fifth smaller than esbuild's.
    minify: 'terser',
    terserOptions: { module: true, ecma: 2020, compress: { passes: 3 }, format: { comments: false } },
    cssCodeSplit: false,
    reportCompressedSize: false,
    rollupOptions: {
      output: {
        entryFileNames: 'app.js',
        // A module of the SDK says so, because a screen may have its name.
        chunkFileNames: (chunk) => {
          const [, language, part] = /^\0texts\/(\w+)\/(\w+)$/.exec(chunk.facadeModuleId ?? '') ?? [];
          if (language) return part === 'first' ? `${language}.js` : `${language}-more.js`;
          return `${chunk.facadeModuleId?.includes('/sdk/src/') ? 'sdk-' : chunk.facadeModuleId?.includes('/qr/decode') ? 'qr-' : ''}${chunk.name.toLowerCase()}.js`;
        },
        assetFileNames: (asset) => (asset.names[0]?.endsWith('.css') ? 'app.css' : '[name][extname]'),
      },
    },
  },
});
