import type { Action, Chat, Contact, Fate, Note, State } from './state.ts';

const emptyChat: Chat = { notes: [], more: false, draft: '' };

/** The next state. Pure: the same state and action give the same result, and what does not
 * change stays the same object. */
export function reduce(state: State, action: Action): State {
  switch (action.type) {
    case 'language':
      return { ...state, t: action.t };
    case 'prefs':
      return { ...state, prefs: action.prefs };
    case 'route':
      // A phrase does not stay in memory when its screen is left, and neither do words about it.
      return { ...state, route: action.route, toasts: [], phrase: action.route.screen === 'phrase' ? state.phrase : { is: 'hidden' } };
    case 'me':
      return { ...state, me: action.me };
    case 'link':
      return { ...state, link: action.link };
    case 'contacts':
      return { ...state, contacts: new Map(action.contacts.map((c) => [c.id, c])) };
    case 'notes':
      return withChat(state, action.id, (chat) => {
        // A fate that became known while the history was read stays.
        const known = new Map(chat.notes.map((n) => [n.id, n.fate]));
        const notes = action.notes.map((n) => {
          const fate = known.get(n.id);
          return fate && advances(n.fate, fate) ? { ...n, fate } : n;
        });
        return { ...chat, more: action.more, notes: notes.sort(byTime) };
      });
    case 'note':
      return withChat(state, action.id, (chat) => {
        const others = chat.notes.filter((n) => n.id !== action.note.id);
        return { ...chat, notes: [...others, action.note].sort(byTime) };
      });
    case 'fate':
      return withChat(state, action.id, (chat) => ({
        ...chat,
        notes: chat.notes.map((n) => (n.id === action.note && advances(n.fate, action.fate) ? { ...n, fate: action.fate } : n)),
      }));
    case 'seen':
      return withChat(state, action.id, (chat) =>
        chat.notes.some((n) => n.unread) ? { ...chat, notes: chat.notes.map((n) => (n.unread ? { ...n, unread: false } : n)) } : chat,
      );
    case 'draft':
      return withChat(state, action.id, (chat) => ({ ...chat, draft: action.text }));
    case 'call':
      return { ...state, call: action.call };
    case 'room':
      return { ...state, room: action.room };
    case 'card':
      return { ...state, card: action.card };
    case 'met':
      return { ...state, met: action.id };
    case 'transfer':
      return { ...state, transfers: new Map(state.transfers).set(action.transfer.id, action.transfer) };
    case 'transfer-gone': {
      const transfers = new Map(state.transfers);
      return transfers.delete(action.id) ? { ...state, transfers } : state;
    }
    case 'bundle':
      return { ...state, bundle: action.bundle };
    case 'bundle-later':
      return { ...state, bundlePutOff: state.bundle?.offered ?? '' };
    case 'phrase':
      return { ...state, phrase: action.phrase };
    case 'toast': {
      const id = (state.toasts.at(-1)?.id ?? 0) + 1;
      // The newest two: more of them hide the screen.
      return { ...state, toasts: [...state.toasts.filter((t) => t.text !== action.text), { id, text: action.text }].slice(-2) };
    }
    case 'dismiss':
      return { ...state, toasts: state.toasts.filter((t) => t.id !== action.id) };
  }
}

function withChat(state: State, id: string, change: (chat: Chat) => Chat): State {
  const before = state.chats.get(id) ?? emptyChat;
  const after = change(before);
  if (after === before) return state;
  return { ...state, chats: new Map(state.chats).set(id, after) };
}

function byTime(a: Note, b: Note): number {
  return a.created - b.created || (a.id < b.id ? -1 : 1);
}

const order: Fate[] = ['queued', 'accepted', 'stored', 'delivered', 'read'];

/** A note's fate goes forward only: a receipt that was on its way when it was read says nothing
 * new. Only what has not arrived can end as expired or refused. */
export function advances(from: Fate, to: Fate): boolean {
  if (from === 'read' || from === to) return false;
  if (to === 'expired' || to === 'refused') return from !== 'delivered';
  if (from === 'expired' || from === 'refused') return to === 'read' || to === 'delivered';
  return order.indexOf(to) > order.indexOf(from);
}

/** Whether something may be sent, and if not, why. */
export function sendable(contact: Contact): 'yes' | 'changed' | 'blocked' | 'asked' | 'asks' | 'known' {
  if (contact.standing !== 'accepted') return contact.standing;
  return contact.trust.is === 'changed' ? 'changed' : 'yes';
}
