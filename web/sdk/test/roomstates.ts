import type { Room, RoomState } from "../src/room/index.ts";

/** Waits for a state, also for the present one. */
export function until(r: Room, look: (s: RoomState) => boolean): Promise<RoomState> {
  return new Promise((resolve) => {
    const check = (s: RoomState) => {
      if (!look(s)) return false;
      stop();
      resolve(s);
      return true;
    };
    let stop = () => undefined as void;
    if (!check(r.state)) stop = r.subscribe(check);
  });
}
