import type { Chat, Contact } from './state.ts';

export function unread(chat: Chat | undefined): number {
  return chat?.notes.reduce((n, note) => n + (note.unread ? 1 : 0), 0) ?? 0;
}

/** Contacts in the order of the list: whoever waits for an answer first, then the newest word. */
export function listed(contacts: ReadonlyMap<string, Contact>, chats: ReadonlyMap<string, Chat>): { asks: Contact[]; people: Contact[]; blocked: Contact[] } {
  const asks: Contact[] = [];
  const people: Contact[] = [];
  const blocked: Contact[] = [];
  for (const c of contacts.values()) (c.standing === 'asks' ? asks : c.standing === 'blocked' ? blocked : people).push(c);
  const newest = (c: Contact) => chats.get(c.id)?.notes.at(-1)?.created ?? 0;
  people.sort((a, b) => newest(b) - newest(a) || a.name.localeCompare(b.name));
  return { asks, people, blocked };
}
