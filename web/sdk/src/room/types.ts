// Rooms as a page sees them (docs/spec/rooms.md): what is asked for, what is shown, and what can be done. Everything
// that is shown is one state of plain data that is never changed: a new one takes its place, and whoever subscribed is
// told. Ids of people are texts (tl1…); people in a room are named by their index, which is another one each time that
// somebody comes.

import type { Abortable } from "../abort.ts";
import type { Adapted } from "../call/adaptation.ts";
import type { SlotName } from "../call/media.ts";
import type { Route } from "../call/route.ts";
import type { Pointer, Reaction, Sending } from "../call/shown.ts";
import type { Client } from "../client/client.ts";
import type { SocketFactory, Timers } from "../link/wire.ts";

export type { SlotName } from "../call/media.ts";
export type { Reaction } from "../call/shown.ts";

// ---- Making rooms, and finding them again ----

/** Who gets in: whoever has the link; whom a moderator admits; who is listed. */
export type Entry = "open" | "lobby" | "members";

/** How media goes: by the number of people, never over the SFU, always over it. */
export type Topology = "auto" | "mesh" | "sfu";

export interface RoomSettings {
  /** One line, at most 128 bytes of UTF-8. */
  readonly title: string;
  /** Absent: open. */
  readonly entry?: Entry;
  /** At most 8, without the owner, in the order in which they take the chair. */
  readonly moderators?: readonly string[];
  /** Entry "members" alone, at most 50; the owner and moderators need not be listed. */
  readonly members?: readonly string[];
  /** Absent: a day. At most 366 days. */
  readonly lifeMs?: number;
  /** 2 to 50; absent: as many as there may be. */
  readonly seats?: number;
  /** Absent: auto. */
  readonly topology?: Topology;
  /** How many are in a mesh at most, 2 to 10; absent: 4. */
  readonly meshMost?: number;
}

/** What this device remembers of a room. */
export interface RoomInfo {
  /** Base64url, as it stands in the link. */
  readonly id: string;
  /** The whole link with its secret: for people who are invited, and for nobody else. */
  readonly link: string;
  readonly title: string;
  readonly entry: Entry;
  /** It was made here. */
  readonly owner: boolean;
  /** This device may admit, send away, extend and close. */
  readonly runs: boolean;
  readonly expiresMs: number;
  readonly seenMs: number;
  /** Its time is over. */
  readonly over: boolean;
}

/** What a link says without asking anybody; throws malformed. */
export type ParseRoomLink = (text: string) => { readonly base: string; readonly id: string };

/**
 * Makes a room at the own node and remembers it.
 *
 * @throws TrunklineError malformed (settings over a limit), not_registered, unreachable, aborted, refused (nodeCode is
 *   a RoomRefusal: policy, quota, too_large, expired, …)
 */
export type CreateGroup = (client: Client, settings: RoomSettings, o?: Abortable) => Promise<RoomInfo>;

/** The rooms that this device has made or been in, the newest first. */
export type ListGroups = (client: Client) => readonly RoomInfo[];
/** Forgets a room, which goes on without. */
export type ForgetGroup = (client: Client, id: string) => Promise<void>;
/** Ends a room for all and for good. Needs RoomInfo.runs. */
export type CloseGroup = (client: Client, id: string, o?: Abortable) => Promise<void>;

// ---- Coming in ----

/** Who comes without an account: an identity is made on the spot and ends with the room. */
export interface Guest {
  readonly socket: SocketFactory;
  readonly timers?: Timers;
}

export interface JoinOptions extends Abortable {
  /** One line, at most 64 bytes: one's own word, no proof. */
  readonly name: string;
  /** Hides this side's addresses from the others: in a mesh only the node's relay is used. */
  readonly relayOnly?: boolean;
  /** Starts the SDK's worker for rooms (room/worker.ts). Without it nothing is sent or shown. */
  readonly worker?: () => Worker;
  /** Plain data of the room is told here from the first moment on. */
  readonly onState?: (s: RoomState) => void;
}

/**
 * Goes into the room of a link. It resolves when the node has given a seat, which in a room with a lobby is a place to
 * wait (phase "waiting"). An abort leaves no seat behind.
 *
 * @throws TrunklineError malformed (no link), unreachable, aborted, not_listed (a members' room), signature (the node's
 *   card is not this room's), refused (nodeCode is a RoomRefusal)
 */
export type JoinGroup = (who: Client | Guest, link: string, o: JoinOptions) => Promise<Room>;

/** The node's words (rooms.md, section 11), as TrunklineError.nodeCode and RoomEnd.code have them. */
export type RoomRefusal =
  | "no_room" | "gate" | "room_full" | "removed" | "closed" | "expired" | "bad_signature" | "policy" | "pass" | "not_registered" | "quota" | "refused"
  | "too_large" | "unreachable" | "rate" | "unavailable" | "bad_frame";

// ---- What is shown ----

/** owner and moderator: by the card. member: listed in the card, or a contact of ours. guest: nobody we know. */
export type Role = "owner" | "moderator" | "member" | "guest";

/** How well the packets of somebody come through. */
export interface Quality {
  readonly word: "good" | "fair" | "poor" | "lost";
  readonly rttMs: number | undefined;
  /** Of what should have come in the last seconds, 0 to 1. */
  readonly loss: number | undefined;
  readonly kbps: number | undefined;
}

/** The way that somebody's sound and pictures come. */
export type RoomRoute =
  /** A connection between the two. */
  | { readonly over: "mesh"; readonly route: Route }
  /** Over the room's node, whose name is given; leg: this side's way to it. */
  | { readonly over: "sfu"; readonly node: string; readonly leg: Route["local"] };

/** What somebody says of itself; relied upon for nothing. */
export interface Presence extends Sending {
  readonly recording: boolean;
}

export interface Person {
  readonly index: number;
  readonly id: string;
  /** Hexadecimal: one person may be here with several devices. */
  readonly device: string;
  /** Its own word. Of a contact: the name by which we know it. */
  readonly name: string;
  readonly role: Role;
  readonly me: boolean;
  /** It signs the lists of who is in. */
  readonly chair: boolean;
  /** The person compared keys; is a contact; is nobody we know. */
  readonly verified: "verified" | "contact" | "unknown";
  /** undefined: it says nothing, which is not the word that it is muted. */
  readonly presence: Presence | undefined;
  /** The place in the row of raised hands, 1 first; 0: none raised. */
  readonly hand: number;
  readonly speaking: boolean;
  /** Media can flow. */
  readonly connected: boolean;
  readonly route: RoomRoute | undefined;
  readonly quality: Quality | undefined;
}

/** Something that somebody else sends: a picture or a sound. */
export interface Tile {
  /** Stable for as long as the tile is the same one. */
  readonly key: string;
  readonly person: number;
  readonly slot: SlotName;
  /** Only what has been opened with that person's key is here; show and play this and nothing else. */
  readonly track: MediaStreamTrack | undefined;
  /**
   * securing: frames are awaited that open with the sender's key. live. paused: nothing comes just now, and pausedBy
   * says whose doing it is.
   */
  readonly state: "securing" | "live" | "paused";
  readonly pausedBy: "sender" | "us" | "bandwidth" | "path" | undefined;
  /** Of the picture that comes, as far as it is known. */
  readonly width: number | undefined;
  readonly height: number | undefined;
  readonly framesPerSecond: number | undefined;
  readonly codec: "opus" | "vp8" | "vp9" | undefined;
  readonly over: "mesh" | "sfu" | undefined;
}

/** Somebody in the lobby. */
export interface Waiting {
  readonly index: number;
  readonly id: string;
  readonly name: string;
  readonly verified: Person["verified"];
}

export interface TopologyState {
  readonly mode: "mesh" | "sfu";
  /** Both ways are in use while media moves from one to the other. */
  readonly moving: boolean;
  readonly setting: Topology;
  /**
   * count: of the people. card: its maker has pinned it. uplink, processor: of somebody, which do not carry a copy for each of
   * the others. pair: two do not get a connection. no_sfu: the node has none.
   */
  readonly why: "count" | "card" | "uplink" | "processor" | "pair" | "no_sfu";
  /** Whose uplink or processor it is, or who gets no connection. */
  readonly of: number | undefined;
  /** For a pair: with whom. */
  readonly with: number | undefined;
  /** In a mesh that stays one: what somebody would need the SFU for; of and with say of whom. */
  readonly unmet: "uplink" | "processor" | "pair" | undefined;
  /** Who decided: the owner by the card; or this side by itself. */
  readonly who: "owner" | "us";
  readonly sinceMs: number;
  /** How many a mesh carries at most. */
  readonly limit: number;
  /** The name of the node, as its link proved it. */
  readonly node: string;
}

/** What of the own media goes out. */
export interface Published {
  readonly slot: SlotName;
  readonly track: MediaStreamTrack;
  /** What is given up just now because the path or the processor does not carry it. */
  readonly adapted: Adapted | undefined;
}

export interface ChatLine {
  /** Hexadecimal. */
  readonly id: string;
  readonly from: number;
  readonly name: string;
  readonly mine: boolean;
  readonly text: string;
  readonly atMs: number;
}

/** Why it is over. code: the node's word, where it was the node's or a moderator's doing. */
export interface RoomEnd {
  readonly why: "left" | "removed" | "denied" | "closed" | "expired" | "gate" | "alarm" | "refused" | "failed";
  readonly code: RoomRefusal | undefined;
  readonly error: Error | undefined;
}

/**
 * joining: a seat is asked for. waiting: in the lobby. in. again: the link to the node was lost and is being made anew;
 * nobody is connected meanwhile, and this side comes in under another index. ended.
 */
export type RoomPhase = "joining" | "waiting" | "in" | "again" | "ended";

export interface RoomState {
  readonly phase: RoomPhase;
  readonly id: string;
  readonly link: string;
  readonly title: string;
  readonly entry: Entry;
  readonly expiresMs: number;
  readonly seats: number;
  /** The own index; 0 before there is a seat. */
  readonly me: number;
  readonly role: Role;
  /** This device holds the key that runs the room: admit, deny, remove, extend, close, newLink. */
  readonly runs: boolean;
  /** This device signs the lists of who is in. */
  readonly chairIsOurs: boolean;
  /** The index of whoever has the chair; undefined: nobody who may is here. */
  readonly chair: number | undefined;
  /** Everybody who is in, ourselves first, then by index. */
  readonly people: readonly Person[];
  readonly tiles: readonly Tile[];
  readonly published: readonly Published[];
  /** To whoever runs the room. */
  readonly lobby: readonly Waiting[];
  readonly topology: TopologyState;
  /** Who spoke last, first. */
  readonly speakers: readonly number[];
  /** Indexes of those who record. */
  readonly recording: readonly number[];
  /** The last 500 lines. */
  readonly chat: readonly ChatLine[];
  readonly end: RoomEnd | undefined;
}

/** What passes and leaves nothing in the state. */
export type RoomEvent =
  | { readonly type: "came" | "went"; readonly person: Person; readonly code: RoomRefusal | undefined }
  | { readonly type: "waits"; readonly waiting: Waiting }
  | { readonly type: "admitted" }
  | { readonly type: "reaction"; readonly person: number; readonly kind: Reaction }
  /** Where somebody points, on the screen that `screen` shares. */
  | { readonly type: "pointer"; readonly person: number; readonly screen: number; readonly at: Pointer["at"] }
  | { readonly type: "chat"; readonly line: ChatLine }
  /** A moderator asks this side to stop sending something. Nothing is done by itself. */
  | { readonly type: "mute_asked"; readonly person: number; readonly what: "microphone" | "camera" | "screen" }
  | { readonly type: "recording"; readonly person: number; readonly on: boolean }
  | { readonly type: "link_replaced"; readonly link: string }
  /** This side seals under another key, because somebody went. */
  | { readonly type: "rekeyed" }
  | { readonly type: "topology"; readonly topology: TopologyState }
  /** The link to the node was lost, and this side is in again under another index. */
  | { readonly type: "again"; readonly index: number }
  /** A moderator contradicts itself, or a browser showed what was not opened. */
  | { readonly type: "alarm"; readonly what: "roster" | "frames" | "certificate" }
  /** A member says that something of the connection with this side was not as it must be. That is its word. */
  | { readonly type: "alarm"; readonly what: "peer"; readonly person: number };

// ---- What can be done ----

/** What of the others is shown, and how large. It replaces what was wanted before. */
export interface Wants {
  /** Tiles that are on the screen, the most important first, at most 28. What is not named is not asked of the SFU; sound always is. */
  readonly tiles: readonly { readonly person: number; readonly slot: "camera" | "screen"; /** CSS pixels times the device's ratio. */ readonly height: number; readonly pinned?: boolean }[];
  /** Of the cameras that are named and not pinned only those of so many: who spoke last. Absent: all. */
  readonly lastN?: number;
}

/** How a picture goes out. */
export interface PublishOptions {
  /** Of a screen: text (sharp, few pictures) or motion (a film); of a camera always motion. */
  readonly content?: "text" | "motion";
}

/** The place of this side in a room, from joinGroup to leave or the end of the room. */
export interface Room {
  readonly state: RoomState;
  /** Hears each new state, at most one for each turn of the event loop. Gives the function that ends it. */
  subscribe(f: (s: RoomState) => void): () => void;
  /** Hears what passes. Gives the function that ends it. */
  listen(f: (e: RoomEvent) => void): () => void;

  /** Sends a track in a slot, to all; another one in its place. The track stays its maker's, who stops it. */
  publish(slot: SlotName, track: MediaStreamTrack, o?: PublishOptions): Promise<void>;
  unpublish(slot: SlotName): Promise<void>;
  setWants(w: Wants): void;
  /** Statistics of the browser for "how is it going" pages: by person, or the leg to the SFU. */
  stats(person?: number): Promise<RTCStatsReport | undefined>;

  /** Tells all what is muted, without taking the track away. What is not published is off by itself. */
  setMuted(slot: SlotName, muted: boolean): void;
  setHand(up: boolean): void;
  /** This person speaks just now, by the own meter: in a room nothing on the wire tells it. */
  setSpeaking(on: boolean): void;
  react(kind: Reaction): void;
  /** 1 to 4,096 bytes of UTF-8, to everybody who is in. Throws too_large or malformed. */
  chat(text: string): ChatLine;
  /** Points on the screen that somebody shares; more than 20 in a second are left out. at undefined: away. */
  point(screen: number, at: Pointer["at"]): void;
  /** Tells all that this side records, and waits until it has gone out. Call it before the first picture is kept. */
  announceRecording(on: boolean): Promise<void>;

  /** Asks somebody to stop sending; for the owner and moderators. */
  askMute(person: number, what: "microphone" | "camera" | "screen"): void;
  /** Lets somebody out of the lobby in. */
  admit(index: number, o?: Abortable): Promise<void>;
  /** Sends somebody out of the lobby away. */
  deny(index: number, o?: Abortable): Promise<void>;
  /** Sends somebody away: it is banned, the room gets another link, and everybody another key. For the chair. */
  remove(person: number, o?: Abortable): Promise<void>;
  /** Another link for the same room: the old one opens nothing any more, and whoever is in stays. */
  newLink(o?: Abortable): Promise<string>;
  /** Another end, for the owner's device. */
  extend(expiresMs: number, o?: Abortable): Promise<void>;
  /** Another topology, for the owner's device. */
  setTopology(t: Topology, o?: Abortable): Promise<void>;
  /** Ends the room for all and for good. */
  close(o?: Abortable): Promise<void>;
  /** Goes. Resolves when nothing of it is left. */
  leave(): Promise<void>;
}

// What @trunkline/sdk/room exports besides these types.
export interface RoomModule {
  readonly parseRoomLink: ParseRoomLink;
  readonly createGroup: CreateGroup;
  readonly joinGroup: JoinGroup;
  readonly listGroups: ListGroups;
  readonly forgetGroup: ForgetGroup;
  readonly closeGroup: CloseGroup;
}
