import { addressOf, callFragment, inviteMark, isRoomLink, maxFragment, type Meeting, parseCall, type Route } from './route.ts';
import routes from './routes.json' with { type: 'json' };

// Links that a person gives to others, and what is pasted or scanned.

/** The link that a person gives to others. With an invitation in it, whoever opens it can also
 * have an identity at this node. */
export function contactLink(origin: string, address: string, invite = ''): string {
  return `${origin}/#add=${encodeURIComponent(address)}${invite && inviteMark + invite}`;
}

/** The link into a call. With an invitation it also lets somebody in at this node. */
export function callLink(origin: string, meeting: Omit<Meeting, 'screen'>): string {
  return `${origin}/#${callFragment(meeting)}`;
}

/** The link of a room, as it is handed to others. */
export function roomLink(origin: string, route: Extract<Route, { screen: 'room' }>): string {
  return route.link.startsWith('/') ? origin + route.link : route.link;
}

/** The screen of a room's link: one of this node has its own path, so that the address bar shows the link itself. */
export function roomRoute(origin: string, link: string): Extract<Route, { screen: 'room' }> {
  return { screen: 'room', link: link.startsWith(`${origin}/r/`) ? link.slice(origin.length) : link };
}

/** A room's link in the app of another node, which a person names by its host or by an own address there; empty: that is no host. */
export function atNode(text: string, link: string): string {
  const host = text.trim().toLowerCase().replace(/^https:\/\//, '').replace(/^.*@/, '').replace(/\/.*$/, '');
  return /^[a-z0-9-]+(\.[a-z0-9-]+)+(:[1-9][0-9]{0,4})?$/.test(host) && host.length <= 260 ? `https://${host}/room#${link}` : '';
}

/** Where a text that somebody pasted or scanned to join a call or a meeting leads to. */
export function joinRoute(text: string, origin: string): Meeting | Extract<Route, { screen: 'room' }> {
  if (isRoomLink(text.trim())) return roomRoute(origin, text.trim());
  const at = text.indexOf('#call=');
  const found = at >= 0 && text.length - at <= maxFragment ? parseCall(text.trim().slice(text.trim().indexOf('#call=') + 1)) : null;
  // An invitation is to the node that the link names, and this person is at home here.
  return found ? { ...found, invite: '' } : { screen: 'call', address: addressOf(text), name: '', invite: '' };
}

/** Whether a pasted text is an invitation to a node. */
export function isInvite(text: string): boolean {
  return /^https?:\/\/[^\s#]{1,300}\/?#invite=[^\s]{1,128}$/.test(text.trim());
}

/** Paths with a screen, as the node knows them too. */
export const paths: readonly string[] = routes;
