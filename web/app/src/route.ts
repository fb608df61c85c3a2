import { isCard } from './cards/view.ts';

// Paths say which screen; who is meant stands behind the # and never reaches a server.

export type Route =
  | { screen: 'home' }
  | { screen: 'contact'; id: string; tab: ContactTab }
  | { screen: 'add'; address: string; invite?: string }
  | { screen: 'call'; address: string; name: string; invite: string } // no address: this person waits for others
  | { screen: 'room'; link: string } // a room of this node by its path, another one by its whole link; empty: a new one
  | { screen: 'join' }
  | { screen: 'card'; text: string } // no text: this person begins
  | { screen: 'send' }
  | { screen: 'invite'; invite: string }
  | { screen: 'settings' }
  | { screen: 'phrase' }
  | { screen: 'devices' }
  | { screen: 'media' }
  | { screen: 'transfers' }
  | { screen: 'node' }
  | { screen: 'about' }
  | { screen: 'unknown' };

export type ContactTab = 'chat' | 'verify' | 'details';

const contactTabs: readonly string[] = ['chat', 'verify', 'details'] satisfies ContactTab[];

/** The scheme under which the installed app opens links. */
export const scheme = 'web+trunkline:';

/** Longest fragment that is looked at: an address has at most 318 characters, a name 64, which
 * may take nine times as many when they are escaped, and an invitation 128. */
export const maxFragment = 2048;
const maxName = 64;

export function parseRoute(location: { origin: string; pathname: string; hash: string }): Route {
  const hash = location.hash.length > maxFragment ? '' : location.hash.slice(1);
  switch (location.pathname) {
    case '/': {
      if (hash.startsWith('invite=')) return { screen: 'invite', invite: `${location.origin}/#${hash}` };
      if (hash.startsWith('add=')) {
        const [, invite] = hash.split(inviteMark);
        return { screen: 'add', address: addressOf(hash), ...(invite ? { invite: `${location.origin}/#invite=${invite}` } : {}) };
      }
      if (isCard(hash)) return { screen: 'card', text: hash };
      return parseCall(hash) ?? { screen: 'home' };
    }
    case '/card':
      return { screen: 'card', text: isCard(hash) ? hash : '' };
    case '/room':
      return { screen: 'room', link: isRoomLink(hash) ? hash : '' };
    case '/call':
      return parseCall(hash) ?? { screen: 'call', address: '', name: '', invite: '' };
    case '/contact': {
      const [id = '', tab = 'chat'] = hash.split('/');
      return id && contactTabs.includes(tab) ? { screen: 'contact', id, tab: tab as ContactTab } : { screen: 'home' };
    }
    case '/add':
      // What our scheme brings is one or the other.
      if (isCard(decode(hash))) return { screen: 'card', text: decode(hash) };
      return { screen: 'add', address: addressOf(decode(hash)) };
    case '/join':
    case '/send':
    case '/settings':
    case '/phrase':
    case '/devices':
    case '/media':
    case '/transfers':
    case '/node':
    case '/about':
      return { screen: location.pathname.slice(1) as 'join' | 'send' | 'settings' | 'phrase' | 'devices' | 'media' | 'transfers' | 'node' | 'about' };
    default:
      // What is no room's link gets its own words on the screen of the room.
      if (/^\/r\/[^/]{1,64}$/.test(location.pathname)) return { screen: 'room', link: `${location.pathname}#${hash}` };
      return { screen: 'unknown' };
  }
}

export function routeText(route: Route): string {
  switch (route.screen) {
    case 'home':
    case 'unknown':
      return '/';
    case 'contact':
      return `/contact#${route.id}${route.tab === 'chat' ? '' : `/${route.tab}`}`;
    case 'add':
      return route.address ? `/add#${encodeURIComponent(route.address)}` : '/add';
    case 'call':
      return route.address ? `/call#${callFragment(route)}` : '/call';
    case 'room':
      return route.link.startsWith('/') ? route.link : route.link ? `/room#${route.link}` : '/room';
    case 'card':
      return route.text ? `/card#${route.text}` : '/card';
    case 'invite':
      return route.invite.slice(route.invite.indexOf('/#'));
    default:
      return `/${route.screen}`;
  }
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a lone percent sign is somebody's typing, and is shown as it is
  }
}

/** What somebody pasted, scanned or opened as a contact: an address, a link with one, or our own
 * scheme. Whether it is an address is decided by the SDK. */
export function addressOf(text: string): string {
  let s = text.trim();
  if (s.toLowerCase().startsWith(scheme)) s = decode(s.slice(scheme.length)).replace(/^\/\//, '');
  const link = /(?:^|#)add=([^&]*)/.exec(s);
  if (link) s = decode(link[1] ?? '');
  return s.trim();
}

export const inviteMark = '&invite=';

/** The invitation that the address bar carries, as its own link; else empty. */
export function inviteIn(route: Route, origin: string): string {
  switch (route.screen) {
    case 'invite':
      return route.invite;
    case 'add':
      return route.invite ?? '';
    case 'call':
      return route.invite && `${origin}/#invite=${route.invite}`;
    default:
      return '';
  }
}

export type Meeting = Extract<Route, { screen: 'call' }>;

export function callFragment(meeting: Omit<Meeting, 'screen'>): string {
  const fields = new URLSearchParams({ call: meeting.address });
  if (meeting.name) fields.set('name', meeting.name);
  if (meeting.invite) fields.set('invite', meeting.invite);
  return fields.toString();
}

/** What stands behind the # of a link into a call. The name is what its maker calls itself: a
 * proof of nothing. */
export function parseCall(hash: string): Meeting | null {
  if (!hash.startsWith('call=')) return null;
  const fields = new URLSearchParams(hash);
  const invite = fields.get('invite') ?? '';
  return {
    screen: 'call',
    address: addressOf(fields.get('call') ?? ''),
    name: [...(fields.get('name') ?? '')].slice(0, maxName).join('').trim(),
    invite: /^[\w.-]{1,128}$/.test(invite) ? invite : '',
  };
}

/** Whether a text has the form of a room's link. Whether it opens one is said by its node. */
export function isRoomLink(text: string): boolean {
  return /^https?:\/\/[^\s/?#@]{1,260}\/r\/[\w-]{43}#[\w-]{43}$/.test(text);
}
