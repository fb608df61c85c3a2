import type { Live, Open } from '../live.ts';

/** A record of the app beside the SDK's, in the same store: durable, and of one tab at a time. */
const phraseKey = 'secret/app/phrase';

/** The words that bring an identity back: kept wrapped, shown on a press, and asked for once. */
export class PhraseDesk {
  private readonly live: Live;

  constructor(live: Live) {
    this.live = live;
  }

  async keep({ vault, client }: Open, phrase: string): Promise<void> {
    client.records.setRaw(phraseKey, await vault.wrap(new TextEncoder().encode(phrase)));
    await client.records.commit();
  }

  async reveal(): Promise<void> {
    const { client, vault } = this.live.unlocked();
    const { store } = this.live;
    const wrapped = client.records.raw(phraseKey);
    if (wrapped === undefined) return store.dispatch({ type: 'phrase', phrase: { is: 'absent' } });
    const words = new TextDecoder().decode(await vault.unwrap(wrapped)).split(' ');
    store.dispatch({ type: 'phrase', phrase: { is: 'shown', words } });
  }

  askForWords(): void {
    const { phrase } = this.live.store.state;
    if (phrase.is !== 'shown') return;
    const asked = new Set<number>();
    while (asked.size < 3) {
      const [random = 0] = crypto.getRandomValues(new Uint32Array(1));
      asked.add(random % phrase.words.length);
    }
    this.live.store.dispatch({ type: 'phrase', phrase: { is: 'confirming', words: phrase.words, asked: [...asked].sort((a, b) => a - b), wrong: false } });
  }

  confirmWords(words: string[]): void {
    const { store } = this.live;
    const { phrase, prefs } = store.state;
    if (phrase.is !== 'confirming') return;
    const right = phrase.asked.every((at, i) => phrase.words[at] === words[i]?.trim().toLowerCase());
    if (!right) return store.dispatch({ type: 'phrase', phrase: { ...phrase, wrong: true } });
    store.dispatch({ type: 'phrase', phrase: { is: 'confirmed' } });
    this.live.setPrefs({ ...prefs, backedUp: true });
  }

  lookAgain(): void {
    const { phrase } = this.live.store.state;
    if (phrase.is === 'confirming') this.live.store.dispatch({ type: 'phrase', phrase: { is: 'shown', words: phrase.words } });
  }
}
