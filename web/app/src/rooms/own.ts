import type { SlotName } from '@trunkline/sdk/room';
import { deviceProblem, lostDevice } from '../devices.ts';
import type { Content, Own, RoomView } from './view.ts';

/** What a meeting gives to the devices of this person, and hears from them. */
export interface Stand {
  view(): RoomView | null;
  show(change: Partial<RoomView>): void;
  /** Sends a track to the others; null: nothing more. */
  give(slot: SlotName, track: MediaStreamTrack | null, content: Content): Promise<void>;
  muted(slot: Own, on: boolean): void;
  /** What plugins make of the microphone. */
  process(track: MediaStreamTrack): Promise<MediaStreamTrack>;
  run(work: Promise<unknown>): void;
}

/** The microphone, the camera and the screen of this person in a meeting. */
export class OwnMedia {
  private readonly stand: Stand;
  private over = false;
  /** Devices that the person chose; the browser's own choice where there is none. */
  readonly chosen: Partial<Record<Own | 'speaker', string>> = {};

  constructor(stand: Stand) {
    this.stand = stand;
  }

  open(): void {
    const view = this.stand.view();
    if (!view) return;
    for (const what of ['microphone', 'camera'] as const) if (view.sending[what]) this.stand.run(this.device(what));
  }

  /** Sends what is there, once there is somebody to send it to. */
  async giveAll(): Promise<void> {
    const view = this.stand.view();
    if (!view) return;
    for (const [slot, track] of Object.entries(view.tracks) as [SlotName, MediaStreamTrack][]) await this.stand.give(slot, track, view.content);
    this.stand.muted('microphone', !view.sending.microphone);
  }

  private problem(what: Own | 'screen', problem: RoomView['problems'][Own] | undefined): void {
    const view = this.stand.view();
    if (!view) return;
    const problems = { ...view.problems };
    if (problem) problems[what] = problem;
    else delete problems[what];
    this.stand.show({ problems });
  }

  /** Opens a device; what is wrong with it is shown, and the meeting goes on without it. */
  private async device(what: Own): Promise<void> {
    const id = this.chosen[what];
    const deviceId = id ? { deviceId: { exact: id } } : {};
    let stream: MediaStream;
    try {
      stream = await navigator.mediaDevices.getUserMedia(
        what === 'microphone' ? { audio: { ...deviceId, echoCancellation: true, noiseSuppression: true, autoGainControl: true } } : { video: { ...deviceId, width: { ideal: 1280 }, height: { ideal: 720 } } },
      );
    } catch (error) {
      const found = await deviceProblem(error, what);
      const view = this.stand.view();
      if (this.over || !view) return;
      this.problem(what, found);
      return this.stand.show({ sending: { ...view.sending, [what]: false } });
    }
    const [raw] = stream.getTracks();
    if (!raw) return;
    const track = what === 'microphone' ? await this.stand.process(raw) : raw;
    const view = this.stand.view();
    if (this.over || !view?.sending[what]) return track.stop();
    view.tracks[what]?.stop();
    track.addEventListener('ended', () => {
      // Pulled out, or taken away by somebody: the truth is that it is off.
      if (this.stand.view()?.tracks[what] !== track) return;
      this.stand.run(Promise.all([this.off(what), lostDevice(what).then((problem) => !this.over && this.problem(what, problem))]));
    });
    this.problem(what, undefined);
    this.stand.show({ tracks: { ...(this.stand.view()?.tracks ?? view.tracks), [what]: track } });
    await this.stand.give(what, track, view.content);
    this.stand.muted(what, false);
  }

  async off(what: Own | 'screen'): Promise<void> {
    const view = this.stand.view();
    if (!view) return;
    const tracks = { ...view.tracks };
    tracks[what]?.stop();
    delete tracks[what];
    if (what === 'screen') {
      tracks.screenAudio?.stop();
      delete tracks.screenAudio;
    }
    this.stand.show(what === 'screen' ? { tracks } : { tracks, sending: { ...view.sending, [what]: false } });
    await this.stand.give(what, null, view.content);
    if (what === 'screen' && view.tracks.screenAudio) await this.stand.give('screenAudio', null, view.content);
  }

  /** Another microphone or camera. */
  choose(what: Own | 'speaker', id: string): void {
    this.chosen[what] = id;
    if (what !== 'speaker' && this.stand.view()?.sending[what]) this.stand.run(this.device(what));
    else this.stand.show({});
  }

  /** What is done to the sound has changed: the microphone goes the new way at once. */
  rewire(): void {
    if (this.stand.view()?.tracks.microphone) this.stand.run(this.device('microphone'));
  }

  retry(what: Own): void {
    const view = this.stand.view();
    if (!view) return;
    this.stand.show({ sending: { ...view.sending, [what]: true } });
    this.stand.run(this.device(what));
  }

  toggle(what: Own | 'screen'): void {
    const view = this.stand.view();
    if (!view) return;
    if (what === 'screen') return this.stand.run(view.tracks.screen ? this.off('screen') : this.share());
    if (what === 'camera' && view.sending.camera) return this.stand.run(this.off('camera'));
    if (what === 'microphone' && view.tracks.microphone) return this.mute(view.sending.microphone);
    this.retry(what);
  }

  /** A muted microphone stays open, so that speaking begins with the first sound. */
  mute(on: boolean): void {
    const view = this.stand.view();
    const track = view?.tracks.microphone;
    if (!view || !track || view.sending.microphone === !on) return;
    track.enabled = !on;
    this.stand.show({ sending: { ...view.sending, microphone: !on } });
    this.stand.muted('microphone', on);
  }

  /** Sharing never touches the camera. */
  private async share(): Promise<void> {
    let stream: MediaStream;
    try {
      stream = await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: { max: 30 } }, audio: true });
    } catch (error) {
      // Whoever closes the browser's own dialog has changed their mind.
      if (error instanceof DOMException && error.name === 'NotAllowedError') return;
      return this.problem('screen', await deviceProblem(error, 'camera'));
    }
    const [screen] = stream.getVideoTracks();
    const [screenAudio] = stream.getAudioTracks();
    const view = this.stand.view();
    if (!screen || this.over || view?.stage.is !== 'live') {
      for (const t of stream.getTracks()) t.stop();
      return;
    }
    screen.contentHint = view.content === 'text' ? 'detail' : 'motion';
    screen.addEventListener('ended', () => {
      if (this.stand.view()?.tracks.screen === screen) this.stand.run(this.off('screen'));
    });
    this.stand.show({ tracks: { ...view.tracks, screen, ...(screenAudio ? { screenAudio } : {}) } });
    await this.stand.give('screen', screen, view.content);
    if (screenAudio) await this.stand.give('screenAudio', screenAudio, view.content);
  }

  /** Letters sharp with few pictures, or a film that runs smoothly. */
  content(content: Content): void {
    const view = this.stand.view();
    if (!view || view.content === content) return;
    this.stand.show({ content });
    const { screen } = view.tracks;
    if (!screen) return;
    screen.contentHint = content === 'text' ? 'detail' : 'motion';
    this.stand.run(this.stand.give('screen', screen, content));
  }

  /** Gives every device back. */
  end(): void {
    this.over = true;
    for (const track of Object.values(this.stand.view()?.tracks ?? {})) track?.stop();
    if (this.stand.view()) this.stand.show({ tracks: {} });
  }
}

/** Speech is louder than a quiet room: -48 dB, at which a fan is silent and a low voice is not. */
const speechDb = -48;
const lookMs = 100;
/** Words have pauses. */
const pauseMs = 600;

/** Says when somebody begins and ends to speak, by what the microphone hears. */
export function listenToSpeech(track: MediaStreamTrack, told: (on: boolean) => void): () => void {
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  analyser.fftSize = 1024;
  context.createMediaStreamSource(new MediaStream([track])).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  let until = 0;
  let on = false;
  const look = () => {
    analyser.getFloatTimeDomainData(samples);
    let sum = 0;
    for (const s of samples) sum += s * s;
    const now = performance.now();
    if (track.enabled && 10 * Math.log10(sum / samples.length + 1e-12) > speechDb) until = now + pauseMs;
    if (now < until === on) return;
    on = !on;
    told(on);
  };
  const timer = setInterval(look, lookMs);
  return () => {
    clearInterval(timer);
    if (on) told(false);
    context.close().catch(() => undefined);
  };
}
