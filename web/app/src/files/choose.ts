/** A file that a person chose, and the browser's handle of it, where it gives one out: with that it need not be
 * chosen again after a reload. */
export interface Chosen {
  file: File;
  handle?: FileSystemFileHandle | undefined;
}

interface Pickers {
  showOpenFilePicker?: (options: { multiple: boolean }) => Promise<FileSystemFileHandle[]>;
}

interface WithPermission {
  queryPermission?(d: { mode: 'read' }): Promise<PermissionState>;
  requestPermission?(d: { mode: 'read' }): Promise<PermissionState>;
}

/** Whether the browser can give out handles in its own dialog. */
export function canPick(): boolean {
  return typeof (globalThis as Pickers).showOpenFilePicker === 'function';
}

/** Asks for files. Nothing when the person changed their mind. */
export async function pick(multiple: boolean): Promise<Chosen[]> {
  let handles: FileSystemFileHandle[];
  try {
    handles = (await (globalThis as Pickers).showOpenFilePicker?.({ multiple })) ?? [];
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') return [];
    throw error;
  }
  return Promise.all(handles.map(async (handle) => ({ file: await handle.getFile(), handle })));
}

/** The files of a drop. It has to be called in the event itself: the list is empty after it. */
export function dropped(data: DataTransfer): Promise<Chosen[]> {
  const items = [...data.items].filter((i) => i.kind === 'file') as (DataTransferItem & { getAsFileSystemHandle?: () => Promise<FileSystemHandle | null> })[];
  const found = items.map((item) => ({ file: item.getAsFile(), handle: item.getAsFileSystemHandle?.() }));
  return Promise.all(
    found.map(async ({ file, handle }): Promise<Chosen | null> => {
      const h = await handle;
      if (h?.kind === 'directory' || !file) return null; // a folder is no file
      return { file, handle: (h as FileSystemFileHandle | null | undefined) ?? undefined };
    }),
  ).then((all) => all.filter((c) => c !== null));
}

/** Whether the file behind a handle may be read: at once, or after a tap. */
export async function mayRead(handle: FileSystemFileHandle, ask: boolean): Promise<boolean> {
  const h = handle as FileSystemFileHandle & WithPermission;
  // A handle of the browser's own file system needs no permission.
  if (!h.queryPermission) return true;
  if ((await h.queryPermission({ mode: 'read' })) === 'granted') return true;
  return ask && (await h.requestPermission?.({ mode: 'read' })) === 'granted';
}
