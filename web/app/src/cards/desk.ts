import { call, type Client, envelope, TrunklineError } from '@trunkline/sdk';
import type { Action, State } from '../state.ts';
import type { Store } from '../store.ts';
import type { CardProblem, CardView, OwnCard, Peer } from './view.ts';

/** The text of a card outlives a reload; what it leads to does not, and the person is told so. */
const keptKey = 'trunkline-card';

const problems: Partial<Record<string, CardProblem>> = {
  card_malformed: 'malformed',
  card_version: 'version',
  card_tampered: 'tampered',
  card_expired: 'expired',
  card_not_yet: 'not-yet',
  card_foreign: 'foreign',
  card_own: 'own',
  card_replayed: 'replayed',
  card_second: 'second',
  card_device: 'device',
  policy: 'blocked',
  key_alarm: 'alarm',
  binding: 'alarm',
  key: 'alarm',
};

export function problemOf(error: TrunklineError): CardProblem {
  return problems[error.code] ?? 'other';
}

/** Where cards are made and taken: one meeting at a time. */
export class Desk {
  private readonly client: Client;
  private readonly cards: call.Cards;
  private readonly store: Store<State, Action>;
  private offer: call.OpenOffer | null = null;
  /** The offer that led to a call: it says of another answer that it comes second. */
  private used: call.OpenOffer | null = null;
  private answer: call.OpenAnswer | null = null;
  private abort = new AbortController();

  constructor(client: Client, calls: call.Calls, store: Store<State, Action>) {
    this.client = client;
    this.cards = new call.Cards(client, calls, call.browserCardPeer);
    this.store = store;
    if (this.store.state.card.is !== 'none') return;
    const kept = sessionStorage.getItem(keptKey);
    if (kept === 'offer' || kept === 'answer') this.show({ is: 'lost', kind: kept });
  }

  private show(card: CardView): void {
    this.store.dispatch({ type: 'card', card });
  }

  private own(kind: 'offer' | 'answer', card: call.OpenOffer | call.OpenAnswer): OwnCard {
    sessionStorage.setItem(keptKey, kind);
    return { link: card.link(location.origin), codes: envelope.cardQrs(card.card.signed), expires: card.card.expires * 1000 };
  }

  private peer(card: envelope.Card): Peer {
    const id = card.cert.root.id();
    const known = this.store.state.contacts.get(id);
    return { id, name: known?.name || card.name, fingerprint: card.cert.root.fingerprint(), known: known !== undefined, verified: known?.trust.is === 'verified' };
  }

  /** Looks at a card that was pasted, scanned or opened. Nothing is sent, whatever it is. */
  async open(text: string): Promise<void> {
    try {
      const offer = await this.cards.read(text);
      if (this.offer) return this.found('is-offer');
      // A second link that is opened does not take the place of what is under way.
      if (this.answer) return;
      this.show({ is: 'seen', peer: this.peer(offer), text, video: offer.media === 2, expires: offer.expires * 1000 });
    } catch (error) {
      if (!(error instanceof TrunklineError)) throw error;
      if (error.code === 'card_order') return await this.take(text);
      if (this.offer) return this.found(problemOf(error));
      this.stop(problemOf(error));
    }
  }

  /** An answer: to the offer of this page, or to nothing that is alive here. */
  private async take(text: string): Promise<void> {
    const offer = this.offer ?? this.used;
    if (!offer) return this.stop('is-answer');
    try {
      const card = await offer.read(text);
      const { card: view } = this.store.state;
      if (view.is === 'offered') this.show({ ...view, problem: null, found: { peer: this.peer(card), text } });
    } catch (error) {
      if (!(error instanceof TrunklineError)) throw error;
      this.found(problemOf(error));
    }
  }

  private found(problem: CardProblem): void {
    const { card: view } = this.store.state;
    if (view.is === 'offered') this.show({ ...view, problem, found: null });
    else if (view.is === 'meeting' || this.store.state.call) this.store.dispatch({ type: 'toast', text: this.store.state.t(problem === 'second' ? 'cardSecond' : 'cardNotNow') });
    else this.show({ is: 'stopped', why: problem });
  }

  private stop(why: CardProblem): void {
    this.forget();
    this.show({ is: 'stopped', why });
  }

  private forget(): void {
    this.abort.abort();
    this.abort = new AbortController();
    this.offer?.close();
    this.answer?.close();
    this.offer = this.used = this.answer = null;
    sessionStorage.removeItem(keptKey);
  }

  /** Back to the beginning. */
  discard(): void {
    this.forget();
    this.show({ is: 'none' });
  }

  /** With leave to use the devices a browser tells the machine's addresses; without, only the local network finds it. */
  private async leave(video: boolean): Promise<void> {
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video });
      for (const track of stream.getTracks()) track.stop();
    } catch (error) {
      // What is wrong with a device is shown in the call, which goes on without it.
      if (!(error instanceof DOMException) && !(error instanceof TypeError)) throw error;
    }
  }

  private async attempt(work: (signal: AbortSignal) => Promise<void>, hide: boolean): Promise<void> {
    const { signal } = this.abort;
    try {
      await work(signal);
    } catch (error) {
      if (!(error instanceof TrunklineError)) throw error;
      if (signal.aborted) return;
      this.stop(error.code === 'unreachable' ? (hide ? 'no-relay' : 'no-address') : problemOf(error));
    }
  }

  make(video: boolean, hide: boolean): Promise<void> {
    this.forget();
    this.show({ is: 'making', kind: 'offer' });
    return this.attempt(async (signal) => {
      await this.leave(video);
      const offer = await this.cards.offerCard({ media: video ? 2 : 1, relayOnly: hide, name: this.store.state.prefs.name, signal });
      this.offer = offer;
      this.show({ is: 'offered', own: this.own('offer', offer), problem: null, found: null });
    }, hide);
  }

  /** The press of whoever opened an offer and saw whose it is. */
  agree(hide: boolean): Promise<void> {
    const { card: view } = this.store.state;
    if (view.is !== 'seen') return Promise.resolve();
    const { peer, text, video } = view;
    this.show({ is: 'making', kind: 'answer' });
    return this.attempt(async (signal) => {
      await this.leave(video);
      const answer = await this.cards.answerCard(await this.cards.read(text), { relayOnly: hide, name: this.store.state.prefs.name, signal });
      this.answer = answer;
      this.show({ is: 'answered', own: this.own('answer', answer), peer });
      this.meet(answer.call({ signal }), signal);
    }, hide);
  }

  /** The press of whoever made the offer and saw who answers it. */
  accept(): void {
    const { card: view } = this.store.state;
    if (view.is !== 'offered' || !view.found || !this.offer) return;
    const { peer, text } = view.found;
    const { offer } = this;
    const { signal } = this.abort;
    this.show({ is: 'meeting', peer });
    this.meet((async () => offer.accept(await offer.read(text), { signal }))(), signal);
  }

  private meet(coming: Promise<call.Call>, signal: AbortSignal): void {
    this.client.background('a meeting', async () => {
      try {
        await coming;
      } catch (error) {
        if (!(error instanceof TrunklineError)) throw error;
        if (signal.aborted) return;
        return this.stop(error.code === 'card_expired' ? 'nobody' : error.code === 'unreachable' || error.code === 'closed' ? 'unreachable' : problemOf(error));
      }
      sessionStorage.removeItem(keptKey);
      this.used = this.offer;
      this.offer = this.answer = null;
      this.show({ is: 'none' });
    });
  }

  /** The identity leaves this tab. */
  close(): void {
    this.forget();
  }
}
