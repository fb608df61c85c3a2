import { sha256 } from "@noble/hashes/sha2.js";
import { describe, expect, it } from "vitest";
import { concat, hex, u64, unhex, utf8, type Bytes } from "../src/bytes.ts";
import { Role } from "../src/envelope/index.ts";
import * as sframe from "../src/sframe.ts";
import * as file from "../src/transfer/index.ts";
import { refusal, vectors, vectorText } from "./vectors.ts";

describe("SFrame", () => {
  // JSON numbers above 2^53 lose digits in JavaScript: the headers are read as text.
  const v = vectors<{ header: { encoded: string }[]; sframe: { cipher_suite: number; kid: number; ctr: number; base_key: string; sframe_key: string; sframe_salt: string; metadata: string; aad: string; pt: string; ct: string }[] }>("media/sframe/testdata/sframe_rfc9605.json");
  const numbers = bigHeaders();

  it("reads and writes the 289 headers of RFC 9605", () => {
    expect(numbers).toHaveLength(289);
    for (const h of numbers) {
      expect(hex(sframe.encodeHeader(h.kid, h.ctr))).toBe(h.encoded);
      expect(sframe.parseHeader(unhex(h.encoded))).toEqual({ kid: h.kid, ctr: h.ctr, size: h.encoded.length / 2 });
    }
  });

  it("derives the key of suite 5 and opens its frame", async () => {
    const s = v.sframe.find((s) => s.cipher_suite === 5)!;
    const k = await sframe.deriveKey(BigInt(s.kid), unhex(s.base_key));
    expect([hex(k.key), hex(k.salt)]).toEqual([s.sframe_key, s.sframe_salt]);
    const aes = await crypto.subtle.importKey("raw", k.key, "AES-GCM", false, ["decrypt"]);
    const iv = k.salt.slice();
    u64(s.ctr).forEach((x, i) => { iv[4 + i]! ^= x; });
    const header = sframe.encodeHeader(BigInt(s.kid), BigInt(s.ctr));
    expect(hex(concat(header, unhex(s.metadata)))).toBe(s.aad);
    const plain = await crypto.subtle.decrypt({ name: "AES-GCM", iv, additionalData: unhex(s.aad) }, aes, unhex(s.ct).slice(header.length));
    expect(hex(new Uint8Array(plain))).toBe(s.pt);
  });

  const base = new Uint8Array(32).fill(3);
  const kid = sframe.kidOf(1, sframe.Slot.camera);
  async function pair() {
    const r = new sframe.SFrameReceiver();
    await r.addKey(kid, base);
    return { s: await sframe.SFrameSender.create(kid, base), r };
  }

  it.each([["opus", [1, 2, 3], 0], ["vp8", [0, ...Array(20).keys()], 10], ["vp8", [1, 2, 3], 1], ["vp9", [9], 0]] as const)(
    "seals and opens %s, with its clear prefix", async (codec, content, prefix) => {
      const { s, r } = await pair();
      const frame = new Uint8Array(content);
      const sealed = await s.seal(codec, frame);
      expect(hex(sealed.subarray(0, prefix))).toBe(hex(frame.subarray(0, prefix)));
      expect(sealed.length).toBe(frame.length + 16 + 2);
      expect(await r.open(codec, sealed)).toEqual({ frame, kid });
      expect((await refusal(() => r.open(codec, sealed))).code).toBe("replay");
    });

  it("drops every changed frame, plain ones, and the Opus silence frame (63, 64, 65)", async () => {
    const { s, r } = await pair();
    const sealed = await s.seal("vp8", new Uint8Array([0, ...Array(20).keys()]));
    for (let i = 0; i < sealed.length; i++) {
      const bad = sealed.slice();
      bad[i]! ^= 0x10;
      await refusal(() => r.open("vp8", bad));
    }
    await refusal(() => r.open("opus", new Uint8Array([0xf8, 0xff, 0xfe])));
    await refusal(() => r.open("opus", new Uint8Array(100)));
    for (const header of ["8001", "9000ff", "0807", "080001"]) await refusal(() => sframe.parseHeader(unhex(header)));
    expect((await r.open("vp8", sealed)).frame.length).toBe(21);
  });

  it("keeps a window of 512, and two frames at once never share a counter (66)", async () => {
    const { s, r } = await pair();
    const frames = await Promise.all(Array.from({ length: 600 }, (_, i) => s.seal("opus", utf8(`${i}`))));
    await r.open("opus", frames[599]!);
    expect((await refusal(() => r.open("opus", frames[87]!))).code).toBe("replay");
    expect(new TextDecoder().decode((await r.open("opus", frames[88]!)).frame)).toBe("88");
    expect((await refusal(() => r.open("opus", frames[88]!))).code).toBe("replay");
    const twice = await Promise.allSettled([r.open("opus", frames[300]!), r.open("opus", frames[300]!)]);
    expect(twice.map((x) => x.status).sort()).toEqual(["fulfilled", "rejected"]);
    await refusal(async () => r.addKey(kid, base));
  });
});

function bigHeaders(): { kid: bigint; ctr: bigint; encoded: string }[] {
  const raw = vectorText("media/sframe/testdata/sframe_rfc9605.json");
  return [...raw.matchAll(/"kid":\s*(\d+),\s*"ctr":\s*(\d+),\s*"encoded":\s*"([0-9a-f]+)"/g)].map((m) => ({ kid: BigInt(m[1]!), ctr: BigInt(m[2]!), encoded: m[3]! }));
}

describe("files", () => {
  it("makes the chunk of the specification", async () => {
    const attempt = new Uint8Array(16).fill(0xa7);
    const content = utf8("hello, trunkline");
    const h = sha256(content) as Bytes;
    const root = await file.rootOf([h]);
    const id = file.fileIdOf("hello.txt", content.length, root);
    expect(hex(id)).toBe("2268b87e87699049ae94661a4fcf8a0e");
    const layout = new file.Layout(content.length);
    const key = file.chunkKey(Uint8Array.from({ length: 32 }, (_, i) => i), Role.initiator, id, attempt);
    const cutter = new file.Cutter(layout, await file.ChunkBox.make({ key, fileId: id, attempt, size: content.length }), 0);
    const chunks = await cutter.unit(content, h);
    for await (const more of cutter.end(root)) chunks.push(...more);
    const spec = vectorText("docs/spec/files.md").split("the one chunk = ")[1]!.split("##")[0]!.replace(/\s/g, "");
    expect(chunks.map(hex)).toEqual([spec]);
  });

  it("pads as Padmé does", () => {
    expect([0, 1, 2, 9, 1000, 1_000_000, 2 ** 40].map(file.padme)).toEqual([0, 1, 2, 10, 1024, 1_015_808, 2 ** 40]);
    for (let n = 2; n < 5000; n += 7) expect(file.padme(n) / n).toBeLessThanOrEqual(1.12);
  });

  function content(size: number): Bytes {
    const b = new Uint8Array(size);
    let x = size | 1;
    for (let i = 0; i < size; i++) b[i] = (x = Math.imul(x, 1664525) + 1013904223 >>> 0) >>> 24;
    return b;
  }

  async function send(data: Bytes, from: number) {
    const layout = new file.Layout(data.length);
    const units = Array.from({ length: layout.units }, (_, u) => data.subarray(u * file.unitSize, u * file.unitSize + layout.unitLength(u)));
    const hashes = units.map((u) => sha256(u) as Bytes);
    const root = await file.rootOf(hashes);
    const id = file.fileIdOf("x", data.length, root);
    const attempt = new Uint8Array(16).fill(from);
    const key = file.chunkKey(new Uint8Array(32).fill(5), Role.responder, id, attempt);
    const make = () => file.ChunkBox.make({ key, fileId: id, attempt, size: data.length });
    const cutter = new file.Cutter(layout, await make(), from);
    const chunks: Bytes[] = [];
    for (let u = from; u < units.length; u++) chunks.push(...await cutter.unit(units[u]!, hashes[u]!));
    for await (const more of cutter.end(root)) chunks.push(...more);
    return { chunks, assembler: new file.Assembler(layout, await make(), root, hashes.slice(0, from)), units: layout.units };
  }

  it.each([[0, 0], [1, 0], [file.unitSize, 0], [file.unitSize, 1], [2.5 * file.unitSize, 0], [2.5 * file.unitSize, 2], [2.5 * file.unitSize, 3]])(
    "carries %i bytes from unit %i on", async (size, from) => {
      const data = content(size);
      const { chunks, assembler, units } = await send(data, from);
      const pieces: Bytes[] = [];
      const ends: boolean[] = [];
      for (const c of chunks) ends.push(await assembler.take(file.parseChunk(c), (u) => void pieces.push(u.content.slice())));
      expect(ends).toEqual(chunks.map((_, i) => i === chunks.length - 1));
      const got = concat(...pieces);
      expect(pieces).toHaveLength(units - from);
      expect(hex(sha256(got))).toBe(hex(sha256(data.subarray(from * file.unitSize))));
      expect(Math.max(...chunks.map((c) => c.length))).toBeLessThanOrEqual(file.maxChunk);
    });

  it("ends at a chunk that is changed, repeated, out of order or last too early (71)", async () => {
    const data = content(file.unitSize + 5);
    const { chunks } = await send(data, 0);
    const fails = (change: (c: Bytes[]) => Bytes[]) => refusal(async () => {
      const { assembler } = await send(data, 0);
      for (const c of change(chunks.map((c) => c.slice()))) await assembler.take(file.parseChunk(c), () => undefined);
    });
    await fails((c) => { c[1]![60]! ^= 1; return c; });
    await fails((c) => [c[0]!, c[0]!]);
    await fails((c) => [c[1]!]);
    await fails((c) => { c[0]![24] = 1; return c; });
    await fails((c) => [...c, c.at(-1)!]);
  });

  it("reads and writes control messages, and believes no manifest that contradicts itself", async () => {
    const attempt = new Uint8Array(16).fill(1);
    const root = new Uint8Array(32).fill(2);
    const manifest = { fileId: file.fileIdOf("ä.txt", 5000, root), attempt, size: 5000, name: "ä.txt", root };
    for (const c of [
      { kind: "manifest", attempt, manifest }, { kind: "accept", attempt, unit: 0n }, { kind: "accept", attempt, unit: 7n }, { kind: "kept", attempt, unit: 9n },
      { kind: "refuse", attempt, reason: file.TransferReason.busy }, { kind: "cancel", attempt, reason: 200 }, { kind: "done", attempt }, { kind: "wait", attempt },
    ] as const) expect(file.parseControl(file.marshalControl(c))).toEqual(c);
    await refusal(() => file.parseControl(file.marshalControl({ kind: "manifest", attempt, manifest: { ...manifest, name: "b.txt" } })));
    await refusal(() => file.parseControl(file.marshalControl({ kind: "manifest", attempt, manifest: { ...manifest, size: 5001 } })));
    await refusal(() => file.parseControl(file.marshalControl({ kind: "done", attempt: attempt.subarray(1) })));
    await refusal(() => file.parseControl(new Uint8Array(0)));
  });

  it.each([
    ["../../etc/passwd", "passwd"], ["C:\\x\\a.txt", "a.txt"], ["photo\u202egpj.exe", "photogpj.exe"], ["a\0b", "ab"], [" .hidden. ", "hidden"], ["", "file"],
    ["...", "file"], ["CON", "_CON"], ["com1.txt", "_com1.txt"], ["lpt\u00b9", "_lpt\u00b9"], ["a<b>?.txt", "a_b__.txt"], ["a\u00a0b", "a b"], ["\u3164", "file"],
    ["\ud800x", "_x"], ["normal name.pdf", "normal name.pdf"],
  ])("cleans %j to %j (72)", (name, clean) => {
    expect(file.cleanName(name)).toBe(clean);
    expect(file.cleanName(clean)).toBe(clean);
  });

  it("cuts long names before their extension", () => {
    const n = file.cleanName("ä".repeat(300) + ".jpeg");
    expect(utf8(n).length).toBeLessThanOrEqual(255);
    expect(n.endsWith("ä.jpeg")).toBe(true);
    expect(file.numberedName("a.txt", 2)).toBe("a (2).txt");
  });
});
