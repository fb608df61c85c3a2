// What a file is called in every session, and what the chunks of one attempt are sealed with (docs/spec/files.md,
// sections 1 and 4). The page's part of the arithmetic: its worker is told both.

import { concat, u32, u64, utf8, type Bytes } from "../bytes.ts";
import { hkdf } from "../crypto/hash.ts";
import { Role } from "../envelope/session.ts";
import { hash } from "../identity/key.ts";
import { context } from "../labels.ts";

export function fileIdOf(name: string, size: number, root: Uint8Array): Bytes {
  const n = utf8(name);
  return hash("file-id", root, u64(size), u32(n.length), n).slice(0, 16);
}

/** The key of one attempt's chunks. sender is the role, in the session, of the side that sends the file. */
export function chunkKey(fileKey: Uint8Array, sender: Role, fileId: Uint8Array, attempt: Uint8Array): Bytes {
  return hkdf(fileKey, concat(fileId, attempt), context(sender === Role.initiator ? "file-i2r" : "file-r2i"), 32);
}
