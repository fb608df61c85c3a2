import type { call, Client } from '@trunkline/sdk';
import { BrowserFiles } from '@trunkline/sdk/browser';
import { workerURL } from './trusted.ts';
import type { Chosen } from './files/choose.ts';
import { InCall } from './files/incall.ts';
import { Receiving } from './files/receiving.ts';
import { Rows } from './files/rows.ts';
import { Sending } from './files/sending.ts';
import type { Action } from './state.ts';

/** Files in both directions, each over the data channels of a call of its own, or within a call that cards made. */
export class Transfers {
  private readonly files = new BrowserFiles(() => new Worker(workerURL('/files.js'), { name: 'files', type: 'module' }));
  private readonly rows: Rows;
  private readonly sending: Sending;
  private readonly receiving: Receiving;
  private readonly client: Client;
  private met: InCall | null = null;

  constructor(client: Client, calls: call.Calls, dispatch: (action: Action) => void, relayOnly: () => boolean) {
    this.client = client;
    this.rows = new Rows(client, dispatch);
    this.sending = new Sending(client, calls, this.rows, this.files, relayOnly);
    this.receiving = new Receiving(client, this.rows, this.files, relayOnly);
  }

  /** Looks what is there, and goes on with what was interrupted. */
  begin(): void {
    this.receiving.begin();
    this.sending.begin();
  }

  onCall(c: call.Call): void {
    this.receiving.onCall(c);
  }

  /** Takes the files of a call that cards made, until it ends. */
  meet(c: call.Call): void {
    this.met = new InCall(this.client, c, this.rows, this.files);
  }

  /** A call that cards made is over. */
  parted(c: call.Call): void {
    if (this.met?.call === c) this.met.end();
  }

  /** Where a row is that is being sent or comes within a call. */
  private within(id: string): InCall | null {
    return this.met?.has(id) ? this.met : null;
  }

  sendWithin(file: File): void {
    this.met?.send(file);
  }

  /** The way to the node is there again. */
  linked(): void {
    this.sending.linked();
  }

  send(contact: string, chosen: Chosen): Promise<void> {
    return this.sending.send(contact, chosen);
  }

  receive(id: string): void {
    const within = this.within(id);
    if (within) within.receive();
    else this.receiving.receive(id);
  }

  async pause(id: string, on: boolean): Promise<void> {
    const within = this.within(id);
    if (within) return within.pause(id, on);
    await (this.rows.get(id)?.out ? this.sending : this.receiving).pause(id, on);
  }

  stop(id: string): void {
    const within = this.within(id);
    if (within) within.stop(id);
    else (this.rows.get(id)?.out ? this.sending : this.receiving).stop(id);
  }

  /** Goes on with a file that the browser has to be asked for, or offers one again. */
  async again(id: string): Promise<void> {
    if (this.rows.get(id)?.state.is === 'failed') await this.sending.retry(id);
    else await this.sending.again(id, true);
  }

  chosen(id: string, chosen: Chosen): Promise<void> {
    return this.sending.chosen(id, chosen);
  }

  place(id: string): Promise<void> {
    return this.receiving.place(id);
  }

  save(id: string): Promise<void> {
    return this.receiving.save(id);
  }

  async forget(id: string): Promise<void> {
    await (this.rows.get(id)?.out ? this.sending : this.receiving).forget(id);
    await this.rows.remove(id);
  }

  /** Another tab takes over: it finds everything as it was written down. */
  close(): void {
    this.sending.close();
    this.receiving.close();
    this.met?.end();
    this.files.close();
  }
}
