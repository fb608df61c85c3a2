import { describe, expect, test } from 'vitest';
import { NoiseGate } from '../src/plugins/noisegate.ts';

const rate = 48_000;

/** Repeatable noise between -1 and 1. */
function noise(seed: number): () => number {
  let s = seed;
  return () => {
    s = (Math.imul(s, 1664525) + 1013904223) | 0;
    return s / 2 ** 31;
  };
}

const decibel = (x: Float32Array) => 10 * Math.log10(x.reduce((sum, v) => sum + v * v, 0) / x.length + 1e-20);
const seconds = (x: Float32Array, from: number, to: number) => x.subarray(from * rate, to * rate);

/** Goes through in the blocks of a worklet. */
function through(sound: Float32Array): Float32Array {
  const gate = new NoiseGate(rate);
  const out = new Float32Array(sound.length);
  for (let at = 0; at < sound.length; at += 128) gate.process(sound.subarray(at, at + 128), out.subarray(at, at + 128));
  return out;
}

/** A voice: a tone of 180 Hz with its overtones, in syllables of 200 ms with 100 ms between. */
function voice(at: number): number {
  if (at % 0.3 > 0.2) return 0;
  let v = 0;
  for (let n = 1; n <= 8; n++) v += Math.sin(2 * Math.PI * 180 * n * at) / n;
  return 0.15 * v;
}

const room = (level: number, length: number, speaks: (s: number) => boolean) => {
  const next = noise(7);
  return Float32Array.from({ length: length * rate }, (_, i) => level * next() + (speaks(i / rate) ? voice(i / rate) : 0));
};

describe('the noise gate', () => {
  test('turns a room down while nobody speaks, by 20 dB and more, at any loudness of the room', () => {
    for (const level of [0.003, 0.01, 0.03]) {
      const sound = room(level, 6, () => false);
      const out = through(sound);
      expect(decibel(seconds(sound, 2, 6)) - decibel(seconds(out, 2, 6))).toBeGreaterThan(20);
    }
  });

  test('leaves a voice as it is, from its first syllable', () => {
    const speaks = (s: number) => s >= 3 && s < 6;
    const sound = room(0.01, 8, speaks);
    const out = through(sound);
    expect(Math.abs(decibel(seconds(sound, 3, 3.3)) - decibel(seconds(out, 3, 3.3)))).toBeLessThan(1);
    expect(Math.abs(decibel(seconds(sound, 3, 6)) - decibel(seconds(out, 3, 6)))).toBeLessThan(1);
    expect(decibel(seconds(sound, 7, 8)) - decibel(seconds(out, 7, 8))).toBeGreaterThan(20);
  });

  test('takes wind out from under a voice', () => {
    const wind = Float32Array.from({ length: 6 * rate }, (_, i) => 0.3 * Math.sin((2 * Math.PI * 25 * i) / rate));
    const both = wind.map((w, i) => w + (i > 3 * rate ? voice(i / rate) : 0));
    const alone = Float32Array.from({ length: 6 * rate }, (_, i) => (i > 3 * rate ? voice(i / rate) : 0));
    expect(decibel(seconds(both, 3.5, 6)) - decibel(seconds(alone, 3.5, 6))).toBeGreaterThan(3);
    expect(Math.abs(decibel(seconds(through(both), 3.5, 6)) - decibel(seconds(alone, 3.5, 6)))).toBeLessThan(1);
  });

  test('gives finite sound for everything that a microphone can say', () => {
    for (const x of [0, 1, -1, 1e-30, 1e30]) {
      const out = through(new Float32Array(rate).fill(x));
      expect(out.every(Number.isFinite)).toBe(true);
    }
    const out = new Float32Array(128);
    new NoiseGate(rate).process(new Float32Array(0), out);
    expect(out.every((v) => v === 0)).toBe(true);
  });
});
