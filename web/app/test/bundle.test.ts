import { describe, expect, test } from 'vitest';
import { parseListing } from '../src/sw/protocol.ts';

const sum = 'a'.repeat(64);

describe('the list of a bundle', () => {
  test('is read line by line', () => {
    expect(parseListing(`${sum}  app.js\n${sum}  img/icon-192.png\n`)).toEqual([
      { name: 'app.js', sum },
      { name: 'img/icon-192.png', sum },
    ]);
  });
  test('that is anything else is refused whole', () => {
    for (const bad of [
      '',
      '\n',
      `${sum}  app.js`,
      `${sum} app.js\n`,
      `${sum}  ../app.js\n`,
      `${sum}  /app.js\n`,
      `${sum}  a//../b\n`,
      `${sum}  https://evil.example/x.js\n`,
      `${sum.toUpperCase()}  app.js\n`,
      `${sum.slice(1)}  app.js\n`,
      `${sum}  app.js\n\n`,
      `${sum}  app.js\r\n`,
      `${sum}  a\n`.repeat(201),
      `${sum}  ${'a'.repeat(200)}\n`,
    ]) expect(parseListing(bad), JSON.stringify(bad.slice(0, 90))).toBeNull();
  });
});
