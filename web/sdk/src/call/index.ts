// Calls: docs/spec/session.md and media.md.

export type { Adapted, Kept, Shortage } from "./adaptation.ts";
export { Call, type CallNote } from "./call.ts";
export * from "./cardpeer.ts";
export * from "./cards.ts";
export * from "./calls.ts";
export * from "./control.ts";
export { filesOf, reach, sendFile, type FilesOptions, type SendFileOptions } from "./files.ts";
export * from "./frames.ts";
export * from "./machine.ts";
export * from "./media.ts";
export type { CallPeer, IceServer, Media, PeerFactory, PeerOptions } from "./peer.ts";
export * from "./quality.ts";
export * from "./route.ts";
export { shareScreen, type SharedScreen } from "./screen.ts";
export * from "./sdp.ts";
export { reactions, type Pointer, type Reaction, type Sending } from "./shown.ts";
export * from "./webrtc.ts";
