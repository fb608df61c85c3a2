// What the rooms' browser test's page knows: a place in a room, as a guest unless it has got an identity, and a few steps that
// the test calls by name.

import { createIdentity, type Client } from "../../src/index.ts";
import { browserSocket, inBrowser } from "../../src/browser.ts";
import { systemTimers } from "../../src/link/wire.ts";
import { joinGroup, type Guest, type Room, type RoomEvent, type RoomState, type Wants } from "../../src/room/index.ts";

let room: Room;
const events: RoomEvent[] = [];
let shared: MediaStreamTrack | undefined;
const shown = new Map<string, HTMLMediaElement>();

// The hysteresis of rooms is asked of a clock that a test can move; timers go by the real one.
let ahead = 0;
const timers = { ...systemTimers, now: () => systemTimers.now() + ahead };

/** Every connection of the page, in the order in which they were made. */
const made: RTCPeerConnection[] = [];
globalThis.RTCPeerConnection = class extends RTCPeerConnection {
  constructor(o?: RTCConfiguration) {
    super(o);
    made.push(this);
  }
};

/** From here on this page sends what its camera and microphone give, unsealed, and hides it from its own checks. */
function sendPlain(): void {
  const Native = RTCPeerConnection;
  globalThis.RTCPeerConnection = class extends Native {
    constructor() { super({ bundlePolicy: "max-bundle" }); } // frames of senders without a transform go out
    override async getStats(): Promise<RTCStatsReport> {
      const all = await super.getStats();
      return new Map([...(all as unknown as Map<string, { type: string }>)].filter(([, s]) => !s.type.endsWith("-rtp"))) as unknown as RTCStatsReport;
    }
  };
  Object.defineProperty(RTCRtpSender.prototype, "transform", { set: () => undefined, get: () => ({}) });
}

/** From here on this page's encoders say that it is the processor that holds them back. */
function labour(): void {
  const { getStats } = RTCPeerConnection.prototype;
  RTCPeerConnection.prototype.getStats = async function (this: RTCPeerConnection) {
    const all = new Map(await getStats.call(this) as unknown as Map<string, { type: string }>);
    for (const [id, s] of all) if (s.type === "outbound-rtp") all.set(id, { ...s, qualityLimitationReason: "cpu" } as { type: string });
    return all as unknown as RTCStatsReport;
  } as typeof getStats;
}

/** From here on nobody finds a path to this page but the SFU, whose address stands in its description. */
function hide(): void {
  Object.defineProperty(RTCPeerConnection.prototype, "onicecandidate", { set: () => undefined, get: () => null });
  RTCPeerConnection.prototype.addIceCandidate = () => Promise.resolve();
}

/** A screen of 1280 by 720 on which something moves. */
function screen(): MediaStreamTrack {
  const canvas = Object.assign(document.createElement("canvas"), { width: 1280, height: 720 });
  const pen = canvas.getContext("2d")!;
  let n = 0;
  setInterval(() => {
    pen.fillStyle = "white";
    pen.fillRect(0, 0, 1280, 720);
    pen.fillStyle = "black";
    pen.font = "80px sans-serif";
    pen.fillText(`line ${n++}`, 100 + (n % 50) * 10, 300);
  }, 100);
  return canvas.captureStream(10).getVideoTracks()[0]!;
}

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
  phase: room.state.phase, me: room.state.me, end: room.state.end?.why, mode: room.state.topology.mode, why: room.state.topology.why, of: room.state.topology.of, with: room.state.topology.with, moving: room.state.topology.moving,
  people: room.state.people.map((p) => ({ index: p.index, name: p.name, connected: p.connected, over: p.route?.over, path: p.route?.over === "mesh" ? p.route.route.path : p.route?.leg })),
  tiles: room.state.tiles.map((t) => ({ key: t.key, person: t.person, slot: t.slot, state: t.state, over: t.over, height: t.height, playing: playing(t.key) })),
  rekeyed: events.filter((e) => e.type === "rekeyed").length, ways: events.flatMap((e) => (e.type === "topology" ? [e.topology.mode] : [])),
  alarms: events.filter((e) => e.type === "alarm").length,
});

/** How many pictures of a tile were really shown; sound: whether it has come. */
function playing(key: string): number {
  const el = shown.get(key);
  if (el instanceof HTMLVideoElement) return el.getVideoPlaybackQuality().totalVideoFrames;
  return el === undefined ? 0 : 1;
}

export type Look = ReturnType<typeof look>;

let who: Client | Guest = { socket: browserSocket, timers };

export const steps = {
  /** An identity at the node that invites; name is that of its storage. */
  enrol: async (invite: string, name: string) => {
    const { client } = await createIdentity(await inBrowser(name));
    await client.register(invite);
    client.start();
    who = client;
  },
  join: async (link: string, name: string, media: boolean, large = false, relayOnly = false) => {
    room = await joinGroup(who, link, { name, relayOnly, worker: () => new Worker("/worker.js", { type: "module" }), onState: show });
    room.listen((e) => events.push(e));
    if (!media) return;
    const [width, height] = large ? [1280, 720] : [320, 240];
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width, height, frameRate: 10 } });
    await room.publish("microphone", stream.getAudioTracks()[0]!);
    await room.publish("camera", stream.getVideoTracks()[0]!);
  },
  look,
  /** Shows a screen; another content is said of the one that is shown. */
  share: async (content: "text" | "motion") => room.publish("screen", (shared ??= screen()), { content }),
  /** The clock goes so much further. */
  pass: (ms: number) => { ahead += ms; },
  /** Under which name each connection of the page looks for a path; one that is closed has none. */
  ufrags: () => made.map((pc) => (pc.connectionState === "closed" ? "" : /a=ice-ufrag:(\S+)/.exec(pc.localDescription?.sdp ?? "")?.[1] ?? "")),
  /** How many sections of a connection that is open are there to receive. */
  places: () => made.filter((pc) => pc.connectionState !== "closed").map((pc) => pc.getTransceivers().filter((t) => t.direction === "recvonly").length),
  sendPlain, labour, hide,
  setWants: (w: Wants) => room.setWants(w),
  /** How many packets of pictures came, by stream; of a person's connection, or over the SFU. */
  arrived: async (person: number | undefined) => {
    const out: number[] = [];
    for (const s of (await room.stats(person))?.values() ?? []) if (s.type === "inbound-rtp" && s.kind === "video" && s.packetsReceived > 0) out.push(s.packetsReceived as number);
    return out;
  },
  remove: (person: number) => room.remove(person),
  leave: () => room.leave(),
};
export type Steps = typeof steps;

Object.assign(globalThis, { steps });
