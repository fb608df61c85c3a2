import { call, type Client, TrunklineError } from '@trunkline/sdk';
import { fetched } from '../fetched.ts';
import type { Action, State } from '../state.ts';
import type { Store } from '../store.ts';
import type { During } from './during.ts';
import { type CallView, freshView, type Own, silent, type TileName } from './view.ts';

/** How often numbers about a running call are read. */
const lookMs = 1000;
/** How long the tools of a call wait for the other side to be seen. */
const unseenMs = 8_000;

/** The one call with sound and picture that this tab can be in: its devices, its stage and what is
 * shown beside it. */
export class CallControl {
  private readonly client: Client;
  private readonly calls: call.Calls;
  readonly store: Store<State, Action>;
  call: call.Call | null = null;
  private timer = 0;
  attempt = 0;
  private more: During | null = null;
  /** Devices that the person chose; the browser's own choice where there is none. */
  readonly chosen: Partial<Record<Own | 'speaker', string>> = {};

  constructor(client: Client, calls: call.Calls, store: Store<State, Action>) {
    this.client = client;
    this.calls = calls;
    this.store = store;
    addEventListener('pagehide', () => this.call?.hangup({ atOnce: true }));
  }

  get view(): CallView | null {
    return this.store.state.call;
  }

  show(change: Partial<CallView>): void {
    const { view } = this;
    if (view) this.store.dispatch({ type: 'call', call: { ...view, ...change } });
  }

  problem(what: Own | 'screen', problem: CallView['problems'][Own] | undefined): void {
    const { view } = this;
    if (!view) return;
    const problems = { ...view.problems };
    if (problem) problems[what] = problem;
    else delete problems[what];
    this.show({ problems });
  }

  // ---- Before ----

  /** Opens the place where a person looks at itself before it rings somebody. */
  prepare(contact: string, video: boolean): void {
    this.look(contact, video, { is: 'prejoin' });
  }

  /** The same for somebody who has asked to be let in and waits to be rung. */
  wait(contact: string): void {
    this.look(contact, true, { is: 'lobby' });
  }

  private look(contact: string, video: boolean, stage: CallView['stage']): void {
    if (this.view && this.view.stage.is !== 'ended') return;
    this.attempt++;
    this.store.dispatch({ type: 'call', call: freshView(contact, true, video, stage, this.store.state.prefs.hideAddress) });
    this.open();
  }

  private open(): void {
    const { view } = this;
    if (!view) return;
    for (const what of ['microphone', 'camera'] as const) if (view.sending[what]) this.run(this.device(what));
  }

  run(work: Promise<unknown>): void {
    this.client.background('a call', async () => void (await work));
  }

  /** Opens a device; what is wrong with it is shown, and the call goes on without it. */
  private async device(what: Own): Promise<void> {
    const { attempt } = this;
    const id = this.chosen[what];
    const deviceId = id === undefined ? {} : { deviceId: { exact: id } };
    let stream: MediaStream;
    try {
      stream = await navigator.mediaDevices.getUserMedia(
        what === 'microphone' ? { audio: { ...deviceId, echoCancellation: true, noiseSuppression: true, autoGainControl: true } } : { video: { ...deviceId, width: { ideal: 1280 }, height: { ideal: 720 } } },
      );
    } catch (error) {
      const found = await (await fetched(import('../devices.ts'))).deviceProblem(error, what);
      if (attempt !== this.attempt || !this.view) return;
      this.problem(what, found);
      this.show({ sending: { ...this.view.sending, [what]: false } });
      return;
    }
    const [raw] = stream.getTracks();
    if (!raw) return;
    const track = what === 'microphone' && this.client.plugins.audio.length > 0 ? await (await fetched(import('./plugged.ts'))).processAudio(this.client.plugins, raw) : raw;
    const { view } = this;
    if (attempt !== this.attempt || !view || !view.sending[what] || view.stage.is === 'ended') return track.stop();
    view.tracks[what]?.stop();
    track.addEventListener('ended', () => {
      // Pulled out, or taken away by somebody: the truth is that it is off.
      if (this.view?.tracks[what] !== track) return;
      this.run(Promise.all([this.off(what), fetched(import('../devices.ts')).then((m) => m.lostDevice(what)).then((problem) => attempt === this.attempt && this.problem(what, problem))]));
    });
    this.problem(what, undefined);
    this.show({ tracks: { ...this.view!.tracks, [what]: track } });
    await this.give(what);
    this.tell();
  }

  /** What is done to the sound has changed: the microphone goes the new way at once. */
  rewire(): void {
    if (this.view?.tracks.microphone) this.run(this.device('microphone'));
  }

  async off(what: Own | 'screen'): Promise<void> {
    const { view } = this;
    if (!view) return;
    const tracks = { ...view.tracks };
    tracks[what]?.stop();
    delete tracks[what];
    const sending = { ...view.sending, [what]: false };
    if (what === 'screen') {
      tracks.screenAudio?.stop();
      delete tracks.screenAudio;
      sending.screenAudio = false;
    }
    this.show({ tracks, sending });
    await this.give(what);
    if (what === 'screen') await this.give('screenAudio');
    this.tell();
  }

  private async give(slot: call.SlotName): Promise<void> {
    await this.call?.peerMedia?.send(slot, this.view?.tracks[slot] ?? null);
  }

  /** Another microphone or camera, now and for the next calls. */
  choose(what: Own | 'speaker', id: string): void {
    this.chosen[what] = id;
    if (what !== 'speaker' && this.view?.sending[what]) this.run(this.device(what));
    else this.show({});
  }

  retry(what: Own): void {
    const { view } = this;
    if (!view) return;
    this.show({ sending: { ...view.sending, [what]: true } });
    this.run(this.device(what));
  }

  hideAddress(on: boolean): void {
    this.show({ relayOnly: on });
  }

  /** Goes on without camera and microphone; what was wrong with them is of no interest then. */
  without(): void {
    this.run(Promise.all([this.off('microphone'), this.off('camera')]));
    this.show({ problems: {} });
    this.start();
  }

  arrange(grid: boolean): void {
    this.show({ grid, pinned: null });
  }

  pin(pinned: TileName | null): void {
    this.show({ pinned });
  }

  // ---- Ringing ----

  start(): void {
    const { view } = this;
    if (view?.stage.is !== 'prejoin' && view?.stage.is !== 'lobby') return;
    this.show({ stage: { is: 'calling' } });
    this.run(
      (async () => {
        try {
          this.follow(await this.calls.startCall(view.contact, { media: view.video ? 2 : 1, relayOnly: this.view?.relayOnly ?? false }));
        } catch (error) {
          if (!(error instanceof TrunklineError)) throw error;
          this.finish(6, error);
        }
      })(),
    );
  }

  /** A call that rings here, or was accepted by itself because both rang at once. */
  came(c: call.Call): void {
    if (c.direction !== 'incoming' || c.media === 0 || c.state.phase === 'ended') return;
    const { view } = this;
    if (view?.stage.is === 'lobby' && view.contact === c.contact) {
      this.show({ out: false, video: c.media === 2, stage: { is: 'joining' } });
      this.follow(c);
      return c.accept({ relayOnly: view.relayOnly });
    }
    const joined = view !== null && view.contact === c.contact && view.stage.is === 'calling';
    if (view && view.stage.is !== 'ended' && !joined) {
      // A second person rings: the call that is under way stays, the SDK answers busy once it is live.
      if (c.state.phase === 'ringing') c.decline();
      return;
    }
    if (joined) return this.follow(c);
    this.attempt++;
    this.store.dispatch({ type: 'call', call: freshView(c.contact, false, c.media === 2, { is: 'incoming' }, this.store.state.prefs.hideAddress) });
    this.follow(c);
  }

  /** Two cards made a call: nobody rings, both have pressed already. told hears how it goes, too. */
  met(c: call.Call, told: () => void): void {
    const { view } = this;
    if (view && view.stage.is !== 'ended') return c.hangup(); // this person is in another call by now
    this.attempt++;
    this.store.dispatch({ type: 'call', call: { ...freshView(c.contact, true, c.media === 2, { is: 'joining' }, c.relayOnly), byCards: true } });
    this.open();
    this.follow(c, told);
  }

  private follow(c: call.Call, told: () => void = () => undefined): void {
    this.call = c;
    c.onState = () => {
      this.changed(c);
      told();
    };
    c.onChange = () => this.changed(c);
    c.onReaction = (what) => this.during((d) => d.reaction('them', what));
    c.onPointer = (p) => this.during((d) => d.pointed(p));
    this.changed(c);
  }

  answer(video: boolean): void {
    const { view, call: c } = this;
    if (!view || !c || view.stage.is !== 'incoming') return;
    this.show({ stage: { is: 'joining' }, sending: { ...silent, microphone: true, camera: video } });
    // Devices first: with leave to use them the browser finds direct paths.
    this.run(
      (async () => {
        await Promise.all([this.device('microphone'), ...(video ? [this.device('camera')] : [])]);
        c.accept({ relayOnly: this.view?.relayOnly ?? false });
      })(),
    );
  }

  decline(): void {
    this.call?.decline();
  }

  hangup(): void {
    const { view } = this;
    if (!view) return;
    if (view.stage.is === 'prejoin' || view.stage.is === 'lobby' || !this.call) return this.close();
    this.call.hangup();
  }

  // ---- During ----

  private changed(c: call.Call): void {
    const { view } = this;
    if (this.call !== c || !view || view.stage.is === 'ended') return;
    const { state } = c;
    if (state.phase === 'ended') return this.finish(state.reason, c.why);
    const media = c.peerMedia;
    if (media) {
      media.onTrack = () => this.changed(c);
      for (const slot of call.slotNames) if (view.tracks[slot]) this.run(media.send(slot, view.tracks[slot] ?? null));
    }
    const stage = this.stageOf(c, view);
    const became = stage.is === 'live' && view.stage.is !== 'live';
    const told = c.announced;
    const adapted = c.adapted ?? null;
    const paused = (adapted?.camera === 'paused') !== (view.adapted?.camera === 'paused');
    this.show({
      stage,
      peer: {
        // The command line announces instead of telling what it sends.
        sending: told ? { ...c.peerSending, microphone: c.peerSending.microphone || told.audio, camera: c.peerSending.camera || told.video } : c.peerSending,
        tracks: Object.fromEntries(media?.tracks ?? []),
      },
      code: c.code ?? '',
      route: c.route ?? null,
      adapted,
      brokenSince: c.brokenSinceMs === undefined ? null : performance.now() - (this.client.now() - c.brokenSinceMs),
    });
    // A camera that pauses shows no last picture as if it were now.
    if (paused) this.tell();
    const { camera, microphone, screen } = this.view!.peer.sending;
    if (stage.is === 'live' && c.peerTold && !(camera || microphone || screen)) this.seen();
    if (!became) return;
    c.announce(true, view.video);
    this.tell();
    this.timer = window.setInterval(() => {
      const { view } = this;
      if (view?.seen) this.during((d) => d.measure(c));
      // Where nothing comes that can be shown, people want to know what does come.
      else if (view?.stage.is === 'live' && performance.now() - view.stage.since >= unseenMs) this.seen();
    }, lookMs);
  }

  /** The other side is seen or heard, says that there is nothing to see and hear, or is not seen for long. */
  seen(): void {
    if (this.view && !this.view.seen) this.show({ seen: true });
  }

  private stageOf(c: call.Call, view: CallView): CallView['stage'] {
    switch (c.state.phase) {
      case 'ringing':
        return view.stage.is === 'joining' ? view.stage : { is: c.direction === 'outgoing' ? 'calling' : 'incoming' };
      case 'answered':
      case 'connecting':
        return { is: 'joining' };
      case 'live':
        return view.stage.is === 'live' ? view.stage : { is: 'live', since: performance.now() };
      case 'ended':
        return view.stage;
    }
  }

  /** Tells the other side what it sees, and why it may see nothing. */
  tell(): void {
    const { view, call: c } = this;
    if (!view || !c?.bound || view.stage.is === 'ended') return;
    c.sendSending({
      microphone: view.sending.microphone && view.tracks.microphone !== undefined,
      camera: view.sending.camera && view.tracks.camera !== undefined && view.adapted?.camera !== 'paused',
      screen: view.tracks.screen !== undefined,
      screenAudio: view.tracks.screenAudio !== undefined,
      hand: view.sending.hand,
    });
  }

  toggle(what: Own | 'screen' | 'hand'): void {
    const { view } = this;
    if (!view || view.stage.is === 'ended') return;
    if (what === 'hand') {
      this.show({ sending: { ...view.sending, hand: !view.sending.hand } });
      return this.tell();
    }
    if (what === 'screen') return view.tracks.screen ? this.run(this.off('screen')) : this.during((d) => d.share(), true);
    if (what === 'camera' && view.sending.camera) return this.run(this.off('camera'));
    if (what === 'microphone' && view.tracks.microphone) return this.mute(view.sending.microphone);
    this.show({ sending: { ...view.sending, [what]: true } });
    this.run(this.device(what));
  }

  /** A muted microphone stays open, so that speaking begins with the first sound. */
  mute(on: boolean): void {
    const { view } = this;
    const track = view?.tracks.microphone;
    if (!view || !track || view.sending.microphone === !on) return;
    track.enabled = !on;
    this.show({ sending: { ...view.sending, microphone: !on } });
    this.tell();
  }

  /** x and y from 0 to 1; null: the pointer has left. */
  point(on: 'mine' | 'theirs', at: { x: number; y: number } | null): void {
    if (this.call?.bound) this.call.sendPointer({ own: on === 'mine', at: at ?? undefined });
  }

  react(what: call.Reaction): void {
    this.during((d) => d.react(what), true);
  }

  /** Does what stands beside sound and picture, as soon as its code is here. */
  private during(work: (d: During) => void | Promise<void>, pressed = false): void {
    const { t } = this.store.state;
    this.run(
      fetched(import('./during.ts')).then(
        (m) => work((this.more ??= new m.During(this))),
        () => {
          if (pressed) this.store.dispatch({ type: 'toast', text: t('problemUnreachable') });
        },
      ),
    );
  }

  // ---- After ----

  private finish(reason: number, why: TrunklineError | undefined): void {
    const { view } = this;
    clearInterval(this.timer);
    this.more?.end();
    this.call = null;
    this.attempt++;
    if (!view) return;
    for (const track of Object.values(view.tracks)) track?.stop();
    const lasted = view.stage.is === 'live' ? performance.now() - view.stage.since : 0;
    this.show({ stage: { is: 'ended', reason, why, lasted, rang: view.stage.is === 'incoming' }, tracks: {}, peer: { sending: silent, tracks: {} }, pointer: null, brokenSince: null });
  }

  /** Takes the call off the screen. */
  close(): void {
    const { view } = this;
    if (!view) return;
    for (const track of Object.values(view.tracks)) track?.stop();
    this.attempt++;
    this.store.dispatch({ type: 'call', call: null });
  }

  /** The identity leaves this tab. */
  stop(): void {
    this.call?.hangup();
    this.close();
  }
}
