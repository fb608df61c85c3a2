import type { identity } from '@trunkline/sdk';

// What a camera reads to compare two people (docs/spec/identity.md, section 7): whose screen it
// is, then for whom. Upper case and digits, which a QR code packs well.

const prefix = 'TLV1';

export function verifyText(shower: identity.PublicKey, reader: identity.PublicKey): string {
  return prefix + (shower.hex + reader.hex).toUpperCase();
}

/** What to make of a scanned text: the right code, one of other keys, or something else. */
export function matchVerify(text: string, own: identity.PublicKey, contact: identity.PublicKey): 'same' | 'different' | 'other' {
  if (!/^TLV1[0-9A-F]{128}$/.test(text)) return 'other';
  return text === verifyText(contact, own) ? 'same' : 'different';
}
