// The microphone's way through the plugins that have media.audio: one audio worklet stage after the other. What comes
// out behaves like the microphone's own track: stopping it gives the microphone back, and it ends when that one ends.

import type { Plugins } from "./plugins.ts";

/** Gives the microphone's track back where no plugin wants it or none of them can be loaded. */
export async function processAudio(plugins: Pick<Plugins, "audio" | "audioFailed">, source: MediaStreamTrack): Promise<MediaStreamTrack> {
  const stages = plugins.audio;
  if (stages.length === 0) return source;
  const context = new AudioContext();
  let last: AudioNode = context.createMediaStreamSource(new MediaStream([source]));
  let used = 0;
  for (const stage of stages) {
    try {
      await context.audioWorklet.addModule(stage.module);
      const node = new AudioWorkletNode(context, stage.processor);
      // It is silent from then on: the plugin is reported, and the next microphone goes past it.
      node.onprocessorerror = () => plugins.audioFailed(stage);
      last.connect(node);
      last = node;
      used++;
    } catch {
      plugins.audioFailed(stage);
    }
  }
  if (used === 0) {
    await context.close();
    return source;
  }
  const out = context.createMediaStreamDestination();
  last.connect(out);
  const track = out.stream.getAudioTracks()[0]!;
  track.contentHint = "speech";
  const stop = track.stop.bind(track);
  track.stop = () => {
    stop();
    source.stop();
    if (context.state !== "closed") void context.close();
  };
  source.addEventListener("ended", () => {
    track.stop();
    track.dispatchEvent(new Event("ended"));
  });
  return track;
}
