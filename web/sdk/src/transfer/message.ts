// Control messages of a transfer (docs/spec/files.md, section 2).

import { equal, utf8, type Bytes } from "../bytes.ts";
import { bytes, decode, encode, enumeration, oneof, schema, string, uint64, type Init, type Of } from "../canon.ts";
import { refuse } from "../errors.ts";
import { fileIdOf } from "./keys.ts";
import { maxFile, padme } from "./stream.ts";

export const maxControl = 8192;
const maxName = 1024;

const ManifestMessage = schema("Manifest", {
  fileId: bytes(1), attemptId: bytes(2), size: uint64(3), padded: uint64(4), name: string(5), root: bytes(6),
});
const TransferMessage = schema("Message", {
  kind: oneof({
    manifest: [1, ManifestMessage], accept: [2, schema("Accept", { attemptId: bytes(1), unit: uint64(2) })],
    refuse: [3, schema("Refuse", { attemptId: bytes(1), reason: enumeration(2) })], done: [4, schema("Done", { attemptId: bytes(1) })],
    cancel: [5, schema("Cancel", { attemptId: bytes(1), reason: enumeration(2) })], wait: [6, schema("Wait", { attemptId: bytes(1) })],
    kept: [7, schema("Kept", { attemptId: bytes(1), unit: uint64(2) })],
  }),
});

/** A checked offer. The name is data: cleanName makes one to show and to use. */
export interface Manifest {
  readonly fileId: Bytes;
  readonly attempt: Bytes;
  readonly size: number;
  readonly name: string;
  readonly root: Bytes;
}

export type TransferControl =
  | { readonly kind: "manifest"; readonly attempt: Bytes; readonly manifest: Manifest }
  | { readonly kind: "accept" | "kept"; readonly attempt: Bytes; readonly unit: bigint }
  | { readonly kind: "refuse" | "cancel"; readonly attempt: Bytes; readonly reason: number }
  | { readonly kind: "done" | "wait"; readonly attempt: Bytes };

export function parseControl(b: Uint8Array): TransferControl {
  const { kind } = decode(TransferMessage, b, maxControl);
  if (kind === undefined || kind.value.attemptId.length !== 16) throw refuse("malformed", "control message without an attempt");
  const attempt = kind.value.attemptId;
  switch (kind.case) {
    case "manifest": return { kind: "manifest", attempt, manifest: manifestFrom(kind.value) };
    case "accept": case "kept": return { kind: kind.case, attempt, unit: kind.value.unit };
    case "refuse": case "cancel": return { kind: kind.case, attempt, reason: kind.value.reason };
    case "done": case "wait": return { kind: kind.case, attempt };
  }
}

function manifestFrom(m: Of<typeof ManifestMessage>): Manifest {
  const n = utf8(m.name).length;
  const ok = m.fileId.length === 16 && m.size <= BigInt(maxFile) && m.padded === BigInt(padme(Number(m.size)))
    && n >= 1 && n <= maxName && m.root.length === 32 && equal(m.fileId, fileIdOf(m.name, Number(m.size), m.root));
  if (!ok) throw refuse("malformed", "manifest");
  return { fileId: m.fileId, attempt: m.attemptId, size: Number(m.size), name: m.name, root: m.root };
}

export function marshalControl(c: TransferControl): Bytes {
  const attemptId = c.attempt;
  const write = (kind: Init<typeof TransferMessage>["kind"]) => encode(TransferMessage, { kind });
  switch (c.kind) {
    case "manifest": {
      const m = c.manifest;
      return write({ case: "manifest", value: { fileId: m.fileId, attemptId, size: BigInt(m.size), padded: BigInt(padme(m.size)), name: m.name, root: m.root } });
    }
    case "accept": case "kept": return write({ case: c.kind, value: { attemptId, unit: c.unit } });
    case "refuse": case "cancel": return write({ case: c.kind, value: { attemptId, reason: c.reason } });
    case "done": case "wait": return write({ case: c.kind, value: { attemptId } });
  }
}
