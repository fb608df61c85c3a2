// Memory of a file's pieces, given back by hand.

import type { Bytes } from "../bytes.ts";

/**
 * Gives the memory of something that was read for the last time back at once, where the platform can. A collector comes
 * by when tens of megabytes are waiting for it, in the page and in the worker each; and memory that is always new costs a
 * processor several times what sealing its content does. AudioData is the one object of browsers that takes a buffer over
 * and lets go of it when it is told to: transfer(0) does not for a buffer that the browser has made itself.
 */
export function release(b: Bytes): void {
  if (b.length === 0 || b.length !== b.buffer.byteLength || typeof AudioData !== "function") return;
  new AudioData({ format: "u8", sampleRate: 8000, numberOfChannels: 1, numberOfFrames: b.length, timestamp: 0, data: b, transfer: [b.buffer] }).close();
}
