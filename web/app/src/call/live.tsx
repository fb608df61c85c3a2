import { call as sdk } from '@trunkline/sdk';
import { Avatar, Dialog, Icon, MenuButton } from '@trunkline/ui';
import { useEffect, useReducer, useRef, useState } from 'preact/hooks';
import { useApp, useT, useView } from '../app.ts';
import type { Key } from '../i18n.ts';
import { ChatPane } from '../screens/person.tsx';
import { nameOf, TrustMark } from '../screens/parts.tsx';
import type { Contact } from '../state.ts';
import { clock } from './layer.tsx';
import { DeviceProblems, Picture, RoundButton, Sound } from './parts.tsx';
import { type CallView, commandOf, typing } from './view.ts';

const signs: Record<sdk.Reaction, { sign: string; key: Key }> = {
  yes: { sign: '👍', key: 'callReactionYes' },
  no: { sign: '👎', key: 'callReactionNo' },
  applause: { sign: '👏', key: 'callReactionApplause' },
  heart: { sign: '❤️', key: 'callReactionHeart' },
  laugh: { sign: '😂', key: 'callReactionLaugh' },
  surprise: { sign: '😮', key: 'callReactionSurprise' },
};

export function Live(props: { call: CallView; contact: Contact }) {
  const { call, contact } = props;
  const app = useApp();
  const t = useT();
  const control = app.engine.call;
  const prefs = useView((s) => s.prefs);
  const [chat, setChat] = useState(false);
  const [sheet, setSheet] = useState(false);
  const [details, setDetails] = useState(false);
  const name = nameOf(contact);
  const held = useRef(false);
  const run = useRef<(command: NonNullable<ReturnType<typeof commandOf>>) => void>(() => undefined);
  run.current = (command) => {
    if (command === 'chat') setChat(!chat);
    else if (command === 'keys') setSheet(!sheet);
    else control?.toggle(command);
  };
  useEffect(() => {
    const down = (e: KeyboardEvent) => {
      if (!prefs.singleKeys || typing(e.target)) return;
      if (e.key === ' ' && !(e.target instanceof HTMLButtonElement)) {
        e.preventDefault();
        if (e.repeat || app.store.state.call?.sending.microphone) return;
        held.current = true;
        control?.mute(false);
        return;
      }
      const command = commandOf(e);
      if (!command) return;
      e.preventDefault();
      run.current(command);
    };
    const release = () => {
      if (!held.current) return;
      held.current = false;
      control?.mute(true);
    };
    const up = (e: KeyboardEvent) => {
      if (e.key === ' ') release();
    };
    addEventListener('keydown', down);
    addEventListener('keyup', up);
    addEventListener('blur', release);
    return () => {
      removeEventListener('keydown', down);
      removeEventListener('keyup', up);
      removeEventListener('blur', release);
    };
  }, [prefs.singleKeys]);

  const { sending, tracks, peer } = call;
  const hint = (key: string) => (prefs.singleKeys ? key : '');
  return (
    <div class={`call-live ${chat ? 'with-chat' : ''}`}>
      <header class="call-head">
        <h1 tabIndex={-1}>{name}</h1>
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
      <DeviceProblems call={call} />
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
          hint={hint('M')}
          onClick={() => control?.toggle('microphone')}
        />
        <RoundButton
          id="camera"
          icon={sending.camera ? 'video' : 'video-off'}
          off={!sending.camera}
          label={t(sending.camera ? 'callCameraOff' : 'callCameraOn')}
          hint={hint('V')}
          onClick={() => control?.toggle('camera')}
        />
        {'getDisplayMedia' in navigator.mediaDevices && (
          <RoundButton id="screen" icon="screen" pressed={tracks.screen !== undefined} label={t(tracks.screen ? 'callScreenOff' : 'callScreenOn')} hint={hint('S')} onClick={() => control?.toggle('screen')} />
        )}
        <MenuButton
          label={t('callReact')}
          class="round"
          up
          items={sdk.reactions.map((r) => ({ label: t(signs[r].key), icon: <span aria-hidden="true">{signs[r].sign}</span>, run: () => control?.react(r) }))}
        >
          <Icon name="smile" />
        </MenuButton>
        <RoundButton id="hand" icon="hand" pressed={sending.hand} label={t(sending.hand ? 'callHandDown' : 'callHandUp')} hint={hint('H')} onClick={() => control?.toggle('hand')} />
        <RoundButton id="chat" icon="chat" pressed={chat} label={t('callChat')} hint={hint('C')} onClick={() => setChat(!chat)} />
        <RoundButton id="hangup" icon="leave" danger label={t('callHangup')} onClick={() => control?.hangup()} />
      </div>
      {sheet && <Keys onClose={() => setSheet(false)} />}
    </div>
  );
}

function Stage(props: { call: CallView; contact: Contact }) {
  const { call, contact } = props;
  const t = useT();
  const name = nameOf(contact);
  const { peer, tracks, sending } = call;
  const screens = (peer.sending.screen && peer.tracks.screen ? 1 : 0) + (tracks.screen ? 1 : 0);
  const seconds = useSeconds(call.brokenSince !== null);
  const gone = call.brokenSince === null ? 0 : Math.max(0, Math.round((performance.now() - call.brokenSince) / 1000));
  return (
    <div class={`call-stage ${screens > 0 ? 'strip' : ''}`} data-seconds={seconds}>
      {peer.sending.screen && peer.tracks.screen && <ScreenTile call={call} on="theirs" track={peer.tracks.screen} label={t('callScreenOf', { name })} pointer={name} />}
      {tracks.screen && <ScreenTile call={call} on="mine" track={tracks.screen} label={t('callScreenOwn')} pointer={name} />}
      <div class={`tile them ${call.brokenSince === null ? '' : 'dimmed'}`} data-testid="them">
        {peer.sending.camera && peer.tracks.camera ? (
          <Picture track={peer.tracks.camera} label={name} />
        ) : (
          <div class="no-picture">
            <Avatar name={name} seed={contact.id} large />
            {peer.sending.camera && <span class="call-muted">{t('callSecuring')}</span>}
          </div>
        )}
        <div class="tile-name">
          {name}
          {!peer.sending.microphone && (
            <span title={t('callMuted', { name })}>
              <Icon name="mic-off" />
              <span class="hidden-text">{t('callMuted', { name })}</span>
            </span>
          )}
        </div>
        {peer.sending.hand && (
          <div class="tile-hand" role="status">
            <Icon name="hand" />
            <span class="hidden-text">{t('callHandRaised', { name })}</span>
          </div>
        )}
        {call.brokenSince !== null && (
          <div class="tile-broken" role="status">
            {t('callReconnecting', { count: gone })}
          </div>
        )}
        <Reactions call={call} from="them" />
      </div>
      <div class="tile me" data-testid="me">
        {tracks.camera ? (
          <Picture track={tracks.camera} label={t('callYou')} mirror />
        ) : (
          <div class="no-picture">
            <Icon name="video-off" />
          </div>
        )}
        <div class="tile-name">
          {t('callYou')}
          {!sending.microphone && (
            <span title={t('callOwnMuted')}>
              <Icon name="mic-off" />
              <span class="hidden-text">{t('callOwnMuted')}</span>
            </span>
          )}
        </div>
        {sending.hand && (
          <div class="tile-hand">
            <Icon name="hand" />
          </div>
        )}
        <Reactions call={call} from="me" />
      </div>
    </div>
  );
}

/** A shared screen, whole, with where the two point on it. */
function ScreenTile(props: { call: CallView; on: 'mine' | 'theirs'; track: MediaStreamTrack; label: string; pointer: string }) {
  const app = useApp();
  const t = useT();
  const tile = useRef<HTMLDivElement>(null);
  const { call, on } = props;
  /** Where the picture stands inside of its tile: it keeps its shape. */
  const place = (): { x: number; y: number; w: number; h: number } | null => {
    const video = tile.current?.querySelector('video');
    if (!tile.current || !video?.videoWidth) return null;
    const { width, height } = tile.current.getBoundingClientRect();
    const scale = Math.min(width / video.videoWidth, height / video.videoHeight);
    const [w, h] = [video.videoWidth * scale, video.videoHeight * scale];
    return { x: (width - w) / 2, y: (height - h) / 2, w, h };
  };
  const point = (e: PointerEvent) => {
    const at = place();
    if (!at || !tile.current) return;
    const box = tile.current.getBoundingClientRect();
    const [x, y] = [(e.clientX - box.left - at.x) / at.w, (e.clientY - box.top - at.y) / at.h];
    app.engine.call?.point(on, x < 0 || x > 1 || y < 0 || y > 1 ? null : { x, y });
  };
  const at = call.pointer?.on === on ? place() : null;
  return (
    <div ref={tile} class="tile screen-tile" data-testid={`screen-${on}`} onPointerMove={point} onPointerLeave={() => app.engine.call?.point(on, null)}>
      <Picture track={props.track} label={props.label} whole />
      <div class="tile-name">{props.label}</div>
      {at && call.pointer && (
        <div class="remote-pointer" data-testid="pointer" style={{ left: `${at.x + call.pointer.x * at.w}px`, top: `${at.y + call.pointer.y * at.h}px` }}>
          <span class="hidden-text">{t('callPointerOf', { name: props.pointer })}</span>
          <span class="tag" aria-hidden="true">
            {props.pointer}
          </span>
        </div>
      )}
    </div>
  );
}

function Reactions(props: { call: CallView; from: 'me' | 'them' }) {
  const t = useT();
  return (
    <div class="reactions" role="status">
      {props.call.reactions
        .filter((r) => r.from === props.from)
        .map((r) => (
          <span key={r.id} class="reaction">
            <span aria-hidden="true">{signs[r.what].sign}</span>
            <span class="hidden-text">{t(signs[r.what].key)}</span>
          </span>
        ))}
    </div>
  );
}

/** Renders again each second while it is wanted. */
function useSeconds(on: boolean): number {
  const [n, again] = useReducer<number, void>((x) => x + 1, 0);
  useEffect(() => {
    if (!on) return;
    const timer = setInterval(() => again(), 1000);
    return () => clearInterval(timer);
  }, [on]);
  return n;
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

const routes: Record<sdk.Leg, { name: Key; why: Key }> = {
  lan: { name: 'callRouteLan', why: 'callRouteLanText' },
  direct: { name: 'callRouteDirect', why: 'callRouteDirectText' },
  'relay/udp': { name: 'callRouteRelayUdp', why: 'callRouteRelayText' },
  'relay/tcp': { name: 'callRouteRelayTcp', why: 'callRouteRelayText' },
  'relay/tls': { name: 'callRouteRelayTls', why: 'callRouteRelayText' },
};

function RouteBadge(props: { call: CallView; open: boolean; onOpen: () => void }) {
  const t = useT();
  const { route } = props.call;
  if (!route) return null;
  return (
    <button type="button" class="route-badge" aria-expanded={props.open} data-testid="route" onClick={props.onOpen}>
      <Icon name="lock" />
      {t(routes[route.path].name)}
    </button>
  );
}

function Details(props: { call: CallView; onClose: () => void }) {
  const t = useT();
  const { route, quality, counts } = props.call;
  const opened = counts.filter((c) => c.way === 'open');
  const rows: [string, string][] = [];
  if (route) rows.push([t('callRoute'), `${t(routes[route.path].name)}. ${t(routes[route.path].why)}`]);
  rows.push([
    t('callEncryption'),
    t('callEncryptionText', { count: opened.reduce((n, c) => n + c.passed, 0), dropped: opened.reduce((n, c) => n + c.dropped, 0) }),
  ]);
  if (quality?.roundTripMs !== undefined) rows.push([t('callRoundTrip'), `${quality.roundTripMs} ms`]);
  if (quality?.loss !== undefined) rows.push([t('callLoss'), `${(quality.loss * 100).toFixed(1)} %`]);
  if (quality?.width) rows.push([t('callCodec'), `${quality.videoCodec ?? ''} ${quality.width} × ${quality.height}, ${Math.round(quality.framesPerSecond ?? 0)} fps`]);
  if (quality?.receivedKbps !== undefined) rows.push([t('callRate'), `${quality.receivedKbps} / ${quality.sentKbps ?? 0} kbit/s`]);
  return (
    <section class="call-details" aria-label={t('callDetails')}>
      <dl>
        {rows.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      <button type="button" class="button" onClick={props.onClose}>
        {t('close')}
      </button>
    </section>
  );
}

function Keys(props: { onClose: () => void }) {
  const t = useT();
  const rows: [string, string][] = [
    ['M', t('callMicrophone')],
    ['V', t('callCamera')],
    ['S', t('callScreenOn')],
    ['H', t('callHandUp')],
    ['C', t('callChat')],
    [t('callKeyHold'), t('callKeyHoldText')],
    ['?', t('callKeys')],
  ];
  return (
    <Dialog title={t('callKeys')} closeLabel={t('close')} onClose={props.onClose}>
      <dl class="call-keys">
        {rows.map(([key, what]) => (
          <div key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}
