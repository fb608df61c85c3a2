import type { Outlet } from '@trunkline/sdk/browser';
import { passingPath, type FromPassing, type ToPassing, type ToWorker } from '../sw/protocol.ts';

interface Pickers {
  showSaveFilePicker?: (options: { suggestedName: string }) => Promise<FileSystemFileHandle>;
}

/** Whether the person can say where a file goes. */
export function canChoosePlace(): boolean {
  return typeof (globalThis as Pickers).showSaveFilePicker === 'function';
}

/** Asks where to; undefined when the person changed their mind. */
export async function choosePlace(name: string): Promise<FileSystemFileHandle | undefined> {
  try {
    return await (globalThis as Pickers).showSaveFilePicker?.({ suggestedName: name });
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') return undefined;
    throw error;
  }
}

/** Copies a file that is here to where the person wants it, and says how far it is. It has its name there when the
 * promise resolves. */
export async function copyTo(place: FileSystemFileHandle, file: Blob, told: (done: number) => void): Promise<void> {
  const to = await place.createWritable();
  let done = 0;
  const count = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
    transform(piece, controller) {
      done += piece.length;
      told(done);
      controller.enqueue(piece);
    },
  });
  await file.stream().pipeThrough(count).pipeTo(to);
}

/** A stream into the file that a person chose. The browser shows the file when it is closed. */
export async function outletTo(place: FileSystemFileHandle): Promise<Outlet> {
  const to = await place.createWritable();
  return { write: (content) => to.write(content), close: () => to.close(), abort: () => to.abort() };
}

/** How often a passing file tells the worker to stay. */
const stayMs = 10_000;

/** A stream into the browser's downloads, through the service worker, for a browser that gives out no files to write into.
 * Undefined: there is no worker. The browser has everything when close() resolves. */
export async function outletToDownloads(name: string, size: number): Promise<Outlet | undefined> {
  const worker = (await navigator.serviceWorker?.getRegistration('/'))?.active;
  if (!worker) return undefined;
  const id = crypto.randomUUID();
  const { port1: port, port2 } = new MessageChannel();
  const say = (m: ToWorker, ...ports: MessagePort[]) => worker.postMessage(m, ports);
  let gone = false;
  let room = 0;
  let wake: () => void = () => undefined;
  const ready = new Promise<boolean>((resolve) => {
    port.onmessage = ({ data }: MessageEvent<FromPassing>) => {
      resolve(data === 'ready'); // an older worker says something else
      if (data === 'gone') gone = true;
      if (data === 'more') room++;
      wake();
    };
  });
  const stay = setInterval(() => say({ type: 'stay' }), stayMs);
  const over = () => {
    clearInterval(stay);
    port.onmessage = null;
    port.close();
  };
  /** Resolves when the browser has taken what it was given. */
  const taken = async () => {
    while (room === 0 && !gone) await new Promise<void>((resolve) => (wake = resolve));
    if (gone) throw new DOMException('the download was stopped', 'AbortError');
  };
  say({ type: 'pass', id, name, size }, port2);
  if (!(await ready)) {
    over();
    return undefined;
  }
  // It is answered as something to save, so that this page stays.
  location.assign(passingPath + id);
  return {
    write: async (content) => {
      await taken();
      room--;
      const own = content.slice();
      port.postMessage(own satisfies ToPassing, [own.buffer]);
    },
    close: async () => {
      await taken();
      port.postMessage('end' satisfies ToPassing);
      over();
    },
    abort: async () => {
      port.postMessage('abort' satisfies ToPassing);
      over();
    },
  };
}

/** Gives a file that is here to the browser's own downloads, which copy it from disk to disk. */
export function download(file: Blob, name: string): void {
  const url = URL.createObjectURL(file);
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
  // The browser has taken the file over by then.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
