import { Avatar, Icon } from '@trunkline/ui';
import type { ComponentChildren } from 'preact';
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
import { useT } from '../app.ts';
import { Picture } from '../call/parts.tsx';
import { Sign, signKey } from '../call/signs.tsx';
import { nameOf } from '../screens/parts.tsx';
import { QualityMark, RouteMark } from './badge.tsx';
import type { RoomControl } from './control.ts';
import { layOut, type Placed } from './layout.ts';
import { useRoomT } from './text.ts';
import { type StageTile, tilesOf } from './tiles.ts';
import type { RoomView } from './view.ts';

/** How large an element is, and again when that changes. */
function useSize(): { ref: { current: HTMLDivElement | null }; width: number; height: number } {
  const ref = useRef<HTMLDivElement>(null);
  const [size, setSize] = useState({ width: 0, height: 0 });
  useLayoutEffect(() => {
    const element = ref.current;
    if (!element) return;
    const look = () => setSize((before) => (before.width === element.clientWidth && before.height === element.clientHeight ? before : { width: element.clientWidth, height: element.clientHeight }));
    look();
    const observer = new ResizeObserver(look);
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  return { ref, ...size };
}

/** Everybody and their screens, as the layout places them. What is not on this page is not asked for. */
export function Stage(props: { view: RoomView; control: RoomControl; onDetails: (person: number) => void }) {
  const { view, control } = props;
  const r = useRoomT();
  const { ref, width, height } = useSize();
  const tiles = tilesOf(view);
  const wish = { grid: view.grid, pinned: view.pinned, speaker: view.floor.speaker, page: view.page, width, height };
  const layout = useMemo(() => layOut({ ...wish, tiles }), [tiles.map((t) => t.key).join(), ...Object.values(wish)]);
  const wanted = layout.placed.map((p) => `${p.key} ${Math.round(p.height)} ${p.large}`).join();
  useEffect(() => control.shown(layout.placed), [control, wanted, view.pinned]);
  const byKey = new Map(tiles.map((t) => [t.key, t]));
  const alone = view.room?.people.length === 1;
  return (
    <div class="room-stage" ref={ref} data-testid="stage" data-layout={layout.kind} data-page={layout.page}>
      {layout.placed.map((p) => {
        const tile = byKey.get(p.key);
        if (!tile) return null;
        return tile.screen ? <ScreenTile key={p.key} tile={tile} place={p} {...props} /> : <PersonTile key={p.key} tile={tile} place={p} {...props} />;
      })}
      {alone && <p class="room-alone">{r('roomAlone')}</p>}
      {layout.pages > 1 && (
        <div class="room-pages">
          <TurnButton way="before" page={layout.page - 1} pages={layout.pages} control={control} />
          <p role="status">{r('roomPage', { page: layout.page + 1, pages: layout.pages })}</p>
          <TurnButton way="after" page={layout.page + 1} pages={layout.pages} control={control} />
        </div>
      )}
    </div>
  );
}

function TurnButton(props: { way: 'before' | 'after'; page: number; pages: number; control: RoomControl }) {
  const r = useRoomT();
  const label = r(props.way === 'before' ? 'roomPageBefore' : 'roomPageAfter');
  return (
    <button type="button" class={`room-turn ${props.way}`} disabled={props.page < 0 || props.page >= props.pages} aria-label={label} title={label} onClick={() => props.control.turn(props.page)}>
      <Icon name="back" />
    </button>
  );
}

/** A narrower tile has no room for words about its way; they stand in its sheet, and for whoever does not see it. */
const smallTile = 250;

interface TileProps {
  tile: StageTile;
  place: Placed;
  view: RoomView;
  control: RoomControl;
  onDetails: (person: number) => void;
}

function Frame(props: TileProps & { children: ComponentChildren; label: string; class?: string }) {
  const { tile, place, view } = props;
  const style = { left: `${place.x}px`, top: `${place.y}px`, width: `${place.width}px`, height: `${place.height}px` };
  return (
    <div class={`tile room-tile ${place.large ? 'large' : ''} ${place.width < smallTile ? 'small' : ''} ${props.class ?? ''}`} style={style} data-tile={tile.key} data-person={tile.person.index} role="group" aria-label={props.label}>
      {props.children}
      <Pin tileKey={tile.key} pinned={view.pinned === tile.key} label={props.label} control={props.control} />
    </div>
  );
}

function Pin(props: { tileKey: string; pinned: boolean; label: string; control: RoomControl }) {
  const t = useT();
  const label = t('callPin', { name: props.label });
  return (
    <button type="button" class="tile-pin" aria-pressed={props.pinned} aria-label={label} title={label} onClick={() => props.control.pin(props.pinned ? null : props.tileKey)}>
      <Icon name="pin" />
    </button>
  );
}

function PersonTile(props: TileProps) {
  const { tile, view, place } = props;
  const { person } = tile;
  const t = useT();
  const r = useRoomT();
  const name = person.me ? t('callYou') : tile.name;
  const muted = person.me ? !view.sending.microphone : person.presence?.microphone === false;
  const broken = !person.me && !person.connected;
  return (
    <Frame {...props} label={name} class={`${person.speaking ? 'speaking' : ''} ${broken ? 'dimmed' : ''}`}>
      {tile.track ? (
        <Picture track={tile.track} label={name} mirror={person.me} />
      ) : (
        <div class="no-picture">
          <Avatar name={tile.name} seed={person.id} large={place.width >= smallTile} />
          {tile.sent?.state === 'securing' && person.presence?.camera && <span class="call-muted">{t('callSecuring')}</span>}
        </div>
      )}
      {tile.sent?.state === 'paused' && tile.track && <p class="tile-broken">{r(tile.sent.pausedBy === 'bandwidth' ? 'roomPausedBandwidth' : 'roomPaused')}</p>}
      {broken && (
        <p class="tile-broken" role="status">
          {r('roomConnecting')}
        </p>
      )}
      <div class="tile-name">
        {person.role === 'owner' && <Icon name="key" />}
        <span class="cut">{name}</span>
        {muted && (
          <span title={person.me ? t('callOwnMuted') : t('callMuted', { name })}>
            <Icon name="mic-off" />
            <span class="hidden-text">{person.me ? t('callOwnMuted') : t('callMuted', { name })}</span>
          </span>
        )}
        {person.presence?.recording && (
          <span class="record-dot" title={r('roomRecordedBy', { name })}>
            <span class="hidden-text">{r('roomRecordedBy', { name })}</span>
          </span>
        )}
      </div>
      <div class="tile-top">
        {person.hand > 0 && (
          <span class="tile-hand-place" title={r('roomHandPlace', { name, place: person.hand })}>
            <Icon name="hand" />
            <span aria-hidden="true">{person.hand}</span>
            <span class="hidden-text">{r('roomHandPlace', { name, place: person.hand })}</span>
          </span>
        )}
        {!person.me && person.connected && (
          <button type="button" class="tile-route" data-testid={`route-${person.index}`} aria-label={r('roomRouteOf', { name })} onClick={() => props.onDetails(person.index)}>
            <QualityMark quality={person.quality} />
            <RouteMark route={person.route} short={place.width < smallTile} />
          </button>
        )}
      </div>
      <Reactions view={view} person={person.index} />
    </Frame>
  );
}

function Reactions(props: { view: RoomView; person: number }) {
  const t = useT();
  return (
    <div class="reactions" role="status">
      {props.view.reactions
        .filter((x) => x.person === props.person)
        .map((x) => (
          <span key={x.id} class="reaction">
            <Sign what={x.what} />
            <span class="hidden-text">{t(signKey(x.what))}</span>
          </span>
        ))}
    </div>
  );
}

/** A shared screen, whole, with where people point on it. */
function ScreenTile(props: TileProps) {
  const { tile, view, control } = props;
  const t = useT();
  const r = useRoomT();
  const box = useRef<HTMLDivElement>(null);
  const content = useRef<HTMLDivElement>(null);
  const owner = tile.person.index;
  const label = tile.me ? t('callScreenOwn') : t('callScreenOf', { name: tile.name });
  // The picture keeps its shape inside of its tile. An element is laid exactly over it, in the very frame in which
  // either of them changes, and pointers stand in hundredths of that.
  useLayoutEffect(() => {
    const video = box.current?.querySelector('video');
    if (!box.current || !video) return;
    const place = () => {
      if (!box.current || !content.current) return;
      const { clientWidth: width, clientHeight: height } = box.current;
      const scale = video.videoWidth > 0 ? Math.min(width / video.videoWidth, height / video.videoHeight) : 0;
      const [w, h] = [video.videoWidth * scale, video.videoHeight * scale];
      Object.assign(content.current.style, { left: `${(width - w) / 2}px`, top: `${(height - h) / 2}px`, width: `${w}px`, height: `${h}px` });
    };
    place();
    const observer = new ResizeObserver(place);
    observer.observe(box.current);
    video.addEventListener('resize', place);
    video.addEventListener('loadedmetadata', place);
    return () => {
      observer.disconnect();
      video.removeEventListener('resize', place);
      video.removeEventListener('loadedmetadata', place);
    };
  }, [tile.track]);
  const point = (e: PointerEvent) => {
    const area = content.current?.getBoundingClientRect();
    if (!area || area.width === 0) return;
    const [x, y] = [(e.clientX - area.left) / area.width, (e.clientY - area.top) / area.height];
    control.point(owner, x < 0 || x > 1 || y < 0 || y > 1 ? null : { x, y });
  };
  const people = new Map(view.room?.people.map((p) => [p.index, p]));
  return (
    <Frame {...props} label={label} class="screen-tile">
      <div ref={box} class="screen-box" onPointerMove={point} onPointerLeave={() => control.point(owner, null)}>
        {tile.track && <Picture track={tile.track} label={label} whole />}
        <div ref={content} class="screen-content">
          {[...view.pointers].map(([index, at]) => {
            const person = people.get(index);
            if (at.screen !== owner || !person) return null;
            return (
              <div key={index} class="remote-pointer" data-testid="pointer" style={{ left: `${at.x * 100}%`, top: `${at.y * 100}%` }}>
                <span class="hidden-text">{t('callPointerOf', { name: nameOf(person) })}</span>
                <span class="tag" aria-hidden="true">
                  {nameOf(person)}
                </span>
              </div>
            );
          })}
        </div>
      </div>
      <div class="tile-name">
        <Icon name="screen" />
        <span class="cut">{label}</span>
      </div>
      {tile.me && (
        <div class="tile-top">
          <button type="button" class="tile-route" aria-pressed={view.content === 'motion'} onClick={() => control.own.content(view.content === 'motion' ? 'text' : 'motion')}>
            {r(view.content === 'motion' ? 'roomContentMotion' : 'roomContentText')}
          </button>
        </div>
      )}
    </Frame>
  );
}
