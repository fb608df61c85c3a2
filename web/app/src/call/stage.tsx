import { Avatar, Icon } from '@trunkline/ui';
import type { ComponentChildren } from 'preact';
import { useEffect, useLayoutEffect, useReducer, useRef } from 'preact/hooks';
import { useApp, useT } from '../app.ts';
import { nameOf } from '../screens/parts.tsx';
import type { Contact } from '../state.ts';
import { Picture } from './parts.tsx';
import { Sign, signKey } from './signs.tsx';
import type { CallView, TileName } from './view.ts';

/** Renders again each second while it is wanted. */
export function useSeconds(on: boolean): number {
  const [n, again] = useReducer<number, void>((x) => x + 1, 0);
  useEffect(() => {
    if (!on) return;
    const timer = setInterval(() => again(), 1000);
    return () => clearInterval(timer);
  }, [on]);
  return n;
}

/** What is to be seen: the other person, oneself and shared screens. One of them is large, or all
 * are alike. */
export function Stage(props: { call: CallView; contact: Contact }) {
  const { call, contact } = props;
  const t = useT();
  const name = nameOf(contact);
  const { peer, tracks, sending } = call;
  const theirs = peer.sending.screen ? peer.tracks.screen : undefined;
  const tiles: TileName[] = [...(theirs ? (['screen-theirs'] as const) : []), ...(tracks.screen ? (['screen-mine'] as const) : []), 'them', 'me'];
  const pinned = call.pinned !== null && tiles.includes(call.pinned) ? call.pinned : null;
  const large = pinned ?? (call.grid ? null : (tiles[0] ?? 'them'));
  const broken = call.brokenSince !== null;
  useSeconds(broken);
  const gone = call.brokenSince === null ? 0 : Math.max(0, Math.round((performance.now() - call.brokenSince) / 1000));
  const layout = large === null ? 'grid' : large === 'them' && tiles.length === 2 ? 'speaker' : 'strip';
  const tile = (which: TileName) => ({ which, large: which === large, pinned: which === pinned });
  return (
    <div class={`call-stage ${layout}`} data-testid="stage" data-layout={layout} style={{ '--small': String(tiles.length - 1) }}>
      {theirs && <ScreenTile {...tile('screen-theirs')} call={call} on="theirs" track={theirs} label={t('callScreenOf', { name })} pointer={name} />}
      {tracks.screen && <ScreenTile {...tile('screen-mine')} call={call} on="mine" track={tracks.screen} label={t('callScreenOwn')} pointer={name} />}
      <Tile {...tile('them')} label={name} dimmed={broken}>
        {peer.sending.camera && peer.tracks.camera ? (
          <Picture track={peer.tracks.camera} label={name} />
        ) : (
          <div class="no-picture">
            <Avatar name={name} seed={contact.id} large />
            {peer.sending.camera && <span class="call-muted">{t('callSecuring')}</span>}
          </div>
        )}
        <TileName label={name} muted={peer.sending.microphone ? null : t('callMuted', { name })} />
        {peer.sending.hand && <Hand text={t('callHandRaised', { name })} />}
        {broken && (
          <div class="tile-broken" role="status">
            {t('callReconnecting', { count: gone })}
          </div>
        )}
        <Reactions call={call} from="them" />
      </Tile>
      <Tile {...tile('me')} label={t('callYou')}>
        {tracks.camera ? (
          <Picture track={tracks.camera} label={t('callYou')} mirror />
        ) : (
          <div class="no-picture">
            <Icon name="video-off" />
          </div>
        )}
        <TileName label={t('callYou')} muted={sending.microphone ? null : t('callOwnMuted')} />
        {sending.hand && <Hand text={t('callHandOwn')} />}
        <Reactions call={call} from="me" />
      </Tile>
    </div>
  );
}

function Tile(props: { which: TileName; large: boolean; pinned: boolean; label: string; dimmed?: boolean; children: ComponentChildren }) {
  return (
    <div class={`tile ${props.which === 'me' || props.which === 'them' ? props.which : ''} ${props.large ? 'large' : ''} ${props.dimmed ? 'dimmed' : ''}`} data-testid={props.which}>
      {props.children}
      <Pin which={props.which} pinned={props.pinned} label={props.label} />
    </div>
  );
}

function Pin(props: { which: TileName; pinned: boolean; label: string }) {
  const app = useApp();
  const t = useT();
  return (
    <button
      type="button"
      class="tile-pin"
      aria-pressed={props.pinned}
      aria-label={t('callPin', { name: props.label })}
      title={t('callPin', { name: props.label })}
      onClick={() => app.engine.call?.pin(props.pinned ? null : props.which)}
    >
      <Icon name="pin" />
    </button>
  );
}

function TileName(props: { label: string; muted: string | null }) {
  return (
    <div class="tile-name">
      {props.label}
      {props.muted && (
        <span title={props.muted}>
          <Icon name="mic-off" />
          <span class="hidden-text">{props.muted}</span>
        </span>
      )}
    </div>
  );
}

function Hand(props: { text: string }) {
  return (
    <div class="tile-hand" role="status">
      <Icon name="hand" />
      <span class="hidden-text">{props.text}</span>
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
            <Sign what={r.what} />
            <span class="hidden-text">{t(signKey(r.what))}</span>
          </span>
        ))}
    </div>
  );
}

/** A shared screen, whole, with where the two point on it. */
function ScreenTile(props: { which: TileName; large: boolean; pinned: boolean; call: CallView; on: 'mine' | 'theirs'; track: MediaStreamTrack; label: string; pointer: string }) {
  const app = useApp();
  const t = useT();
  const tile = useRef<HTMLDivElement>(null);
  const content = useRef<HTMLDivElement>(null);
  const { call, on } = props;
  // The picture keeps its shape inside of its tile. An element is laid exactly over it, in the very
  // frame in which either of them changes, and pointers stand in hundredths of that.
  useLayoutEffect(() => {
    const video = tile.current?.querySelector('video');
    if (!tile.current || !video) return;
    const place = () => {
      if (!tile.current || !content.current) return;
      const { clientWidth: width, clientHeight: height } = tile.current;
      const scale = video.videoWidth > 0 ? Math.min(width / video.videoWidth, height / video.videoHeight) : 0;
      const [w, h] = [video.videoWidth * scale, video.videoHeight * scale];
      Object.assign(content.current.style, { left: `${(width - w) / 2}px`, top: `${(height - h) / 2}px`, width: `${w}px`, height: `${h}px` });
    };
    place();
    const observer = new ResizeObserver(place);
    observer.observe(tile.current);
    video.addEventListener('resize', place);
    video.addEventListener('loadedmetadata', place);
    return () => {
      observer.disconnect();
      video.removeEventListener('resize', place);
      video.removeEventListener('loadedmetadata', place);
    };
  }, [props.track]);
  const point = (e: PointerEvent) => {
    const box = content.current?.getBoundingClientRect();
    if (!box || box.width === 0) return;
    const [x, y] = [(e.clientX - box.left) / box.width, (e.clientY - box.top) / box.height];
    app.engine.call?.point(on, x < 0 || x > 1 || y < 0 || y > 1 ? null : { x, y });
  };
  return (
    <div ref={tile} class={`tile screen-tile ${props.large ? 'large' : ''}`} data-testid={props.which} onPointerMove={point} onPointerLeave={() => app.engine.call?.point(on, null)}>
      <Picture track={props.track} label={props.label} whole />
      <div ref={content} class="screen-content">
        {call.pointer?.on === on && (
          <div class="remote-pointer" data-testid="pointer" style={{ left: `${call.pointer.x * 100}%`, top: `${call.pointer.y * 100}%` }}>
            <span class="hidden-text">{t('callPointerOf', { name: props.pointer })}</span>
            <span class="tag" aria-hidden="true">
              {props.pointer}
            </span>
          </div>
        )}
      </div>
      <div class="tile-name">{props.label}</div>
      <Pin which={props.which} pinned={props.pinned} label={props.label} />
    </div>
  );
}
