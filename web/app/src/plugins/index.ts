// The plugins that come with the app. Each can be switched on and off in the settings.
import type { Plugin } from '@trunkline/sdk';

export const noiseGate: Plugin = {
  name: 'noise-gate',
  version: '1.0',
  capabilities: ['media.audio'],
  hooks: { audio: { module: '/noise-gate.js', processor: 'noise-gate' } },
};
