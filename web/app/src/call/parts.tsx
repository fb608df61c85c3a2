import { Icon, type IconName, Listbox, once } from '@trunkline/ui';
import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { useApp, useT } from '../app.ts';
import { lazy } from '../lazy.tsx';
import type { CallView, Own } from './view.ts';

/** A picture. The track is authentic, or one's own. */
export function Picture(props: { track: MediaStreamTrack; label: string; mirror?: boolean; whole?: boolean; children?: ComponentChildren }) {
  const video = useRef<HTMLVideoElement>(null);
  useEffect(() => {
    const element = video.current;
    if (!element) return;
    element.srcObject = new MediaStream([props.track]);
    // It may be taken away while it begins to play.
    element.play().catch(() => undefined);
    return () => {
      element.srcObject = null;
    };
  }, [props.track]);
  return <video ref={video} class={`picture ${props.mirror ? 'mirror' : ''} ${props.whole ? 'whole' : ''}`} muted playsInline autoplay aria-label={props.label} />;
}

interface Sinks {
  setSinkId?: (id: string) => Promise<void>;
}

/** Sound of the other side. */
export function Sound(props: { track: MediaStreamTrack; speaker: string }) {
  const audio = useRef<HTMLAudioElement>(null);
  useEffect(() => {
    const element = audio.current;
    if (!element) return;
    element.srcObject = new MediaStream([props.track]);
    element.play().catch(() => undefined);
    return () => {
      element.srcObject = null;
    };
  }, [props.track]);
  useEffect(() => {
    if (props.speaker) (audio.current as Sinks | null)?.setSinkId?.(props.speaker).catch(() => undefined);
  }, [props.speaker]);
  return <audio ref={audio} autoplay />;
}

/** How loud the own microphone is, so that nobody has to ask "can you hear me". */
export function Meter(props: { track: MediaStreamTrack }) {
  const t = useT();
  const bar = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const context = new AudioContext();
    const analyser = context.createAnalyser();
    analyser.fftSize = 512;
    context.createMediaStreamSource(new MediaStream([props.track])).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    let frame = 0;
    const look = () => {
      analyser.getFloatTimeDomainData(samples);
      let sum = 0;
      for (const s of samples) sum += s * s;
      // From -60 dB to 0 dB.
      const level = Math.max(0, Math.min(1, 1 + Math.log10(Math.sqrt(sum / samples.length) + 1e-6) / 3));
      bar.current?.style.setProperty('--level', level.toFixed(2));
      frame = requestAnimationFrame(look);
    };
    look();
    return () => {
      cancelAnimationFrame(frame);
      context.close().catch(() => undefined);
    };
  }, [props.track]);
  return (
    <div class="meter" role="img" aria-label={t('callYourMicrophone')}>
      <div ref={bar} />
    </div>
  );
}

/** Which microphone, camera and speaker. Names are told by the browser once it may use them. */
export function Devices(props: { tracks: CallView['tracks']; chosen: Partial<Record<Own | 'speaker', string>>; onChoose: (what: Own | 'speaker', id: string) => void }) {
  const app = useApp();
  const t = useT();
  const [all, setAll] = useState<MediaDeviceInfo[]>([]);
  useEffect(() => {
    const look = () => {
      navigator.mediaDevices.enumerateDevices().then(setAll, () => setAll([]));
    };
    look();
    navigator.mediaDevices.addEventListener('devicechange', look);
    return () => navigator.mediaDevices.removeEventListener('devicechange', look);
  }, [props.tracks.microphone, props.tracks.camera]);
  const test = once(
    async () => (await import('../media.ts')).playTest(props.chosen.speaker ?? ''),
    () => app.store.dispatch({ type: 'toast', text: t('speakerFailed') }),
  );
  const kinds = [
    { what: 'microphone', kind: 'audioinput', label: t('callMicrophone') },
    { what: 'camera', kind: 'videoinput', label: t('callCamera') },
    { what: 'speaker', kind: 'audiooutput', label: t('callSpeaker') },
  ] as const;
  return (
    <div class="devices">
      {kinds.map(({ what, kind, label }) => {
        const options = all.filter((d) => d.kind === kind && d.deviceId && d.deviceId !== 'default').map((d) => ({ value: d.deviceId, label: d.label || label }));
        if (options.length === 0) return null;
        return (
          <Listbox
            key={what}
            label={label}
            options={[{ value: '', label: t('callDefaultDevice') }, ...options]}
            value={props.chosen[what] ?? ''}
            onChange={(id) => props.onChoose(what, id)}
          />
        );
      })}
      <div class="device-test">
        <button type="button" class="button" onClick={test}>
          {t('speakerTest')}
        </button>
      </div>
    </div>
  );
}

const Problems = lazy(() => import('./problems.tsx').then((m) => m.Problems));

/** What is wrong with a device, and the next step. */
export function DeviceProblems(props: { problems: CallView['problems']; onRetry: (what: Own) => void }) {
  return props.problems.microphone || props.problems.camera ? <Problems {...props} /> : null;
}

export function RoundButton(props: { icon: IconName; label: string; hint?: string; pressed?: boolean; off?: boolean; danger?: boolean; onClick: () => void; show?: string; id?: string }) {
  return (
    <button
      type="button"
      class={`round ${props.off ? 'off' : ''} ${props.danger ? 'danger' : ''} ${props.pressed ? 'pressed' : ''}`}
      aria-label={props.label}
      aria-pressed={props.pressed}
      title={props.hint ? `${props.label} (${props.hint})` : props.label}
      data-testid={props.id}
      onClick={props.onClick}
    >
      <Icon name={props.icon} />
      {props.show && <span class="round-label">{props.show}</span>}
    </button>
  );
}
