import { canChoosePlace, choosePlace, download } from '../files/save.ts';
import { layOut } from './layout.ts';
import { tilesOf } from './tiles.ts';
import type { RoomView } from './view.ts';
import { durationBytes, type Head, readHead } from './webm.ts';

// A participant's recording: what its screen shows, drawn onto one picture, with the sound that it hears, into a file on
// its own disk as it comes. The node and the others have no part in it but that they are told.

type Bytes = Uint8Array<ArrayBuffer>;

const width = 1280;
const height = 720;
const framesPerSecond = 15;
const kinds = ['video/webm;codecs=vp8,opus', 'video/webm;codecs=vp9,opus', 'video/webm'];
/** How much the browser gathers before it hands it on. */
const pieceMs = 1000;

export interface Recorder {
  /** Finishes the file. */
  stop(): Promise<void>;
}

export interface Wanted {
  title: string;
  view(): RoomView | null;
  /** Tells everybody; resolves when it has gone out. */
  announce(): Promise<void>;
  /** The disk or the browser gave up. */
  failed(): void;
}

export function canRecord(): boolean {
  return typeof MediaRecorder === 'function' && kinds.some((k) => MediaRecorder.isTypeSupported(k));
}

/** Begins to record, or gives null if the person chose no place for the file. */
export async function startRecorder(wanted: Wanted): Promise<Recorder | null> {
  const file = await openFile(`${wanted.title.replace(/[^\p{L}\p{N} _-]/gu, '').trim() || 'meeting'} ${new Date().toISOString().slice(0, 16).replace(':', '.')}.webm`);
  if (!file) return null;
  const picture = new Composition(wanted.view);
  const sound = new Mix(wanted.view);
  const stopAll = () => {
    picture.stop();
    sound.stop();
  };
  try {
    await wanted.announce();
    const stream = new MediaStream([...picture.stream.getVideoTracks(), ...sound.stream.getAudioTracks()]);
    const recorder = new MediaRecorder(stream, { mimeType: kinds.find((k) => MediaRecorder.isTypeSupported(k)) ?? '', videoBitsPerSecond: 2_500_000, audioBitsPerSecond: 96_000 });
    const writer = new Writer(file);
    let begun = 0;
    recorder.onstart = () => {
      begun = performance.now();
    };
    recorder.ondataavailable = (e) => writer.add(e.data, wanted.failed);
    recorder.onerror = wanted.failed;
    const stopped = new Promise<void>((resolve) => {
      recorder.onstop = () => resolve();
    });
    recorder.start(pieceMs);
    return {
      stop: async () => {
        const lasted = performance.now() - begun;
        if (recorder.state !== 'inactive') recorder.stop();
        await stopped;
        stopAll();
        await writer.finish(lasted);
      },
    };
  } catch (error) {
    stopAll();
    await file.discard();
    throw error;
  }
}

/** A file that is written in order, and mended in its head at the end. */
interface Place {
  write(content: Bytes, at: number): Promise<void>;
  close(): Promise<void>;
  discard(): Promise<void>;
}

/** Where the browser lets a person say so, at the place of their choice; else in the browser until it is whole, and from
 * there into the downloads. */
async function openFile(name: string): Promise<Place | null> {
  if (canChoosePlace()) {
    const handle = await choosePlace(name);
    if (!handle) return null;
    const to = await handle.createWritable();
    return { write: (data, position) => to.write({ type: 'write', position, data }), close: () => to.close(), discard: () => to.abort() };
  }
  const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle('trunkline-recording', { create: true });
  // One that was never finished, in a tab that was killed, is of no use to anybody.
  for await (const old of (folder as FileSystemDirectoryHandle & { keys(): AsyncIterable<string> }).keys()) await folder.removeEntry(old);
  const handle = await folder.getFileHandle(name, { create: true });
  const to = await handle.createWritable();
  return {
    write: (data, position) => to.write({ type: 'write', position, data }),
    close: async () => {
      await to.close();
      download(await handle.getFile(), name);
    },
    discard: async () => {
      await to.abort();
      await folder.removeEntry(name);
    },
  };
}

/** Pieces one after the other, the head with a place for the length. */
class Writer {
  private readonly place: Place;
  private head: Bytes = new Uint8Array(0);
  private read: Extract<Head, { is: 'whole' }> | 'strange' | null = null;
  private at = 0;
  private queue: Promise<void> = Promise.resolve();

  constructor(place: Place) {
    this.place = place;
  }

  add(piece: Blob, failed: () => void): void {
    this.queue = this.queue.then(async () => this.put(new Uint8Array(await piece.arrayBuffer())));
    this.queue.catch(failed);
  }

  private async put(bytes: Bytes): Promise<void> {
    if (this.read) return this.append(bytes);
    const all = new Uint8Array(this.head.length + bytes.length);
    all.set(this.head);
    all.set(bytes, this.head.length);
    const head = readHead(all);
    this.head = all;
    if (head.is === 'short') return;
    this.read = head.is === 'whole' ? head : 'strange';
    await this.append(head.is === 'whole' ? head.bytes : all);
  }

  private async append(bytes: Bytes): Promise<void> {
    await this.place.write(bytes, this.at);
    this.at += bytes.length;
  }

  async finish(ms: number): Promise<void> {
    await this.queue;
    if (!this.read) await this.append(this.head);
    else if (this.read !== 'strange') await this.place.write(durationBytes(ms, this.read.ticksPerMs), this.read.durationAt);
    await this.place.close();
  }
}

/** What the screen shows, drawn anew some times a second. */
class Composition {
  readonly stream: MediaStream;
  private readonly timer: ReturnType<typeof setInterval>;

  constructor(view: () => RoomView | null) {
    const canvas = document.createElement('canvas');
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext('2d', { alpha: false });
    if (!context) throw new DOMException('the browser draws nothing', 'NotSupportedError');
    const draw = () => {
      const now = view();
      if (now) paint(context, now);
    };
    draw();
    this.stream = canvas.captureStream(framesPerSecond);
    this.timer = setInterval(draw, 1000 / framesPerSecond);
  }

  stop(): void {
    clearInterval(this.timer);
    for (const t of this.stream.getTracks()) t.stop();
  }
}

function paint(context: CanvasRenderingContext2D, view: RoomView): void {
  context.fillStyle = '#0d1014';
  context.fillRect(0, 0, width, height);
  const tiles = tilesOf(view);
  const layout = layOut({ tiles, width, height, grid: view.grid, pinned: view.pinned, speaker: view.floor.speaker, page: 0 });
  const byKey = new Map(tiles.map((t) => [t.key, t]));
  for (const p of layout.placed) {
    const tile = byKey.get(p.key);
    if (!tile) continue;
    context.save();
    context.beginPath();
    context.roundRect(p.x, p.y, p.width, p.height, 12);
    context.clip();
    context.fillStyle = '#1a1f26';
    context.fillRect(p.x, p.y, p.width, p.height);
    const video = tile.track && document.querySelector<HTMLVideoElement>(`[data-tile="${p.key}"] video`);
    if (video && video.videoWidth > 0) {
      const scale = (tile.screen ? Math.min : Math.max)(p.width / video.videoWidth, p.height / video.videoHeight);
      const [w, h] = [video.videoWidth * scale, video.videoHeight * scale];
      context.drawImage(video, p.x + (p.width - w) / 2, p.y + (p.height - h) / 2, w, h);
    } else {
      context.fillStyle = '#aab4bf';
      context.font = '600 28px system-ui, sans-serif';
      context.textAlign = 'center';
      context.textBaseline = 'middle';
      context.fillText(tile.name, p.x + p.width / 2, p.y + p.height / 2, p.width - 32);
    }
    context.font = '14px system-ui, sans-serif';
    const label = Math.min(context.measureText(tile.name).width + 16, p.width - 16);
    context.fillStyle = 'rgb(13 16 20 / 80%)';
    context.fillRect(p.x + 8, p.y + p.height - 32, label, 24);
    context.fillStyle = '#eef1f4';
    context.textAlign = 'left';
    context.textBaseline = 'middle';
    context.fillText(tile.name, p.x + 16, p.y + p.height - 20, label - 16);
    context.restore();
  }
}

/** Everything that is heard, and the own voice. */
class Mix {
  readonly stream: MediaStream;
  private readonly context = new AudioContext();
  private readonly into: MediaStreamAudioDestinationNode;
  private readonly sources = new Map<MediaStreamTrack, MediaStreamAudioSourceNode>();
  private readonly timer: ReturnType<typeof setInterval>;

  constructor(view: () => RoomView | null) {
    this.into = this.context.createMediaStreamDestination();
    this.stream = this.into.stream;
    const look = () => {
      const now = view();
      if (now) this.follow(now);
    };
    look();
    // Who comes while it runs is heard from the next look on.
    this.timer = setInterval(look, 250);
  }

  private follow(view: RoomView): void {
    const tracks = new Set<MediaStreamTrack>();
    for (const t of view.room?.tiles ?? []) if (t.track?.kind === 'audio') tracks.add(t.track);
    for (const t of Object.values(view.tracks)) if (t?.kind === 'audio') tracks.add(t);
    for (const [track, source] of this.sources) {
      if (tracks.has(track)) continue;
      source.disconnect();
      this.sources.delete(track);
    }
    for (const track of tracks) {
      if (this.sources.has(track)) continue;
      const source = this.context.createMediaStreamSource(new MediaStream([track]));
      source.connect(this.into);
      this.sources.set(track, source);
    }
  }

  stop(): void {
    clearInterval(this.timer);
    for (const source of this.sources.values()) source.disconnect();
    this.context.close().catch(() => undefined);
  }
}
