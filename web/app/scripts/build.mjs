// Builds the app into web/dist (or the folder that is named) with stable file names, and writes
// bundle.txt, whose SHA-256 is the digest of the app. Nothing in the output depends on the
// folder, the time or the machine.
import { createHash } from 'node:crypto';
import { cp, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'vite';

const app = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const target = path.resolve(process.argv[2] ?? path.join(app, '..', 'dist'));
// A build that fails leaves what was there.
const out = `${target}.new`;

const common = {
  root: app,
  configFile: path.join(app, 'vite.config.ts'),
  logLevel: 'warn',
};

await rm(out, { recursive: true, force: true });
await mkdir(out, { recursive: true });
await build({ ...common, build: { outDir: out, emptyOutDir: false } });
// Workers and worklets are files of their own: they share no chunk with the page, so the bytes of the service
// worker change only when it changes. Those that are modules fetch what a browser may lack when they need it.
const alone = {
  'sw.js': [['src', 'sw', 'sw.ts'], 'iife'],
  'noise-gate.js': [['src', 'plugins', 'gate.ts'], 'iife'],
  'frames.js': [['src', 'call', 'frames.ts'], 'iife'],
  'roomframes.js': [['src', 'rooms', 'frames.ts'], 'iife'],
  'files.js': [['src', 'files', 'worker.ts'], 'es'],
  'sdk-noble.js': [['..', 'sdk', 'src', 'crypto', 'noble.ts'], 'es'],
};
for (const [name, [source, format]] of Object.entries(alone)) {
  await build({
    ...common,
    publicDir: false,
    build: {
      outDir: out,
      emptyOutDir: false,
      rollupOptions: {
        input: path.join(app, ...source),
        preserveEntrySignatures: 'strict',
        output: { format, entryFileNames: name, inlineDynamicImports: true },
      },
    },
  });
}
await cp(path.join(app, 'src', 'routes.json'), path.join(out, 'routes.json'));

const names = [];
for (const entry of await readdir(out, { recursive: true, withFileTypes: true })) {
  if (entry.isFile()) names.push(path.relative(out, path.join(entry.parentPath, entry.name)).split(path.sep).join('/'));
}
names.sort((a, b) => (a < b ? -1 : 1));
let listing = '';
for (const name of names) {
  listing += `${createHash('sha256').update(await readFile(path.join(out, name))).digest('hex')}  ${name}\n`;
}
await writeFile(path.join(out, 'bundle.txt'), listing);
await rm(target, { recursive: true, force: true });
await rename(out, target);
console.log(`sha256:${createHash('sha256').update(listing).digest('hex')}  ${names.length} files`);
