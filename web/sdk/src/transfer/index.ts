// Files: docs/spec/files.md.

export * from "./end.ts";
export * from "./keys.ts";
export { hashSource, localIncoming, localOutgoing, type Sink, type Source } from "./local.ts";
export * from "./message.ts";
export * from "./name.ts";
export * from "./stream.ts";
export * from "./transfer.ts";
