// Files: docs/spec/files.md.

export * from "./message.ts";
export * from "./name.ts";
export * from "./stream.ts";
export * from "./transfer.ts";
