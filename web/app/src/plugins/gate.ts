// The noise gate as a processor of an audio worklet, as a file of its own.
import { NoiseGate } from './noisegate.ts';

declare const sampleRate: number;
declare function registerProcessor(name: string, made: new () => AudioWorkletProcessor): void;
declare class AudioWorkletProcessor {}

class Gate extends AudioWorkletProcessor {
  private readonly gates: NoiseGate[] = [];

  process(inputs: Float32Array[][], outputs: Float32Array[][]): boolean {
    const sound = inputs[0] ?? [];
    for (const [i, out] of (outputs[0] ?? []).entries()) {
      const channel = sound[i] ?? sound[0];
      if (channel) (this.gates[i] ??= new NoiseGate(sampleRate)).process(channel, out);
    }
    return true;
  }
}

registerProcessor('noise-gate', Gate);
