import { useState } from 'preact/hooks';
import { useApp, useT, useView } from '../app.ts';
import { lazy } from '../lazy.tsx';
import { nameOf, TrustMark } from '../screens/parts.tsx';
import type { Contact } from '../state.ts';
import { type Command, keyText } from './keys.ts';
import { DeviceProblems, RoundButton, Sound } from './parts.tsx';
import { Stage } from './stage.tsx';
import { useKeys } from './usekeys.ts';
import type { CallView } from './view.ts';

// They come when there is a picture or a sound: until then nothing may be in its way.
const Head = lazy(() => import('./more.tsx').then((m) => m.Head));
const Below = lazy(() => import('./more.tsx').then((m) => m.Below));
const Tools = lazy(() => import('./more.tsx').then((m) => m.Tools));
const ChatPane = lazy(() => import('../screens/person.tsx').then((m) => m.ChatPane));

export interface Open {
  chat: boolean;
  over: 'keys' | 'devices' | null;
  details: boolean;
}

export function Live(props: { call: CallView; contact: Contact }) {
  const { call, contact } = props;
  const app = useApp();
  const t = useT();
  const control = app.engine.call;
  const [open, setOpen] = useState<Open>({ chat: false, over: null, details: false });
  const { sending, peer } = call;
  const keys = useView((s) => (s.prefs.singleKeys ? s.prefs.keys : null));
  const hint = (command: Command) => (keys ? keyText(t, keys[command]) : '');
  const change = (c: Partial<Open>) => setOpen({ ...open, ...c });
  useKeys({ muted: !sending.microphone, mute: (on) => control?.mute(on) }, (command) => {
    if (command === 'chat') change({ chat: !open.chat });
    else if (command === 'keys') change({ over: open.over === 'keys' ? null : 'keys' });
    else if (command !== 'talk') control?.toggle(command);
  });
  const more = { ...props, open, hint, onOpen: change };
  // Sound alone says it where there is no picture to wait for.
  const plays = ({ target }: Event) => {
    if (target instanceof HTMLAudioElement ? !peer.sending.camera : target instanceof Element && target.closest('.them')) control?.seen();
  };
  return (
    <div class={`call-live ${open.chat ? 'with-chat' : ''}`} onPlayingCapture={plays}>
      <header class="call-head">
        <h1 tabIndex={-1}>{nameOf(contact)}</h1>
        <TrustMark trust={contact.trust} />
        {call.seen && <Head {...more} />}
      </header>
      <DeviceProblems problems={call.problems} onRetry={(what) => control?.retry(what)} />
      {call.seen && <Below {...more} />}
      <div class="call-main">
        <Stage call={call} contact={contact} />
        {open.chat && (
          <aside class="call-chat" aria-label={t('callChat')}>
            <ChatPane contact={contact} />
          </aside>
        )}
      </div>
      {peer.tracks.microphone && <Sound track={peer.tracks.microphone} speaker={control?.chosen.speaker ?? ''} />}
      {peer.tracks.screenAudio && <Sound track={peer.tracks.screenAudio} speaker={control?.chosen.speaker ?? ''} />}
      <div class="call-bar" role="toolbar" aria-label={t('callControls')}>
        <RoundButton
          id="microphone"
          icon={sending.microphone ? 'microphone' : 'mic-off'}
          off={!sending.microphone}
          label={t(sending.microphone ? 'callMicrophoneOff' : 'callMicrophoneOn')}
          hint={hint('microphone')}
          onClick={() => control?.toggle('microphone')}
        />
        <RoundButton
          id="camera"
          icon={sending.camera ? 'video' : 'video-off'}
          off={!sending.camera}
          label={t(sending.camera ? 'callCameraOff' : 'callCameraOn')}
          hint={hint('camera')}
          onClick={() => control?.toggle('camera')}
        />
        {call.seen && <Tools {...more} />}
        <RoundButton id="hangup" icon="leave" danger label={t('callHangup')} onClick={() => control?.hangup()} />
      </div>
    </div>
  );
}
