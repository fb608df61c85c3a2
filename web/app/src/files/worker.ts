/// <reference lib="webworker" />
// Keeps files that come in the browser's own file system. It is a worker because only there a
// file can be written in place and flushed: a unit that was acknowledged is on the disk, and
// memory holds one unit at a time however large the file is.
import { doneName, folder, type FromFiles, hashesName, partName, type ToFiles } from './protocol.ts';

declare const self: DedicatedWorkerGlobalScope;

interface SyncHandle {
  read(buffer: Uint8Array, options: { at: number }): number;
  write(buffer: Uint8Array, options: { at: number }): number;
  flush(): void;
  close(): void;
  truncate(size: number): void;
  getSize(): number;
}

interface Open {
  part: SyncHandle;
  hashes: SyncHandle;
}

const hashSize = 32;
const open = new Map<string, Open>();

async function dir(): Promise<FileSystemDirectoryHandle> {
  return (await navigator.storage.getDirectory()).getDirectoryHandle(folder, { create: true });
}

async function handle(name: string): Promise<SyncHandle> {
  const file = await (await dir()).getFileHandle(name, { create: true });
  return (file as unknown as { createSyncAccessHandle(): Promise<SyncHandle> }).createSyncAccessHandle();
}

async function files(id: string): Promise<Open> {
  const there = open.get(id);
  if (there) return there;
  const made = { part: await handle(partName(id)), hashes: await handle(hashesName(id)) };
  open.set(id, made);
  return made;
}

function shut(id: string): void {
  const there = open.get(id);
  if (!there) return;
  there.part.close();
  there.hashes.close();
  open.delete(id);
}

/** The units that are there, each read back: a page of the disk may have gone. */
async function have(id: string, units: number, unitSize: number, size: number): Promise<Uint8Array[]> {
  const { part, hashes } = await files(id);
  const found: Uint8Array[] = [];
  const buffer = new Uint8Array(unitSize);
  for (let unit = 0; unit < units; unit++) {
    const hash = new Uint8Array(hashSize);
    if (hashes.read(hash, { at: unit * hashSize }) < hashSize) break;
    const length = Math.min(unitSize, size - unit * unitSize);
    const content = buffer.subarray(0, length);
    if (part.read(content, { at: unit * unitSize }) < length) break;
    const sum = new Uint8Array(await crypto.subtle.digest('SHA-256', content));
    if (sum.some((b, i) => b !== hash[i])) break;
    found.push(hash);
  }
  return found;
}

async function answer(m: ToFiles): Promise<Uint8Array[] | null> {
  switch (m.type) {
    case 'have':
      return have(m.id, m.units, m.unitSize, m.size);
    case 'write': {
      const { part, hashes } = await files(m.id);
      const content = new Uint8Array(m.content);
      if (part.write(content, { at: m.unit * m.unitSize }) < content.length) throw new DOMException('', 'QuotaExceededError');
      part.flush();
      // The hash comes second: a unit counts when it is whole.
      hashes.write(new Uint8Array(m.hash), { at: m.unit * hashSize });
      hashes.flush();
      return null;
    }
    case 'finish': {
      const { part } = await files(m.id);
      part.truncate(m.size);
      part.flush();
      shut(m.id);
      const where = await dir();
      const file = (await where.getFileHandle(partName(m.id))) as FileSystemFileHandle & { move?: (name: string) => Promise<void> };
      if (!file.move) throw new DOMException('', 'NotSupportedError');
      await file.move(doneName(m.id));
      await where.removeEntry(hashesName(m.id));
      return null;
    }
    case 'discard': {
      shut(m.id);
      const where = await dir();
      for (const name of [partName(m.id), hashesName(m.id), doneName(m.id)]) {
        await where.removeEntry(name).catch((error: unknown) => {
          if ((error as DOMException).name !== 'NotFoundError') throw error;
        });
      }
      return null;
    }
  }
}

// One after the other: units are written in the order in which they come.
let queue: Promise<void> = Promise.resolve();

self.onmessage = (event: MessageEvent<ToFiles>) => {
  const [port] = event.ports;
  queue = queue.then(async () => {
    const result = await answer(event.data).then(
      (value): FromFiles => ({ ok: true, value }),
      (error: unknown): FromFiles => ({ ok: false, why: error instanceof Error ? error.name : 'Error' }),
    );
    port?.postMessage(result);
  });
};
