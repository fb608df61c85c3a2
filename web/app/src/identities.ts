// Several identities in one browser: one for work and one for home, or both ends of a first try on
// one computer. Each has a database and preferences of its own; a tab holds one of them.

/** Also the name of its database; the lock of the SDK's store is called after it. */
export const first = 'trunkline';

/** More than anybody needs, and few enough to be a list on a screen. */
export const most = 8;

const countKey = 'trunkline.identities';
const tabKey = 'trunkline.identity';

/** Every identity that was opened in this browser, in the order in which they were made. */
export function identities(): string[] {
  const count = Number(localStorage.getItem(countKey));
  const sane = Number.isInteger(count) && count >= 1 && count <= most ? count : 1;
  return Array.from({ length: sane }, (_, i) => (i === 0 ? first : `${first}-${i + 1}`));
}

/** The identity of this tab. A new tab begins with the first one. */
export function here(): string {
  const name = sessionStorage.getItem(tabKey);
  return name !== null && identities().includes(name) ? name : first;
}

/** Makes this tab the one of another identity. It shows at the next load, which whoever calls brings. */
export function become(name: string): void {
  sessionStorage.setItem(tabKey, name);
}

/** The name of one more identity, or null if there are enough. */
export function another(): string | null {
  const count = identities().length;
  if (count >= most) return null;
  localStorage.setItem(countKey, String(count + 1));
  return `${first}-${count + 1}`;
}

export const lockOf = (name: string): string => `trunkline/${name}`;

/** Which of them are open in some tab, this one too. */
export async function openNow(): Promise<Set<string>> {
  const { held } = await navigator.locks.query();
  const locks = new Set(held?.map((lock) => lock.name));
  return new Set(identities().filter((name) => locks.has(lockOf(name))));
}

const knownKey = (name: string) => `${name}.known`;

/** Notes, where the database is not, that an identity was here: a browser that is short of room throws databases
 * away, and whoever comes back is told so instead of being somebody new. */
export function remember(name: string): void {
  localStorage.setItem(knownKey(name), 'yes');
}

export function known(name: string): boolean {
  return localStorage.getItem(knownKey(name)) === 'yes';
}
