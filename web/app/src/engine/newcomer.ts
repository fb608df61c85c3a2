import { checkPhrase, createIdentity, recoverIdentity, UnknownNodeError, WordError } from '@trunkline/sdk';
import type { Live, Options } from '../live.ts';
import { attempt, problemOf } from '../problems.ts';
import { known } from '../identities.ts';
import { inviteIn } from '../route.ts';
import { inviteToken, isLoopback } from './invite.ts';
import type { Problem, Strange } from '../state.ts';

/** From nobody to somebody at a node: an identity that is new or comes back from its phrase, and an invitation. */
export class Newcomer {
  private readonly live: Live;
  private strange: Strange | null = null;
  /** The peer id of a node that the person has compared; from then on the identity links to no other. */
  private confirmed = '';

  constructor(live: Live) {
    this.live = live;
  }

  /** Makes an identity where there is none. */
  async create(options: Options): Promise<void> {
    const { client, phrase } = await createIdentity(options);
    this.live.hold(options, client);
    await this.live.rest.phrase.keep(this.live.unlocked(), phrase);
  }

  /** An identity without a node. */
  async begin(): Promise<void> {
    const { live } = this;
    const client = live.client();
    if (known(live.identity)) return live.me({ is: 'unregistered', id: client.id, registering: false, problem: null, lost: true });
    const { route } = live.store.state;
    const invite = inviteIn(route, location.origin);
    if (invite) return this.register(invite);
    // Whoever came for a meeting is its guest: no account is made for that.
    if (route.screen === 'room' && route.link) return this.unregistered(null);
    // A node that lets everybody in needs no invitation; the others say so.
    live.me({ is: 'unregistered', id: client.id, registering: true, problem: null });
    const problem = await this.enrol(location.origin);
    if (problem === null) return live.ready();
    this.unregistered(problem === 'invite' ? null : problem);
  }

  async register(invite: string): Promise<void> {
    const { live } = this;
    const client = live.client();
    live.me({ is: 'unregistered', id: client.id, registering: true, problem: null });
    const problem = await this.enrol(invite, async () => {
      // The one that a node prints for its own computer serves whoever else sits there, so our link carries it on.
      if (!isLoopback(location.hostname)) return;
      await live.keepInvite(inviteToken(invite));
    });
    if (problem === null) live.ready();
    else this.unregistered(problem === 'address' ? 'invite' : problem);
    live.hideInvite();
  }

  private unregistered(problem: Problem | null): void {
    const { strange } = this;
    this.live.me({ is: 'unregistered', id: this.live.client().id, registering: false, problem: strange ? null : problem, ...(strange ? { strange } : {}) });
  }

  /** Registers. A node that speaks for another name than the one in the address bar waits for the person. */
  private enrol(invite: string, then?: () => Promise<void>): Promise<Problem | null> {
    this.strange = null;
    return attempt(async () => {
      try {
        await this.live.client().register(invite, this.confirmed ? { confirmed: this.confirmed } : {});
      } catch (error) {
        if (error instanceof UnknownNodeError) this.strange = { domain: error.domain, node: error.node, invite };
        throw error;
      }
      await then?.();
    });
  }

  /** The person has compared the node's peer id. */
  confirmNode(): void {
    if (!this.strange) return;
    this.confirmed = this.strange.node;
    this.live.run(this.register(this.strange.invite));
  }

  /** Goes on as somebody new where an identity was lost. */
  beginAnew(): void {
    this.live.run(this.register(inviteIn(this.live.store.state.route, location.origin) || location.origin));
  }

  /** Null when it worked; otherwise what is wrong, and with which word. */
  async recover(phrase: string): Promise<{ problem: Problem; word?: string } | null> {
    let normal: string;
    try {
      normal = await checkPhrase(phrase);
    } catch (error) {
      if (error instanceof WordError) return { problem: 'phrase', word: error.word };
      const problem = problemOf(error);
      if (problem === null) throw error;
      return { problem };
    }
    const options = await this.live.anew();
    this.live.hold(options, await recoverIdentity(options, normal));
    await this.live.rest.phrase.keep(this.live.unlocked(), normal);
    await this.register(location.origin);
    return null;
  }
}
