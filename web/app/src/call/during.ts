import { call, TrunklineError } from '@trunkline/sdk';
import { deviceProblem } from '../devices.ts';
import type { CallControl } from './control.ts';

const reactionMs = 4000;
const pointerMs = 3000;

/** What stands beside sound and picture of a call: numbers, a shared screen, reactions, a pointer. It is fetched when
 * the call is on. */
export class During {
  private readonly control: CallControl;
  private before: RTCStatsReport | undefined;
  private reactionId = 0;
  private pointerTimer = 0;

  constructor(control: CallControl) {
    this.control = control;
  }

  /** The call is over. */
  end(): void {
    clearTimeout(this.pointerTimer);
    this.before = undefined;
  }

  async measure(c: call.Call): Promise<void> {
    if (this.control.call !== c) return;
    c.lookAtRoute();
    const now = await c.stats();
    const counts = (await c.peerMedia?.counts()) ?? [];
    if (this.control.call !== c || !now) return;
    this.control.show({ quality: call.qualityOf(this.before, now), counts });
    this.before = now;
  }

  /** Sharing never touches the camera. */
  async share(): Promise<void> {
    const { attempt } = this.control;
    const c = this.control.call;
    if (!c) return;
    let shared: call.SharedScreen;
    try {
      shared = await call.shareScreen(c);
    } catch (error) {
      // The call ended while the person picked, or whoever closes the browser's own dialog has changed their mind.
      if (error instanceof TrunklineError || (error instanceof DOMException && error.name === 'NotAllowedError')) return;
      return this.control.problem('screen', await deviceProblem(error, 'camera'));
    }
    const { screen, sound: screenAudio } = shared;
    const { view } = this.control;
    if (!view || attempt !== this.control.attempt || view.stage.is !== 'live') return shared.stop();
    screen.addEventListener('ended', () => {
      if (this.control.view?.tracks.screen === screen) this.control.run(this.control.off('screen'));
    });
    this.control.show({
      sending: { ...view.sending, screen: true, screenAudio: screenAudio !== undefined },
      tracks: { ...view.tracks, screen, ...(screenAudio ? { screenAudio } : {}) },
    });
    this.control.tell();
  }

  react(what: call.Reaction): void {
    if (!this.control.call?.bound) return;
    this.control.call.sendReaction(what);
    this.reaction('me', what);
  }

  reaction(from: 'me' | 'them', what: call.Reaction): void {
    const { view } = this.control;
    if (!view) return;
    const id = ++this.reactionId;
    this.control.show({ reactions: [...view.reactions, { id, from, what }].slice(-8) });
    setTimeout(() => {
      if (this.control.view) this.control.show({ reactions: this.control.view.reactions.filter((r) => r.id !== id) });
    }, reactionMs);
  }

  pointed(p: call.Pointer): void {
    clearTimeout(this.pointerTimer);
    this.control.show({ pointer: p.at ? { on: p.own ? 'theirs' : 'mine', ...p.at } : null });
    if (p.at) this.pointerTimer = window.setTimeout(() => this.control.show({ pointer: null }), pointerMs);
  }
}
