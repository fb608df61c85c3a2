// Everything sealed: docs/spec/envelope.md and session.md.

export * from "./bodies.ts";
export * from "./card.ts";
export * from "./cardsession.ts";
export * from "./envelope.ts";
export { checkXWing, x25519Public } from "./hpke.ts";
export { maxLifetimeMs, type Draft } from "./message.ts";
export * from "./open.ts";
export * from "./prekey.ts";
export * from "./query.ts";
export * from "./replay.ts";
export * from "./ring.ts";
export * from "./seal.ts";
export * from "./session.ts";
export * from "./sessionmessage.ts";
export * from "./types.ts";
