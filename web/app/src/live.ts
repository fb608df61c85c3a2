import {
  call,
  checkPhrase,
  Client,
  type ClientEvent,
  type Contact as SdkContact,
  createIdentity,
  identity,
  isCode,
  type Note as SdkNote,
  type PluginHandle,
  recoverIdentity,
  TrunklineError,
  UnknownNodeError,
  WordError,
} from '@trunkline/sdk';
import { browserSocket, BrowserStore, BrowserVault } from '@trunkline/sdk/browser';
import { Base } from './base.ts';
import { workerURL } from './bundle.ts';
import type { Desk } from './cards/desk.ts';
import type { CallFiles } from './cards/callfiles.ts';
import { CallControl } from './call/control.ts';
import type { Engine } from './engine.ts';
import type { Chosen } from './files/choose.ts';
import { recordPrefix } from './files/record.ts';
import { attempt, problemOf } from './problems.ts';
import { another, become, here, identities, known, openNow, remember } from './identities.ts';
import { noiseGate } from './plugins/index.ts';
import { loadPrefs, type Prefs } from './prefs.ts';
import { addressOf, inviteIn, inviteToken, isLoopback, type Route, routeText } from './route.ts';
import type { Contact, Identity, Link, Me, Note, Problem, Standing, Strange } from './state.ts';
import type { Transfers } from './transfers.ts';
import type { RoomDesk } from './rooms/roomdesk.ts';
import { matchVerify, verifyText } from './verifytext.ts';
import { WireTap } from './wiretap.ts';

/** Records of the app beside the SDK's, in the same store: durable, and of one tab at a time. */
const phraseKey = 'secret/app/phrase';
const inviteKey = 'app/invite';
/** Longest note within a call, of the specification. */
const maxInCall = 8192;
const seenKey = (id: string) => `app/seen/${id}`;


interface Open {
  store: BrowserStore;
  vault: BrowserVault;
  client: Client;
}

/** The engine over the SDK: one client, opened in one tab. */
export class Live extends Base implements Engine {
  private opened: Open | null = null;
  private files: (() => Promise<Transfers>) | null = null;
  private transfers: Transfers | null = null; // once their code is here
  call: CallControl | null = null;
  private desk: Promise<Desk> | null = null;
  private meetings: Promise<RoomDesk> | null = null;
  private calls: call.Calls | null = null;
  /** The call that cards made, and its files. */
  private met: { call: call.Call; files: Promise<CallFiles> } | null = null;
  private joining: { options: { store: BrowserStore; vault: BrowserVault; socket: typeof browserSocket; tap: WireTap }; secret: Uint8Array } | null = null;
  readonly tap = new WireTap();
  private readonly identity = here();
  private strange: Strange | null = null;
  /** The peer id of a node that the person has compared; from then on the identity links to no other. */
  private confirmed = '';
  private readonly tabs = new BroadcastChannel(this.identity);
  private gate: PluginHandle | null = null;
  private reading: Promise<void> = Promise.resolve();
  private readonly pages = new Map<string, number>(); // of a chat, that are on the screen

  start(): void {
    this.tabs.onmessage = (event) => {
      if (event.data === 'yield') void this.yieldTo();
    };
    this.run(this.begin());
  }

  /** The address bar changed by hand: a new invitation, perhaps. */
  routed(): void {
    const { route, me } = this.store.state;
    const invite = inviteIn(route, location.origin);
    if (invite && me.is === 'unregistered' && !me.registering) this.run(this.register(invite));
    else if (me.is === 'ready') this.hideInvite();
  }

  /** A module that is fetched later names texts that come later, too. */
  private async later<T>(module: Promise<T>): Promise<T> {
    await this.store.state.t.rest();
    return module;
  }

  /** Work that nobody waits for. What fails unexpectedly is shown and not swallowed. */
  private run(work: Promise<unknown>): void {
    work.catch((error: unknown) => {
      this.me({ is: 'broken', problem: problemOf(error) ?? 'other' });
      if (!(error instanceof TrunklineError)) reportError(error);
    });
  }

  private me(me: Me): void {
    this.store.dispatch({ type: 'me', me });
  }

  private unlocked(): Open {
    if (!this.opened) throw new Error('there is no identity in this tab');
    return this.opened;
  }

  private client(): Client {
    return this.unlocked().client;
  }

  private async begin(): Promise<void> {
    let store: BrowserStore;
    try {
      store = await BrowserStore.open(this.identity);
    } catch (error) {
      if ((await openNow()).has(this.identity)) return this.me({ is: 'elsewhere', others: await this.otherIdentities() });
      throw error;
    }
    const vault = new BrowserVault(store);
    const options = { store, vault, socket: browserSocket, tap: this.tap };
    const there = (await store.load()).has('profile');
    if (there) {
      this.opened = { store, vault, client: await Client.open(options) };
    } else {
      const { client, phrase } = await createIdentity(options);
      this.opened = { store, vault, client };
      await this.keepPhrase(phrase);
    }
    const { client } = this.opened;
    client.listen((event) => this.heard(event));
    if (client.registered) return this.ready();
    if (known(this.identity)) return this.me({ is: 'unregistered', id: client.id, registering: false, problem: null, lost: true });
    const { route } = this.store.state;
    const invite = inviteIn(route, location.origin);
    if (invite) return this.register(invite);
    // Whoever came for a meeting is its guest: no account is made for that.
    if (route.screen === 'room' && route.link) return this.unregistered(null);
    // A node that lets everybody in needs no invitation; the others say so.
    this.me({ is: 'unregistered', id: client.id, registering: true, problem: null });
    const problem = await this.enrol(location.origin);
    if (problem === null) return this.ready();
    this.unregistered(problem === 'invite' ? null : problem);
  }

  private async keepPhrase(phrase: string): Promise<void> {
    const { vault, client } = this.unlocked();
    client.records.setRaw(phraseKey, await vault.wrap(new TextEncoder().encode(phrase)));
    await client.records.commit();
  }

  async register(invite: string): Promise<void> {
    const client = this.client();
    this.me({ is: 'unregistered', id: client.id, registering: true, problem: null });
    const problem = await this.enrol(invite, async () => {
      // The one that a node prints for its own computer serves whoever else sits there, so our link carries it on.
      if (!isLoopback(location.hostname)) return;
      client.records.set(inviteKey, inviteToken(invite));
      await client.records.commit();
    });
    if (problem === null) this.ready();
    else this.unregistered(problem === 'address' ? 'invite' : problem);
    this.hideInvite();
  }

  private unregistered(problem: Problem | null): void {
    const { strange } = this;
    this.me({ is: 'unregistered', id: this.client().id, registering: false, problem: strange ? null : problem, ...(strange ? { strange } : {}) });
  }

  /** Registers. A node that speaks for another name than the one in the address bar waits for the person. */
  private enrol(invite: string, then?: () => Promise<void>): Promise<Problem | null> {
    this.strange = null;
    return attempt(async () => {
      try {
        await this.client().register(invite, this.confirmed ? { confirmed: this.confirmed } : {});
      } catch (error) {
        if (error instanceof UnknownNodeError) this.strange = { domain: error.domain, node: error.node, invite };
        throw error;
      }
      await then?.();
    });
  }

  confirmNode(): void {
    if (!this.strange) return;
    this.confirmed = this.strange.node;
    this.run(this.register(this.strange.invite));
  }

  beginAnew(): void {
    this.run(this.register(inviteIn(this.store.state.route, location.origin) || location.origin));
  }

  /** An invitation does not stay in the address bar or the history. */
  private hideInvite(): void {
    const { route } = this.store.state;
    if (!inviteIn(route, location.origin)) return;
    const to: Route = route.screen === 'call' ? { ...route, invite: '' } : route.screen === 'add' ? { screen: 'add', address: route.address } : { screen: 'home' };
    history.replaceState(null, '', routeText(to));
    this.store.dispatch({ type: 'route', route: to });
  }

  async recover(phrase: string): Promise<{ problem: Problem; word?: string } | null> {
    const before = this.unlocked();
    let normal: string;
    try {
      normal = await checkPhrase(phrase);
    } catch (error) {
      if (error instanceof WordError) return { problem: 'phrase', word: error.word };
      const problem = problemOf(error);
      if (problem === null) throw error;
      return { problem };
    }
    // The identity that was made a moment ago was never registered: it goes, and so does its key.
    await before.client.close();
    await forget(this.identity);
    const store = await BrowserStore.open(this.identity);
    const vault = new BrowserVault(store);
    const client = await recoverIdentity({ store, vault, socket: browserSocket, tap: this.tap }, normal);
    this.opened = { store, vault, client };
    client.listen((event) => this.heard(event));
    await this.keepPhrase(normal);
    await this.register(location.origin);
    return null;
  }

  private ready(): void {
    const client = this.client();
    this.hideInvite();
    remember(this.identity);
    // Whoever knows somebody would miss it: the browser is asked not to throw it away when room is short.
    if (client.contacts().length > 0) this.run(Promise.resolve(navigator.storage?.persist?.()));
    this.contacts();
    for (const contact of client.contacts()) this.notes(contact.id);
    this.self();
    const calls = new call.Calls(client, {
      peer: call.browserPeer({ worker: () => new Worker(workerURL('/frames.js'), { name: 'frames' }) }),
      onCall: (c) => {
        if (c.byCards) return this.meet(c);
        if (c.media === 0) this.withFiles((files) => files.onCall(c));
        this.call?.came(c);
      },
    });
    this.calls = calls;
    // Whoever only talks does not fetch it.
    let files: Promise<Transfers> | null = null;
    this.files = () =>
      (files ??= this.later(import('./transfers.ts')).then((m) => {
        const transfers = new m.Transfers(client, calls, this.store.dispatch, () => this.store.state.prefs.hideAddress);
        transfers.begin();
        this.transfers = transfers;
        return transfers;
      }));
    if (!client.records.list(recordPrefix).next().done) this.withFiles(() => undefined);
    this.call = new CallControl(client, calls, this.store);
    this.plug();
    client.start();
  }

  override setPrefs(prefs: Prefs): void {
    super.setPrefs(prefs);
    if (this.opened && this.call) this.plug();
  }

  /** Lets the plugins run that the settings ask for. */
  private plug(): void {
    const { noiseGate: wanted } = this.store.state.prefs;
    if (wanted === (this.gate?.running ?? false)) return;
    if (wanted) this.gate = this.client().use(noiseGate);
    else this.gate?.stop();
    this.call?.rewire();
  }

  cards(): Promise<Desk> {
    const { client } = this.unlocked();
    const { calls } = this;
    if (!calls) throw new Error('there is no identity in this tab');
    return (this.desk ??= this.later(import('./cards/desk.ts')).then((m) => new m.Desk(client, calls, this.store)));
  }

  rooms(): Promise<RoomDesk> {
    return (this.meetings ??= Promise.all([import('./rooms/roomdesk.ts'), import('@trunkline/sdk/room')]).then(
      ([m, sdk]) => new m.RoomDesk(sdk, () => (this.store.state.me.is === 'ready' ? this.client() : null), this.store),
    ));
  }

  /** Two cards led to a call: it is the way for what is written and sent, too. */
  private meet(c: call.Call): void {
    const { client } = this.unlocked();
    const files = this.later(import('./cards/callfiles.ts')).then((m) => new m.CallFiles(client, c, this.store.dispatch));
    const met = { call: c, files };
    this.met = met;
    this.run(files);
    c.onNote = (n) => this.run(client.noteInCall(c.contact, false, n));
    this.call?.met(c, () => {
      if (c.state.phase === 'live' && this.met === met) return this.store.dispatch({ type: 'met', id: c.contact });
      if (c.state.phase !== 'ended') return;
      this.run(files.then((f) => f.end()));
      if (this.met === met) this.store.dispatch({ type: 'met', id: '' });
    });
  }

  private metWith(id: string): call.Call | null {
    return this.met?.call.bound && this.met.call.contact === id ? this.met.call : null;
  }

  private self(): void {
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

  private contacts(): void {
    this.store.dispatch({ type: 'contacts', contacts: this.client().contacts().map(contactOf) });
  }

  /** Reads what a chat shows anew; one after the other, so that an older answer never covers a newer one. */
  private notes(id: string): void {
    this.reading = this.reading.then(() => this.read(id));
    this.run(this.reading);
  }

  private async read(id: string): Promise<void> {
    if (!this.opened) return;
    const { client } = this.opened;
    const wanted = this.pages.get(id) ?? 1;
    const notes: SdkNote[] = [];
    let more = true;
    try {
      for (let n = 0; n < wanted && more; n++) {
        const page = await client.history(id, notes[0] ? { before: notes[0].place } : {});
        notes.unshift(...page.notes);
        more = page.more;
      }
    } catch (error) {
      // Another tab took over while it was read.
      if (this.opened?.client !== client) return;
      throw error;
    }
    const seen = client.records.get<number>(seenKey(id)) ?? 0;
    this.store.dispatch({ type: 'notes', id, more, notes: notes.map((n) => noteOf(n, seen)) });
  }

  earlier(id: string): void {
    this.pages.set(id, (this.pages.get(id) ?? 1) + 1);
    this.notes(id);
  }

  async deleteHistory(id: string): Promise<Problem | null> {
    const problem = await attempt(() => this.client().deleteHistory(id));
    this.pages.delete(id);
    this.notes(id);
    return problem;
  }

  private heard(event: ClientEvent): void {
    switch (event.type) {
      case 'link':
        if (event.link.state === 'up') this.transfers?.linked();
        return this.store.dispatch({ type: 'link', link: linkOf(event.link) });
      case 'note':
        this.notes(event.from);
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
        if (event.error instanceof TrunklineError) {
          // Memory is ahead of the disk: nothing more can be said that would still be there later.
          if (isCode(event.error, 'storage')) this.me({ is: 'broken', problem: problemOf(event.error) ?? 'storage' });
          return;
        }
        reportError(event.error);
        return this.me({ is: 'broken', problem: 'other' });
      case 'plugin':
        // The switch shows what is true, and whoever speaks goes on without it.
        if (event.state !== 'cut') return;
        this.setPrefs({ ...this.store.state.prefs, noiseGate: false });
        this.call?.rewire();
        return this.store.dispatch({ type: 'toast', text: this.store.state.t('noiseGateFailed') });
      case 'ringing':
      case 'missed':
      case 'call':
        return; // calls are not in this app yet
    }
  }

  /** Another tab takes the identity over: everything is finished and closed first. */
  private async yieldTo(): Promise<void> {
    if (!this.opened) return;
    const { client } = this.opened;
    this.opened = null;
    this.call?.stop();
    (await this.meetings)?.control?.end();
    this.store.dispatch({ type: 'room', room: null });
    this.transfers?.close();
    if (this.desk) (await this.desk).close();
    this.desk = null;
    this.me({ is: 'elsewhere', others: await this.otherIdentities() });
    await client.close();
    this.tabs.postMessage('yielded');
  }

  async otherIdentities(): Promise<Identity[]> {
    const open = await openNow();
    return identities()
      .filter((name) => name !== this.identity && !open.has(name))
      .map((name) => ({ name, person: loadPrefs(name).name }));
  }

  become(name: string | null): boolean {
    const next = name ?? another();
    if (next === null) return false;
    become(next);
    location.reload();
    return true;
  }

  takeOver(): void {
    this.me({ is: 'opening' });
    this.tabs.onmessage = (event) => {
      if (event.data !== 'yielded') return;
      this.start();
    };
    this.tabs.postMessage('yield');
  }

  async knock(text: string, message: string, name: string): Promise<{ id: string } | { problem: Problem }> {
    let id = '';
    const problem = await attempt(async () => {
      const client = this.client();
      const address = identity.parseAddress(complete(addressOf(text), client.home().domain));
      id = address.root.id();
      if (id === client.id) return;
      const contact = await client.knock(identity.formatAddress(address), message, name);
      id = contact.id;
    });
    this.contacts();
    if (problem !== null) return { problem };
    return id === this.client().id ? { problem: 'own-address' } : { id };
  }

  accept(id: string): Promise<Problem | null> {
    return this.change(() => this.client().accept(id));
  }

  decline(id: string): Promise<Problem | null> {
    return this.change(() => this.client().decline(id));
  }

  block(id: string): Promise<Problem | null> {
    return this.change(async () => {
      const client = this.client();
      // Somebody who only knocked is declined: there is nothing yet that a block would end.
      if (client.contacts().some((c) => c.id === id && c.state === 'asks')) await client.decline(id);
      else await client.block(id);
    });
  }

  rename(id: string, name: string): Promise<Problem | null> {
    return this.change(() => this.client().rename(id, name));
  }

  confirm(id: string, digits: string): Promise<Problem | null> {
    return this.change(() => this.client().verify(id, digits));
  }

  scanned(id: string): Promise<Problem | null> {
    return this.change(() => this.client().compared(id));
  }

  resolve(id: string): Promise<Problem | null> {
    return this.change(() => this.client().resolve(id));
  }

  private async change(action: () => Promise<void>): Promise<Problem | null> {
    const problem = await attempt(action);
    this.contacts();
    return problem;
  }

  open(id: string): void {
    const chat = this.store.state.chats.get(id);
    const newest = chat?.notes.reduce((t, n) => (n.out ? t : Math.max(t, n.created)), 0) ?? 0;
    this.store.dispatch({ type: 'seen', id });
    const { records } = this.client();
    if (newest <= (records.get<number>(seenKey(id)) ?? 0)) return;
    records.set(seenKey(id), newest);
    this.run(records.commit());
  }

  async send(id: string, text: string): Promise<Problem | null> {
    const met = this.metWith(id);
    if (met) {
      if (new TextEncoder().encode(text).length > maxInCall) return 'too-long';
      await this.client().noteInCall(id, true, met.sendNote(text));
      this.notes(id);
      return null;
    }
    const problem = await attempt(async () => void (await this.client().sendMessage(id, text)));
    this.notes(id);
    this.contacts();
    return problem;
  }

  async approveDevice(request: string): Promise<{ approval: string } | { problem: Problem }> {
    let approval = '';
    const problem = await attempt(async () => {
      approval = await this.client().approveDevice(request);
    });
    this.self();
    return problem === null ? { approval } : { problem };
  }

  async requestDevice(): Promise<string> {
    // The identity that was made a moment ago was never registered: it goes, and so does its key.
    await this.client().close();
    this.opened = null;
    await forget(this.identity);
    const store = await BrowserStore.open(this.identity);
    const options = { store, vault: new BrowserVault(store), socket: browserSocket, tap: this.tap };
    const request = await Client.requestDevice(options);
    this.joining = { options, secret: request.secret };
    return request.text;
  }

  joinDevice(approval: string): Promise<Problem | null> {
    return attempt(async () => {
      if (!this.joining) throw new Error('there is no request to approve');
      const { options, secret } = this.joining;
      const client = await Client.join(options, { secret }, approval);
      this.joining = null;
      this.opened = { store: options.store, vault: options.vault, client };
      client.listen((event) => this.heard(event));
      this.ready();
    });
  }

  async revokeDevice(id: string): Promise<Problem | null> {
    const client = this.client();
    const device = client.mustOwnList().devices.find((d) => d.deviceId.hex === id);
    if (!device) return 'not-found';
    const problem = await attempt(() => client.revokeDevice(device.deviceId));
    this.self();
    return problem;
  }

  /** Does something with files as soon as their code is here. */
  private withFiles(f: (files: Transfers) => void): void {
    if (this.files) this.run(this.files().then(f));
  }

  sendFile(id: string, chosen: Chosen): void {
    if (this.metWith(id) && this.met) return this.run(this.met.files.then((files) => files.send(chosen.file)));
    this.withFiles((files) => this.run(files.send(id, chosen)));
  }

  receive(transfer: string): void {
    this.run((async () => void ((await this.met?.files)?.receive(transfer) || this.withFiles((files) => files.receive(transfer))))());
  }

  stop(transfer: string): void {
    this.run((async () => void ((await this.met?.files)?.stop(transfer) || this.withFiles((files) => files.stop(transfer))))());
  }

  async pause(transfer: string, on: boolean): Promise<void> {
    await (await this.files?.())?.pause(transfer, on);
  }

  async again(transfer: string): Promise<void> {
    await (await this.files?.())?.again(transfer);
  }

  async chosen(transfer: string, chosen: Chosen): Promise<void> {
    await (await this.files?.())?.chosen(transfer, chosen);
  }

  async place(transfer: string): Promise<void> {
    await (await this.files?.())?.place(transfer);
  }

  async save(transfer: string): Promise<void> {
    if ((await this.met?.files)?.save(transfer)) return;
    await (await this.files?.())?.save(transfer);
  }

  async forget(transfer: string): Promise<void> {
    if ((await this.met?.files)?.forget(transfer)) return;
    await (await this.files?.())?.forget(transfer);
  }

  async safetyNumber(id: string): Promise<string> {
    // It takes a fifth of a second: the screen comes first.
    await new Promise((resolve) => setTimeout(resolve, 50));
    return this.client().safetyNumber(id);
  }

  verifyText(id: string): string {
    return verifyText(this.client().self, identity.parseId(id));
  }

  matchScan(id: string, text: string): 'same' | 'different' | 'other' {
    return matchVerify(text, this.client().self, identity.parseId(id));
  }

  async revealPhrase(): Promise<void> {
    const { client, vault } = this.unlocked();
    const wrapped = client.records.raw(phraseKey);
    if (wrapped === undefined) return this.store.dispatch({ type: 'phrase', phrase: { is: 'absent' } });
    const words = new TextDecoder().decode(await vault.unwrap(wrapped)).split(' ');
    this.store.dispatch({ type: 'phrase', phrase: { is: 'shown', words } });
  }

  askForWords(): void {
    const { phrase } = this.store.state;
    if (phrase.is !== 'shown') return;
    const asked = new Set<number>();
    while (asked.size < 3) {
      const [random = 0] = crypto.getRandomValues(new Uint32Array(1));
      asked.add(random % phrase.words.length);
    }
    this.store.dispatch({ type: 'phrase', phrase: { is: 'confirming', words: phrase.words, asked: [...asked].sort((a, b) => a - b), wrong: false } });
  }

  confirmWords(words: string[]): void {
    const { phrase, prefs } = this.store.state;
    if (phrase.is !== 'confirming') return;
    const right = phrase.asked.every((at, i) => phrase.words[at] === words[i]?.trim().toLowerCase());
    if (!right) return this.store.dispatch({ type: 'phrase', phrase: { ...phrase, wrong: true } });
    this.store.dispatch({ type: 'phrase', phrase: { is: 'confirmed' } });
    this.setPrefs({ ...prefs, backedUp: true });
  }

  lookAgain(): void {
    const { phrase } = this.store.state;
    if (phrase.is === 'confirming') this.store.dispatch({ type: 'phrase', phrase: { is: 'shown', words: phrase.words } });
  }
}

/** An id alone is somebody at the own node. */
function complete(text: string, domain: string): string {
  return /^tl1[0-9a-z]+$/i.test(text) ? `${text}@${domain}` : text;
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

function noteOf(n: SdkNote, seen: number): Note {
  return { id: n.id, out: n.out, text: n.text, created: n.createdMs, fate: n.state, unread: !n.out && n.createdMs > seen };
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
