import { Avatar, Icon } from '@trunkline/ui';
import { useT, useView } from '../app.ts';
import { Picture, RoundButton } from '../call/parts.tsx';
import type { RoomControl } from './control.ts';
import { useRoomT } from './text.ts';
import { tilesOf } from './tiles.ts';

/** What stands in the small window above everything else: a screen, or whoever speaks, and the own switches. */
export function SmallRoom(props: { control: RoomControl }) {
  const { control } = props;
  const t = useT();
  const r = useRoomT();
  const view = useView((s) => s.room);
  if (view?.stage.is !== 'live') return null;
  const tiles = tilesOf(view);
  const tile = tiles.find((x) => x.key === view.pinned) ?? tiles.findLast((x) => x.screen && !x.me) ?? tiles.find((x) => x.key === view.floor.speaker) ?? tiles.find((x) => !x.me) ?? tiles[0];
  const { sending } = view;
  return (
    <main class="call-layer call-small">
      <h1 class="hidden-text">{view.room?.title || r('roomUntitled')}</h1>
      {tile && (
        <div class="tile" data-testid="small">
          {tile.track ? (
            <Picture track={tile.track} label={tile.name} whole={tile.screen} mirror={tile.me && !tile.screen} />
          ) : (
            <div class="no-picture">
              <Avatar name={tile.name} seed={tile.person.id} large />
            </div>
          )}
          <div class="tile-name">
            {tile.name}
            {tile.person.presence?.microphone === false && <Icon name="mic-off" />}
          </div>
        </div>
      )}
      <div class="call-bar" role="toolbar" aria-label={t('callControls')}>
        <RoundButton id="microphone" icon={sending.microphone ? 'microphone' : 'mic-off'} off={!sending.microphone} label={t(sending.microphone ? 'callMicrophoneOff' : 'callMicrophoneOn')} onClick={() => control.toggle('microphone')} />
        <RoundButton id="camera" icon={sending.camera ? 'video' : 'video-off'} off={!sending.camera} label={t(sending.camera ? 'callCameraOff' : 'callCameraOn')} onClick={() => control.toggle('camera')} />
        <RoundButton id="hand" icon="hand" pressed={view.hand} label={t(view.hand ? 'callHandDown' : 'callHandUp')} onClick={() => control.toggle('hand')} />
        <RoundButton id="hangup" icon="leave" danger label={r('roomLeave')} onClick={() => control.leave()} />
      </div>
    </main>
  );
}
