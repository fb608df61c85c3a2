import { Avatar, Icon } from '@trunkline/ui';
import type { ComponentChildren } from 'preact';
import { useEffect, useReducer } from 'preact/hooks';
import { useApp, useT } from '../app.ts';
import { lazy } from '../lazy.tsx';
import { nameOf } from '../screens/parts.tsx';
import type { Contact } from '../state.ts';
import { Picture } from './parts.tsx';
import type { CallView, TileName } from './view.ts';

const ScreenTile = lazy(() => import('./screentile.tsx').then((m) => m.ScreenTile), 'tile');
const Reactions = lazy(() => import('./reactions.tsx').then((m) => m.Reactions));

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
        {call.reactions.length > 0 && <Reactions call={call} from="them" />}
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
        {call.reactions.length > 0 && <Reactions call={call} from="me" />}
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

export function Pin(props: { which: TileName; pinned: boolean; label: string }) {
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
