// Reads the vector files that the Go tests read: nothing is copied.

import { readFileSync } from "node:fs";
import { unhex, type Bytes } from "../src/bytes.ts";
import { codeOf, TrunklineError } from "../src/errors.ts";

const repository = new URL("../../../", import.meta.url);

/** A vector file of the specification, or of another package's testdata. */
export function vectors<T>(path: string): T {
  return JSON.parse(readFileSync(new URL(path.includes("/") ? path : `docs/spec/vectors/${path}`, repository), "utf8")) as T;
}

/** A text of the repository. */
export function vectorText(path: string): string {
  return readFileSync(new URL(path, repository), "utf8");
}

export function unbase64(s: string): Bytes {
  return new Uint8Array(Buffer.from(s, "base64"));
}

/** The error that f ends with; throws if it ends without one, or with one that is not the SDK's. */
export async function refusal(f: () => unknown): Promise<TrunklineError> {
  try {
    await f();
  } catch (err) {
    if (err instanceof TrunklineError) return err;
    throw err;
  }
  throw new Error("accepted");
}

/** The code that f is refused with, or "" when it is not. */
export async function codeWord(f: () => unknown): Promise<string> {
  try {
    await f();
    return "";
  } catch (err) {
    const c = codeOf(err);
    if (c === undefined) throw err;
    return c;
  }
}

export { unhex };
