// Ids, peer ids and addresses as people see them.

import { refuse } from "../errors.ts";
import { hash, PeerId, PublicKey } from "./key.ts";
import { checkDomain, decodeId, decodePeerId } from "./text.ts";

export function parseId(s: string): PublicKey {
  return PublicKey.check(decodeId(s));
}

export function parsePeerId(s: string): PeerId {
  return PeerId.fromBytes(decodePeerId(s));
}

/** "tl1…@domain", or "tl1…@domain/12D3…" with the home node, as contact links carry it. */
export interface Address {
  readonly root: PublicKey;
  readonly domain: string;
  readonly home?: PeerId;
}

export function parseAddress(s: string): Address {
  if (s.length > 62 + 1 + 253 + 1 + 52) throw refuse("malformed", "address is too long: write tl1…@domain");
  const at = s.indexOf("@");
  if (at < 0) throw refuse("malformed", "address has no @domain: write tl1…@domain");
  const root = parseId(s.slice(0, at));
  const rest = s.slice(at + 1);
  const slash = rest.indexOf("/");
  const domain = slash < 0 ? rest : rest.slice(0, slash);
  checkDomain(domain);
  if (slash < 0) return { root, domain };
  return { root, domain, home: parsePeerId(rest.slice(slash + 1)) };
}

export function formatAddress(a: Address): string {
  return `${a.root.id()}@${a.domain}` + (a.home === undefined ? "" : `/${a.home}`);
}

/** What a device list carries of the recovery key on the second paper. */
export function recoveryCommitment(recovery: PublicKey): Uint8Array {
  return hash("recovery", recovery.bytes);
}
