import { another, become, identities, openNow } from '../identities.ts';
import type { Live } from '../live.ts';
import { loadPrefs } from '../prefs.ts';
import type { Identity } from '../state.ts';

/** Which tab has which identity. */
export class Tabs {
  private readonly live: Live;

  constructor(live: Live) {
    this.live = live;
  }

  /** The storage did not open: another tab has it, or it is broken. */
  async taken(error: unknown): Promise<void> {
    if (!(await openNow()).has(this.live.identity)) throw error;
    this.live.me({ is: 'elsewhere', others: await this.others() });
  }

  /** Another tab takes the identity over: everything is finished and closed first. */
  async yield(): Promise<void> {
    const { live } = this;
    if (!live.opened) return;
    const { client } = live.opened;
    live.opened = null;
    live.call?.stop();
    (await live.meetings)?.control?.end();
    live.store.dispatch({ type: 'room', room: null });
    live.rest.files.close();
    if (live.desk) (await live.desk).close();
    live.desk = null;
    live.me({ is: 'elsewhere', others: await this.others() });
    await client.close();
    live.tabs.postMessage('yielded');
  }

  /** Takes the identity over from another tab. */
  takeOver(): void {
    const { live } = this;
    live.me({ is: 'opening' });
    live.tabs.onmessage = (event) => {
      if (event.data === 'yielded') live.start();
    };
    live.tabs.postMessage('yield');
  }

  /** The identities of this browser that no tab holds, without the one of this tab. */
  async others(): Promise<Identity[]> {
    const open = await openNow();
    return identities()
      .filter((name) => name !== this.live.identity && !open.has(name))
      .map((name) => ({ name, person: loadPrefs(name).name }));
  }

  /** Makes this tab the one of another identity, or of a new one. False: there are enough. */
  become(name: string | null): boolean {
    const next = name ?? another();
    if (next === null) return false;
    become(next);
    location.reload();
    return true;
  }
}
