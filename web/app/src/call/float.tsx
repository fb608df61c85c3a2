import { Avatar, Icon } from '@trunkline/ui';
import { type ComponentChildren, render } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { AppContext, useApp, useT, useView } from '../app.ts';
import { nameOf } from '../screens/parts.tsx';
import type { Contact } from '../state.ts';
import { Picture, RoundButton } from './parts.tsx';

// A small window above everything else: with controls of our own where the browser gives a window
// for it, else the picture alone, with the controls that the browser puts there.

interface FloatingWindows {
  requestWindow(options: { width: number; height: number }): Promise<Window>;
}

function windows(): FloatingWindows | undefined {
  return (globalThis as { documentPictureInPicture?: FloatingWindows }).documentPictureInPicture;
}

export function canFloat(): boolean {
  return windows() !== undefined || document.pictureInPictureEnabled;
}

/** The small window of a call or a meeting, and what opens and closes it. `picture` finds what a browser shows that
 * gives no window of our own. */
export function useFloat(title: string, content: ComponentChildren, picture: string): { floating: boolean; toggle: () => void } {
  const app = useApp();
  const t = useT();
  const [floating, setFloating] = useState(false);
  const close = useRef<() => void>(() => undefined);
  useEffect(() => () => close.current(), []);
  const open = async () => {
    const own = windows();
    if (!own) {
      const video = document.querySelector<HTMLVideoElement>(picture);
      if (!video) throw new DOMException('there is no picture', 'InvalidStateError');
      await video.requestPictureInPicture();
      video.addEventListener('leavepictureinpicture', () => setFloating(false), { once: true });
      close.current = () => {
        if (document.pictureInPictureElement === video) document.exitPictureInPicture().catch(() => undefined);
      };
      return setFloating(true);
    }
    const small = await own.requestWindow({ width: 360, height: 270 });
    const page = small.document;
    page.title = title;
    for (const name of ['lang', 'dir'] as const) page.documentElement[name] = document.documentElement[name];
    page.documentElement.dataset['theme'] = document.documentElement.dataset['theme'];
    for (const sheet of document.querySelectorAll<HTMLLinkElement>('link[rel=stylesheet]')) page.head.append(page.importNode(sheet));
    render(<AppContext.Provider value={app}>{content}</AppContext.Provider>, page.body);
    small.addEventListener(
      'pagehide',
      () => {
        render(null, page.body);
        setFloating(false);
      },
      { once: true },
    );
    close.current = () => small.close();
    setFloating(true);
  };
  const toggle = () => {
    if (floating) return close.current();
    open().catch((error: unknown) => {
      if (!(error instanceof DOMException)) throw error;
      app.store.dispatch({ type: 'toast', text: t('callFloatFailed') });
    });
  };
  return { floating, toggle };
}

/** What stands in the small window. */
export function Small(props: { contact: Contact }) {
  const app = useApp();
  const t = useT();
  const call = useView((s) => s.call);
  const control = app.engine.call;
  const name = nameOf(props.contact);
  if (call?.stage.is !== 'live') return null;
  const { peer, sending } = call;
  const track = (peer.sending.screen ? peer.tracks.screen : undefined) ?? (peer.sending.camera ? peer.tracks.camera : undefined);
  return (
    <main class="call-layer call-small">
      <h1 class="hidden-text">{t('callWith', { name })}</h1>
      <div class={`tile them ${call.brokenSince === null ? '' : 'dimmed'}`} data-testid="small">
        {track ? (
          <Picture track={track} label={name} whole={peer.sending.screen} />
        ) : (
          <div class="no-picture">
            <Avatar name={name} seed={props.contact.id} large />
          </div>
        )}
        <div class="tile-name">
          {name}
          {!peer.sending.microphone && <Icon name="mic-off" />}
        </div>
      </div>
      <div class="call-bar" role="toolbar" aria-label={t('callControls')}>
        <RoundButton
          id="microphone"
          icon={sending.microphone ? 'microphone' : 'mic-off'}
          off={!sending.microphone}
          label={t(sending.microphone ? 'callMicrophoneOff' : 'callMicrophoneOn')}
          onClick={() => control?.toggle('microphone')}
        />
        <RoundButton id="camera" icon={sending.camera ? 'video' : 'video-off'} off={!sending.camera} label={t(sending.camera ? 'callCameraOff' : 'callCameraOn')} onClick={() => control?.toggle('camera')} />
        <RoundButton id="hangup" icon="leave" danger label={t('callHangup')} onClick={() => control?.hangup()} />
      </div>
    </main>
  );
}

/** Buttons of the browser's own small window and of headsets, where it has them. */
export function useSessionControls(microphone: boolean, camera: boolean, press: { microphone: () => void; camera: () => void; leave: () => void }): void {
  const latest = useRef(press);
  latest.current = press;
  useEffect(() => {
    const session = navigator.mediaSession as MediaSession | undefined;
    if (!session) return;
    const actions: [string, () => void][] = [
      ['togglemicrophone', () => latest.current.microphone()],
      ['togglecamera', () => latest.current.camera()],
      ['hangup', () => latest.current.leave()],
    ];
    const set = (action: string, handler: (() => void) | null) => {
      try {
        session.setActionHandler(action as MediaSessionAction, handler);
      } catch {
        // A browser that does not know the button does not show it either.
      }
    };
    for (const [action, handler] of actions) set(action, handler);
    return () => {
      for (const [action] of actions) set(action, null);
    };
  }, []);
  useEffect(() => {
    const session = navigator.mediaSession as (MediaSession & { setMicrophoneActive?: (on: boolean) => void; setCameraActive?: (on: boolean) => void }) | undefined;
    session?.setMicrophoneActive?.(microphone);
    session?.setCameraActive?.(camera);
  }, [microphone, camera]);
}
