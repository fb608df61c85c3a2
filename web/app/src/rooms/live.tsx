import { call as sdk } from '@trunkline/sdk';
import type { RoomState } from '@trunkline/sdk/room';
import { Dialog, Icon, MenuButton } from '@trunkline/ui';
import { useEffect, useState } from 'preact/hooks';
import { useMedia, useT, useView } from '../app.ts';
import { canFloat, useFloat, useSessionControls } from '../call/float.tsx';
import { type Command, keyText } from '../call/keys.ts';
import { clock } from '../call/clock.ts';
import { DeviceProblems, Devices, RoundButton, Sound } from '../call/parts.tsx';
import { Sign, signKey } from '../call/signs.tsx';
import { useSeconds } from '../call/stage.tsx';
import { useKeys } from '../call/usekeys.ts';
import { lazy } from '../lazy.tsx';
import { nameOf } from '../screens/parts.tsx';
import { PersonSheet, TopologyBadge, TopologySheet } from './badge.tsx';
import { ChatPanel } from './chat.tsx';
import type { RoomControl } from './control.ts';
import { PeoplePanel, AskedToMute, RecordSheet } from './people.tsx';
import { canRecord } from './recorder.ts';
import { SmallRoom } from './small.tsx';
import { Stage } from './stage.tsx';
import { useRoomT } from './text.ts';
import type { RoomView } from './view.ts';

const KeySheet = lazy(() => import('../call/details.tsx').then((m) => m.KeySheet));

type Over = { is: 'keys' | 'devices' | 'travels' | 'record' } | { is: 'person'; index: number };

/** A meeting while it goes on. */
export function LiveRoom(props: { view: RoomView; room: RoomState; control: RoomControl }) {
  const { view, room, control } = props;
  const t = useT();
  const r = useRoomT();
  const keys = useView((s) => (s.prefs.singleKeys ? s.prefs.keys : null));
  const [over, setOver] = useState<Over | null>(null);
  // Nine buttons do not stand in a row on a phone.
  const narrow = useMedia('(max-width: 767px)');
  const canShare = 'getDisplayMedia' in navigator.mediaDevices;
  const { sending, tracks, panel } = view;
  const title = room.title || r('roomUntitled');
  const small = useFloat(title, <SmallRoom control={control} />, '.room-tile.large video, .room-tile video');
  const leave = () => control.leave();
  useSessionControls(sending.microphone, sending.camera, { microphone: () => control.toggle('microphone'), camera: () => control.toggle('camera'), leave });
  useKeys({ muted: !sending.microphone, mute: (on) => control.own.mute(on) }, (command) => {
    if (command === 'chat') control.panel(panel === 'chat' ? 'none' : 'chat');
    else if (command === 'keys') setOver(over?.is === 'keys' ? null : { is: 'keys' });
    else if (command !== 'talk') control.toggle(command);
  });
  useUnfinished(view.recording.is === 'on' || view.recording.is === 'saving');
  const hint = (command: Command) => (keys ? keyText(t, keys[command]) : '');
  const person = over?.is === 'person' ? room.people.find((p) => p.index === over.index) : undefined;
  const close = () => setOver(null);
  return (
    <div class={`call-live room-live ${panel === 'none' ? '' : 'with-chat'}`}>
      <header class="call-head">
        <h1 tabIndex={-1}>{title}</h1>
        <Lasted view={view} />
        <TopologyBadge topology={room.topology} open={over?.is === 'travels'} onOpen={() => setOver({ is: 'travels' })} />
        <Recorders view={view} room={room} control={control} />
      </header>
      <p class="hidden-text" role="status">
        {view.news}
      </p>
      {room.phase === 'again' && (
        <p class="call-problem" role="status">
          <span class="spinner" />
          {r('roomAgain', { node: room.topology.node })}
        </p>
      )}
      <DeviceProblems problems={view.problems} onRetry={(what) => control.own.retry(what)} />
      <div class="call-main">
        <Stage view={view} control={control} onDetails={(index) => setOver({ is: 'person', index })} />
        {panel !== 'none' && (
          <aside class="call-chat room-panel" aria-label={panel === 'chat' ? t('callChat') : r('roomPeople')}>
            <header class="row">
              <h2 class="grow">{panel === 'chat' ? t('callChat') : r('roomPeople')}</h2>
              <button type="button" class="button plain only-icon" aria-label={t('close')} onClick={() => control.panel('none')}>
                <Icon name="close" />
              </button>
            </header>
            {panel === 'chat' ? <ChatPanel room={room} control={control} /> : <PeoplePanel view={view} room={room} control={control} />}
          </aside>
        )}
      </div>
      {room.tiles.map((x) => (x.track?.kind === 'audio' ? <Sound key={x.key} track={x.track} speaker={control.own.chosen.speaker ?? ''} /> : null))}
      <div class="call-bar" role="toolbar" aria-label={t('callControls')}>
        <RoundButton id="microphone" icon={sending.microphone ? 'microphone' : 'mic-off'} off={!sending.microphone} label={t(sending.microphone ? 'callMicrophoneOff' : 'callMicrophoneOn')} hint={hint('microphone')} onClick={() => control.toggle('microphone')} />
        <RoundButton id="camera" icon={sending.camera ? 'video' : 'video-off'} off={!sending.camera} label={t(sending.camera ? 'callCameraOff' : 'callCameraOn')} hint={hint('camera')} onClick={() => control.toggle('camera')} />
        {canShare && !narrow && (
          <RoundButton id="screen" icon="screen" pressed={tracks.screen !== undefined} label={t(tracks.screen ? 'callScreenOff' : 'callScreenOn')} hint={hint('screen')} onClick={() => control.toggle('screen')} />
        )}
        <MenuButton label={t('callReact')} class="round" up items={sdk.reactions.map((x) => ({ label: t(signKey(x)), icon: <Sign what={x} />, run: () => control.react(x) }))}>
          <Icon name="smile" />
        </MenuButton>
        <RoundButton id="hand" icon="hand" pressed={view.hand} label={t(view.hand ? 'callHandDown' : 'callHandUp')} hint={hint('hand')} onClick={() => control.toggle('hand')} />
        <span class="counted">
          <RoundButton id="chat" icon="chat" pressed={panel === 'chat'} label={t('callChat')} hint={hint('chat')} onClick={() => control.panel(panel === 'chat' ? 'none' : 'chat')} />
          <Count n={view.unread} text={r('roomUnread', { count: view.unread })} />
        </span>
        <span class="counted">
          <RoundButton id="people" icon="people" pressed={panel === 'people'} label={r('roomPeople')} onClick={() => control.panel(panel === 'people' ? 'none' : 'people')} />
          <Count n={room.lobby.length} text={r('roomWaiting', { count: room.lobby.length })} />
        </span>
        <MenuButton
          label={r('roomMore')}
          class="round"
          up
          items={[
            ...(canShare && narrow ? [{ label: t(tracks.screen ? 'callScreenOff' : 'callScreenOn'), icon: <Icon name="screen" />, run: () => control.toggle('screen') }] : []),
            { label: t(view.grid ? 'callSpeakerView' : 'callGridView'), icon: <Icon name={view.grid ? 'people' : 'grid'} />, run: () => control.arrange(!view.grid) },
            ...(canFloat() ? [{ label: t(small.floating ? 'callFloatClose' : 'callFloat'), icon: <Icon name="float" />, run: small.toggle }] : []),
            ...(canRecord() && view.recording.is === 'off' ? [{ label: r('roomRecord'), icon: <span class="record-dot" />, run: () => setOver({ is: 'record' }) }] : []),
            { label: t('mediaTitle'), icon: <Icon name="settings" />, run: () => setOver({ is: 'devices' }) },
            { label: t('callKeys'), icon: <Icon name="key" />, run: () => setOver({ is: 'keys' }) },
          ]}
        >
          <Icon name="more" />
        </MenuButton>
        <RoundButton id="hangup" icon="leave" danger label={r('roomLeave')} onClick={leave} />
      </div>
      {over?.is === 'keys' && <KeySheet onClose={close} />}
      {over?.is === 'record' && <RecordSheet control={control} onClose={close} />}
      {over?.is === 'travels' && <TopologySheet room={room} control={control} onClose={close} onPerson={(index) => setOver({ is: 'person', index })} />}
      {person && <PersonSheet person={person} room={room} control={control} onClose={close} />}
      {over?.is === 'devices' && (
        <Dialog title={t('mediaTitle')} closeLabel={t('close')} onClose={close}>
          <Devices tracks={tracks} chosen={control.own.chosen} onChoose={(what, id) => control.own.choose(what, id)} />
        </Dialog>
      )}
      <AskedToMute view={view} control={control} />
    </div>
  );
}

function Count(props: { n: number; text: string }) {
  return props.n > 0 ? (
    <span class="count" role="status">
      <span aria-hidden="true">{props.n}</span>
      <span class="hidden-text">{props.text}</span>
    </span>
  ) : null;
}

function Lasted(props: { view: RoomView }) {
  const t = useT();
  useSeconds(true);
  const { stage } = props.view;
  return (
    <span class="call-muted" role="timer" aria-label={t('callDuration')}>
      {stage.is === 'live' ? clock(performance.now() - stage.since) : ''}
    </span>
  );
}

/** Who records, for as long as it lasts, on everybody's screen; to whoever does it with the way to stop. */
function Recorders(props: { view: RoomView; room: RoomState; control: RoomControl }) {
  const { view, room, control } = props;
  const r = useRoomT();
  const others = room.people.filter((p) => !p.me && room.recording.includes(p.index)).map(nameOf);
  const own = view.recording.is;
  return (
    <>
      {others.length > 0 && (
        <span class="recording" role="status" data-testid="recorded">
          <span class="record-dot" />
          {r('roomRecordedBy', { name: others.join(', ') })}
        </span>
      )}
      {own !== 'off' && (
        <button type="button" class="recording" data-testid="recording" disabled={own !== 'on'} onClick={() => control.stop()}>
          <span class="record-dot" />
          {r(own === 'starting' ? 'roomRecordStarting' : own === 'on' ? 'roomRecordStop' : 'roomRecordSaving')}
        </button>
      )}
    </>
  );
}

/** A recording ends with its file: whoever closes the tab is asked first. */
function useUnfinished(on: boolean): void {
  useEffect(() => {
    if (!on) return;
    const ask = (e: BeforeUnloadEvent) => e.preventDefault();
    addEventListener('beforeunload', ask);
    return () => removeEventListener('beforeunload', ask);
  }, [on]);
}
