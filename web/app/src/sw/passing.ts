/// <reference lib="webworker" />
// Files that leave the browser while they come, where a page cannot write into a file that its person chose: the page
// hands the content over piece by piece, and the browser's downloads take it as the answer to a request that never goes out.
import { passingPath, type FromPassing, type ToPassing } from './protocol.ts';

interface Passing {
  port: MessagePort;
  name: string;
  size: number;
}

/** Few: each is a file for which a person has just said where it goes. */
const most = 16;
const offered = new Map<string, Passing>();

export function offerPassing(id: string, p: Passing): void {
  if (offered.size >= most) offered.delete(offered.keys().next().value ?? '');
  offered.set(id, p);
  p.port.postMessage('ready' satisfies FromPassing);
}

/** The file that a request asks for; once. */
export function passing(pathname: string): Response | undefined {
  const id = pathname.startsWith(passingPath) ? pathname.slice(passingPath.length) : '';
  const p = offered.get(id);
  if (!p) return undefined;
  offered.delete(id);
  const { port, name, size } = p;
  let came: () => void = () => undefined;
  const body = new ReadableStream<Uint8Array>(
    {
      start(controller) {
        port.onmessage = ({ data }: MessageEvent<ToPassing>) => {
          if (data instanceof Uint8Array) controller.enqueue(data);
          else if (data === 'end') controller.close();
          else controller.error(new Error('the file will not come')); // the download fails, and says so
          came();
        };
      },
      // A piece is asked for when the browser has taken the one before, and once.
      pull: () =>
        new Promise((resolve) => {
          came = resolve;
          port.postMessage('more' satisfies FromPassing);
        }),
      cancel: () => port.postMessage('gone' satisfies FromPassing),
    },
    { highWaterMark: 1 },
  );
  return new Response(body, {
    headers: {
      'Content-Type': 'application/octet-stream',
      // Nothing but the name's letters and digits as they are: what stands in quotes in a header is read in many ways.
      'Content-Disposition': `attachment; filename*=UTF-8''${encodeURIComponent(name).replace(/['()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)}`,
      'Content-Length': String(size),
      'Content-Security-Policy': "default-src 'none'; sandbox",
      'X-Content-Type-Options': 'nosniff',
    },
  });
}
