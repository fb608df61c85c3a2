/// <reference lib="webworker" />
// The service worker: the app starts without the node, and runs the bundle that the person has
// agreed to. The first bundle that a browser gets is pinned by its digest; another one is
// fetched, checked file by file against its listing, and run only after a yes.
//
// What this cannot do: the browser itself updates this worker. A node that serves another worker
// changes what is described here; `trunkline verify web` notices that from outside.
import routes from '../routes.json' with { type: 'json' };
import { offerPassing, passing } from './passing.ts';
import { bundleCache, type BundleState, parseListing, pinCache, pinKey, sha256, type TakeResult, type ToWorker } from './protocol.ts';

declare const self: ServiceWorkerGlobalScope;

const listing = '/bundle.txt';
const types: Record<string, string> = {
  html: 'text/html; charset=utf-8',
  css: 'text/css; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  json: 'application/json',
  webmanifest: 'application/manifest+json',
  svg: 'image/svg+xml',
  png: 'image/png',
  txt: 'text/plain; charset=utf-8',
};

async function fetchBytes(path: string): Promise<{ bytes: ArrayBuffer; headers: Headers }> {
  const response = await fetch(path, { cache: 'no-cache', redirect: 'error' });
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return { bytes: await response.arrayBuffer(), headers: response.headers };
}

/** Fetches a whole bundle into its cache. It is complete and true, or the cache is gone. */
async function store(want: string | null): Promise<string> {
  const list = await fetchBytes(listing);
  const digest = await sha256(list.bytes);
  if (want !== null && digest !== want) throw new Error('changed');
  const entries = parseListing(new TextDecoder().decode(list.bytes));
  if (!entries) throw new Error('corrupt');
  const name = bundleCache(digest);
  const cache = await caches.open(name);
  try {
    await Promise.all(
      entries.map(async (entry) => {
        const file = await fetchBytes(`/${entry.name}`);
        if ((await sha256(file.bytes)) !== entry.sum) throw new Error('corrupt');
        await cache.put(`/${entry.name}`, served(entry.name, file.bytes, file.headers));
      }),
    );
    await cache.put(listing, served('bundle.txt', list.bytes, list.headers));
  } catch (error) {
    await caches.delete(name);
    throw error;
  }
  return digest;
}

/** A file as the page gets it from here: the node's protections stay on it. */
function served(name: string, body: ArrayBuffer, from: Headers): Response {
  const headers = new Headers({ 'Content-Type': types[name.slice(name.lastIndexOf('.') + 1)] ?? 'application/octet-stream' });
  for (const kept of [
    'Content-Security-Policy',
    'Cross-Origin-Opener-Policy',
    'Cross-Origin-Embedder-Policy',
    'Cross-Origin-Resource-Policy',
    'Permissions-Policy',
    'Referrer-Policy',
    'X-Content-Type-Options',
  ]) {
    const value = from.get(kept);
    if (value) headers.set(kept, value);
  }
  return new Response(body, { headers });
}

async function pinned(): Promise<string> {
  const pin = await (await caches.open(pinCache)).match(pinKey);
  return pin ? pin.text() : '';
}

async function pin(digest: string): Promise<void> {
  await (await caches.open(pinCache)).put(pinKey, new Response(digest));
  for (const name of await caches.keys()) {
    if (name.startsWith(bundleCache('')) && name !== bundleCache(digest)) await caches.delete(name);
  }
}

async function look(): Promise<BundleState> {
  const now = await pinned();
  try {
    const digest = await sha256((await fetchBytes(listing)).bytes);
    return { pinned: now, offered: digest === now ? '' : digest };
  } catch {
    return { pinned: now, offered: '' }; // offline: what is pinned runs
  }
}

async function take(digest: string): Promise<TakeResult> {
  try {
    await pin(await store(digest));
    return { ok: true };
  } catch (error) {
    const why = error instanceof Error ? error.message : '';
    return { ok: false, why: why === 'changed' || why === 'corrupt' ? why : 'offline' };
  }
}

self.addEventListener('install', (event) => {
  // A worker that is installed again leaves the pin alone.
  event.waitUntil(
    (async () => {
      if (!(await pinned())) await pin(await store(null));
    })(),
  );
});

self.addEventListener('activate', (event) => event.waitUntil(self.clients.claim()));

self.addEventListener('message', (event) => {
  const port = event.ports[0];
  const message = event.data as ToWorker;
  if (!port || message.type === 'stay') return;
  if (message.type === 'pass') return offerPassing(message.id, { port, name: message.name, size: message.size });
  const answer = async (): Promise<BundleState | TakeResult> => {
    switch (message.type) {
      case 'state':
        return { pinned: await pinned(), offered: '' };
      case 'look':
        return look();
      case 'take':
        return take(message.digest);
    }
  };
  event.waitUntil(answer().then((result) => port.postMessage(result)));
});

const pages = new Set<string>(routes);
/** A room's path ends in its id. */
const pageOf = (pathname: string) => pages.has(pathname) || pages.has(pathname.replace(/\/[^/]+$/, '/*'));

self.addEventListener('fetch', (event) => {
  const url = new URL(event.request.url);
  if (event.request.method !== 'GET' || url.origin !== self.location.origin) return;
  const file = passing(url.pathname);
  if (file) return event.respondWith(file);
  const path = event.request.mode === 'navigate' && pageOf(url.pathname) ? '/index.html' : url.pathname;
  event.respondWith(
    (async () => {
      const digest = await pinned();
      const cached = digest ? await (await caches.open(bundleCache(digest))).match(path) : undefined;
      return cached ?? fetch(event.request);
    })(),
  );
});
