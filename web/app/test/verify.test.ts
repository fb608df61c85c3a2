import { identity } from '@trunkline/sdk';
import { expect, test } from 'vitest';
import { matchVerify, verifyText } from '../src/verifytext.ts';

const [alice, bob, eve] = (await Promise.all([1, 2, 3].map(async (n) => (await identity.SeedSigner.from(new Uint8Array(32).fill(n))).publicKey))) as [identity.PublicKey, identity.PublicKey, identity.PublicKey];

test('each side reads from the other what it expects', () => {
  expect(matchVerify(verifyText(bob, alice), alice, bob)).toBe('same');
  expect(matchVerify(verifyText(alice, bob), bob, alice)).toBe('same');
});

test('the own screen, somebody else, and a key in between do not match', () => {
  expect(matchVerify(verifyText(alice, bob), alice, bob)).toBe('different');
  expect(matchVerify(verifyText(eve, alice), alice, bob)).toBe('different');
  expect(matchVerify(verifyText(bob, eve), alice, bob)).toBe('different');
});

test('what is no code of this kind is told from one that differs', () => {
  const good = verifyText(bob, alice);
  for (const other of ['', 'TLV1', good.slice(1), good.slice(0, -1), `${good}0`, good.toLowerCase(), good.replace('TLV1', 'TLV2'), 'https://acme.example/']) {
    expect(matchVerify(other, alice, bob), other).toBe('other');
  }
});

test('a code has little enough for a comfortable picture', () => {
  expect(verifyText(alice, bob)).toMatch(/^[0-9A-Z]{132}$/);
});
