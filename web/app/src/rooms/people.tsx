import type { Person, Role, RoomState } from '@trunkline/sdk/room';
import { Avatar, Dialog, Icon, MenuButton, type MenuItem } from '@trunkline/ui';
import { useMemo, useState } from 'preact/hooks';
import { useT, useView } from '../app.ts';
import { nameOf, Notice } from '../screens/parts.tsx';
import { Copy, QR } from '../screens/pieces.tsx';
import type { RoomControl } from './control.ts';
import { type RoomKey, useRoomT } from './text.ts';
import { cameraKey, type RoomView } from './view.ts';

const roles: Record<Role, RoomKey> = { owner: 'roomRoleOwner', moderator: 'roomRoleModerator', member: 'roomRoleMember', guest: 'roomRoleGuest' };

type Asked = { is: 'remove'; person: Person } | { is: 'close' } | { is: 'link' };

/** Who is in, who waits, and what can be done about it. */
export function PeoplePanel(props: { view: RoomView; room: RoomState; control: RoomControl }) {
  const { room, control, view } = props;
  const t = useT();
  const r = useRoomT();
  const [asked, setAsked] = useState<Asked | null>(null);
  const end = useMemo(() => new Date(room.expiresMs).toLocaleString(t.locale, { dateStyle: 'medium', timeStyle: 'short' }), [room.expiresMs, t.locale]);
  // Hands first, in the order in which they were raised.
  const people = [...room.people].sort((a, b) => (a.hand || 99) - (b.hand || 99));
  return (
    <div class="room-panel-body">
      {room.lobby.length > 0 && (
        <section class="room-lobby" aria-label={r('roomLobbyTitle')}>
          <h3>{r('roomLobbyTitle')}</h3>
          <ul class="plain-list">
            {room.lobby.map((w) => (
              <li key={w.index}>
                <Avatar name={nameOf(w)} seed={w.id} />
                <span class="cut-parent">
                  <span class="cut strong">{nameOf(w)}</span>
                  <span class="small muted block">{r(known[w.verified])}</span>
                </span>
                <button type="button" class="button main" aria-label={r('roomAdmitName', { name: nameOf(w) })} onClick={() => control.admit(w.index)}>
                  {r('roomAdmit')}
                </button>
                <button type="button" class="button" aria-label={r('roomDenyName', { name: nameOf(w) })} onClick={() => control.deny(w.index)}>
                  {r('roomDeny')}
                </button>
              </li>
            ))}
          </ul>
          {room.lobby.length > 1 && (
            <button type="button" class="button wide" onClick={() => room.lobby.forEach((w) => control.admit(w.index))}>
              {r('roomAdmitAll', { count: room.lobby.length })}
            </button>
          )}
        </section>
      )}
      <section aria-label={r('roomPeopleIn', { count: room.people.length })}>
        <h3>{r('roomPeopleIn', { count: room.people.length })}</h3>
        <ul class="plain-list room-people">
          {people.map((p) => (
            <PersonRow key={p.index} person={p} view={view} room={room} control={control} onRemove={() => setAsked({ is: 'remove', person: p })} />
          ))}
        </ul>
        {/* Pinned while it went on, it has as many seats as before. */}
        {room.topology.setting === 'mesh' && room.seats <= room.topology.limit && <p class="small muted">{r('roomMeshCeiling', { count: room.topology.limit })}</p>}
      </section>
      <Invite room={room} />
      {room.runs && (
        <section class="stack tight">
          <h3>{r('roomRun')}</h3>
          <div class="row wrap">
            <button type="button" class="button" onClick={() => setAsked({ is: 'link' })}>
              <Icon name="link" />
              {r('roomNewLink')}
            </button>
            {room.role === 'owner' && (
              <button type="button" class="button" onClick={() => control.extend(room.expiresMs + hour)}>
                <Icon name="clock" />
                {r('roomExtend')}
              </button>
            )}
            <button type="button" class="button danger" onClick={() => setAsked({ is: 'close' })}>
              <Icon name="leave" />
              {r('roomCloseAll')}
            </button>
          </div>
          <p class="small muted">{r('roomUntil', { time: end })}</p>
        </section>
      )}
      {asked && <Confirm asked={asked} control={control} onClose={() => setAsked(null)} />}
    </div>
  );
}

const hour = 3_600_000;
const known: Record<Person['verified'], RoomKey> = { verified: 'roomKnownVerified', contact: 'roomKnownContact', unknown: 'roomKnownNot' };

function PersonRow(props: { person: Person; view: RoomView; room: RoomState; control: RoomControl; onRemove: () => void }) {
  const { person, room, control, view } = props;
  const t = useT();
  const r = useRoomT();
  const name = person.me ? t('callYou') : nameOf(person);
  const runs = room.role === 'owner' || room.role === 'moderator';
  const key = cameraKey(person.index);
  const microphone = person.me ? view.sending.microphone : person.presence?.microphone;
  const items: MenuItem[] = [{ label: t('callPin', { name }), icon: <Icon name="pin" />, run: () => control.pin(view.pinned === key ? null : key) }];
  if (!person.me && runs) {
    if (person.presence?.microphone) items.push({ label: r('roomAskMute'), icon: <Icon name="mic-off" />, run: () => control.askMute(person.index, 'microphone') });
    if (person.presence?.camera) items.push({ label: r('roomAskCamera'), icon: <Icon name="video-off" />, run: () => control.askMute(person.index, 'camera') });
    if (person.presence?.screen) items.push({ label: r('roomAskScreen'), icon: <Icon name="screen" />, run: () => control.askMute(person.index, 'screen') });
  }
  if (!person.me && room.chairIsOurs) items.push({ label: r('roomRemove'), icon: <Icon name="leave" />, danger: true, run: props.onRemove });
  return (
    <li class="row" data-testid={`person-${person.index}`}>
      <Avatar name={nameOf(person)} seed={person.id} />
      <span class="grow cut-parent">
        <span class="row tight">
          <span class="cut strong">{name}</span>
          {!person.me && person.verified !== 'unknown' && (
            <span class={`trust ${person.verified === 'verified' ? 'verified' : ''}`} title={r(known[person.verified])}>
              <Icon name={person.verified === 'verified' ? 'verified' : 'shield'} />
              <span class="hidden-text">{r(known[person.verified])}</span>
            </span>
          )}
        </span>
        <span class="small muted">
          {r(roles[person.role])}
          {person.chair && ` · ${r('roomChair')}`}
        </span>
      </span>
      {person.hand > 0 && (
        <span class="tile-hand-place" title={r('roomHandPlace', { name, place: person.hand })}>
          <Icon name="hand" />
          {person.hand}
        </span>
      )}
      {person.presence?.screen && <Mark icon="screen" text={t('callScreenOf', { name })} />}
      {microphone !== undefined && <Mark icon={microphone ? 'microphone' : 'mic-off'} text={microphone ? r('roomSpeaks', { name }) : t('callMuted', { name })} />}
      <MenuButton label={r('roomMoreOf', { name })} items={items}>
        <Icon name="more" />
      </MenuButton>
    </li>
  );
}

function Mark(props: { icon: 'screen' | 'microphone' | 'mic-off'; text: string }) {
  return (
    <span class="mark" title={props.text}>
      <Icon name={props.icon} />
      <span class="hidden-text">{props.text}</span>
    </span>
  );
}

/** The link, for whoever else is to come. */
export function Invite(props: { room: { link: string; entry: RoomState['entry'] }; open?: boolean }) {
  const t = useT();
  const r = useRoomT();
  const { link, entry } = props.room;
  const [code, setCode] = useState(props.open ?? false);
  return (
    <section class="stack tight">
      <h3>{r('roomInvite')}</h3>
      <p class="small muted">{r(entry === 'open' ? 'roomEntryOpenHint' : entry === 'lobby' ? 'roomEntryLobbyHint' : 'roomEntryMembersHint')}</p>
      <code class="long" tabIndex={0} aria-label={r('roomLink')}>
        {link}
      </code>
      <div class="row wrap">
        <Copy text={link} label={t('copyLink')} main />
        <button type="button" class="button" aria-expanded={code} onClick={() => setCode(!code)}>
          <Icon name="qr" />
          {r('roomQr')}
        </button>
        {'share' in navigator && (
          <button type="button" class="button" onClick={() => void navigator.share({ url: link }).catch(() => undefined)}>
            {t('share')}
          </button>
        )}
      </div>
      {code && <QR text={link} label={r('roomQr')} />}
    </section>
  );
}

/** Says what it does before it is done. */
function Confirm(props: { asked: Asked; control: RoomControl; onClose: () => void }) {
  const { asked, control } = props;
  const t = useT();
  const r = useRoomT();
  const name = asked.is === 'remove' ? nameOf(asked.person) : '';
  const title = asked.is === 'remove' ? r('roomRemoveTitle', { name }) : r(asked.is === 'close' ? 'roomCloseTitle' : 'roomNewLinkTitle');
  const text = asked.is === 'remove' ? r('roomRemoveText', { name }) : r(asked.is === 'close' ? 'roomCloseText' : 'roomNewLinkText');
  const run = () => {
    props.onClose();
    if (asked.is === 'remove') control.remove(asked.person.index);
    else if (asked.is === 'close') control.close();
    else control.newLink();
  };
  return (
    <Dialog title={title} closeLabel={t('close')} onClose={props.onClose} alert>
      <p>{text}</p>
      <div class="row wrap end">
        <button type="button" class="button" onClick={props.onClose}>
          {t('cancel')}
        </button>
        <button type="button" class={asked.is === 'link' ? 'button main' : 'button danger'} onClick={run}>
          {r(asked.is === 'remove' ? 'roomRemove' : asked.is === 'close' ? 'roomCloseAll' : 'roomNewLink')}
        </button>
      </div>
    </Dialog>
  );
}

/** Somebody asks this person to switch something off. It is a question: nothing is done by itself. */
export function AskedToMute(props: { view: RoomView; control: RoomControl }) {
  const { view, control } = props;
  const t = useT();
  const r = useRoomT();
  if (!view.asked) return null;
  const { person, what } = view.asked;
  const from = view.room?.people.find((p) => p.index === person);
  const keys: Record<typeof what, RoomKey> = { microphone: 'roomAskedMute', camera: 'roomAskedCamera', screen: 'roomAskedScreen' };
  return (
    <Dialog title={r(keys[what], { name: from ? nameOf(from) : '' })} closeLabel={t('close')} onClose={() => control.answerAsk(false)} alert>
      <div class="row wrap end">
        <button type="button" class="button" onClick={() => control.answerAsk(false)}>
          {r('roomAskedNo')}
        </button>
        <button type="button" class="button main" onClick={() => control.answerAsk(true)}>
          {t(what === 'microphone' ? 'callMicrophoneOff' : what === 'camera' ? 'callCameraOff' : 'callScreenOff')}
        </button>
      </div>
    </Dialog>
  );
}

/** What a recording is, before it begins: everybody is told, and the file is this person's affair. */
export function RecordSheet(props: { control: RoomControl; onClose: () => void }) {
  const t = useT();
  const r = useRoomT();
  const own = useView((s) => s.room?.room?.recording.length ?? 0);
  return (
    <Dialog title={r('roomRecord')} closeLabel={t('close')} onClose={props.onClose}>
      <p>{r('roomRecordText')}</p>
      <Notice kind="warn" icon="info">
        <p>{r('roomRecordConsent')}</p>
      </Notice>
      {own > 0 && <p class="muted">{r('roomRecordAlready')}</p>}
      <div class="row wrap end">
        <button type="button" class="button" onClick={props.onClose}>
          {t('cancel')}
        </button>
        <button
          type="button"
          class="button main"
          onClick={() => {
            props.onClose();
            props.control.record();
          }}
        >
          {r('roomRecordBegin')}
        </button>
      </div>
    </Dialog>
  );
}
