import { type Client, TrunklineError } from '@trunkline/sdk';
import type { RoomInfo, RoomModule, RoomSettings } from '@trunkline/sdk/room';
import { routeText } from '../route.ts';
import { roomRoute } from '../links.ts';
import type { Action, State } from '../state.ts';
import type { Store } from '../store.ts';
import { RoomControl } from './control.ts';
import { overOf, type RoomOver } from './view.ts';

/** The meeting that this tab is in, kept over a reload. */
const keptKey = 'trunkline-room';

/** Where meetings are made, found again and entered: one at a time. */
export class RoomDesk {
  private readonly module: RoomModule;
  /** Null: whoever has no account here goes in as a guest. */
  private readonly who: () => Client | null;
  private readonly store: Store<State, Action>;
  /** The meeting that this tab is in or stands before. */
  control: RoomControl | null = null;

  constructor(module: RoomModule, who: () => Client | null, store: Store<State, Action>) {
    this.module = module;
    this.who = who;
    this.store = store;
    addEventListener('pagehide', () => this.control?.pagehide());
  }

  rooms(): readonly RoomInfo[] {
    const client = this.who();
    return client ? this.module.listGroups(client) : [];
  }

  create(settings: RoomSettings): Promise<{ made: RoomInfo } | { problem: RoomOver }> {
    return this.asked(async (client) => ({ made: await this.module.createGroup(client, settings) }));
  }

  close(id: string): Promise<{ problem?: RoomOver }> {
    return this.asked(async (client) => {
      await this.module.closeGroup(client, id);
      return {};
    });
  }

  async forget(id: string): Promise<void> {
    const client = this.who();
    if (client) await this.module.forgetGroup(client, id);
  }

  private async asked<T>(what: (client: Client) => Promise<T>): Promise<T | { problem: RoomOver }> {
    const client = this.who();
    if (!client) return { problem: 'policy' };
    try {
      return await what(client);
    } catch (error) {
      if (!(error instanceof TrunklineError)) throw error;
      return { problem: overOf(error) };
    }
  }

  /** Stands before a meeting: nothing is sent before the press. After a reload the press was before it. */
  approach(link: string): void {
    const { room, call } = this.store.state;
    if ((room && room.stage.is !== 'ended') || (call && call.stage.is !== 'ended')) return;
    const within = (now: string | null) => {
      if (now === null) return sessionStorage.removeItem(keptKey);
      sessionStorage.setItem(keptKey, now);
      const route = roomRoute(location.origin, now);
      if (now === link || this.store.state.route.screen !== 'room') return;
      history.replaceState(null, '', routeText(route));
      this.store.dispatch({ type: 'route', route });
    };
    const back = sessionStorage.getItem(keptKey) === link && this.store.state.prefs.name.trim() !== '';
    this.control?.end();
    this.control = new RoomControl(this.module.joinGroup, this.who(), this.store, link, within, (next) => this.approach(next));
    this.control.approach(back);
  }
}
