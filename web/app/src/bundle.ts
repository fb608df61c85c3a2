import type { BundleState, TakeResult, ToWorker } from './sw/protocol.ts';
import { sha256 } from './sw/protocol.ts';
import { workerURL } from './trusted.ts';

// The page's side of the service worker.

export async function registerWorker(): Promise<boolean> {
  if (!('serviceWorker' in navigator)) return false;
  await navigator.serviceWorker.register(workerURL('/sw.js'), { scope: '/', updateViaCache: 'none' });
  return true;
}

async function ask<T>(message: ToWorker): Promise<T | null> {
  const registration = await navigator.serviceWorker?.getRegistration('/');
  const worker = registration?.active;
  if (!worker) return null;
  return new Promise((resolve) => {
    const channel = new MessageChannel();
    channel.port1.onmessage = (event) => resolve(event.data as T);
    worker.postMessage(message, [channel.port2]);
  });
}

/** What runs here and what the node offers. Without a worker it is what the node serves now. */
export async function bundleState(): Promise<BundleState> {
  const state = await ask<BundleState>({ type: 'look' });
  if (state?.pinned) return state;
  const response = await fetch('/bundle.txt', { cache: 'no-cache' });
  if (!response.ok) throw new Error(`bundle.txt: ${response.status}`);
  return { pinned: await sha256(await response.arrayBuffer()), offered: '' };
}

export async function takeBundle(digest: string): Promise<TakeResult> {
  return (await ask<TakeResult>({ type: 'take', digest })) ?? { ok: false, why: 'offline' };
}
