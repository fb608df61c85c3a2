// The participant. Begin with createIdentity or recoverIdentity, or Client.open.

export { Client, type ClientOptions, type Contact, type Note } from "./client.ts";
export { parseDeviceRequest } from "./devices.ts";
export type { ClientEvent, Listener } from "./events.ts";
export { createIdentity, recoverIdentity } from "./setup.ts";
export type { NoteState } from "./records.ts";
export { MemoryStore, StoreVault, type Change, type Store, type Vault } from "./store.ts";
