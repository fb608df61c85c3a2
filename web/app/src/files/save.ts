import type { Outlet } from '@trunkline/sdk/browser';

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
