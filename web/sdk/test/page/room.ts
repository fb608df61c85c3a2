// What the rooms' browser test's page knows: a guest's place in a room, and a few steps that the test calls by name.

import { browserSocket } from "../../src/browser.ts";
import { joinGroup, type Room, type RoomEvent, type RoomState } from "../../src/room/index.ts";

let room: Room;
const events: RoomEvent[] = [];
const shown = new Map<string, HTMLMediaElement>();

/** Every tile is shown, as a page does: only then a browser decodes it. */
function show(s: RoomState): void {
  for (const t of s.tiles) {
    const el = shown.get(t.key);
    if (t.track === undefined) continue;
    if (el !== undefined && (el.srcObject as MediaStream).getTracks()[0] === t.track) continue;
    const fresh = el ?? document.body.appendChild(document.createElement(t.track.kind === "video" ? "video" : "audio"));
    fresh.autoplay = true;
    fresh.muted = true;
    fresh.srcObject = new MediaStream([t.track]);
    shown.set(t.key, fresh);
  }
}

const look = () => ({
  phase: room.state.phase, me: room.state.me, end: room.state.end?.why, mode: room.state.topology.mode, moving: room.state.topology.moving,
  people: room.state.people.map((p) => ({ index: p.index, name: p.name, connected: p.connected, over: p.route?.over, path: p.route?.over === "mesh" ? p.route.route.path : p.route?.leg })),
  tiles: room.state.tiles.map((t) => ({ key: t.key, person: t.person, slot: t.slot, state: t.state, over: t.over, playing: playing(t.key) })),
  alarms: events.filter((e) => e.type === "alarm").length,
});

/** How many pictures of a tile were really shown; sound: whether it has come. */
function playing(key: string): number {
  const el = shown.get(key);
  if (el instanceof HTMLVideoElement) return el.getVideoPlaybackQuality().totalVideoFrames;
  return el === undefined ? 0 : 1;
}

export type Look = ReturnType<typeof look>;

export const steps = {
  join: async (link: string, name: string, media: boolean) => {
    room = await joinGroup({ socket: browserSocket }, link, { name, worker: () => new Worker("/worker.js", { type: "module" }), onState: show });
    room.listen((e) => events.push(e));
    if (!media) return;
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 320, height: 240, frameRate: 10 } });
    await room.publish("microphone", stream.getAudioTracks()[0]!);
    await room.publish("camera", stream.getVideoTracks()[0]!);
  },
  look,
  remove: (person: number) => room.remove(person),
  leave: () => room.leave(),
};
export type Steps = typeof steps;

Object.assign(globalThis, { steps });
