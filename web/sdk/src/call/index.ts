// Calls: docs/spec/session.md and media.md.

export * from "./calls.ts";
export * from "./control.ts";
export * from "./frames.ts";
export * from "./machine.ts";
export * from "./media.ts";
export * from "./route.ts";
export * from "./sdp.ts";
export * from "./webrtc.ts";
