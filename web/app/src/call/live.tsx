import { call as sdk } from '@trunkline/sdk';
import { Dialog, Icon, MenuButton } from '@trunkline/ui';
import { useState } from 'preact/hooks';
import { useApp, useT, useView } from '../app.ts';
import { lazy } from '../lazy.tsx';
import { nameOf, TrustMark } from '../screens/parts.tsx';
import type { Contact } from '../state.ts';
import { RouteBadge } from './badge.tsx';
import { canFloat, Small, useFloat, useSessionControls } from './float.tsx';
import type { Command } from './keys.ts';
import { keyText } from './keytext.ts';
import { clock } from './layer.tsx';
import { DeviceProblems, Devices, Limited, RoundButton, Sound } from './parts.tsx';
import { Sign, signKey } from './signs.tsx';
import { Stage, useSeconds } from './stage.tsx';
import { useKeys } from './usekeys.ts';
import type { CallView } from './view.ts';

const Details = lazy(() => import('./details.tsx').then((m) => m.Details));
const ChatPane = lazy(() => import('../screens/person.tsx').then((m) => m.ChatPane));
const KeySheet = lazy(() => import('./details.tsx').then((m) => m.KeySheet));

export function Live(props: { call: CallView; contact: Contact }) {
  const { call, contact } = props;
  const app = useApp();
  const t = useT();
  const control = app.engine.call;
  const keys = useView((s) => (s.prefs.singleKeys ? s.prefs.keys : null));
  const [chat, setChat] = useState(false);
  const [over, setOver] = useState<'keys' | 'devices' | null>(null);
  const [details, setDetails] = useState(false);
  const small = useFloat(nameOf(contact), <Small contact={contact} />, '.tile.large video, .tile.them video');
  const { sending, tracks, peer } = call;
  useSessionControls(sending.microphone, sending.camera, {
    microphone: () => control?.toggle('microphone'),
    camera: () => control?.toggle('camera'),
    leave: () => control?.hangup(),
  });
  useKeys({ muted: !sending.microphone, mute: (on) => control?.mute(on) }, (command) => {
    if (command === 'chat') setChat(!chat);
    else if (command === 'keys') setOver(over === 'keys' ? null : 'keys');
    else if (command !== 'talk') control?.toggle(command);
  });
  const hint = (command: Command) => (keys ? keyText(t, keys[command]) : '');
  return (
    <div class={`call-live ${chat ? 'with-chat' : ''}`}>
      <header class="call-head">
        <h1 tabIndex={-1}>{nameOf(contact)}</h1>
        <TrustMark trust={contact.trust} />
        <Duration call={call} />
        <RouteBadge call={call} open={details} onOpen={() => setDetails(!details)} />
        {call.code && (
          <span class="call-code" title={t('callCodeHint')}>
            {t('callCode')} <strong data-testid="code">{`${call.code.slice(0, 3)} ${call.code.slice(3)}`}</strong>
          </span>
        )}
      </header>
      {details && <Details call={call} onClose={() => setDetails(false)} />}
      <DeviceProblems problems={call.problems} onRetry={(what) => control?.retry(what)} />
      <Limited call={call} />
      <div class="call-main">
        <Stage call={call} contact={contact} />
        {chat && (
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
        {'getDisplayMedia' in navigator.mediaDevices && (
          <RoundButton
            id="screen"
            icon="screen"
            pressed={tracks.screen !== undefined}
            label={t(tracks.screen ? 'callScreenOff' : 'callScreenOn')}
            hint={hint('screen')}
            onClick={() => control?.toggle('screen')}
          />
        )}
        <MenuButton label={t('callReact')} class="round" up items={sdk.reactions.map((r) => ({ label: t(signKey(r)), icon: <Sign what={r} />, run: () => control?.react(r) }))}>
          <Icon name="smile" />
        </MenuButton>
        <RoundButton id="hand" icon="hand" pressed={sending.hand} label={t(sending.hand ? 'callHandDown' : 'callHandUp')} hint={hint('hand')} onClick={() => control?.toggle('hand')} />
        <RoundButton id="chat" icon="chat" pressed={chat} label={t('callChat')} hint={hint('chat')} onClick={() => setChat(!chat)} />
        <MenuButton
          label={t('callMore')}
          class="round"
          up
          items={[
            { label: t(call.grid ? 'callSpeakerView' : 'callGridView'), icon: <Icon name={call.grid ? 'people' : 'grid'} />, run: () => control?.arrange(!call.grid) },
            ...(canFloat() ? [{ label: t(small.floating ? 'callFloatClose' : 'callFloat'), icon: <Icon name="float" />, run: small.toggle }] : []),
            { label: t('mediaTitle'), icon: <Icon name="settings" />, run: () => setOver('devices') },
            { label: t('callKeys'), icon: <Icon name="key" />, run: () => setOver('keys') },
          ]}
        >
          <Icon name="more" />
        </MenuButton>
        <RoundButton id="hangup" icon="leave" danger label={t('callHangup')} onClick={() => control?.hangup()} />
      </div>
      {over === 'keys' && <KeySheet onClose={() => setOver(null)} />}
      {over === 'devices' && (
        <Dialog title={t('mediaTitle')} closeLabel={t('close')} onClose={() => setOver(null)}>
          <Devices tracks={call.tracks} chosen={control?.chosen ?? {}} onChoose={(what, id) => control?.choose(what, id)} />
        </Dialog>
      )}
    </div>
  );
}

function Duration(props: { call: CallView }) {
  const t = useT();
  useSeconds(true);
  const { stage } = props.call;
  return (
    <span class="call-muted" role="timer" aria-label={t('callDuration')}>
      {stage.is === 'live' ? clock(performance.now() - stage.since) : ''}
    </span>
  );
}
