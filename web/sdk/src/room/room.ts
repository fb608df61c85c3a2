// The place of this side in a room, from joinGroup to leave or the end of the room: one stay after the other, and the one
// state that a page sees of all of it.

import { abortError, checkAbort, type Abortable } from "../abort.ts";
import { hex, random, utf8, type Bytes } from "../bytes.ts";
import { refuse, TrunklineError } from "../errors.ts";
import { isTemporary } from "../link/wire.ts";
import { reactions, type Pointer, type Sending } from "../call/shown.ts";
import { slotNames } from "../call/media.ts";
import type { Attendee } from "./attendee.ts";
import { knownAs } from "./attendee.ts";
import { positionOf } from "./card.ts";
import { Removed } from "./chair.ts";
import type { MemberId } from "./join.ts";
import { RoomMedia } from "./media.ts";
import { needMessage, needOf } from "./needs.ts";
import { maxNote, type RoomMessage, type RoomMessageInit } from "./message.ts";
import { formatRoomLink, idText, type RoomLink } from "./secret.ts";
import { Stay, type Member, type StayOwner, type Waiter } from "./stay.ts";
import type {
  ChatLine, JoinOptions, Person, Presence, PublishOptions, Reaction, Role, Room, RoomEnd, RoomEvent, RoomPhase, RoomRefusal, RoomState, SlotName, Topology, Waiting, Wants,
} from "./types.ts";

const firstPauseMs = 300;
const lastPauseMs = 30_000;
const enterMs = 20_000;
const pointerEveryMs = 50;
const edge = 65_535;
const mostLines = 500;
const askable = ["microphone", "camera", "screen"] as const;

/** What somebody says of itself, and since when its hand is raised. */
interface Said extends Presence { readonly handMs: number }

export class LiveRoom implements Room {
  readonly #a: Attendee;
  readonly #media: RoomMedia;
  #link: RoomLink;
  #stay: Stay | undefined;
  #phase: RoomPhase = "joining";
  #end: RoomEnd | undefined;
  #serial = 0;
  #pauseMs = firstPauseMs;
  #cancelAgain: () => void = () => undefined;
  readonly #stop = new AbortController();
  readonly #subscribers = new Set<(s: RoomState) => void>();
  readonly #listeners = new Set<(e: RoomEvent) => void>();
  readonly #muted = new Set<SlotName>();
  #handMs = 0;
  readonly #presences = new Map<number, Said>();
  #pointedMs = 0;
  #recording = false;
  #chat: readonly ChatLine[] = [];
  #state: RoomState;
  #dirty = false;

  private constructor(a: Attendee, link: RoomLink, o: JoinOptions) {
    this.#a = a;
    this.#link = link;
    this.#media = new RoomMedia({
      relayOnly: o.relayOnly ?? false, home: a.client?.registered === true ? a.client : undefined, worker: o.worker, now: () => a.now(), after: (ms, f) => a.timers.after(ms, f), wire: () => this.#stay?.wire, expected: () => this.#stay?.expected ?? 0,
      me: () => this.#stay?.own.index ?? 0,
      say: (m, msg) => this.#stay?.serial.do(() => this.#stay?.say(m, msg) ?? Promise.resolve()),
      changed: () => this.#changed(), moved: () => this.#tell({ type: "topology", topology: this.#media.topology() }),
      alarm: (what) => this.#tell({ type: "alarm", what }), told: (person) => this.#tell({ type: "alarm", what: "peer", person }), failed: (why) => void this.#finish({ why: "failed", code: undefined, error: why }),
    });
    this.#state = this.#build();
    if (o.onState !== undefined) this.#subscribers.add(o.onState);
  }

  /** Comes in, and resolves when the node has given a seat. */
  static async join(a: Attendee, link: RoomLink, o: JoinOptions): Promise<LiveRoom> {
    checkAbort(o.signal);
    const r = new LiveRoom(a, link, o);
    try {
      await r.#enter(o.signal);
      if (o.signal?.aborted) throw abortError(o.signal);
      return r;
    } catch (err) {
      await r.#finish({ why: "failed", code: undefined, error: err instanceof Error ? err : undefined });
      throw err;
    }
  }

  async #enter(signal: AbortSignal | undefined): Promise<void> {
    const stay = await Stay.enter(this.#owner(() => stay), signal);
    this.#stay = stay;
    this.#serial = Math.max(this.#serial, stay.card.serial);
    this.#phase = stay.lobby ? "waiting" : "in";
    this.#pauseMs = firstPauseMs;
    this.#configure();
    stay.begin();
    this.#changed();
  }

  #configure(): void {
    const s = this.#stay!;
    this.#media.configure({ topology: s.card.topology, limit: s.card.meshLimit, sfu: s.sfu, node: s.wire.node.domain, inside: !s.lobby });
  }

  /** What a stay tells; what an older one says late is ignored. */
  #owner(own: () => Stay): StayOwner {
    const now = () => this.#stay === own();
    return {
      attendee: this.#a, keys: this.#media.keys, link: () => this.#link, newestSerial: () => this.#serial,
      changed: () => { if (now()) this.#changed(); },
      admitted: () => {
        this.#phase = "in";
        this.#configure();
        this.#tell({ type: "admitted" });
      },
      carded: (card) => {
        this.#serial = card.serial;
        this.#configure();
      },
      came: (m) => {
        this.#media.came(m);
        this.#tell({ type: "came", person: this.#person(m), code: undefined });
        this.#sayPresence(m);
      },
      went: (m, code) => {
        const person = this.#person(m);
        this.#media.went(m.index);
        this.#presences.delete(m.index);
        this.#tell({ type: "went", person, code: code === "" ? undefined : code as RoomRefusal });
      },
      greeting: () => (this.#media.need === undefined ? undefined : needMessage(this.#media.need)),
      waits: (w) => this.#tell({ type: "waits", waiting: this.#waiting(w)! }),
      said: (m, msg) => this.#said(m, msg),
      legEvent: (k) => this.#media.legEvent(k),
      linkReplaced: async (secret: Bytes) => {
        this.#link = { ...this.#link, secret };
        this.#tell({ type: "link_replaced", link: formatRoomLink(this.#link) });
      },
      rekeyed: () => this.#tell({ type: "rekeyed" }),
      alarm: () => this.#tell({ type: "alarm", what: "roster" }),
      over: (why, code) => { if (now()) void this.#over(why, code); },
    };
  }

  #said(m: Member, msg: RoomMessage): void {
    switch (msg.case) {
      case "connection": return this.#media.heard(m, msg.value.message);
      case "way": return this.#media.gotWay(m, msg.value.kind);
      case "need": return this.#media.gotNeed(m.index, needOf(msg.value));
      case "presence": {
        const { hand, ...sending } = msg.value;
        const was = this.#presences.get(m.index)?.recording ?? false;
        this.#presences.set(m.index, { ...sending, hand: hand > 0n, handMs: Number(hand) });
        if (slotNames.some((n) => sending[n])) this.#media.sends(m.index);
        if (sending.recording !== was) this.#tell({ type: "recording", person: m.index, on: sending.recording });
        return this.#changed();
      }
      case "reaction": return this.#tell({ type: "reaction", person: m.index, kind: reactions[msg.value.kind - 1]! });
      case "pointer": {
        const { screen, here, x, y } = msg.value;
        return this.#tell({ type: "pointer", person: m.index, screen, at: here ? { x: x / edge, y: y / edge } : undefined });
      }
      case "note": return this.#line({ id: hex(msg.value.id), from: m.index, name: this.#person(m).name, mine: false, text: msg.value.text, atMs: this.#a.now() });
      case "muteAsk": {
        // Of nobody else.
        const what = askable[msg.value.slot];
        if (what !== undefined && positionOf(this.#stay!.card, m.cert.root) !== undefined) this.#tell({ type: "mute_asked", person: m.index, what });
      }
    }
  }

  #line(line: ChatLine): void {
    if (this.#chat.some((l) => l.id === line.id)) return;
    this.#chat = [...this.#chat, line].slice(-mostLines);
    this.#tell({ type: "chat", line });
  }

  /** Tells somebody who came, or everybody, what this side sends and does. */
  #sayPresence(to?: Member): void {
    const { hand: _, ...sending } = this.#ownPresence();
    const msg: RoomMessageInit = { case: "presence", value: { ...sending, hand: BigInt(this.#handMs) } };
    if (to === undefined) return this.#sayAll(msg);
    this.#stay?.serial.do(() => this.#stay?.say(to, msg) ?? Promise.resolve());
  }

  // ---- The end, and coming again ----

  async #over(why: TrunklineError, code: RoomRefusal | undefined): Promise<void> {
    const s = this.#stay;
    this.#stay = undefined;
    this.#media.reset();
    this.#presences.clear();
    await s?.close(false);
    const word = code ?? (why instanceof Removed ? "removed" : undefined);
    if (word !== undefined) return this.#finish({ why: endOf(word, this.#phase), code: word, error: undefined });
    if (!isTemporary(why)) return this.#finish({ why: why.code === "refused" ? "refused" : "failed", code: why.nodeCode as RoomRefusal | undefined, error: why });
    this.#phase = "again";
    this.#changed();
    this.#comeAgain();
  }

  #comeAgain(): void {
    if (this.#end !== undefined) return;
    const { timers } = this.#a;
    const wait = this.#pauseMs / 2 + timers.random() * this.#pauseMs;
    this.#pauseMs = Math.min(2 * this.#pauseMs, lastPauseMs);
    this.#cancelAgain = timers.after(wait, () => void this.#tryAgain());
  }

  async #tryAgain(): Promise<void> {
    const late = new AbortController();
    const cancel = this.#a.timers.after(enterMs, () => late.abort());
    try {
      await this.#enter(AbortSignal.any([late.signal, this.#stop.signal]));
      this.#tell({ type: "again", index: this.#stay!.own.index });
    } catch (err) {
      if (this.#end !== undefined) return;
      if (err instanceof TrunklineError && !isTemporary(err) && !late.signal.aborted) {
        const code = err.nodeCode as RoomRefusal | undefined;
        return this.#finish({ why: code === undefined ? "failed" : endOf(code, this.#phase), code, error: err });
      }
      if (!(err instanceof TrunklineError)) return this.#finish({ why: "failed", code: undefined, error: err as Error });
      this.#comeAgain();
    } finally {
      cancel();
    }
  }

  async #finish(end: RoomEnd): Promise<void> {
    if (this.#end !== undefined) return;
    this.#end = end;
    this.#phase = "ended";
    this.#stop.abort();
    this.#cancelAgain();
    const s = this.#stay;
    this.#stay = undefined;
    this.#media.reset();
    this.#changed();
    await s?.close(end.why === "left");
    this.#media.close();
  }

  async leave(): Promise<void> { await this.#finish({ why: "left", code: undefined, error: undefined }); }

  // ---- The state ----

  get state(): RoomState {
    if (this.#dirty) {
      this.#dirty = false;
      this.#state = this.#build();
    }
    return this.#state;
  }

  subscribe(f: (s: RoomState) => void): () => void {
    this.#subscribers.add(f);
    return () => void this.#subscribers.delete(f);
  }

  listen(f: (e: RoomEvent) => void): () => void {
    this.#listeners.add(f);
    return () => void this.#listeners.delete(f);
  }

  #queued = false;
  #changed(): void {
    this.#dirty = true;
    if (this.#queued) return;
    this.#queued = true;
    queueMicrotask(() => {
      this.#queued = false;
      const s = this.state;
      for (const f of [...this.#subscribers]) f(s);
    });
  }

  #tell(e: RoomEvent): void {
    this.#changed();
    for (const f of [...this.#listeners]) f(e);
  }

  #role(m: MemberId): Role {
    const card = this.#stay?.card;
    if (card === undefined) return "guest";
    const at = positionOf(card, m.cert.root);
    if (at !== undefined) return at === 0 ? "owner" : "moderator";
    if (m.index === this.#stay!.own.index) return this.#a.client === undefined ? "guest" : "member";
    const listed = card.members.some((k) => k.equals(m.cert.root)) || knownAs(this.#a, m.cert.root).verified !== "unknown";
    return listed ? "member" : "guest";
  }

  #presenceOf(index: number): Said | undefined { return this.#presences.get(index); }

  #ownPresence(): Presence {
    const on = new Set(this.#media.published().map((p) => p.slot).filter((s) => !this.#muted.has(s)));
    const sending: Sending = { microphone: on.has("microphone"), camera: on.has("camera"), screen: on.has("screen"), screenAudio: on.has("screenAudio"), hand: this.#handMs > 0 };
    return { ...sending, recording: this.#recording };
  }

  #person(m: MemberId): Person {
    const me = m.index === this.#stay?.own.index;
    const known = knownAs(this.#a, m.cert.root);
    const presence = me ? this.#ownPresence() : this.#presenceOf(m.index);
    return {
      index: m.index, id: m.cert.root.id(), device: m.cert.deviceId.hex, name: known.name === "" ? m.name : known.name, role: this.#role(m), me,
      chair: this.#stay?.chair.index === m.index, verified: known.verified, presence, hand: this.#handOf(m.index),
      ...this.#media.facts(m.index), ...(me ? { connected: true } : {}),
    };
  }

  /** The place in the row of raised hands. What clocks say of it is taken as it is: it is a courtesy, and no vote. */
  #handOf(index: number): number {
    const me = this.#stay?.own.index;
    const row = [...this.#presences].map(([i, p]) => [p.handMs, i] as const).concat(me === undefined ? [] : [[this.#handMs, me]])
      .filter(([at]) => at > 0).sort(([a, i], [b, j]) => a - b || i - j);
    return row.findIndex(([, i]) => i === index) + 1;
  }

  #waiting(w: Waiter): Waiting | undefined {
    if (w.id === undefined) return undefined;
    const known = knownAs(this.#a, w.id.cert.root);
    return { index: w.index, id: w.id.cert.root.id(), name: known.name === "" ? w.id.name : known.name, verified: known.verified };
  }

  #build(): RoomState {
    const s = this.#stay;
    const was = this.#state as RoomState | undefined;
    const people = s === undefined || s.lobby ? [] : [this.#person(s.own), ...s.sorted().filter((m) => m.in).map((m) => this.#person(m))];
    const sends = (index: number) => {
      const p = this.#presenceOf(index);
      return p === undefined ? undefined : new Set(slotNames.filter((n) => p[n]));
    };
    return {
      phase: this.#phase, id: idText(this.#link.room), link: formatRoomLink(this.#link), title: s?.card.title ?? was?.title ?? "", entry: s?.card.entry ?? was?.entry ?? "open",
      expiresMs: s?.expiresMs ?? was?.expiresMs ?? 0, seats: s?.seats ?? was?.seats ?? 0, me: s?.own.index ?? 0, role: s === undefined ? was?.role ?? "guest" : this.#role(s.own),
      runs: s?.steward !== undefined, chairIsOurs: s?.chair.isOurs ?? false, chair: s?.chair.index, people, tiles: this.#media.tiles(sends), published: this.#media.published(),
      lobby: [...s?.waiting.values() ?? []].map((w) => this.#waiting(w)).filter((w) => w !== undefined).sort((a, b) => a.index - b.index),
      topology: this.#media.topology(), speakers: this.#media.speakers(), recording: people.filter((p) => p.presence?.recording).map((p) => p.index), chat: this.#chat, end: this.#end,
    };
  }

  // ---- What can be done ----

  /** Does something in the stay's order. */
  #do<T>(f: (s: Stay) => Promise<T>): Promise<T> {
    const s = this.#stay;
    if (this.#end !== undefined) return Promise.reject(refuse("closed", "the room is over"));
    if (s === undefined) return Promise.reject(refuse("unreachable", "the room's node cannot be reached at the moment"));
    return s.serial.ask(() => f(s));
  }

  #sayAll(msg: RoomMessageInit): void { this.#stay?.serial.do(() => this.#stay?.sayAll(msg) ?? Promise.resolve()); }

  async publish(slot: SlotName, track: MediaStreamTrack, o?: PublishOptions): Promise<void> {
    if (this.#end !== undefined) throw refuse("closed", "the room is over");
    await this.#media.publish(slot, track, o);
    this.#sayPresence();
  }

  async unpublish(slot: SlotName): Promise<void> {
    await this.#media.unpublish(slot);
    this.#sayPresence();
  }

  setWants(w: Wants): void { this.#media.setWants(w); }
  stats(person?: number): Promise<RTCStatsReport | undefined> { return this.#media.stats(person); }

  setMuted(slot: SlotName, muted: boolean): void {
    if (muted) this.#muted.add(slot);
    else this.#muted.delete(slot);
    this.#sayPresence();
    this.#changed();
  }

  setHand(up: boolean): void {
    if (up === this.#handMs > 0) return;
    this.#handMs = up ? this.#a.now() : 0;
    this.#sayPresence();
    this.#changed();
  }

  setSpeaking(on: boolean): void { this.#media.setSpeaking(on); }

  react(kind: Reaction): void { this.#sayAll({ case: "reaction", value: { kind: reactions.indexOf(kind) + 1 } }); }

  point(screen: number, at: Pointer["at"]): void {
    const now = this.#a.now();
    if (at !== undefined && now - this.#pointedMs < pointerEveryMs) return;
    this.#pointedMs = now;
    const place = (v: number) => Math.round(Math.min(Math.max(v, 0), 1) * edge);
    this.#sayAll({ case: "pointer", value: at === undefined ? { screen } : { screen, here: true, x: place(at.x), y: place(at.y) } });
  }

  askMute(person: number, what: "microphone" | "camera" | "screen"): void {
    const s = this.#stay;
    const m = s?.members.get(person);
    if (s === undefined || m === undefined) throw refuse("not_listed", "there is nobody with that number");
    if (positionOf(s.card, s.own.cert.root) === undefined) throw refuse("policy", "the owner and moderators may ask for it");
    s.serial.do(() => s.say(m, { case: "muteAsk", value: { slot: askable.indexOf(what) } }));
  }

  chat(text: string): ChatLine {
    if (text === "" || text.includes("\0")) throw refuse("malformed", "not a line of text");
    if (utf8(text).length > maxNote) throw refuse("too_large", "a line of more than 4,096 bytes");
    if (this.#stay === undefined || this.#stay.lobby) throw refuse("unreachable", "nobody can hear it at the moment");
    const id = random(16);
    const line: ChatLine = { id: hex(id), from: this.#stay.own.index, name: this.#a.self.name, mine: true, text, atMs: this.#a.now() };
    this.#sayAll({ case: "note", value: { id, text } });
    this.#line(line);
    return line;
  }

  async announceRecording(on: boolean): Promise<void> {
    this.#recording = on;
    this.#sayPresence();
    this.#changed();
    await this.#do(async () => undefined); // its place in the order is behind the announcement
  }

  admit(index: number, o: Abortable = {}): Promise<void> { return this.#do((s) => s.chair.admit(index, o.signal)); }
  deny(index: number, o: Abortable = {}): Promise<void> { return this.#do((s) => s.chair.deny(index, o.signal)); }
  remove(person: number): Promise<void> { return this.#do((s) => s.chair.remove(person)); }
  newLink(): Promise<string> { return this.#do((s) => s.chair.replaceLink()); }
  extend(expiresMs: number): Promise<void> { return this.#do((s) => s.chair.newCard({ expires: Math.floor(expiresMs / 1000) })); }

  setTopology(t: Topology): Promise<void> {
    return this.#do((s) => s.chair.newCard({ topology: t }));
  }

  close(o: Abortable = {}): Promise<void> { return this.#do((s) => s.chair.command({ case: "close", value: {} }, o.signal)); }
}

function endOf(code: string, phase: RoomPhase): RoomEnd["why"] {
  if (code === "removed") return phase === "waiting" ? "denied" : "removed";
  return code === "closed" || code === "expired" || code === "gate" ? code : "refused";
}
