import { useEffect, useState } from 'preact/hooks';
import { useApp, useView } from '../app.ts';
import { loadPrefs } from '../prefs.ts';
import type { Route } from '../route.ts';
import type { RoomDesk } from './roomdesk.ts';
import { RoomLayer } from './layer.tsx';
import { RoomScreen } from './screen.tsx';
import { loadRoomTexts } from './text.ts';

// The door to everything about meetings: whoever only calls one person fetches none of it.

/** A screen of meetings, as soon as the engine has what it needs for them. */
export function Rooms(props: { route: Extract<Route, { screen: 'room' }> }) {
  const app = useApp();
  const [desk, setDesk] = useState<RoomDesk | null>(null);
  const [failed, setFailed] = useState<unknown>(null);
  useEffect(() => {
    let gone = false;
    app.engine.rooms().then((d) => !gone && setDesk(d), setFailed);
    return () => {
      gone = true;
    };
  }, []);
  if (failed) throw failed;
  return desk && <RoomScreen key={props.route.link} route={props.route} desk={desk} />;
}

/** The meeting that this tab is in, above everything. */
export function RoomAbove() {
  const app = useApp();
  const view = useView((s) => s.room);
  const [desk, setDesk] = useState<RoomDesk | null>(null);
  useEffect(() => {
    app.engine.rooms().then(setDesk, reportError);
  }, []);
  return view && desk?.control ? <RoomLayer view={view} control={desk.control} /> : null;
}

/** The words have to be there before the first screen is. */
export async function withTexts<T>(what: T): Promise<T> {
  await loadRoomTexts(loadPrefs().language);
  return what;
}
