// What client and node speak: docs/spec/client-link.md.

export * from "./frames.ts";
export * from "./handshake.ts";
export * from "./link.ts";
export * from "./wire.ts";
