// The handshake of a link (docs/spec/client-link.md, section 3).

import { concat, u64, utf8, type Bytes } from "../bytes.ts";
import { encode, type Init, type Of } from "../canon.ts";
import { sha256 } from "../crypto/hash.ts";
import { refuse } from "../errors.ts";
import type { DeviceCert } from "../identity/device.ts";
import { parseDescriptor, type NodeDescriptor } from "../identity/domain.ts";
import { PeerId, sign, verify, type Signer } from "../identity/key.ts";
import { checkDomain } from "../identity/text.ts";
import { AuthenticateMessage, ChallengeMessage } from "./frames.ts";

export type Challenge = Of<typeof ChallengeMessage>;

/** What a verified challenge says. */
export interface Node {
  readonly peerId: PeerId;
  readonly domain: string;
  readonly timeMs: number;
  readonly descriptor: NodeDescriptor;
}

export function challengeBody(c: Challenge): Bytes {
  // The domain stands last because it alone has no fixed length.
  return concat(c.node, c.nonce, u64(c.timeMs), sha256(c.descriptor), utf8(c.domain));
}

/** Checks that the node named in c made it. Whether it is the right one: see mayAnswerAt, or compare with a pin. */
export async function verifyChallenge(c: Challenge): Promise<Node> {
  if (c.version !== 1 || c.nonce.length !== 32 || c.signature.length !== 64) throw refuse("signature", "link handshake does not verify");
  const peerId = PeerId.fromBytes(c.node);
  checkDomain(c.domain);
  if (!await verify(peerId.key, "challenge", challengeBody(c), c.signature)) throw refuse("signature", "link handshake does not verify");
  const descriptor = await parseDescriptor(c.descriptor);
  if (!descriptor.peerId.equals(peerId) || descriptor.domain !== c.domain) throw refuse("signature", "the descriptor is another node's");
  return { peerId, domain: c.domain, timeMs: Number(c.timeMs), descriptor };
}

export function linkBody(c: Challenge, host: string): Bytes {
  return concat(sha256(encode(ChallengeMessage, c)), utf8(host));
}

/** A device's answer to a challenge; without a device it says only where it wanted to go. */
export async function authenticate(c: Challenge, host: string, who?: { readonly device: Signer; readonly cert: DeviceCert }): Promise<Init<typeof AuthenticateMessage>> {
  if (who === undefined) return { host };
  // A challenge passed on by another node is of no use to it: the host differs.
  return { cert: who.cert.signed, signature: await sign(who.device, "link", linkBody(c, host)), host };
}

/** The host of "host" or "host:port", in lower case, without brackets. */
export function hostname(hostport: string): string {
  const m = /^(\[[^\]]*\]|[^:]*)(:\d*)?$/.exec(hostport);
  return (m?.[1] ?? hostport).replace(/^\[|\]$/g, "").toLowerCase();
}

/** Whether a host name means this machine. */
export function isLoopback(host: string): boolean {
  return host === "localhost" || host.endsWith(".localhost") || host === "::1" || /^(::ffff:)?127(\.\d{1,3}){3}$/.test(host);
}

/** Whether a node that speaks for domain may answer at the host that was dialled. */
export function mayAnswerAt(domain: string, dialled: string): boolean {
  const host = hostname(dialled);
  return host === domain || host.endsWith(`.${domain}`) || isLoopback(host);
}

/** The address of a node's link. Plain HTTP is for this machine only: elsewhere it shows who is connected. */
export function linkAddress(base: string): { readonly url: string; readonly host: string } {
  let u: URL;
  try {
    u = new URL(base);
  } catch (err) {
    throw refuse("malformed", "this is not the address of a node: it looks like https://node.example", err);
  }
  if (u.protocol === "http:" && !isLoopback(hostname(u.host))) throw refuse("aborted", "the node is not on this machine: use https");
  if (u.protocol !== "http:" && u.protocol !== "https:") throw refuse("malformed", "the address of a node starts with https://");
  return { url: `${u.protocol === "https:" ? "wss" : "ws"}://${u.host}/v1/link`, host: u.host };
}

/** Splits what a node prints for new users: its address, and behind "#invite=" the invitation. */
export function parseInvite(s: string): { readonly base: string; readonly invitation: string } {
  const text = s.trim();
  linkAddress(text);
  const u = new URL(text);
  let fragment: string;
  try {
    fragment = decodeURIComponent(u.hash.slice(1));
  } catch (err) {
    throw refuse("malformed", "the invitation is damaged: copy the whole line that the node printed", err);
  }
  u.hash = "";
  if (fragment === "") return { base: u.href, invitation: "" };
  const invitation = fragment.startsWith("invite=") ? fragment.slice("invite=".length) : "";
  if (invitation === "") throw refuse("malformed", "the part behind # is not an invitation: copy the whole line that the node printed");
  return { base: u.href, invitation };
}
