import { Icon, Listbox, once, Switch } from '@trunkline/ui';
import { useEffect, useRef, useState } from 'preact/hooks';
import { useApp, useT } from '../app.ts';
import { type DeviceProblem, deviceProblem } from '../devices.ts';
import type { Key } from '../i18n.ts';
import { constraints, type Devices, levelOf, listDevices, type Picks, playTest } from '../media.ts';
import { Notice, Screen } from './parts.tsx';
import { deviceProblemKey, WhereToClick } from './deviceproblem.tsx';

type Preview =
  | { is: 'off' }
  | { is: 'asking' }
  | { is: 'on'; stream: MediaStream }
  | { is: 'problem'; what: 'camera' | 'microphone'; problem: DeviceProblem };

/** Trying out camera, microphone and speaker. Nothing of it leaves this page. */
export function MediaScreen() {
  const app = useApp();
  const t = useT();
  const [picks, setPicks] = useState<Picks>({ microphone: '', camera: '', speaker: '' });
  const [want, setWant] = useState({ sound: true, picture: true });
  const [attempt, setAttempt] = useState(0);
  const [preview, setPreview] = useState<Preview>({ is: 'off' });
  const [devices, setDevices] = useState<Devices>({ microphones: [], cameras: [], speakers: [] });

  useEffect(() => {
    if (attempt === 0 || (!want.sound && !want.picture)) {
      setPreview({ is: 'off' });
      return;
    }
    let gone = false;
    let stream: MediaStream | null = null;
    setPreview({ is: 'asking' });
    const run = async () => {
      let what: 'camera' | 'microphone' = 'microphone';
      try {
        // One after the other, so that a problem has a name.
        stream = new MediaStream();
        for (const kind of ['microphone', 'camera'] as const) {
          if (kind === 'microphone' ? !want.sound : !want.picture) continue;
          what = kind;
          const one = await navigator.mediaDevices.getUserMedia(constraints(picks, { sound: kind === 'microphone', picture: kind === 'camera' }));
          for (const track of one.getTracks()) stream.addTrack(track);
        }
        if (gone) return stop(stream);
        for (const track of stream.getTracks()) track.onended = () => setPreview({ is: 'problem', what: track.kind === 'audio' ? 'microphone' : 'camera', problem: { is: 'lost' } });
        setDevices(await listDevices());
        if (!gone) setPreview({ is: 'on', stream });
      } catch (error) {
        if (stream) stop(stream);
        const problem = await deviceProblem(error, what);
        if (!gone) setPreview({ is: 'problem', what, problem });
      }
    };
    void run();
    return () => {
      gone = true;
      if (stream) stop(stream);
    };
  }, [attempt, picks.microphone, picks.camera, want.sound, want.picture]);

  const test = once(
    () => playTest(picks.speaker),
    () => app.store.dispatch({ type: 'toast', text: t('speakerFailed') }),
  );
  const options = (list: MediaDeviceInfo[], word: Key) => [
    { value: '', label: t('deviceDefault') },
    ...list.map((d, i) => ({ value: d.deviceId, label: d.label || `${t(word)} ${i + 1}` })),
  ];
  return (
    <Screen title={t('mediaTitle')} narrow>
      <section class="card">
        <p class="muted">{t('mediaText')}</p>
        {preview.is === 'problem' ? (
          <Notice kind="warn">
            <p class="strong">{t(preview.what === 'camera' ? 'camera' : 'microphone')}</p>
            <p>{t(deviceProblemKey(preview.problem), { device: t(preview.what === 'camera' ? 'camera' : 'microphone') })}</p>
            <WhereToClick problem={preview.problem} />
            <div>
              <button type="button" class="button" onClick={() => setAttempt(attempt + 1)}>
                {t('retry')}
              </button>
            </div>
          </Notice>
        ) : (
          <Picture stream={preview.is === 'on' && want.picture ? preview.stream : null} words={t(preview.is === 'asking' ? 'mediaAsking' : want.picture || attempt === 0 ? 'mediaOff' : 'cameraOff')} />
        )}
        {preview.is === 'on' && want.sound && <Level stream={preview.stream} />}
        {attempt === 0 && (
          <div>
            <button type="button" class="button main" onClick={() => setAttempt(1)}>
              <Icon name="video" />
              {t('mediaTry')}
            </button>
          </div>
        )}
        <Switch label={t('microphone')} on={want.sound} onChange={(sound) => setWant({ ...want, sound })} />
        <Switch label={t('camera')} on={want.picture} onChange={(picture) => setWant({ ...want, picture })} />
      </section>
      {preview.is === 'on' && (
        <section class="card">
          <Listbox label={t('microphone')} value={picks.microphone} options={options(devices.microphones, 'microphone')} onChange={(microphone) => setPicks({ ...picks, microphone })} />
          <Listbox label={t('camera')} value={picks.camera} options={options(devices.cameras, 'camera')} onChange={(camera) => setPicks({ ...picks, camera })} />
          <Listbox label={t('speaker')} value={picks.speaker} options={options(devices.speakers, 'speaker')} onChange={(speaker) => setPicks({ ...picks, speaker })} />
          <div>
            <button type="button" class="button" onClick={test}>
              {t('speakerTest')}
            </button>
          </div>
        </section>
      )}
    </Screen>
  );
}

function stop(stream: MediaStream): void {
  for (const track of stream.getTracks()) {
    track.onended = null;
    track.stop();
  }
}

function Picture(props: { stream: MediaStream | null; words: string }) {
  const t = useT();
  const video = useRef<HTMLVideoElement>(null);
  useEffect(() => {
    const element = video.current;
    if (!element || !props.stream) return;
    element.srcObject = props.stream;
    // It is muted and in the page: a browser that does not play it shows the first picture.
    element.play().catch(() => undefined);
    return () => {
      element.srcObject = null;
    };
  }, [props.stream]);
  return (
    <div class="preview">
      {props.stream ? <video ref={video} muted playsInline aria-label={t('viewfinder')} /> : <p>{props.words}</p>}
    </div>
  );
}

/** A live meter. It is drawn without rendering the page thirty times a second. */
function Level(props: { stream: MediaStream }) {
  const t = useT();
  const bar = useRef<HTMLDivElement>(null);
  useEffect(() => levelOf(props.stream, (level) => bar.current?.style.setProperty('--level', level.toFixed(3))), [props.stream]);
  return (
    <div class="row">
      <Icon name="microphone" />
      <div class="level" ref={bar} role="img" aria-label={t('levelMeter')}>
        <span />
      </div>
    </div>
  );
}
