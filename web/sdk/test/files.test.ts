// The stream of a file, its chunks and cleaned names, by the vectors that the Go code makes.

import { sha256 } from "@noble/hashes/sha2.js";
import { describe, expect, it } from "vitest";
import { hex, unhex } from "../src/bytes.ts";
import { Role } from "../src/envelope/session.ts";
import * as file from "../src/transfer/index.ts";
import { unbase64, vectors } from "./vectors.ts";

const f = vectors<{
  layouts: { size: number; padded: number; units: number; zeros: number; length: number; last_chunk: number; last_length: number; starts: { unit: number; index: number; skip: number }[] }[];
  files: {
    name: string; size: number; fill: number; root: string; file_id: string; file_key: string; attempt: string; sender: string; from_unit: number; chunks: number;
    messages: { at: number; sha256: string; bytes_b64?: string }[];
  }[];
  control: { kind: "accept" | "kept" | "refuse" | "cancel" | "done" | "wait"; attempt: string; number: number; bytes: string }[];
  names: { name: string; cleaned: string }[];
}>("files.json");

describe("the vectors of files", () => {
  it.each(f.layouts)("lays out $size bytes", (v) => {
    const l = new file.Layout(v.size);
    expect({ padded: file.padme(v.size), units: l.units, zeros: l.zeros, length: l.length }).toEqual({ padded: v.padded, units: v.units, zeros: v.zeros, length: v.length });
    expect(l.chunkAt(v.last_chunk)).toEqual({ length: v.last_length, last: true });
    expect(l.chunkAt(v.last_chunk + 1)).toEqual({ length: 0, last: false });
    for (const s of v.starts) expect(l.start(s.unit)).toEqual({ index: s.index, skip: s.skip });
  });

  it.each(f.files)("cuts and opens $name from unit $from_unit", async (v) => {
    const content = new Uint8Array(v.size).fill(v.fill);
    const l = new file.Layout(v.size);
    const units = Array.from({ length: l.units }, (_, u) => content.subarray(u * file.unitSize, u * file.unitSize + l.unitLength(u)));
    const hashes = units.map((u) => sha256(u) as Uint8Array<ArrayBuffer>);
    const root = await file.rootOf(hashes);
    expect(hex(root)).toBe(v.root);
    const id = file.fileIdOf(v.name, v.size, root);
    expect(hex(id)).toBe(v.file_id);
    const attempt = unhex(v.attempt);
    const key = file.chunkKey(unhex(v.file_key), v.sender === "initiator" ? Role.initiator : Role.responder, id, attempt);
    const box = () => file.ChunkBox.make({ key, fileId: id, attempt, size: v.size });
    const cutter = new file.Cutter(l, await box(), v.from_unit);
    const messages: Uint8Array<ArrayBuffer>[] = [];
    for (let u = v.from_unit; u < l.units; u++) messages.push(...await cutter.unit(units[u]!, hashes[u]!));
    for await (const piece of cutter.end(root)) messages.push(...piece);
    expect(messages.map((m) => hex(sha256(m)))).toEqual(v.messages.map((m) => m.sha256));
    for (const m of v.messages) if (m.bytes_b64 !== undefined) expect(messages[m.at]).toEqual(unbase64(m.bytes_b64));
    const assembler = new file.Assembler(l, await box(), root, hashes.slice(0, v.from_unit));
    const kept: number[] = [];
    const whole: boolean[] = [];
    for (const m of messages) whole.push(await assembler.take(file.parseChunk(m), (u) => void kept.push(u.unit)));
    expect(kept).toEqual(units.slice(v.from_unit).map((_, i) => v.from_unit + i));
    expect(whole).toEqual(messages.map((_, i) => i === messages.length - 1));
  });

  it.each(f.control)("reads and writes $kind $number", (v) => {
    const attempt = unhex(v.attempt);
    const c: file.TransferControl = v.kind === "accept" || v.kind === "kept" ? { kind: v.kind, attempt, unit: BigInt(v.number) }
      : v.kind === "done" || v.kind === "wait" ? { kind: v.kind, attempt } : { kind: v.kind, attempt, reason: v.number };
    expect(hex(file.marshalControl(c))).toBe(v.bytes);
    expect(file.parseControl(unhex(v.bytes))).toEqual(c);
  });

  it.each(f.names)("cleans $name", (v) => {
    expect(file.cleanName(v.name)).toBe(v.cleaned);
    expect(file.cleanName(v.cleaned)).toBe(v.cleaned);
  });
});
