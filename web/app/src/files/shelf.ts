import { transfer, TrunklineError } from '@trunkline/sdk';

/** What a page needs to go on sending after a reload. Where the browser gives out handles, the file need not be
 * chosen again; the hashes prove that a file is the one that was offered. */
export interface Kept {
  id: string;
  handle: FileSystemFileHandle | undefined;
  size: number;
  modified: number;
  /** Of its units; undefined until it was read once. */
  hashes: Uint8Array<ArrayBuffer>[] | undefined;
}

const name = 'trunkline-files';

/** A database of its own: handles are objects of the browser, and cannot lie among the client's bytes. */
export class Shelf {
  private opened: Promise<IDBDatabase> | undefined;

  private db(): Promise<IDBDatabase> {
    return (this.opened ??= new Promise((resolve, reject) => {
      const open = indexedDB.open(name, 1);
      open.onupgradeneeded = () => open.result.createObjectStore('sending', { keyPath: 'id' });
      open.onsuccess = () => resolve(open.result);
      open.onerror = () => reject(new TrunklineError('storage', 'the files that are being sent could not be looked up'));
    }));
  }

  private async run<T>(mode: IDBTransactionMode, act: (s: IDBObjectStore) => IDBRequest<T>): Promise<T> {
    const t = (await this.db()).transaction('sending', mode);
    const request = act(t.objectStore('sending'));
    return new Promise((resolve, reject) => {
      t.oncomplete = () => resolve(request.result);
      t.onabort = t.onerror = () => reject(new TrunklineError('storage', 'a file that is being sent could not be written down'));
    });
  }

  put(kept: Kept): Promise<unknown> {
    return this.run('readwrite', (s) => s.put(kept));
  }

  get(id: string): Promise<Kept | undefined> {
    return this.run<Kept | undefined>('readonly', (s) => s.get(id));
  }

  remove(id: string): Promise<unknown> {
    return this.run('readwrite', (s) => s.delete(id));
  }
}

/** The same content, whatever it is called and whenever it was written. */
export async function sameContent(a: readonly Uint8Array[], b: readonly Uint8Array[]): Promise<boolean> {
  const [one, other] = await Promise.all([transfer.rootOf(a), transfer.rootOf(b)]);
  return one.every((x, i) => x === other[i]);
}
