import { Avatar, Icon, Switch } from '@trunkline/ui';
import { useEffect, useRef } from 'preact/hooks';
import { useApp, useT, useView } from '../app.ts';
import { lazy } from '../lazy.tsx';
import { nameOf, TrustMark } from '../screens/parts.tsx';
import type { Contact } from '../state.ts';
import { DeviceProblems, Devices, Meter, Picture, RoundButton } from './parts.tsx';
import { Live } from './live.tsx';
import type { CallView } from './view.ts';

const Ended = lazy(() => import('./ended.tsx').then((m) => m.Ended));

/** The call that this tab is in, above everything else. */
export function CallLayer() {
  const view = useView((s) => s.call);
  const contact = useView((s) => (s.call ? s.contacts.get(s.call.contact) : undefined));
  if (!view || !contact) return null;
  return <Layer call={view} contact={contact} />;
}

function Layer(props: { call: CallView; contact: Contact }) {
  const { call, contact } = props;
  const t = useT();
  const layer = useRef<HTMLDivElement>(null);
  const name = nameOf(contact);
  // What is under the layer is neither read nor reached while it is up.
  useEffect(() => {
    const before = document.activeElement;
    const root = layer.current?.parentElement;
    const under = ([...(root?.children ?? [])] as HTMLElement[]).filter((e) => e !== layer.current && !e.classList.contains('toasts'));
    for (const e of under) e.inert = true;
    return () => {
      for (const e of under) e.inert = false;
      // The button that let somebody in is gone with the first press.
      const back = root?.contains(before) ? before : root?.querySelector('h1');
      (back as HTMLElement | null | undefined)?.focus();
    };
  }, []);
  useEffect(() => {
    layer.current?.querySelector<HTMLElement>('h1')?.focus();
  }, [call.stage.is === 'live']);
  return (
    <div ref={layer} class="call-layer" role="dialog" aria-modal="true" aria-label={t('callWith', { name })}>
      {call.stage.is === 'live' ? (
        <Live call={call} contact={contact} />
      ) : call.stage.is === 'ended' ? (
        <Ended call={call} contact={contact} stage={call.stage} />
      ) : (
        <Waiting call={call} contact={contact} />
      )}
    </div>
  );
}

/** Before: looking at oneself, ringing, being rung, connecting. */
function Waiting(props: { call: CallView; contact: Contact }) {
  const { call, contact } = props;
  const app = useApp();
  const t = useT();
  const name = nameOf(contact);
  const control = app.engine.call;
  const { stage } = call;
  const title = {
    prejoin: () => t('callPrejoinTitle', { name }),
    lobby: () => t(contact.standing === 'accepted' ? 'callLobbyIn' : 'callLobby', { name }),
    calling: () => t('callCalling', { name }),
    incoming: () => t(call.video ? 'callIncomingVideo' : 'callIncoming', { name }),
    joining: () => t('callJoining', { name }),
    live: () => '',
    ended: () => '',
  }[stage.is]();
  const own = call.tracks.camera;
  const before = stage.is === 'prejoin' || stage.is === 'lobby';
  const looking = before || stage.is === 'calling' || stage.is === 'joining';
  return (
    <div class="call-waiting">
      <div class="call-who">
        <Avatar name={name} seed={contact.id} large={!looking} />
        <h1 tabIndex={-1} aria-live="polite">
          {title}
        </h1>
        <TrustMark trust={contact.trust} words />
      </div>
      {looking && (
        <div class="preview">
          {own ? (
            <Picture track={own} label={t('callYou')} mirror />
          ) : (
            <div class="no-picture">
              <Icon name="video-off" />
            </div>
          )}
          {call.tracks.microphone && call.sending.microphone && <Meter track={call.tracks.microphone} />}
        </div>
      )}
      <DeviceProblems problems={call.problems} onRetry={(what) => control?.retry(what)} />
      {looking && (
        <div class="call-bar">
          <RoundButton
            icon={call.sending.microphone ? 'microphone' : 'mic-off'}
            off={!call.sending.microphone}
            label={t(call.sending.microphone ? 'callMicrophoneOff' : 'callMicrophoneOn')}
            onClick={() => control?.toggle('microphone')}
          />
          <RoundButton
            icon={call.sending.camera ? 'video' : 'video-off'}
            off={!call.sending.camera}
            label={t(call.sending.camera ? 'callCameraOff' : 'callCameraOn')}
            onClick={() => control?.toggle('camera')}
          />
          {!before && <RoundButton icon="leave" danger label={t('callHangup')} onClick={() => control?.hangup()} />}
        </div>
      )}
      {before && (
        <>
          <div class="call-actions">
            <button type="button" class="button" onClick={() => control?.hangup()}>
              {t('cancel')}
            </button>
            {contact.standing === 'accepted' && (
              <button type="button" class="button main" onClick={() => control?.start()}>
                <Icon name="phone" />
                {t('callStart')}
              </button>
            )}
          </div>
          {stage.is === 'lobby' && contact.standing !== 'accepted' && (
            <p class="row centre call-muted">
              <span class="spinner" />
              {t('callLobbyText', { name })}
            </p>
          )}
          {contact.standing === 'accepted' && (
            <div class="call-actions">
              <button type="button" class="button plain" onClick={() => control?.without()}>
                {t('callWithout')}
              </button>
            </div>
          )}
        </>
      )}
      {stage.is === 'incoming' && (
        <div class="call-actions">
          <button type="button" class="button danger" onClick={() => control?.decline()}>
            <Icon name="leave" />
            {t('callDecline')}
          </button>
          <button type="button" class={call.video ? 'button' : 'button main'} onClick={() => control?.answer(false)}>
            <Icon name="phone" />
            {t('callAnswer')}
          </button>
          <button type="button" class={call.video ? 'button main' : 'button'} onClick={() => control?.answer(true)}>
            <Icon name="video" />
            {t('callAnswerVideo')}
          </button>
        </div>
      )}
      {(before || stage.is === 'incoming') && (
        <Switch label={t('callHideAddress')} hint={t('callHideAddressHint', { name })} on={call.relayOnly} onChange={(on) => control?.hideAddress(on)} />
      )}
      {before && <Devices tracks={call.tracks} chosen={control?.chosen ?? {}} onChoose={(what, id) => control?.choose(what, id)} />}
    </div>
  );
}
