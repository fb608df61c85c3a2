// The camera, the microphone and the speaker of this machine, as a person tries and picks them.

export interface Picks {
  microphone: string;
  camera: string;
  speaker: string;
}

/** How the page asks for them. Empty picks are the system's choice. */
export function constraints(picks: Picks, want: { sound: boolean; picture: boolean }): MediaStreamConstraints {
  return {
    audio: want.sound ? { echoCancellation: true, noiseSuppression: true, ...(picks.microphone ? { deviceId: { exact: picks.microphone } } : {}) } : false,
    video: want.picture ? { width: { ideal: 1280 }, height: { ideal: 720 }, ...(picks.camera ? { deviceId: { exact: picks.camera } } : {}) } : false,
  };
}

export interface Devices {
  microphones: MediaDeviceInfo[];
  cameras: MediaDeviceInfo[];
  speakers: MediaDeviceInfo[];
}

export async function listDevices(): Promise<Devices> {
  const all = await navigator.mediaDevices.enumerateDevices();
  const of = (kind: MediaDeviceKind) => all.filter((d) => d.kind === kind && d.deviceId !== '');
  return { microphones: of('audioinput'), cameras: of('videoinput'), speakers: of('audiooutput') };
}

/** How loud the microphone is, 0 to 1, some thirty times a second until it is stopped. */
export function levelOf(stream: MediaStream, hear: (level: number) => void): () => void {
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  analyser.fftSize = 512;
  context.createMediaStreamSource(stream).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  let frame = 0;
  const look = () => {
    analyser.getFloatTimeDomainData(samples);
    let sum = 0;
    for (const s of samples) sum += s * s;
    // Loudness as ears take it: from -60 dB to 0.
    hear(Math.min(1, Math.max(0, 1 + (10 * Math.log10(sum / samples.length + 1e-12)) / 60)));
    frame = requestAnimationFrame(look);
  };
  look();
  return () => {
    cancelAnimationFrame(frame);
    void context.close();
  };
}

/** Two soft notes, made here: there is no file to fetch. */
export async function playTest(speaker: string): Promise<void> {
  const context = new AudioContext();
  try {
    const sink = context as AudioContext & { setSinkId?: (id: string) => Promise<void> };
    if (speaker && sink.setSinkId) await sink.setSinkId(speaker);
    const gain = context.createGain();
    gain.connect(context.destination);
    const now = context.currentTime;
    gain.gain.setValueAtTime(0, now);
    for (const [at, pitch] of [[0, 523], [0.25, 659]] as const) {
      const tone = context.createOscillator();
      tone.frequency.value = pitch;
      tone.connect(gain);
      tone.start(now + at);
      tone.stop(now + at + 0.25);
      gain.gain.linearRampToValueAtTime(0.2, now + at + 0.03);
      gain.gain.linearRampToValueAtTime(0, now + at + 0.24);
    }
    await new Promise((resolve) => setTimeout(resolve, 700));
  } finally {
    await context.close();
  }
}
