import { transfer, TrunklineError } from '@trunkline/sdk';
import { workerURL } from '../bundle.ts';
import { doneName, folder, type FromFiles, type ToFiles } from './protocol.ts';

type Sink = transfer.Sink;
type Manifest = transfer.Manifest;

/** The page's side of the worker that keeps files. It is started by the first file. */
export class FileStore {
  private worker: Worker | undefined;

  private ask(message: ToFiles, move: Transferable[] = []): Promise<Uint8Array[] | null> {
    this.worker ??= new Worker(workerURL('/files.js'));
    const { worker } = this;
    return new Promise((resolve, reject) => {
      const channel = new MessageChannel();
      channel.port1.onmessage = ({ data }: MessageEvent<FromFiles>) => {
        channel.port1.close();
        if (data.ok) resolve(data.value);
        else reject(new TrunklineError('storage', data.why === 'QuotaExceededError' ? 'the disk is full' : `the browser cannot keep files: ${data.why}`));
      };
      worker.postMessage(message, [channel.port2, ...move]);
    });
  }

  /** Where a file that comes goes. `finished` hears when it is whole. */
  sink(finished: (id: string) => void): Sink {
    const id = (m: Manifest) => hex(m.fileId);
    return {
      have: async (m) => {
        const units = Math.ceil(m.size / transfer.unitSize);
        return (await this.ask({ type: 'have', id: id(m), units, unitSize: transfer.unitSize, size: m.size })) ?? [];
      },
      write: async (m, unit, content, hash) => {
        const [body, sum] = [content.slice().buffer, hash.slice().buffer];
        await this.ask({ type: 'write', id: id(m), unit, unitSize: transfer.unitSize, content: body, hash: sum }, [body, sum]);
      },
      finish: async (m) => {
        await this.ask({ type: 'finish', id: id(m), size: m.size });
        finished(id(m));
      },
      discard: async (m) => void (await this.ask({ type: 'discard', id: id(m) })),
    };
  }

  /** A file that came whole, as the browser's own object: its bytes stay on the disk. */
  async file(id: string): Promise<File> {
    const root = await navigator.storage.getDirectory();
    const dir = await root.getDirectoryHandle(folder);
    return (await dir.getFileHandle(doneName(id))).getFile();
  }

  async remove(id: string): Promise<void> {
    await this.ask({ type: 'discard', id });
  }
}

function hex(b: Uint8Array): string {
  return [...b].map((x) => x.toString(16).padStart(2, '0')).join('');
}
