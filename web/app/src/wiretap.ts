import { envelope, link } from '@trunkline/sdk';

import type { Tapped } from './tap.ts';

// What the node sees of a frame that went over the link of this tab (tap.ts), in words.

export interface Field {
  name: string;
  /** What the node reads there; for bytes their number, since they mean nothing to it. */
  value: string;
  /** Who can make sense of it: the own node, the other person's node, or the two devices alone. */
  reader: 'node' | 'other-node' | 'devices';
}

export interface TapFrame extends Tapped {
  kind: string;
  fields: Field[];
}

const described = new WeakMap<Tapped, TapFrame>();

/** A frame with what stands in it; each is read once. */
export function read(frame: Tapped): TapFrame {
  let known = described.get(frame);
  if (!known) described.set(frame, (known = { ...frame, ...describe(frame.out, frame.bytes) }));
  return known;
}

const classes = ['live', 'ring', 'day', 'week'];
const receipts = ['', 'accepted', 'delivered', 'stored', 'expired', 'refused'];

/** What stands in a frame, read with the same reader as the node's. */
export function describe(out: boolean, bytes: Uint8Array): { kind: string; fields: Field[] } {
  let kind: { case: string; value: object };
  try {
    kind = (out ? link.parseClientFrame(bytes) : link.parseNodeFrame(bytes)).kind;
  } catch {
    return { kind: '?', fields: [] }; // shown as bytes, as the node would refuse it
  }
  const fields: Field[] = [];
  for (const [name, value] of Object.entries(kind.value)) {
    if (kind.case === 'submit' && name === 'envelope') fields.push(...envelopeFields(value as Uint8Array));
    else if (kind.case === 'deliver' && name === 'payload') fields.push({ name, value: size(value), reader: 'devices' });
    else if (kind.case === 'query' && name === 'box') fields.push({ name, value: size(value), reader: 'other-node' });
    else if (kind.case === 'receipt' && name === 'class') fields.push({ name, value: receipts[Number(value)] ?? '', reader: 'node' });
    else if (isShown(value)) fields.push({ name, value: size(value), reader: 'node' });
  }
  return { kind: kind.case, fields };
}

function envelopeFields(bytes: Uint8Array): Field[] {
  const e = envelope.parseEnvelope(bytes);
  return [
    { name: 'destination', value: e.destination.toString(), reader: 'node' },
    { name: 'ttl', value: classes[e.ttl] ?? '', reader: 'node' },
    { name: 'hop', value: size(e.hop), reader: 'other-node' },
    { name: 'payload', value: size(e.payload), reader: 'devices' },
  ];
}

function isShown(value: unknown): boolean {
  if (value === '' || value === 0 || value === 0n || value === false || value === undefined) return false;
  return !(value instanceof Uint8Array || Array.isArray(value)) || value.length > 0;
}

function size(value: unknown): string {
  if (value instanceof Uint8Array) return `${value.length} B`;
  if (Array.isArray(value)) return value.map(size).join(', ');
  return String(value);
}

/** Bytes as people look at them: sixteen in a row, beside what of them is text. */
export function dump(bytes: Uint8Array, most: number): string {
  const rows: string[] = [];
  for (let at = 0; at < Math.min(bytes.length, most); at += 16) {
    const row = bytes.subarray(at, Math.min(at + 16, most));
    const digits = [...row].map((b) => b.toString(16).padStart(2, '0')).join(' ');
    const text = [...row].map((b) => (b >= 0x20 && b < 0x7f ? String.fromCharCode(b) : '.')).join('');
    rows.push(`${at.toString(16).padStart(5, '0')}  ${digits.padEnd(47)}  ${text}`);
  }
  return rows.join('\n');
}
