import { wordlist } from '@scure/bip39/wordlists/english.js';
import { expect, test } from 'vitest';
import { listOf, shortened } from '../build/words.ts';

test('the words in the bundle are those of the list', async () => {
  const code = listOf(shortened(wordlist));
  const { wordlist: back } = await import(`data:text/javascript,${encodeURIComponent(code)}`);
  expect(back).toEqual(wordlist);
  expect(code.length).toBeLessThan(wordlist.join(' ').length * 0.7);
});
