import type { Entry, RoomInfo, Topology } from '@trunkline/sdk/room';
import { Field, Icon, Listbox, once } from '@trunkline/ui';
import { useEffect, useState } from 'preact/hooks';
import { linkTo, useApp, useT, useView } from '../app.ts';
import { sendable } from '../reduce.ts';
import { listed } from '../lists.ts';
import type { Route } from '../route.ts';
import { roomLink, roomRoute } from '../links.ts';
import { nameOf, Notice, Screen } from '../screens/parts.tsx';
import { Copy } from '../screens/pieces.tsx';
import type { RoomDesk } from './roomdesk.ts';
import { Invite } from './people.tsx';
import { type RoomKey, useRoomT } from './text.ts';
import type { RoomOver } from './view.ts';

/** The place of meetings: making one, or standing before one whose link was opened. */
export function RoomScreen(props: { route: Extract<Route, { screen: 'room' }>; desk: RoomDesk }) {
  return props.route.link ? <Door {...props} /> : <NewRoom desk={props.desk} />;
}

/** Below the meeting, and what is left when it was left. */
function Door(props: { route: Extract<Route, { screen: 'room' }>; desk: RoomDesk }) {
  const t = useT();
  const r = useRoomT();
  const up = useView((s) => s.room !== null);
  const link = roomLink(location.origin, props.route);
  useEffect(() => props.desk.approach(link), [link]);
  return (
    <Screen title={r('roomTitle')} narrow>
      <section class="card">
        <p class="muted">{r('roomDoorText')}</p>
        <div class="row wrap">
          <button type="button" class="button main" disabled={up} onClick={() => props.desk.approach(link)}>
            <Icon name="video" />
            {r('roomEnter')}
          </button>
          <Copy text={link} label={t('copyLink')} />
        </div>
      </section>
    </Screen>
  );
}

const hour = 3_600_000;
const lives = [
  { value: String(2 * hour), key: 'roomLifeHours' },
  { value: String(24 * hour), key: 'roomLifeDay' },
  { value: String(7 * 24 * hour), key: 'roomLifeWeek' },
  { value: String(30 * 24 * hour), key: 'roomLifeMonth' },
] as const;

const entries: readonly { entry: Entry; title: RoomKey; text: RoomKey }[] = [
  { entry: 'open', title: 'roomEntryOpen', text: 'roomEntryOpenHint' },
  { entry: 'lobby', title: 'roomEntryLobby', text: 'roomEntryLobbyHint' },
  { entry: 'members', title: 'roomEntryMembers', text: 'roomEntryMembersHint' },
];

const notMade: Partial<Record<RoomOver | 'nobody', RoomKey>> = {
  nobody: 'roomNobodyListed',
  policy: 'roomCreatePolicy',
  quota: 'roomCreateQuota',
  unreachable: 'roomActionUnreachable',
  limited: 'roomActionLimited',
};

function NewRoom(props: { desk: RoomDesk }) {
  const { desk } = props;
  const app = useApp();
  const r = useRoomT();
  const me = useView((s) => s.me);
  const contacts = useView((s) => s.contacts);
  const chats = useView((s) => s.chats);
  const [title, setTitle] = useState('');
  const [entry, setEntry] = useState<Entry>('open');
  const [life, setLife] = useState<string>(lives[1].value);
  const [topology, setTopology] = useState<Topology>('auto');
  const [members, setMembers] = useState<ReadonlySet<string>>(new Set());
  const [moderators, setModerators] = useState<ReadonlySet<string>>(new Set());
  const [made, setMade] = useState<RoomInfo | null>(null);
  const [problem, setProblem] = useState<RoomOver | 'nobody' | null>(null);
  const [busy, setBusy] = useState(false);
  const [rooms, setRooms] = useState<readonly RoomInfo[]>(() => desk.rooms());
  const create = once(
    async () => {
      setProblem(null);
      if (entry === 'members' && members.size + moderators.size === 0) return setProblem('nobody');
      setBusy(true);
      try {
        const result = await desk.create({
          title: title.trim(),
          entry,
          topology,
          lifeMs: Number(life),
          ...(moderators.size > 0 ? { moderators: [...moderators] } : {}),
          ...(entry === 'members' ? { members: [...members].filter((id) => !moderators.has(id)) } : {}),
        });
        if ('problem' in result) return setProblem(result.problem);
        setMade(result.made);
        setRooms(desk.rooms());
      } finally {
        setBusy(false);
      }
    },
    () => setProblem('failed'),
  );
  if (me.is !== 'ready') return null;
  const people = listed(contacts, chats).people.filter((c) => sendable(c) === 'yes');
  const toggled = (set: ReadonlySet<string>, id: string) => {
    const next = new Set(set);
    if (!next.delete(id)) next.add(id);
    return next;
  };
  return (
    <Screen title={r('roomNew')} narrow>
      {made ? (
        <section class="card" data-testid="made">
          <h2>{made.title || r('roomUntitled')}</h2>
          <p class="muted">{r('roomMade')}</p>
          <Invite room={made} open />
          <div class="row wrap">
            <a class="button main" {...linkTo(app, roomRoute(location.origin, made.link))}>
              <Icon name="video" />
              {r('roomEnter')}
            </a>
            <button type="button" class="button" onClick={() => setMade(null)}>
              {r('roomAnother')}
            </button>
          </div>
        </section>
      ) : (
        <form
          class="card"
          onSubmit={(e) => {
            e.preventDefault();
            create();
          }}
        >
          <Field label={r('roomTitleLabel')} hint={r('roomTitleHint')} value={title} onInput={(x) => setTitle(x.slice(0, 64))} attributes={{ maxLength: 64, autocomplete: 'off' }} />
          <fieldset class="choices">
            <legend>{r('roomEntry')}</legend>
            {entries.map((x) => (
              <label key={x.entry} class="choice">
                <input type="radio" name="entry" checked={entry === x.entry} onChange={() => setEntry(x.entry)} />
                <span>
                  <span class="strong block">{r(x.title)}</span>
                  <span class="small muted">{r(x.text)}</span>
                </span>
              </label>
            ))}
          </fieldset>
          {entry === 'members' && <Pick legend={r('roomMembers')} none={r('roomNoContacts')} people={people} chosen={members} onChange={(id) => setMembers(toggled(members, id))} />}
          <details class="more">
            <summary>{r('roomOptions')}</summary>
            <div class="stack">
              <Listbox label={r('roomLife')} value={life} options={lives.map((x) => ({ value: x.value, label: r(x.key) }))} onChange={setLife} />
              <Listbox
                label={r('roomWay')}
                value={topology}
                options={[
                  { value: 'auto', label: r('roomSetAuto') },
                  { value: 'mesh', label: r('roomSetMesh') },
                  { value: 'sfu', label: r('roomSetSfu') },
                ]}
                onChange={(x) => setTopology(x as Topology)}
              />
              <p class="small muted">{r(topology === 'auto' ? 'roomSetAutoHint' : topology === 'mesh' ? 'roomSetMeshHint' : 'roomSetSfuHint')}</p>
              {people.length > 0 && <Pick legend={r('roomModerators')} none="" people={people} chosen={moderators} onChange={(id) => (moderators.size < 8 || moderators.has(id)) && setModerators(toggled(moderators, id))} />}
            </div>
          </details>
          {problem && (
            <Notice kind="danger">
              <p role="alert">{r(notMade[problem] ?? 'roomCreateFailed')}</p>
            </Notice>
          )}
          <div>
            <button type="submit" class="button main" disabled={busy}>
              {busy ? <span class="spinner" /> : <Icon name="add" />}
              {r('roomCreate')}
            </button>
          </div>
        </form>
      )}
      {rooms.length > 0 && <Rooms desk={desk} rooms={rooms} onChange={() => setRooms(desk.rooms())} />}
    </Screen>
  );
}

function Pick(props: { legend: string; none: string; people: readonly { id: string; name: string }[]; chosen: ReadonlySet<string>; onChange: (id: string) => void }) {
  return (
    <fieldset class="choices">
      <legend>{props.legend}</legend>
      {props.people.length === 0 && <p class="small muted">{props.none}</p>}
      {props.people.map((c) => (
        <label key={c.id} class="choice">
          <input type="checkbox" checked={props.chosen.has(c.id)} onChange={() => props.onChange(c.id)} />
          <span class="cut">{nameOf(c)}</span>
        </label>
      ))}
    </fieldset>
  );
}

/** Meetings that were made here or visited, for as long as they last. */
function Rooms(props: { desk: RoomDesk; rooms: readonly RoomInfo[]; onChange: () => void }) {
  const { desk } = props;
  const app = useApp();
  const t = useT();
  const r = useRoomT();
  const failed = () => app.store.dispatch({ type: 'toast', text: r('roomCreateFailed') });
  const close = once(async (room: RoomInfo) => {
    const { problem } = await desk.close(room.id);
    if (problem && problem !== 'gone') failed();
    props.onChange();
  }, failed);
  const forget = once(async (room: RoomInfo) => {
    await desk.forget(room.id);
    props.onChange();
  }, failed);
  return (
    <section class="card">
      <h2>{r('roomYours')}</h2>
      <ul class="plain-list">
        {props.rooms.map((room) => {
          const name = room.title || r('roomUntitled');
          return (
            <li key={room.id} class="row wrap" data-testid="known-room">
              <span class="grow">
                <span class="cut strong">{name}</span>
                <span class="small muted">
                  {room.over ? r('roomIsOver') : r('roomUntil', { time: new Date(room.expiresMs).toLocaleString(t.locale, { dateStyle: 'medium', timeStyle: 'short' }) })}
                </span>
              </span>
              {!room.over && (
                <>
                  <a class="button" aria-label={r('roomEnterName', { name })} {...linkTo(app, roomRoute(location.origin, room.link))}>
                    {r('roomEnter')}
                  </a>
                  <Copy text={room.link} label={t('copyLink')} />
                </>
              )}
              {room.runs && !room.over ? (
                <button type="button" class="button danger" aria-label={r('roomCloseName', { name })} onClick={() => close(room)}>
                  {r('roomCloseAll')}
                </button>
              ) : (
                <button type="button" class="button plain" aria-label={r('roomForgetName', { name })} onClick={() => forget(room)}>
                  {r('roomForget')}
                </button>
              )}
            </li>
          );
        })}
      </ul>
    </section>
  );
}
