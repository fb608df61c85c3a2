import { identity } from '@trunkline/sdk';
import type { Live } from '../live.ts';
import { attempt } from '../problems.ts';
import { addressOf } from '../route.ts';
import type { Problem } from '../state.ts';
import { matchVerify, verifyText } from '../verifytext.ts';

/** What a person decides about others. */
export class People {
  private readonly live: Live;

  constructor(live: Live) {
    this.live = live;
  }

  async knock(text: string, message: string, name: string): Promise<{ id: string } | { problem: Problem }> {
    let id = '';
    const problem = await attempt(async () => {
      const client = this.live.client();
      const address = identity.parseAddress(complete(addressOf(text), client.home().domain));
      id = address.root.id();
      if (id === client.id) return;
      const contact = await client.knock(identity.formatAddress(address), message, name);
      id = contact.id;
    });
    this.live.contacts();
    if (problem !== null) return { problem };
    return id === this.live.client().id ? { problem: 'own-address' } : { id };
  }

  accept(id: string): Promise<Problem | null> {
    return this.change(() => this.live.client().accept(id));
  }

  decline(id: string): Promise<Problem | null> {
    return this.change(() => this.live.client().decline(id));
  }

  block(id: string): Promise<Problem | null> {
    return this.change(async () => {
      const client = this.live.client();
      // Somebody who only knocked is declined: there is nothing yet that a block would end.
      if (client.contacts().some((c) => c.id === id && c.state === 'asks')) await client.decline(id);
      else await client.block(id);
    });
  }

  rename(id: string, name: string): Promise<Problem | null> {
    return this.change(() => this.live.client().rename(id, name));
  }

  confirm(id: string, digits: string): Promise<Problem | null> {
    return this.change(() => this.live.client().verify(id, digits));
  }

  /** Their code was read and matched: they are told. */
  scanned(id: string): Promise<Problem | null> {
    return this.change(() => this.live.client().compared(id));
  }

  resolve(id: string): Promise<Problem | null> {
    return this.change(() => this.live.client().resolve(id));
  }

  private async change(action: () => Promise<void>): Promise<Problem | null> {
    const problem = await attempt(action);
    this.live.contacts();
    return problem;
  }

  async safetyNumber(id: string): Promise<string> {
    // It takes a fifth of a second: the screen comes first.
    await new Promise((resolve) => setTimeout(resolve, 50));
    return this.live.client().safetyNumber(id);
  }

  /** What the other side's camera reads. */
  verifyText(id: string): string {
    return verifyText(this.live.client().self, identity.parseId(id));
  }

  /** What to make of what our camera read. */
  matchScan(id: string, text: string): 'same' | 'different' | 'other' {
    return matchVerify(text, this.live.client().self, identity.parseId(id));
  }
}

/** An id alone is somebody at the own node. */
function complete(text: string, domain: string): string {
  return /^tl1[0-9a-z]+$/i.test(text) ? `${text}@${domain}` : text;
}
