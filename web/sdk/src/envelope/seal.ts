// Sealing and opening of the age file around a signed message.

import { copy, type Bytes } from "../bytes.ts";
import { refuse } from "../errors.ts";
import type { DeviceCert } from "../identity/device.ts";
import type { Signer } from "../identity/key.ts";
import { intro, openAge, sealAge } from "./age.ts";
import { isRingAnswer } from "./bodies.ts";
import { ageOverhead, signMessage, type Draft } from "./message.ts";
import type { Bundle, Prekey } from "./prekey.ts";
import { buckets, pad, unpad } from "./types.ts";

/** How many bytes a signed message may have in a payload of the size. */
export function sealedBody(size: number): number {
  return size - ageOverhead - 4;
}

export interface Sealed {
  readonly payload: Bytes;
  /** Signature and message: its SHA-256 is the hash of a RING. */
  readonly signed: Bytes;
  readonly id: Bytes;
}

/** Signs a message and seals it to one device, in the smallest payload that holds it. */
export async function sealMessage(device: Signer, cert: DeviceCert, to: Bundle, d: Draft): Promise<Sealed> {
  if (isRingAnswer(d.body.type)) throw refuse("malformed", "a ring answer is not a sealed message");
  const { signed, id } = await signMessage(device, cert, { root: to.root, device: to.deviceId, prekeyId: to.prekeyId, tag: to.route.tag }, d);
  const size = buckets.find((b) => signed.length <= sealedBody(b));
  if (size === undefined) throw refuse("too_large", "message");
  return { payload: await sealAge(to.recipient, pad(size - ageOverhead, signed)), signed, id };
}

/** Steps 2 to 4 of opening. The result is signature and message, not yet looked at. */
export async function openSealed(payload: Uint8Array, prekey: Pick<Prekey, "seed">): Promise<Bytes> {
  return copy(unpad(await openAge(prekey.seed(), payload)));
}

/** Whether a payload is a sealed message; any other is looked up by its first eight bytes. */
export function isSealed(payload: Uint8Array): boolean {
  return payload.length >= intro.length && intro.every((x, i) => payload[i] === x);
}
