// The way of the microphone where a plugin is on it.
export { processAudio } from '@trunkline/sdk/browser';
