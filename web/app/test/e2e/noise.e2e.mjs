import { afterAll, beforeAll, expect, test } from 'vitest';
import { World } from '../../scripts/harness.mjs';
import { answer, connect, fakes, join, over, ring } from './people.mjs';

let world;
let acme;
let globex;
let alice;
let bob;

/** Writes down what is given to a connection to be sent. */
const watchSenders = (person) =>
  person.page.addInitScript(() => {
    globalThis.sent = [];
    const { replaceTrack } = RTCRtpSender.prototype;
    RTCRtpSender.prototype.replaceTrack = function (track) {
      if (track?.kind === 'audio') globalThis.sent.push(track.label);
      return replaceTrack.call(this, track);
    };
  });

beforeAll(async () => {
  world = new World().build();
  [acme, globex] = await world.pair('acme.example', 'globex.example');
  await world.browser(fakes);
  alice = await join(world, acme, {}, watchSenders);
  bob = await join(world, globex);
  await connect(alice, bob, globex.ready.http);
});

afterAll(async () => {
  await world?.stop();
});

test('the worklet that the node serves takes the noise of a room away and leaves a voice, under the policy of the app', async () => {
  const levels = await alice.page.evaluate(async () => {
    const rate = 48_000;
    const seconds = 8;
    const context = new OfflineAudioContext(1, seconds * rate, rate);
    await context.audioWorklet.addModule('/noise-gate.js');
    const sound = context.createBuffer(1, seconds * rate, rate);
    const samples = sound.getChannelData(0);
    let s = 7;
    for (let i = 0; i < samples.length; i++) {
      s = (Math.imul(s, 1664525) + 1013904223) | 0;
      const at = i / rate;
      let voice = 0;
      if (at >= 3 && at < 6 && at % 0.3 < 0.2) for (let n = 1; n <= 8; n++) voice += (0.15 * Math.sin(2 * Math.PI * 180 * n * at)) / n;
      samples[i] = (0.01 * s) / 2 ** 31 + voice;
    }
    const source = context.createBufferSource();
    source.buffer = sound;
    source.connect(new AudioWorkletNode(context, 'noise-gate')).connect(context.destination);
    source.start();
    const heard = (await context.startRendering()).getChannelData(0);
    const decibel = (x, from, to) => 10 * Math.log10(x.subarray(from * rate, to * rate).reduce((sum, v) => sum + v * v, 0) / ((to - from) * rate) + 1e-20);
    const difference = (from, to) => decibel(samples, from, to) - decibel(heard, from, to);
    return { room: difference(1, 3), voice: difference(3, 6), after: difference(7, 8) };
  });
  console.log(`room ${levels.room.toFixed(1)} dB quieter, voice ${levels.voice.toFixed(1)} dB, room after it ${levels.after.toFixed(1)} dB`);
  expect(levels.room).toBeGreaterThan(20);
  expect(Math.abs(levels.voice)).toBeLessThan(1);
  expect(levels.after).toBeGreaterThan(20);
});

test('is switched on in the settings, and from then on the microphone goes through it', async () => {
  const { page } = alice;
  const label = () => page.evaluate(() => globalThis.sent.at(-1) ?? '');
  await ring(alice);
  await answer(bob);
  await page.getByTestId('code').waitFor();
  await page.waitForFunction(() => globalThis.sent.length > 0);
  const plain = await label();
  await over(alice, bob);

  await page.goto(`${acme.ready.http}/settings`);
  await page.getByRole('switch', { name: 'Quiet background' }).click();
  expect(await page.getByRole('switch', { name: 'Quiet background' }).getAttribute('aria-checked')).toBe('true');
  await page.goto(acme.ready.http);
  await page.getByRole('link', { name: /Bob/ }).click();
  await ring(alice);
  await answer(bob);
  await page.getByTestId('code').waitFor();
  await page.waitForFunction((was) => globalThis.sent.length > 0 && globalThis.sent.at(-1) !== was, plain);
  // What arrives at the other side is sound, as loud as the fake device beeps.
  await bob.page.waitForFunction(async () => {
    const audio = document.querySelector('[data-testid="them"] audio, audio');
    const stream = audio?.srcObject;
    if (!stream?.getAudioTracks().length) return false;
    const context = (globalThis.ears ??= new AudioContext());
    const analyser = (globalThis.analyser ??= (() => {
      const a = context.createAnalyser();
      context.createMediaStreamSource(stream).connect(a);
      return a;
    })());
    const samples = new Float32Array(analyser.fftSize);
    analyser.getFloatTimeDomainData(samples);
    return samples.some((v) => Math.abs(v) > 0.02);
  }, undefined, { polling: 50 });
  await over(alice, bob);
  expect(world.foreign).toEqual([]);
  expect(world.problems).toEqual([]);
});
