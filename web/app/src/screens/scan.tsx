import { Icon } from '@trunkline/ui';
import { useEffect, useRef, useState } from 'preact/hooks';
import { useT } from '../app.ts';
import { type DeviceProblem, deviceProblem } from '../devices.ts';
import { deviceProblemKey, WhereToClick } from './deviceproblem.tsx';

interface Detector {
  detect(source: Picture): Promise<{ rawValue: string }[]>;
}
interface DetectorClass {
  new (options: { formats: string[] }): Detector;
  getSupportedFormats(): Promise<string[]>;
}

type Picture = HTMLVideoElement | ImageBitmap;
type Reader = (picture: Picture) => Promise<string | null>;

function sizeOf(picture: Picture): { width: number; height: number } {
  return picture instanceof ImageBitmap ? picture : { width: picture.videoWidth, height: picture.videoHeight };
}

/** The browser's own reader where it has one, else a small decoder that is loaded for it. */
async function reader(): Promise<Reader> {
  const native = (globalThis as { BarcodeDetector?: DetectorClass }).BarcodeDetector;
  if (native && (await native.getSupportedFormats()).includes('qr_code')) {
    const detector = new native({ formats: ['qr_code'] });
    return async (picture) => (await detector.detect(picture))[0]?.rawValue ?? null;
  }
  const { decodeQR } = await import('qr/decode.js');
  const canvas = document.createElement('canvas');
  const context = canvas.getContext('2d', { willReadFrequently: true });
  return async (picture) => {
    const { width, height } = sizeOf(picture);
    if (!context || !width) return null;
    // A camera has more pixels than a code needs; a third of a million is enough.
    const scale = Math.min(1, 640 / Math.max(width, height));
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    context.drawImage(picture, 0, 0, canvas.width, canvas.height);
    const image = context.getImageData(0, 0, canvas.width, canvas.height);
    try {
      return decodeQR(image);
    } catch {
      return null; // it throws where there is no code, which is nearly always
    }
  };
}

/** Larger than any photograph of a screen. */
const maxPicture = 32 << 20;

/** The code on a picture that somebody has as a file, or null. */
async function readFile(file: File): Promise<string | null> {
  if (file.size > maxPicture) return null;
  const picture = await createImageBitmap(file);
  try {
    return await (await reader())(picture);
  } finally {
    picture.close();
  }
}

/** Looks through the camera for a QR code. `onText` says whether the code was the right kind; 'more': it is one of
 * several that belong together. */
export function Scanner(props: { onText: (text: string) => boolean | 'more'; onClose: () => void }) {
  const t = useT();
  const video = useRef<HTMLVideoElement>(null);
  const [problem, setProblem] = useState<DeviceProblem | null>(null);
  const [wrong, setWrong] = useState<'kind' | 'picture' | null>(null);
  const [attempt, setAttempt] = useState(0);
  const onText = useRef(props.onText);
  onText.current = props.onText;
  useEffect(() => {
    let gone = false;
    let stream: MediaStream | null = null;
    let timer = 0;
    const run = async () => {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'environment' } });
      const element = video.current;
      if (gone || !element) {
        for (const track of stream.getTracks()) track.stop();
        return;
      }
      element.srcObject = stream;
      await element.play();
      const read = await reader();
      const look = async () => {
        if (gone) return;
        const text = await read(element).catch(() => null);
        if (gone) return;
        const took = text ? onText.current(text) : 'more';
        if (took === true) return;
        if (took === false) setWrong('kind');
        timer = window.setTimeout(() => void look(), 150);
      };
      await look();
    };
    run().catch(async (error: unknown) => {
      const found = await deviceProblem(error, 'camera');
      if (!gone) setProblem(found);
    });
    return () => {
      gone = true;
      clearTimeout(timer);
      for (const track of stream?.getTracks() ?? []) track.stop();
    };
  }, [attempt]);
  const fromFile = (file: File) => {
    readFile(file).then(
      (text) => {
        if (text === null) setWrong('picture');
        else if (!onText.current(text)) setWrong('kind');
      },
      () => setWrong('picture'), // what the browser cannot decode is no picture
    );
  };
  const picture = (
    <label class="button attach">
      <Icon name="attach" />
      {t('scanFile')}
      <input
        type="file"
        accept="image/*"
        onChange={(e) => {
          const [file] = e.currentTarget.files ?? [];
          if (file) fromFile(file);
          e.currentTarget.value = '';
        }}
      />
    </label>
  );
  return (
    <div class="stack tight">
      {problem ? (
        <>
          <p class="problem" role="alert">
            {t(deviceProblemKey(problem), { device: t('camera') })}
          </p>
          <WhereToClick problem={problem} />
          <div class="row wrap">
            {picture}
            <button
              type="button"
              class="button"
              onClick={() => {
                setProblem(null);
                setAttempt(attempt + 1);
              }}
            >
              {t('retry')}
            </button>
            <button type="button" class="button plain" onClick={props.onClose}>
              {t('cancel')}
            </button>
          </div>
        </>
      ) : (
        <>
          {/* A picture of one's own camera has no words to caption. */}
          <video ref={video} class="viewfinder" muted playsInline aria-label={t('viewfinder')} />
          <div class="row wrap">
            {picture}
            <button type="button" class="button plain" onClick={props.onClose}>
              {t('cancel')}
            </button>
          </div>
        </>
      )}
      <p class="small muted" role="status">
        {wrong && t(wrong === 'kind' ? 'scanWrong' : 'scanNothing')}
      </p>
    </div>
  );
}
