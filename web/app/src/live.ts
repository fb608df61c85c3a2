import { call, Client, type ClientEvent, type Contact as SdkContact, identity, isCode, type PluginHandle, TrunklineError } from '@trunkline/sdk';
import { browserSocket, BrowserStore, BrowserVault } from '@trunkline/sdk/browser';
import { Base } from './base.ts';
import { workerURL } from './trusted.ts';
import type { Desk } from './cards/desk.ts';
import { CallControl } from './call/control.ts';
import type { Engine } from './engine.ts';
import type { Rest } from './engine/rest.ts';
import { fetched } from './fetched.ts';
import { here, remember } from './identities.ts';
import { noiseGate } from './plugins/index.ts';
import type { Prefs } from './prefs.ts';
import { inviteIn, type Route, routeText } from './route.ts';
import type { Contact, Link, Me, Standing } from './state.ts';
import type { RoomDesk } from './rooms/roomdesk.ts';
import { WireTap } from './tap.ts';

/** A record of the app beside the SDK's, in the same store: durable, and of one tab at a time. */
const inviteKey = 'app/invite';
/** What nobody waits for waits for a call that is being made, but no longer. */
const longestMs = 30_000;

/** What a client is opened with. */
export interface Options {
  store: BrowserStore;
  vault: BrowserVault;
  socket: typeof browserSocket;
  tap: WireTap;
  idle: () => Promise<void>;
}

export interface Open {
  store: BrowserStore;
  vault: BrowserVault;
  client: Client;
}

/** The engine over the SDK: one client, opened in one tab. Here is what a call needs; everything else that a person can
 * do is in engine/, and is fetched with the first screen that needs it. */
export class Live extends Base implements Engine {
  opened: Open | null = null;
  call: CallControl | null = null;
  private loaded: Rest | null = null;
  desk: Promise<Desk> | null = null;
  meetings: Promise<RoomDesk> | null = null;
  private calls: call.Calls | null = null;
  readonly tap = new WireTap();
  readonly identity = here();
  readonly tabs = new BroadcastChannel(this.identity);
  private gate: PluginHandle | null = null;

  start(): void {
    this.tabs.onmessage = (event) => {
      if (event.data === 'yield') this.run(this.whole().then((rest) => rest.tabs.yield()));
    };
    this.run(this.begin());
  }

  /** The address bar changed by hand: a new invitation, perhaps. */
  routed(): void {
    const { route, me } = this.store.state;
    const invite = inviteIn(route, location.origin);
    if (invite && me.is === 'unregistered' && !me.registering) this.run(this.whole().then((rest) => rest.newcomer.register(invite)));
    else if (me.is === 'ready') this.hideInvite();
  }

  /** A module that is fetched later names texts that come later, too. */
  async later<T>(module: Promise<T>): Promise<T> {
    await this.store.state.t.rest();
    return module;
  }

  async whole(): Promise<Rest> {
    const { Rest } = await fetched(import('./engine/rest.ts'));
    return (this.loaded ??= new Rest(this));
  }

  get rest(): Rest {
    if (!this.loaded) throw new Error('a screen was shown before what it needs');
    return this.loaded;
  }

  /** Resolves when nobody waits for sound and picture: at once but for whoever came over a link into a call. */
  idle(): Promise<void> {
    const waits = () => {
      const { route, call } = this.store.state;
      return route.screen === 'call' && route.address !== '' && call?.stage.is !== 'ended' && !call?.seen;
    };
    if (!waits()) return Promise.resolve();
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        stop();
        resolve();
      };
      const timer = setTimeout(done, longestMs);
      const stop = this.store.subscribe(() => {
        if (!waits()) done();
      });
    });
  }

  /** Work that nobody waits for. What fails unexpectedly is shown and not swallowed. */
  run(work: Promise<unknown>): void {
    work.catch((error: unknown) => this.broken(error));
  }

  private async broken(error: unknown): Promise<void> {
    if (!(error instanceof TrunklineError)) reportError(error);
    const problem = await this.whole().then((rest) => rest.problemOf(error), () => null);
    this.me({ is: 'broken', problem: problem ?? 'other' });
  }

  me(me: Me): void {
    this.store.dispatch({ type: 'me', me });
  }

  unlocked(): Open {
    if (!this.opened) throw new Error('there is no identity in this tab');
    return this.opened;
  }

  client(): Client {
    return this.unlocked().client;
  }

  called(): { client: Client; calls: call.Calls } {
    if (!this.calls) throw new Error('there is no identity in this tab');
    return { client: this.client(), calls: this.calls };
  }

  private async options(): Promise<Options> {
    const store = await BrowserStore.open(this.identity);
    return { store, vault: new BrowserVault(store), socket: browserSocket, tap: this.tap, idle: () => this.idle() };
  }

  /** Keeps a client as the one of this tab. */
  hold({ store, vault }: Options, client: Client): void {
    this.opened = { store, vault, client };
    this.loaded?.opened();
    client.listen((event) => this.heard(event));
  }

  /** The identity that was made a moment ago was never registered: it goes, and so does its key. */
  async anew(): Promise<Options> {
    await this.client().close();
    this.opened = null;
    await forget(this.identity);
    return this.options();
  }

  private async begin(): Promise<void> {
    let options: Options;
    try {
      options = await this.options();
    } catch (error) {
      return (await this.whole()).tabs.taken(error);
    }
    if ((await options.store.load()).has('profile')) {
      const client = await Client.open(options);
      this.hold(options, client);
      if (client.registered) return this.ready();
      return (await this.whole()).newcomer.begin();
    }
    const { newcomer } = await this.whole();
    await newcomer.create(options);
    await newcomer.begin();
  }

  async keepInvite(token: string): Promise<void> {
    const { records } = this.client();
    records.set(inviteKey, token);
    await records.commit();
  }

  /** An invitation does not stay in the address bar or the history. */
  hideInvite(): void {
    const { route } = this.store.state;
    if (!inviteIn(route, location.origin)) return;
    const to: Route = route.screen === 'call' ? { ...route, invite: '' } : route.screen === 'add' ? { screen: 'add', address: route.address } : { screen: 'home' };
    history.replaceState(null, '', routeText(to));
    this.store.dispatch({ type: 'route', route: to });
  }

  ready(): void {
    const client = this.client();
    this.hideInvite();
    remember(this.identity);
    // Whoever knows somebody would miss it: the browser is asked not to throw it away when room is short.
    if (client.contacts().length > 0) this.run(Promise.resolve(navigator.storage?.persist?.()));
    this.contacts();
    this.self();
    const calls = new call.Calls(client, {
      peer: call.browserPeer({ worker: () => new Worker(workerURL('/frames.js'), { name: 'frames' }) }),
      onCall: (c) => {
        if (c.byCards) return this.rest.files.meet(c);
        if (c.media === 0) this.run(this.whole().then((rest) => rest.files.came(c)));
        this.call?.came(c);
      },
    });
    this.calls = calls;
    this.call = new CallControl(client, calls, this.store);
    this.run(this.plug());
    client.start();
    this.run(this.idle().then(() => this.readRest(client)));
  }

  /** What was written and sent before, when nobody waits for a call any more. */
  private async readRest(client: Client): Promise<void> {
    const rest = await this.whole();
    if (this.opened?.client !== client) return;
    for (const contact of client.contacts()) rest.chats.show(contact.id);
    rest.files.begin();
  }

  override setPrefs(prefs: Prefs): void {
    super.setPrefs(prefs);
    if (this.opened && this.call) this.run(this.plug());
  }

  /** Lets the plugins run that the settings ask for. */
  private async plug(): Promise<void> {
    const { noiseGate: wanted } = this.store.state.prefs;
    if (wanted === (this.gate?.running ?? false)) return;
    if (wanted) this.gate = await this.client().use(noiseGate);
    else this.gate?.stop();
    this.call?.rewire();
  }

  cards(): Promise<Desk> {
    const { client, calls } = this.called();
    return (this.desk ??= this.later(import('./cards/desk.ts')).then((m) => new m.Desk(client, calls, this.store)));
  }

  rooms(): Promise<RoomDesk> {
    return (this.meetings ??= Promise.all([import('./rooms/roomdesk.ts'), import('@trunkline/sdk/room')]).then(
      ([m, sdk]) => new m.RoomDesk(sdk, () => (this.store.state.me.is === 'ready' ? this.client() : null), this.store),
    ));
  }

  self(): void {
    const client = this.client();
    const own = client.mustOwnList();
    this.me({
      is: 'ready',
      self: {
        id: client.id,
        address: client.address,
        contact: identity.formatAddress({ root: client.self, domain: client.home().domain, home: client.homeOf().peerId }),
        domain: client.home().domain,
        invite: client.records.get<string>(inviteKey) ?? '',
        fingerprint: client.self.fingerprint(),
        devices: own.devices.map((d) => ({ id: d.deviceId.hex, own: d.deviceId.equals(client.deviceId), expires: d.notAfter * 1000 })),
      },
    });
  }

  contacts(): void {
    this.store.dispatch({ type: 'contacts', contacts: this.client().contacts().map(contactOf) });
  }

  private heard(event: ClientEvent): void {
    switch (event.type) {
      case 'link':
        if (event.link.state === 'up') this.loaded?.files.linked();
        return this.store.dispatch({ type: 'link', link: linkOf(event.link) });
      case 'note':
        this.loaded?.chats.show(event.from);
        return this.contacts();
      case 'note-state':
        return this.store.dispatch({ type: 'fate', id: event.to, note: event.id, fate: event.state });
      case 'knock':
      case 'knock-accepted':
      case 'compared':
      case 'devices-changed':
      case 'alarm':
      case 'met':
        return this.contacts();
      case 'ended':
        // Of what the client says of itself only this breaks the page: memory is ahead of the disk, so nothing more can be
        // said that would still be there later.
        if (!(event.error instanceof TrunklineError) || isCode(event.error, 'storage')) void this.broken(event.error);
        return;
      case 'plugin':
        // The switch shows what is true, and whoever speaks goes on without it.
        if (event.state !== 'cut') return;
        this.setPrefs({ ...this.store.state.prefs, noiseGate: false });
        this.call?.rewire();
        return this.store.dispatch({ type: 'toast', text: this.store.state.t('noiseGateFailed') });
    }
  }
}

const standings: Record<SdkContact['state'], Standing> = { known: 'known', pending: 'asked', asks: 'asks', accepted: 'accepted', blocked: 'blocked' };

function contactOf(c: SdkContact): Contact {
  return {
    id: c.id,
    address: c.address,
    name: c.name,
    standing: standings[c.state],
    trust: c.alarm ? { is: 'changed' } : c.verified ? { is: 'verified' } : { is: 'unverified' },
    compared: c.comparedMs ?? null,
    devicesChanged: c.changed,
    devices: c.devices,
    knock: c.knock,
  };
}

function linkOf(link: Extract<ClientEvent, { type: 'link' }>['link']): Link {
  switch (link.state) {
    case 'connecting':
      return { is: 'connecting', attempt: link.attempt };
    case 'up':
      return { is: 'up' };
    case 'waiting':
      return { is: 'down' };
    case 'ended': {
      const code = link.why.nodeCode;
      if (isCode(link.why, 'revoked') || code === 'not_registered') return { is: 'ended', why: 'removed' };
      if (code === 'replaced') return { is: 'ended', why: 'replaced' };
      if (link.why.code === 'refused') return { is: 'ended', why: 'refused' };
      return { is: 'ended', why: 'verification' };
    }
  }
}

/** Removes everything that an identity left in this browser. */
function forget(identity: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const request = indexedDB.deleteDatabase(identity);
    request.onsuccess = () => resolve();
    request.onerror = () => reject(new TrunklineError('storage', 'the storage of the former identity cannot be removed'));
  });
}
