// Changes bytes by a seed that is printed with a failure: FUZZ_SEED=n.

import { it } from "vitest";
import type { Bytes } from "../src/bytes.ts";
import { TrunklineError } from "../src/errors.ts";

export const seed = Number(process.env["FUZZ_SEED"] ?? Date.now() % 1_000_000_007);
let state = seed >>> 0 || 1;
export function draw(n: number): number {
  state ^= state << 13;
  state >>>= 0;
  state ^= state >>> 17;
  state ^= state << 5;
  state >>>= 0;
  return state % n;
}

function changed(b: Uint8Array): Bytes {
  let out = new Uint8Array(b);
  for (let k = draw(4); k >= 0; k--) {
    const at = draw(out.length + 1);
    switch (draw(5)) {
      case 0: if (at < out.length) out[at]! ^= 1 << draw(8); break;
      case 1: out = out.slice(0, at); break;
      case 2: out = new Uint8Array([...out.slice(0, at), draw(256), ...out.slice(at)]); break;
      case 3: if (at < out.length) out[at] = [0, 1, 0x7f, 0x80, 0xff][draw(5)]!; break;
      case 4: out = new Uint8Array([...out, ...out.slice(at, at + draw(16))]); break;
    }
  }
  return out;
}

/** A reader gives a value or a TrunklineError, and nothing else. */
export function fuzz(name: string, read: (b: Bytes) => unknown, inputs: readonly Uint8Array[], rounds = 1500): void {
  it(`${name}, ${rounds} times`, async () => {
    for (const b of inputs) await attempt(name, read, new Uint8Array(b));
    for (let i = 0; i < rounds; i++) await attempt(name, read, changed(inputs[draw(inputs.length)]!));
  });
}

async function attempt(name: string, read: (b: Bytes) => unknown, b: Bytes): Promise<void> {
  try {
    await read(b);
  } catch (err) {
    if (!(err instanceof TrunklineError)) throw new Error(`${name}: FUZZ_SEED=${seed}: ${Buffer.from(b).toString("hex")}`, { cause: err });
  }
}

/** A reader of text. */
export const text = (read: (s: string) => unknown) => (b: Bytes) => read(new TextDecoder().decode(b));
