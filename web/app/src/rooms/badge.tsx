import type { Person, Quality, RoomRoute, RoomState, TopologyState } from '@trunkline/sdk/room';
import { Dialog, Icon } from '@trunkline/ui';
import { useEffect, useState } from 'preact/hooks';
import { useT } from '../app.ts';
import { routes } from '../call/badge.tsx';
import { nameOf } from '../screens/parts.tsx';
import type { RoomControl } from './control.ts';
import { type RoomKey, type RoomTexts, useRoomT } from './text.ts';

// How a meeting travels, in words: for the whole of it, and for each person.

/** A way in a few words: "Mesh, direct", "SFU acme.example". */
export function useRouteText(): (route: RoomRoute | undefined) => string {
  const t = useT();
  const r = useRoomT();
  return (route) => (!route ? r('roomRouteNone') : route.over === 'mesh' ? t(routes[route.route.path].name) : r('roomRouteSfu', { node: route.node }));
}

export function RouteMark(props: { route: RoomRoute | undefined; short: boolean }) {
  const text = useRouteText()(props.route);
  if (props.short) return <span class="hidden-text">{text}</span>;
  return <span class="cut">{text}</span>;
}

const words: Record<Quality['word'], { bars: number; key: RoomKey }> = {
  good: { bars: 3, key: 'roomQualityGood' },
  fair: { bars: 2, key: 'roomQualityFair' },
  poor: { bars: 1, key: 'roomQualityPoor' },
  lost: { bars: 0, key: 'roomQualityLost' },
};

/** Three bars, and the word for whoever does not see them. */
export function QualityMark(props: { quality: Quality | undefined }) {
  const r = useRoomT();
  if (!props.quality) return null;
  const { bars, key } = words[props.quality.word];
  return (
    <span class={`quality ${props.quality.word}`} title={r(key)}>
      <svg viewBox="0 0 18 16" aria-hidden="true" focusable="false">
        {[0, 1, 2].map((i) => (
          <rect key={i} x={i * 6 + 1} y={10 - i * 4} width="4" height={5 + i * 4} rx="1" class={i < bars ? 'on' : ''} />
        ))}
      </svg>
      <span class="hidden-text">{r(key)}</span>
    </span>
  );
}

/** How the meeting travels as a whole; a press says more. */
export function TopologyBadge(props: { topology: TopologyState; open: boolean; onOpen: () => void }) {
  const r = useRoomT();
  const { topology } = props;
  return (
    <button type="button" class="route-badge" aria-expanded={props.open} data-testid="topology" data-mode={topology.mode} onClick={props.onOpen}>
      <Icon name="lock" />
      {topology.mode === 'sfu' ? r('roomRouteSfu', { node: topology.node }) : r('roomMesh')}
      {topology.moving && <span class="spinner" role="status" aria-label={r('roomMoving')} />}
    </button>
  );
}

/** What somebody needs the SFU for, which is not always this side. */
function needText(r: RoomTexts, room: RoomState, cause: NonNullable<TopologyState['unmet']>): string {
  const { of, with: other } = room.topology;
  const name = (index: number | undefined) => {
    const person = room.people.find((p) => p.index === index);
    return person ? nameOf(person) : '';
  };
  if (cause === 'pair') return r('roomWhyPair', { name: name(of), other: name(other) });
  if (of === room.me || name(of) === '') return r(cause === 'uplink' ? 'roomWhyUplink' : 'roomWhyProcessor');
  return r(cause === 'uplink' ? 'roomWhyUplinkOf' : 'roomWhyProcessorOf', { name: name(of) });
}

function whyText(r: RoomTexts, room: RoomState): string {
  const { topology } = room;
  const { why, node } = topology;
  if (why === 'uplink' || why === 'processor' || why === 'pair') return needText(r, room, why);
  const text =
    why === 'count' ? r(topology.mode === 'sfu' ? 'roomWhyCountSfu' : 'roomWhyCount', { count: topology.limit }) : r(why === 'card' ? 'roomWhyCard' : 'roomWhyNoSfu', { node });
  return topology.unmet ? `${text} ${needText(r, room, topology.unmet)}` : text;
}

/** Who decided, what it means for privacy, and the way to each person. */
export function TopologySheet(props: { room: RoomState; control: RoomControl; onClose: () => void; onPerson: (person: number) => void }) {
  const { room, control } = props;
  const t = useT();
  const r = useRoomT();
  const route = useRouteText();
  const { topology } = room;
  return (
    <Dialog title={r('roomTravels')} closeLabel={t('close')} onClose={props.onClose}>
      <dl class="sheet-list">
        <div>
          <dt>{r('roomWay')}</dt>
          <dd>{topology.mode === 'sfu' ? r('roomRouteSfu', { node: topology.node }) : r('roomMesh')}</dd>
        </div>
        <div>
          <dt>{r('roomWhy')}</dt>
          <dd>{whyText(r, room)}</dd>
        </div>
        <div>
          <dt>{r('roomWho')}</dt>
          <dd>{r(topology.who === 'owner' ? 'roomWhoOwner' : 'roomWhoUs')}</dd>
        </div>
        <div>
          <dt>{r('roomPrivacy')}</dt>
          <dd>{r(topology.mode === 'sfu' ? 'roomPrivacySfu' : 'roomPrivacyMesh', { node: topology.node })}</dd>
        </div>
        <div>
          <dt>{t('callEncryption')}</dt>
          <dd>{r('roomEncryption')}</dd>
        </div>
      </dl>
      <ul class="plain-list">
        {room.people
          .filter((p) => !p.me)
          .map((p) => (
            <li key={p.index}>
              <button type="button" class="item" onClick={() => props.onPerson(p.index)}>
                <QualityMark quality={p.quality} />
                <span class="grow cut">{nameOf(p)}</span>
                <span class="muted">{p.connected ? route(p.route) : r('roomConnecting')}</span>
              </button>
            </li>
          ))}
      </ul>
      {room.role === 'owner' && room.runs && (
        <div class="row wrap" role="group" aria-label={r('roomPinWay')}>
          {(['auto', 'mesh', 'sfu'] as const).map((way) => (
            <button key={way} type="button" class={topology.setting === way ? 'button main' : 'button'} aria-pressed={topology.setting === way} onClick={() => control.setTopology(way)}>
              {r(way === 'auto' ? 'roomSetAuto' : way === 'mesh' ? 'roomSetMesh' : 'roomSetSfu')}
            </button>
          ))}
        </div>
      )}
    </Dialog>
  );
}

const lookMs = 1000;

/** Numbers about the way to one person. */
export function PersonSheet(props: { person: Person; room: RoomState; control: RoomControl; onClose: () => void }) {
  const { person, room } = props;
  const t = useT();
  const r = useRoomT();
  const route = useRouteText();
  const picture = room.tiles.find((x) => x.person === person.index && x.slot === 'camera');
  const quality = person.quality;
  const rows: [string, string][] = [
    [t('callRoute'), `${route(person.route)}. ${person.route?.over === 'mesh' ? t(routes[person.route.route.path].why) : person.route ? r('roomPrivacySfu', { node: person.route.node }) : ''}`],
    [t('callRouteWhy'), whyText(r, room)],
    [t('callEncryption'), r('roomEncryption')],
  ];
  if (quality) rows.push([r('roomQuality'), r(words[quality.word].key)]);
  if (quality?.rttMs !== undefined) rows.push([t('callRoundTrip'), `${Math.round(quality.rttMs)} ms`]);
  if (quality?.loss !== undefined) rows.push([t('callLoss'), `${(quality.loss * 100).toFixed(1)} %`]);
  if (picture?.width) rows.push([t('callCodec'), `${picture.codec?.toUpperCase() ?? ''} ${picture.width} × ${picture.height ?? 0}${picture.framesPerSecond ? `, ${Math.round(picture.framesPerSecond)} fps` : ''}`]);
  if (quality?.kbps !== undefined) rows.push([r('roomRate'), `${Math.round(quality.kbps)} kbit/s`]);
  return (
    <Dialog title={r('roomRouteOf', { name: nameOf(person) })} closeLabel={t('close')} onClose={props.onClose}>
      <dl class="sheet-list">
        {rows.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      <Counts {...props} />
    </Dialog>
  );
}

/** Pictures that were opened and shown, as the browser counts them. */
function Counts(props: { person: Person; control: RoomControl }) {
  const r = useRoomT();
  const [frames, setFrames] = useState<number>();
  const { index } = props.person;
  useEffect(() => {
    let gone = false;
    const look = async () => {
      const report = await props.control.stats(index);
      let decoded = 0;
      report?.forEach((s: { type: string; framesDecoded?: number }) => {
        if (s.type === 'inbound-rtp') decoded += s.framesDecoded ?? 0;
      });
      if (!gone && report) setFrames(decoded);
    };
    const again = () => look().catch(() => undefined);
    void again();
    const timer = setInterval(() => void again(), lookMs);
    return () => {
      gone = true;
      clearInterval(timer);
    };
  }, [index]);
  return frames === undefined ? null : (
    <p class="small muted" data-testid="decoded" data-count={frames}>
      {r('roomDecoded', { count: frames })}
    </p>
  );
}
