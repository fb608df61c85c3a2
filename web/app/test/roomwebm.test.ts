import { expect, test } from 'vitest';
import { durationBytes, readHead } from '../src/rooms/webm.ts';

const hex = (text: string) => new Uint8Array((text.replace(/\s/g, '').match(/../g) ?? []).map((b) => parseInt(b, 16)));

// As Chromium begins a stream: EBML, a segment of unknown size, its info with scale and names, tracks, a cluster.
const ebml = '1a45dfa3 9f 4286810142f7810142f2810442f381084282847765626d42878104428581 02';
const segment = '18538067 01ffffffffffffff';
const info = '1549a966 99 2ad7b1 83 0f4240 4d80 86 4368726f6d65 5741 86 4368726f6d65';
const tracks = '1654ae6b 84 aabbccdd';
const cluster = '1f43b675 01ffffffffffffff e7 81 00';
const stream = hex(ebml + segment + info + tracks + cluster);

test('the head gets a place for the length, and everything else stays as it was', () => {
  const head = readHead(stream);
  if (head.is !== 'whole') throw new Error(head.is);
  expect(head.ticksPerMs).toBe(1);
  // Eleven bytes for the length, seven more for a size in eight bytes.
  expect(head.bytes.length).toBe(stream.length + 11 + 7);
  const size = Number(new DataView(head.bytes.buffer).getBigUint64(hex(ebml + segment).length + 4) & 0xffffffffffffffn);
  expect(size).toBe(0x19 + 11);
  expect([...head.bytes.subarray(head.durationAt - 3, head.durationAt + 8)]).toEqual([0x44, 0x89, 0x88, 0, 0, 0, 0, 0, 0, 0, 0]);
  expect([...head.bytes.subarray(head.durationAt + 8)]).toEqual([...hex(tracks + cluster)]);
  expect([...head.bytes.subarray(0, hex(ebml + segment).length)]).toEqual([...hex(ebml + segment)]);
  expect(new DataView(durationBytes(2500, head.ticksPerMs).buffer).getFloat64(0)).toBe(2500);
});

test('a place that is there already is used', () => {
  const with8 = hex(`${ebml}${segment}1549a966 92 2ad7b1 83 0f4240 4489 88 0000000000000000${tracks}`);
  const head = readHead(with8);
  if (head.is !== 'whole') throw new Error(head.is);
  expect(head.bytes).toBe(with8);
  expect(head.durationAt).toBe(hex(`${ebml}${segment}1549a966 92 2ad7b1 83 0f4240 4489 88`).length);
});

test('a beginning of it asks for more, at every length', () => {
  const needed = hex(ebml + segment + info).length;
  for (let n = 0; n < needed; n++) expect(readHead(stream.slice(0, n)).is, String(n)).toBe('short');
  expect(readHead(stream.slice(0, needed)).is).toBe('whole');
});

test('what is none is left alone, however it is broken', () => {
  // A segment of a known size, a cluster before the info, a scale of nothing, an info whose parts are longer than itself.
  for (const bad of [
    `${ebml}18538067 84 aabbccdd`,
    `${ebml}${segment}${cluster}`,
    `${ebml}${segment}1549a966 87 2ad7b1 83 000000`,
    `${ebml}${segment}1549a966 87 2ad7b1 88 0f4240`,
    `${ebml}${segment}1549a966 87 4489 84 00000000`,
  ]) expect(['strange', 'short'], bad).toContain(readHead(hex(bad)).is);
  // Random bytes end, and long ones do not wait for more for ever.
  let seed = 1;
  const random = () => (seed = (seed * 1103515245 + 12345) & 0x7fffffff) & 0xff;
  for (let i = 0; i < 2000; i++) {
    const bytes = Uint8Array.from({ length: i % 200 }, random);
    bytes.set(stream.subarray(0, Math.min(i % 60, bytes.length)));
    expect(['short', 'strange', 'whole']).toContain(readHead(bytes).is);
  }
  const long = new Uint8Array(70_000).fill(0x42);
  expect(readHead(long).is).toBe('strange');
  expect(readHead(new Uint8Array(70_000)).is).toBe('strange');
});
