import { fileURLToPath } from 'node:url';
import { defineConfig, type Plugin } from 'vite';
import { texts } from './build/texts.ts';
import { words } from './build/words.ts';
import manifest from './package.json' with { type: 'json' };

/** The file of crypto/noble.ts. */
export const fallbackFile = './sdk-noble.js';

const at = (name: string) => fileURLToPath(new URL(name, import.meta.url));

// The SDK says with each refusal a code, which the app has its own words for, and a sentence for whoever reads a log; so do
// the libraries for whoever calls them wrongly. Here nobody reads them, and they are a twentieth of the way into a call.
const sentences: readonly [file: RegExp, callee: string, argument: number][] = [
  [/\/sdk\/src\//, 'refuse', 1],
  [/\/sdk\/src\//, 'TrunklineError', 1],
  [/\/sdk\/src\//, 'TransferError', 2],
  ...['Error', 'RangeError', 'TypeError', 'err'].map((callee): [RegExp, string, number] => [/\/node_modules\/(@noble|qr)\//, callee, 0]),
];

const noSentences: Plugin = {
  name: 'no-sentences',
  transform(code, id) {
    const places = sentences.filter(([file, callee]) => file.test(id) && code.includes(`${callee}(`));
    if (places.length === 0) return null;
    const found: { start: number; end: number }[] = [];
    const look = (node: unknown): void => {
      if (Array.isArray(node)) return node.forEach(look);
      if (typeof node !== 'object' || node === null) return;
      const { type, callee, arguments: args } = node as { type?: string; callee?: { name?: string }; arguments?: { type: string; start: number; end: number }[] };
      const called = type === 'CallExpression' || type === 'NewExpression' ? callee?.name : undefined;
      const place = places.find(([, name]) => name === called);
      const text = place && args?.[place[2]];
      if (text && /^(Literal|TemplateLiteral|BinaryExpression)$/.test(text.type)) found.push(text);
      else Object.values(node).forEach(look);
    };
    look(this.parse(code));
    let out = code;
    for (const { start, end } of found.sort((a, b) => b.start - a.start)) out = `${out.slice(0, start)}''${out.slice(end)}`;
    return { code: out, map: null };
  },
};

// What a browser may lack of cryptography is a file of its own (scripts/build.mjs), which the page and the workers fetch when
// they find that they need it.
const fallback: Plugin = {
  name: 'fallback',
  enforce: 'pre',
  resolveId: (id, importer) => (importer && /(^|\/)noble\.ts$/.test(id) ? { id: fallbackFile, external: true } : null),
};

// Nothing is preloaded by script (modulePreload below), so what the bundler puts around each import() for that is left out.
const noPreload: Plugin = {
  name: 'no-preload',
  enforce: 'pre',
  load: (id) => (id === '\0vite/preload-helper.js' ? 'export const __vitePreload = (load) => load();' : null),
};

/** Files that hold more than one module which is fetched later: what is shown or needed together comes together, and gzip
 * finds in one what it does not find in twenty. */
const groups: Record<string, RegExp> = {
  screens:
    /\/app\/src\/screens\/(about|add|details|devices|fileinput|home|host|identities|join|keysettings|media|nodeview|person|phrase|return|scan|sendfile|settings|side|transfer|update|verify|welcome)\.tsx$|\/app\/src\/call\/details\.tsx$|\/app\/src\/files\/choose\.ts$|\/ui\/src\/tabs\.tsx$/,
  arrive: /\/sdk\/src\/(client\/arrive|identity\/signing)\.ts$/,
  tools: /\/app\/src\/call\/(clock|during|end|ended|float|limited|more|reactions|signs)\.tsx?$|\/sdk\/src\/call\/(quality|screen)\.ts$/,
  transfers: /\/app\/src\/(transfers|files\/(incall|line|receiving|rows|sending|shelf))\.ts$|\/sdk\/src\/transfer\/(?!release)/,
  cards: /\/app\/src\/(cards\/desk\.ts|screens\/card\.tsx)$|\/sdk\/src\/(call\/card\w+|envelope\/card\w*)\.ts$/,
  room: /\/app\/src\/rooms\/\w+\.tsx?$|\/sdk\/src\/(room\/|link\/roomframes)|texts\/names\/room$/,
};

const together: Plugin = {
  name: 'together',
  outputOptions: (o) =>
    o.inlineDynamicImports ? null : { ...o, manualChunks: (id) => Object.keys(groups).find((name) => groups[name]?.test(id)), onlyExplicitManualChunks: true },
};

// File names are stable: what changed is said by bundle.txt, not by names. Chunks are few and
// named, so that a person can say what each of them is for.
export default defineConfig({
  root: at('.'),
  plugins: [texts, words, fallback, noPreload, together, noSentences],
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
    // A twenty-fifth smaller than esbuild's. What is switched off makes fewer bytes that are more after gzip.
    minify: 'terser',
    terserOptions: { module: true, ecma: 2020, compress: { passes: 3, lhs_constants: false, reduce_funcs: false, sequences: false }, format: { comments: false } },
    cssCodeSplit: false,
    reportCompressedSize: false,
    rollupOptions: {
      output: {
        entryFileNames: 'app.js',
        // A module of the SDK says so, because a screen may have its name.
        chunkFileNames: (chunk) => {
          const [, language, part] = /^\0texts\/(\w+)\/(\w+)$/.exec(chunk.facadeModuleId ?? '') ?? [];
          if (language === 'names') return 'names.js';
          if (part === 'room') return `room-${language}.js`;
          if (language) return part === 'first' ? `${language}.js` : `${language}-more.js`;
          return `${chunk.facadeModuleId?.includes('/sdk/src/') ? 'sdk-' : chunk.facadeModuleId?.includes('/qr/decode') ? 'qr-' : ''}${chunk.name.toLowerCase()}.js`;
        },
        assetFileNames: (asset) => (asset.names[0]?.endsWith('.css') ? 'app.css' : '[name][extname]'),
      },
    },
  },
});
