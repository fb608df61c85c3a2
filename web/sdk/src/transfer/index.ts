// Files: docs/spec/files.md.

export { hashSource, localOutgoing, type Sink, type Source } from "./local.ts";
export * from "./message.ts";
export * from "./name.ts";
export * from "./stream.ts";
export * from "./transfer.ts";
