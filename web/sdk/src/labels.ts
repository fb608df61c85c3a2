// All context strings (docs/spec/identity.md, section 3). Each signature, hash and derived key has one
// of its own, with one zero byte behind it, so that none can stand for another.

import { utf8, type Bytes } from "./bytes.ts";

export const contexts = [
  "fingerprint", "safety", "deviceid", "recovery", "devcert", "devicelist", "descriptor", "domain", "handover",
  "prekeyid", "prekey", "inner", "envid", "hop", "hopkey", "query", "answer", "transit", "token",
  "session", "session-secret", "transcript", "i2r", "r2i", "hi", "hr", "step-i2r", "step-r2i", "step-hi", "step-hr",
  "media", "media-i2r", "media-r2i", "file", "channel-binding", "sas", "call-code",
  "file-i2r", "file-r2i", "file-id", "link", "challenge", "pairing", "gate", "room", "roster", "join",
  "card", "card-transcript", "card-binding", "card-session", "card-upgrade", "card-secret",
  "steward", "roomcard", "welcome", "room-gate", "room-join", "room-hall", "room-door", "room-card-box",
  "room-pass", "room-holder", "room-announce", "room-mac", "room-pair", "room-pair-secret", "room-transcript", "room-seat", "room-ratchet",
] as const;

export type Context = (typeof contexts)[number];

const table = new Map<Context, Bytes>(contexts.map((c) => [c, utf8(`trunkline/v1/${c}\0`)]));

/** The bytes of a context string, zero byte included. Do not change them. */
export function context(c: Context): Bytes {
  return table.get(c)!;
}
