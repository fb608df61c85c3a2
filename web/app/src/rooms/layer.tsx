import { Field, Icon, Switch } from '@trunkline/ui';
import { useEffect, useRef } from 'preact/hooks';
import { useApp, useT, useView } from '../app.ts';
import { clock } from '../call/clock.ts';
import { DeviceProblems, Devices, Meter, Picture, RoundButton } from '../call/parts.tsx';
import { nameOf } from '../screens/parts.tsx';
import type { RoomControl } from './control.ts';
import { LiveRoom } from './live.tsx';
import { OwnNode } from './ownnode.tsx';
import { type RoomKey, useRoomT } from './text.ts';
import type { RoomOver, RoomView } from './view.ts';

/** A meeting above everything else. */
export function RoomLayer(props: { view: RoomView; control: RoomControl }) {
  const { view, control } = props;
  const r = useRoomT();
  const layer = useRef<HTMLDivElement>(null);
  // What is under the layer is neither read nor reached while it is up.
  useEffect(() => {
    const before = document.activeElement;
    const under = [...(layer.current?.parentElement?.children ?? [])].filter((e): e is HTMLElement => e instanceof HTMLElement && e !== layer.current && !e.classList.contains('toasts'));
    for (const e of under) e.inert = true;
    return () => {
      for (const e of under) e.inert = false;
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  useEffect(() => {
    layer.current?.querySelector<HTMLElement>('h1')?.focus();
  }, [view.stage.is]);
  const title = view.room?.title || r('roomUntitled');
  return (
    <div ref={layer} class="call-layer" role="dialog" aria-modal="true" aria-label={title} data-stage={view.stage.is}>
      {view.stage.is === 'live' && view.room ? <LiveRoom view={view} room={view.room} control={control} /> : <Threshold view={view} control={control} title={title} />}
    </div>
  );
}

const overs: Record<RoomOver, { title: RoomKey; text: RoomKey }> = {
  left: { title: 'roomOverLeft', text: 'roomOverLeftText' },
  removed: { title: 'roomOverRemoved', text: 'roomOverRemovedText' },
  denied: { title: 'roomOverDenied', text: 'roomOverDeniedText' },
  closed: { title: 'roomOverClosed', text: 'roomOverClosedText' },
  expired: { title: 'roomOverExpired', text: 'roomOverExpiredText' },
  gate: { title: 'roomOverGate', text: 'roomOverGateText' },
  link: { title: 'roomOverLink', text: 'roomOverLinkText' },
  gone: { title: 'roomOverGone', text: 'roomOverGoneText' },
  full: { title: 'roomOverFull', text: 'roomOverFullText' },
  quota: { title: 'roomOverQuota', text: 'roomOverQuotaText' },
  members: { title: 'roomOverMembers', text: 'roomOverMembersText' },
  policy: { title: 'roomOverPolicy', text: 'roomOverPolicyText' },
  pass: { title: 'roomOverPass', text: 'roomOverPassText' },
  word: { title: 'roomOverWord', text: 'roomOverWordText' },
  limited: { title: 'roomOverLimited', text: 'roomOverLimitedText' },
  unreachable: { title: 'roomOverUnreachable', text: 'roomOverUnreachableText' },
  alarm: { title: 'roomOverAlarm', text: 'roomOverAlarmText' },
  failed: { title: 'roomOverFailed', text: 'roomOverFailedText' },
};

/** Where trying again can help. */
const again: readonly RoomOver[] = ['left', 'full', 'quota', 'limited', 'unreachable', 'failed', 'denied'];

/** Before and after: looking at oneself, coming in, waiting to be let in, and how it ended. */
function Threshold(props: { view: RoomView; control: RoomControl; title: string }) {
  const { view, control } = props;
  const app = useApp();
  const t = useT();
  const r = useRoomT();
  const prefs = useView((s) => s.prefs);
  const { stage, tracks, sending } = view;
  const before = stage.is === 'prejoin';
  const looking = stage.is !== 'ended' && stage.is !== 'live';
  const host = hostOf(view.link);
  const heading = {
    prejoin: () => r('roomPrejoin'),
    joining: () => r('roomJoining'),
    waiting: () => r('roomWaitingTitle'),
    live: () => '',
    ended: () => (stage.is === 'ended' ? r(overs[stage.why].title) : ''),
  }[stage.is]();
  const named = prefs.name.trim() !== '';
  const enter = () => {
    if (named) control.enter();
  };
  return (
    <form
      class="call-waiting"
      onSubmit={(e) => {
        e.preventDefault();
        enter();
      }}
    >
      <div class="call-who">
        <h1 tabIndex={-1} aria-live="polite">
          {heading}
        </h1>
        {before && <p class="call-muted">{r('roomAt', { node: host })}</p>}
        {stage.is === 'waiting' && (
          <>
            {view.room?.title && <p class="strong">{view.room.title}</p>}
            <p class="row centre call-muted">
              <span class="spinner" />
              {r('roomWaitingText')}
            </p>
          </>
        )}
        {stage.is === 'ended' && (
          <>
            {view.room?.title && <p class="strong">{view.room.title}</p>}
            {stage.lasted > 0 && <p class="call-muted">{clock(stage.lasted)}</p>}
            <p class={stage.why === 'alarm' ? 'call-alarm' : 'call-muted'}>{r(overs[stage.why].text, { node: host })}</p>
          </>
        )}
      </div>
      {looking && (
        <div class="preview">
          {tracks.camera ? (
            <Picture track={tracks.camera} label={t('callYou')} mirror />
          ) : (
            <div class="no-picture">
              <Icon name="video-off" />
            </div>
          )}
          {tracks.microphone && sending.microphone && <Meter track={tracks.microphone} />}
        </div>
      )}
      {looking && <DeviceProblems problems={view.problems} onRetry={(what) => control.own.retry(what)} />}
      {looking && (
        <div class="call-bar">
          <RoundButton id="microphone" icon={sending.microphone ? 'microphone' : 'mic-off'} off={!sending.microphone} label={t(sending.microphone ? 'callMicrophoneOff' : 'callMicrophoneOn')} onClick={() => control.toggle('microphone')} />
          <RoundButton id="camera" icon={sending.camera ? 'video' : 'video-off'} off={!sending.camera} label={t(sending.camera ? 'callCameraOff' : 'callCameraOn')} onClick={() => control.toggle('camera')} />
          {!before && <RoundButton id="hangup" icon="leave" danger label={r('roomLeave')} onClick={() => control.leave()} />}
        </div>
      )}
      {before && (
        <>
          <div class="room-name">
            <Field
              label={t('yourName')}
              hint={view.guest ? r('roomNameGuest') : r('roomNameHint')}
              value={prefs.name}
              onInput={(name) => app.engine.setPrefs({ ...prefs, name: name.slice(0, 64) })}
              attributes={{ maxLength: 64, autocomplete: 'nickname' }}
            />
          </div>
          <div class="call-actions">
            <button type="button" class="button" onClick={() => control.cancel()}>
              {t('cancel')}
            </button>
            <button type="submit" class="button main" disabled={!named}>
              <Icon name="video" />
              {r('roomEnter')}
            </button>
          </div>
          <div class="call-actions">
            <button type="button" class="button plain" disabled={!named} onClick={() => control.without()}>
              {t('callWithout')}
            </button>
          </div>
          <p class="small call-muted centre-text">{r('roomWhoSees', { node: host })}</p>
          <Switch label={t('callHideAddress')} hint={r('roomHideHint', { node: host })} on={view.relayOnly} onChange={(on) => control.hideAddress(on)} />
        </>
      )}
      {(before || stage.is === 'waiting') && <Devices tracks={tracks} chosen={control.own.chosen} onChoose={(what, id) => control.own.choose(what, id)} />}
      {stage.is === 'waiting' && view.room && view.room.people.length > 1 && <p class="call-muted">{view.room.people.filter((p) => !p.me).map(nameOf).join(', ')}</p>}
      {stage.is === 'ended' && stage.why === 'pass' && <OwnNode link={view.link} />}
      {stage.is === 'ended' && (
        <div class="call-actions">
          <button
            type="button"
            class="button"
            onClick={() => {
              control.cancel();
              app.go({ screen: 'home' });
            }}
          >
            {t('callBack')}
          </button>
          {again.includes(stage.why) && (
            <button type="button" class="button main" onClick={() => control.approachAgain()}>
              {stage.why === 'left' ? r('roomRejoin') : t('retry')}
            </button>
          )}
        </div>
      )}
    </form>
  );
}

function hostOf(link: string): string {
  try {
    return new URL(link).host;
  } catch {
    return location.host; // the link is broken, and that is what the screen says
  }
}
