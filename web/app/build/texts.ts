// The texts in two files for each language: what the modules name that are on the way from a link into a call, and the
// rest. Nobody keeps the two apart by hand: a module is on the way when main.tsx imports it and no import() is between.
// What the texts are called is in neither: texts/names has it once for all languages, in the same order. The texts of
// meetings, which are a file for each language as they are, leave their names there, too.
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Plugin } from 'vite';

const source = fileURLToPath(new URL('../src/', import.meta.url));
const prefix = 'texts/';

/** Every word in quotes of the modules on the way: more than what is a text, and never less. */
export function wordsOnTheWay(entry = path.join(source, 'main.tsx')): Set<string> {
  const words = new Set<string>();
  const seen = new Set<string>();
  const visit = (file: string): void => {
    if (seen.has(file)) return;
    seen.add(file);
    const code = readFileSync(file, 'utf8');
    for (const [, word = ''] of code.matchAll(/'(\w+)'/g)) words.add(word);
    for (const [, from = ''] of code.matchAll(/^(?:import|export) (?!type )[^;']*'(\.[^']+\.tsx?)'/gm)) visit(path.resolve(path.dirname(file), from));
  };
  visit(entry);
  return words;
}

export const texts: Plugin = {
  name: 'texts',
  enforce: 'pre',
  resolveId: (id) => {
    const [, room] = /^\.\/locales\/room-(\w\w)\.json$/.exec(id) ?? [];
    return room ? `\0${prefix}${room}/room` : id.startsWith(prefix) ? `\0${id}` : null;
  },
  load(id) {
    if (!id.startsWith(`\0${prefix}`)) return null;
    const [, language = '', part] = id.split('/');
    const read = (name: string) => {
      const file = path.join(source, 'locales', `${name}.json`);
      this.addWatchFile(file);
      return JSON.parse(readFileSync(file, 'utf8')) as Record<string, string>;
    };
    const of = (l: string) => (part === 'room' ? read(path.join('..', 'rooms', 'locales', `room-${l}`)) : read(l));
    const words = part === 'room' ? null : wordsOnTheWay();
    const names = Object.keys(of('en')).filter((name) => !words || words.has(name) === (part === 'first'));
    if (language === 'names') return `export default ${JSON.stringify(names)}`;
    const all = of(language);
    const list = JSON.stringify(names.map((name) => all[name]));
    // Those of meetings are what the file is that they stand for.
    return part === 'room' ? `import names from 'texts/names/room';\nexport default Object.fromEntries(${list}.map((text, i) => [names[i], text]))` : `export default ${list}`;
  },
};
