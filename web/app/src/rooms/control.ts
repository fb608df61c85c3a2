import { type Client, TrunklineError } from '@trunkline/sdk';
import { browserSocket, processAudio } from '@trunkline/sdk/browser';
import type { JoinGroup, Person, Reaction, Room, RoomEvent, RoomState, Topology } from '@trunkline/sdk/room';
import { workerURL } from '../trusted.ts';
import { nameOf } from '../screens/parts.tsx';
import type { Action, State } from '../state.ts';
import type { Store } from '../store.ts';
import { bringForward, keepOrder, type Placed } from './layout.ts';
import { listenToSpeech, OwnMedia } from './own.ts';
import { type Recorder, startRecorder } from './recorder.ts';
import { floorAt, floorWithout, nobody } from './speaker.ts';
import { type RoomKey, roomTexts } from './text.ts';
import { cameraKey, endOf, freshRoom, overOf, type Panel, personOf, type RoomOver, type RoomView } from './view.ts';

const reactionMs = 4000;
const pointerMs = 3000;
/** While many come a room is another one hundreds of times in a second. The screen follows ten times. */
const followMs = 100;
/** How often it is looked who speaks: the floor changes by time, too. */
const floorMs = 250;

/** The one meeting that this tab is in: from standing before it to how it ended. */
export class RoomControl {
  private readonly joinGroup: JoinGroup;
  private readonly client: Client | null;
  private readonly store: Store<State, Action>;
  private readonly link: string;
  private readonly within: (link: string | null) => void;
  private readonly again: (link: string) => void;
  private room: Room | null = null;
  private recorder: Recorder | null = null;
  private readonly abort = new AbortController();
  private readonly spoke = new Map<string, number>();
  private readonly pointerTimers = new Map<number, number>();
  private firstPage = 1;
  private reactionId = 0;
  private timer = 0;
  private follows = 0; // a timer, until which the screen waits
  private followed = -Infinity;
  private meter: { track: MediaStreamTrack; stop: () => void } | null = null;
  private over = false;
  readonly own: OwnMedia;

  /** `within` is told the link by which this tab is in, and null when it is no more; `again` stands before the same meeting anew. */
  constructor(joinGroup: JoinGroup, client: Client | null, store: Store<State, Action>, link: string, within: (link: string | null) => void, again: (link: string) => void) {
    this.joinGroup = joinGroup;
    this.client = client;
    this.store = store;
    this.link = link;
    this.within = within;
    this.again = again;
    this.own = new OwnMedia({
      view: () => this.view,
      show: (change) => this.show(change),
      give: async (slot, track, content) => {
        if (slot === 'microphone') this.hear(track);
        if (!this.room || this.over) return;
        await (track ? this.room.publish(slot, track, slot === 'screen' ? { content } : {}) : this.room.unpublish(slot));
      },
      muted: (slot, on) => this.room?.setMuted(slot, on),
      process: (track) => (client && client.plugins.audio.length > 0 ? processAudio(client.plugins, track) : Promise.resolve(track)),
      run: (work) => this.run(work),
    });
  }

  private get view(): RoomView | null {
    return this.over ? null : this.store.state.room;
  }

  private show(change: Partial<RoomView>): void {
    const { view } = this;
    if (view) this.store.dispatch({ type: 'room', room: { ...view, ...change } });
  }

  /** Work that nobody waits for. What the SDK refuses is told; anything else is a bug, and is seen as one. */
  private run(work: Promise<unknown>): void {
    work.catch((error: unknown) => {
      if (this.over) return;
      if (error instanceof TrunklineError) this.toast(overWords[overOf(error)] ?? 'roomOverFailed');
      else reportError(error);
    });
  }

  private text(key: RoomKey, params?: Record<string, string | number>): string {
    const { t } = this.store.state;
    return roomTexts(t.language, t.locale)(key, params);
  }

  private toast(key: RoomKey, params?: Record<string, string | number>): void {
    this.store.dispatch({ type: 'toast', text: this.text(key, params) });
  }

  // ---- Before ----

  /** Opens the place where a person looks at itself before it goes in; `again` goes in at once. */
  approach(again: boolean): void {
    this.store.dispatch({ type: 'room', room: freshRoom(this.link, this.client === null, this.store.state.prefs.hideAddress, nobody) });
    this.own.open();
    if (again) this.enter();
  }

  /** Stands before the same meeting once more. */
  approachAgain(): void {
    const link = this.view?.link ?? this.link;
    this.own.end();
    this.again(link);
  }

  hideAddress(on: boolean): void {
    this.show({ relayOnly: on });
  }

  /** Goes in without camera and microphone; what was wrong with them is of no interest then. */
  without(): void {
    this.run(Promise.all([this.own.off('microphone'), this.own.off('camera')]));
    this.show({ problems: {} });
    this.enter();
  }

  enter(): void {
    const { view } = this;
    if (view?.stage.is !== 'prejoin') return;
    this.show({ stage: { is: 'joining' } });
    this.run(this.come(view));
  }

  private async come(view: RoomView): Promise<void> {
    let room: Room;
    try {
      room = await this.joinGroup(this.client ?? { socket: browserSocket }, this.link, {
        name: this.store.state.prefs.name.trim(),
        relayOnly: view.relayOnly,
        worker: () => new Worker(workerURL('/roomframes.js'), { name: 'rooms' }),
        signal: this.abort.signal,
      });
    } catch (error) {
      if (this.over) return; // the person has changed their mind
      if (!(error instanceof TrunklineError)) throw error;
      return this.finish(overOf(error, this.client === null));
    }
    if (this.over) return void room.leave();
    this.room = room;
    this.within(room.state.link);
    room.subscribe((state) => this.follow(state));
    room.listen((event) => this.heard(event));
    this.changed(room.state);
    if (!this.view?.hand) room.setHand(false);
    this.timer = window.setInterval(() => this.look(), floorMs);
    await this.own.giveAll();
  }

  /** Does not go in after all. */
  cancel(): void {
    this.end();
    this.store.dispatch({ type: 'room', room: null });
  }

  // ---- During ----

  private follow(state: RoomState): void {
    const wait = state.phase === this.view?.room?.phase ? this.followed + followMs - performance.now() : 0;
    if (wait <= 0) return this.changed(state);
    this.follows ||= window.setTimeout(() => this.room && this.changed(this.room.state), wait);
  }

  private changed(state: RoomState): void {
    clearTimeout(this.follows);
    this.follows = 0;
    this.followed = performance.now();
    const { view } = this;
    if (!view || view.stage.is === 'ended') return;
    if (state.phase === 'ended') {
      this.show({ room: state });
      return this.finish(endOf(state.end, this.client === null));
    }
    // Another link from now on: what a reload goes back to, and what is copied out of the address bar.
    if (state.link !== view.link) this.within(state.link);
    const was = view.stage;
    const stage: RoomView['stage'] =
      state.phase === 'waiting' ? { is: 'waiting' } : state.phase === 'joining' ? { is: 'joining' } : was.is === 'live' ? was : { is: 'live', since: performance.now() };
    const present = state.people.map((p) => cameraKey(p.index));
    const order = keepOrder(view.order, present);
    const here = new Set(present);
    const floor = floorWithout(view.floor, (key) => here.has(key));
    const me = state.people.find((p) => p.me);
    this.show({ room: state, link: state.link, stage, order, floor, hand: me?.presence?.hand ?? view.hand });
  }

  /** Who speaks, and who is large because of it. */
  private look(): void {
    const { view } = this;
    if (!view?.room) return;
    const now = performance.now();
    const { people, speakers } = view.room;
    const speaking = new Set(people.filter((p) => p.speaking).map((p) => p.index));
    // Oneself is never large because of one's own words.
    const others = speakers.filter((i) => speaking.has(i) && i !== view.room?.me).map(cameraKey);
    for (const index of speaking) this.spoke.set(cameraKey(index), now);
    const floor = floorAt(view.floor, now, others);
    const order = floor.speaker === view.floor.speaker ? view.order : bringForward(view.order, this.firstPage, floor.speaker, this.spoke);
    if (floor !== view.floor || order !== view.order) this.show({ floor, order });
  }

  private hear(track: MediaStreamTrack | null): void {
    if (this.meter?.track === track) return;
    this.meter?.stop();
    this.meter = track && !this.over ? { track, stop: listenToSpeech(track, (on) => this.room?.setSpeaking(on)) } : null;
  }

  private person(index: number): Person | undefined {
    return this.room?.state.people.find((p) => p.index === index);
  }

  private nameOf(index: number): string {
    const person = this.person(index);
    return person ? nameOf(person) : '';
  }

  private heard(event: RoomEvent): void {
    const { view } = this;
    if (!view) return;
    switch (event.type) {
      case 'came':
        return this.show({ news: this.text('roomCame', { name: nameOf(event.person) }) });
      case 'went':
        if (event.code === 'removed') return this.toast('roomWentRemoved', { name: nameOf(event.person) });
        return this.show({ news: this.text('roomWent', { name: nameOf(event.person) }) });
      case 'waits':
        return this.show({ news: this.text('roomWaits', { name: nameOf(event.waiting) }) });
      case 'reaction':
        return this.reaction(event.person, event.kind);
      case 'pointer':
        return this.pointed(event.person, event.screen, event.at);
      case 'chat':
        if (view.panel !== 'chat' && !event.line.mine) this.show({ unread: view.unread + 1 });
        return;
      case 'mute_asked':
        return this.show({ asked: { person: event.person, what: event.what } });
      case 'recording':
        if (event.person === view.room?.me) return;
        return this.toast(event.on ? 'roomRecordsNow' : 'roomRecordsNoMore', { name: this.nameOf(event.person) });
      case 'link_replaced':
        return this.toast('roomLinkReplaced');
      case 'topology':
        return this.toast(event.topology.mode === 'sfu' ? 'roomNowSfu' : 'roomNowMesh', { node: event.topology.node });
      case 'alarm':
        if (event.what === 'peer') return this.toast('roomAlarmPeer', { name: this.nameOf(event.person) });
        return this.toast(event.what === 'roster' ? 'roomAlarmRoster' : event.what === 'frames' ? 'roomAlarmFrames' : 'roomAlarmCertificate');
      case 'admitted':
      case 'rekeyed':
      case 'again':
        return;
    }
  }

  toggle(what: 'microphone' | 'camera' | 'screen' | 'hand'): void {
    const { view } = this;
    if (!view || view.stage.is === 'ended') return;
    if (what !== 'hand') return this.own.toggle(what);
    this.show({ hand: !view.hand });
    this.room?.setHand(!view.hand);
  }

  react(what: Reaction): void {
    const { view, room } = this;
    if (!view?.room || !room) return;
    room.react(what);
    this.reaction(view.room.me, what);
  }

  private reaction(person: number, what: Reaction): void {
    const { view } = this;
    if (!view) return;
    const id = ++this.reactionId;
    this.show({ reactions: [...view.reactions, { id, person, what }].slice(-24) });
    setTimeout(() => this.show({ reactions: this.view?.reactions.filter((r) => r.id !== id) ?? [] }), reactionMs);
  }

  /** x and y from 0 to 1; null: the pointer has left. */
  point(screen: number, at: { x: number; y: number } | null): void {
    this.room?.point(screen, at ?? undefined);
  }

  private pointed(person: number, screen: number, at: { x: number; y: number } | undefined): void {
    const { view } = this;
    if (!view) return;
    const pointers = new Map(view.pointers);
    clearTimeout(this.pointerTimers.get(person));
    if (at) {
      pointers.set(person, { screen, ...at });
      this.pointerTimers.set(person, window.setTimeout(() => this.pointed(person, screen, undefined), pointerMs));
    } else pointers.delete(person);
    this.show({ pointers });
  }

  /** Writes to all; null: it was sent. */
  chat(text: string): 'too-long' | null {
    const { room } = this;
    if (!room) return null;
    try {
      room.chat(text);
      return null;
    } catch (error) {
      if (error instanceof TrunklineError && error.code === 'too_large') return 'too-long';
      throw error;
    }
  }

  panel(panel: Panel): void {
    this.show({ panel, ...(panel === 'chat' ? { unread: 0 } : {}) });
  }

  // ---- What is shown ----

  arrange(grid: boolean): void {
    this.show({ grid, pinned: null, page: 0 });
  }

  pin(pinned: string | null): void {
    this.show({ pinned, page: 0 });
  }

  turn(page: number): void {
    this.show({ page });
  }

  /** What stands on the screen now: nothing else is asked of the SFU. */
  shown(placed: readonly Placed[]): void {
    const { view, room } = this;
    if (!room || !view?.room) return;
    if (view.page === 0) this.firstPage = placed.filter((p) => p.key.startsWith('p')).length;
    const wanted = placed.filter((p) => personOf(p.key) !== view.room?.me).sort((a, b) => Number(b.large) - Number(a.large) || Number(b.key.startsWith('s')) - Number(a.key.startsWith('s')) || b.height - a.height);
    room.setWants({
      tiles: wanted.map((p) => ({
        person: personOf(p.key),
        slot: p.key.startsWith('s') ? 'screen' : 'camera',
        height: Math.round(p.height * devicePixelRatio),
        ...(p.key === view.pinned ? { pinned: true } : {}),
      })),
    });
  }

  stats(person: number): Promise<RTCStatsReport | undefined> {
    return this.room?.stats(person) ?? Promise.resolve(undefined);
  }

  // ---- Running it ----

  admit(index: number): void {
    this.ask((room) => room.admit(index));
  }

  deny(index: number): void {
    this.ask((room) => room.deny(index));
  }

  remove(index: number): void {
    this.ask((room) => room.remove(index));
  }

  askMute(index: number, what: 'microphone' | 'camera' | 'screen'): void {
    const { room } = this;
    if (!room) return;
    room.askMute(index, what);
    this.toast('roomAskedSent', { name: this.nameOf(index) });
  }

  newLink(): void {
    this.ask((room) => room.newLink());
  }

  extend(until: number): void {
    this.ask((room) => room.extend(until));
  }

  setTopology(topology: Topology): void {
    this.ask((room) => room.setTopology(topology));
  }

  /** Ends the meeting for all. */
  close(): void {
    this.ask((room) => room.close());
  }

  private ask(what: (room: Room) => Promise<unknown>): void {
    if (this.room) this.run(what(this.room));
  }

  /** Answers somebody who asked for something to be switched off. */
  answerAsk(yes: boolean): void {
    const { view } = this;
    if (!view?.asked) return;
    const { what } = view.asked;
    this.show({ asked: null });
    if (!yes) return;
    if (what === 'microphone') this.own.mute(true);
    else this.run(this.own.off(what));
  }

  // ---- Recording ----

  /** Everybody is told before the first picture is kept. */
  record(): void {
    const { room, view } = this;
    if (!room || view?.recording.is !== 'off') return;
    this.show({ recording: { is: 'starting' } });
    this.run(
      (async () => {
        let recorder: Recorder | null = null;
        try {
          recorder = await startRecorder({
            title: view.room?.title ?? '',
            view: () => this.view,
            announce: () => room.announceRecording(true),
            failed: () => {
              this.toast('roomRecordFailed');
              this.run(this.stopRecording());
            },
          });
        } finally {
          if (!recorder) this.show({ recording: { is: 'off' } });
        }
        if (!recorder) return; // the person chose no place for it
        this.recorder = recorder;
        if (this.over || this.view?.stage.is !== 'live') return this.stopRecording();
        this.show({ recording: { is: 'on', since: performance.now() } });
      })(),
    );
  }

  /** The person has enough. */
  stop(): void {
    this.run(this.stopRecording());
  }

  private async stopRecording(): Promise<void> {
    const { recorder, room } = this;
    if (!recorder) return;
    this.recorder = null;
    this.show({ recording: { is: 'saving' } });
    try {
      await recorder.stop();
      this.toast('roomRecordSaved');
    } finally {
      this.show({ recording: { is: 'off' } });
      if (room && room.state.phase !== 'ended') await room.announceRecording(false);
    }
  }

  // ---- After ----

  /** Goes. The recording is finished first: it ends with what this person saw. */
  leave(): void {
    const { room } = this;
    if (!room) return this.cancel();
    this.run(
      (async () => {
        await this.stopRecording();
        await room.leave();
        this.finish('left');
      })(),
    );
  }

  private finish(why: RoomOver): void {
    const { view } = this;
    if (!view || view.stage.is === 'ended') return;
    this.within(null);
    clearInterval(this.timer);
    this.hear(null);
    const lasted = view.stage.is === 'live' ? performance.now() - view.stage.since : 0;
    this.run(this.stopRecording());
    for (const track of Object.values(view.tracks)) track?.stop();
    this.show({ stage: { is: 'ended', why, lasted }, tracks: {}, asked: null, pointers: new Map(), panel: 'none' });
    this.room = null;
  }

  /** Everything ends here: the tab goes elsewhere, or nobody went in. */
  end(): void {
    if (this.over) return;
    this.within(null);
    clearInterval(this.timer);
    this.hear(null);
    this.own.end();
    this.abort.abort();
    const { room, recorder } = this;
    this.over = true;
    this.room = null;
    if (recorder) recorder.stop().catch(reportError);
    if (room) room.leave().catch(reportError);
  }

  /** The tab closes or is loaded anew: nothing can be waited for. */
  pagehide(): void {
    const { room } = this;
    this.over = true; // what a reload goes back to is not forgotten
    this.room = null;
    room?.leave().catch(() => undefined);
  }
}

/** How an action was refused, in a word or two. */
const overWords: Partial<Record<RoomOver, RoomKey>> = {
  full: 'roomOverFull',
  quota: 'roomOverQuota',
  policy: 'roomActionPolicy',
  limited: 'roomActionLimited',
  unreachable: 'roomActionUnreachable',
  expired: 'roomOverExpired',
  gone: 'roomOverGone',
};
