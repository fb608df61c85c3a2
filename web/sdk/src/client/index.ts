// The participant. Begin with createIdentity or recoverIdentity; afterwards with connect.

export { Client } from "./client.ts";
export { connect, type ConnectOptions } from "./connect.ts";
export type { Contact } from "./contacts.ts";
export type { ClientOptions } from "./core.ts";
export { parseDeviceRequest } from "./devices.ts";
export type { ClientEvent, Listener } from "./events.ts";
export { checkPhrase, createIdentity, recoverIdentity } from "./setup.ts";
export type { Note, Page, PageOptions } from "./history.ts";
export type { MessageOptions } from "./notes.ts";
export type { NoteState } from "./records.ts";
export { MemoryStore, StoreVault } from "./memory.ts";
export type { Change, Store, Vault } from "./store.ts";
