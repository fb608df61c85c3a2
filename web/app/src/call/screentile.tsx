import { useLayoutEffect, useRef } from 'preact/hooks';
import { useApp, useT } from '../app.ts';
import { Picture } from './parts.tsx';
import { Pin } from './stage.tsx';
import type { CallView, TileName } from './view.ts';

/** A shared screen, whole, with where the two point on it. */
export function ScreenTile(props: { which: TileName; large: boolean; pinned: boolean; call: CallView; on: 'mine' | 'theirs'; track: MediaStreamTrack; label: string; pointer: string }) {
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
