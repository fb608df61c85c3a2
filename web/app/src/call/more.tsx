// What stands around the pictures of a call and can come a moment after them: how it travels, the code, the other tools,
// keys, the small window.

import { call as sdk } from '@trunkline/sdk';
import { Dialog, Icon, MenuButton } from '@trunkline/ui';
import { useApp, useT } from '../app.ts';
import { lazy } from '../lazy.tsx';
import { nameOf } from '../screens/parts.tsx';
import type { Contact } from '../state.ts';
import { RouteBadge } from './badge.tsx';
import { clock } from './clock.ts';
import { canFloat, Small, useFloat, useSessionControls } from './float.tsx';
import type { Command } from './keys.ts';
import type { Open } from './live.tsx';
import { Limited } from './limited.tsx';
import { Devices, RoundButton } from './parts.tsx';
import { Sign, signKey } from './signs.tsx';
import { useSeconds } from './stage.tsx';
import type { CallView } from './view.ts';

const Details = lazy(() => import('./details.tsx').then((m) => m.Details));
const KeySheet = lazy(() => import('./details.tsx').then((m) => m.KeySheet));

interface Props {
  call: CallView;
  contact: Contact;
  /** What is open beside the pictures, and how that changes. */
  open: Open;
  onOpen: (change: Partial<Open>) => void;
  /** The key that does the same. */
  hint: (command: Command) => string;
}

export function Head(props: Props) {
  const { call, open, onOpen } = props;
  const t = useT();
  return (
    <>
      <Duration call={call} />
      <RouteBadge call={call} open={open.details} onOpen={() => onOpen({ details: !open.details })} />
      {call.code && (
        <span class="call-code" title={t('callCodeHint')}>
          {t('callCode')} <strong data-testid="code">{`${call.code.slice(0, 3)} ${call.code.slice(3)}`}</strong>
        </span>
      )}
    </>
  );
}

export function Below(props: Props) {
  const { call, open, onOpen } = props;
  return (
    <>
      {open.details && <Details call={call} onClose={() => onOpen({ details: false })} />}
      <Limited call={call} />
    </>
  );
}

export function Tools(props: Props) {
  const { call, contact, open, onOpen, hint } = props;
  const app = useApp();
  const t = useT();
  const control = app.engine.call;
  const small = useFloat(nameOf(contact), <Small contact={contact} />, '.tile.large video, .tile.them video');
  const { sending, tracks } = call;
  useSessionControls(sending.microphone, sending.camera, {
    microphone: () => control?.toggle('microphone'),
    camera: () => control?.toggle('camera'),
    leave: () => control?.hangup(),
  });
  return (
    <>
      {'getDisplayMedia' in navigator.mediaDevices && (
        <RoundButton
          id="screen"
          icon="screen"
          pressed={tracks.screen !== undefined}
          label={t(tracks.screen ? 'callScreenOff' : 'callScreenOn')}
          hint={hint('screen')}
          onClick={() => control?.toggle('screen')}
        />
      )}
      <MenuButton label={t('callReact')} class="round" up items={sdk.reactions.map((r) => ({ label: t(signKey(r)), icon: <Sign what={r} />, run: () => control?.react(r) }))}>
        <Icon name="smile" />
      </MenuButton>
      <RoundButton id="hand" icon="hand" pressed={sending.hand} label={t(sending.hand ? 'callHandDown' : 'callHandUp')} hint={hint('hand')} onClick={() => control?.toggle('hand')} />
      <RoundButton id="chat" icon="chat" pressed={open.chat} label={t('callChat')} hint={hint('chat')} onClick={() => onOpen({ chat: !open.chat })} />
      <MenuButton
        label={t('callMore')}
        class="round"
        up
        items={[
          { label: t(call.grid ? 'callSpeakerView' : 'callGridView'), icon: <Icon name={call.grid ? 'people' : 'grid'} />, run: () => control?.arrange(!call.grid) },
          ...(canFloat() ? [{ label: t(small.floating ? 'callFloatClose' : 'callFloat'), icon: <Icon name="float" />, run: small.toggle }] : []),
          { label: t('mediaTitle'), icon: <Icon name="settings" />, run: () => onOpen({ over: 'devices' }) },
          { label: t('callKeys'), icon: <Icon name="key" />, run: () => onOpen({ over: 'keys' }) },
        ]}
      >
        <Icon name="more" />
      </MenuButton>
      {open.over === 'keys' && <KeySheet onClose={() => onOpen({ over: null })} />}
      {open.over === 'devices' && (
        <Dialog title={t('mediaTitle')} closeLabel={t('close')} onClose={() => onOpen({ over: null })}>
          <Devices tracks={call.tracks} chosen={control?.chosen ?? {}} onChoose={(what, id) => control?.choose(what, id)} />
        </Dialog>
      )}
    </>
  );
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
