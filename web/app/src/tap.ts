// A copy of every frame that went over the link of this tab, for the page that shows what the node sees (wiretap.ts). It
// is taken where the bytes are written and read, and kept in memory alone.

export interface Tapped {
  number: number;
  at: number;
  out: boolean;
  bytes: Uint8Array;
}

/** How many frames are kept; older ones go. */
const most = 200;

export class WireTap {
  frames: readonly Tapped[] = [];
  private count = 0;
  private readonly listeners = new Set<() => void>();

  sent(bytes: Uint8Array): void {
    this.add(true, bytes);
  }

  received(bytes: Uint8Array): void {
    this.add(false, bytes);
  }

  subscribe(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  private add(out: boolean, bytes: Uint8Array): void {
    this.frames = [...this.frames.slice(1 - most), { number: ++this.count, at: Date.now(), out, bytes: bytes.slice() }];
    for (const listener of this.listeners) listener();
  }
}
