import { expect, test } from 'vitest';
import { addressOf, isRoomLink, parseRoute, type Route, routeText } from '../src/route.ts';
import { inviteToken, isLoopback } from '../src/engine/invite.ts';
import { atNode, callLink, contactLink, isInvite, joinRoute, paths, roomLink, roomRoute } from '../src/links.ts';

const origin = 'https://acme.example';
const at = (path: string): Route => {
  const url = new URL(path, origin);
  return parseRoute({ origin: url.origin, pathname: url.pathname, hash: url.hash });
};
const address = `tl1${'q'.repeat(59)}@acme.example`;

const room = 'r'.repeat(42) + 'Q';
const secret = 's'.repeat(42) + 'A';

test('every screen has a path that comes back as the same screen', () => {
  const routes: Route[] = [
    { screen: 'home' },
    { screen: 'contact', id: 'tl1abc', tab: 'chat' },
    { screen: 'contact', id: 'tl1abc', tab: 'verify' },
    { screen: 'add', address },
    { screen: 'add', address: '' },
    { screen: 'call', address, name: 'Zoë & Söhne #1', invite: 'abc-_1' },
    { screen: 'call', address, name: '', invite: '' },
    { screen: 'call', address: '', name: '', invite: '' },
    { screen: 'join' },
    { screen: 'room', link: '' },
    { screen: 'room', link: `/r/${room}#${secret}` },
    { screen: 'room', link: `https://other.example/r/${room}#${secret}` },
    { screen: 'send' },
    { screen: 'invite', invite: `${origin}/#invite=abc-_1` },
    { screen: 'settings' },
    { screen: 'phrase' },
    { screen: 'about' },
  ];
  for (const route of routes) expect(at(routeText(route))).toEqual(route);
});

test('who is meant stands behind the # and is sent to nobody', () => {
  for (const route of [{ screen: 'contact', id: 'tl1abc', tab: 'chat' }, { screen: 'add', address }] satisfies Route[]) {
    const url = new URL(routeText(route), origin);
    expect(url.pathname + url.search).not.toContain('tl1');
    expect(paths).toContain(url.pathname);
  }
  const link = new URL(contactLink(origin, address));
  expect(link.pathname + link.search).toBe('/');
  expect(at(link.pathname + link.hash)).toEqual({ screen: 'add', address });
});

test('a link can carry an invitation to the node beside the address', () => {
  const link = new URL(contactLink(origin, address, 'abc-_1'));
  expect(at(link.pathname + link.hash)).toEqual({ screen: 'add', address, invite: `${origin}/#invite=abc-_1` });
  expect(addressOf(link.href)).toBe(address);
  // The address bar shows it no longer once it was used.
  expect(routeText(at(link.pathname + link.hash))).not.toContain('abc-_1');
  expect(inviteToken(`${origin}/#invite=abc-_1`)).toBe('abc-_1');
  expect(inviteToken(origin)).toBe('');
});

test('only a page of this computer passes its invitation on', () => {
  for (const name of ['localhost', 'trunkline.localhost', '127.0.0.1', '127.8.0.1', '[::1]']) expect(isLoopback(name), name).toBe(true);
  for (const name of ['acme.example', '10.0.0.1', '127.0.0.1.example', 'localhost.example', '']) expect(isLoopback(name), name).toBe(false);
});

test('every path that the node serves has a screen, and others have none', () => {
  for (const path of paths) expect(at(path).screen).not.toBe('unknown');
  expect(at('/nothing').screen).toBe('unknown');
});

test('an address is found in whatever it comes in', () => {
  for (const text of [address, ` ${address}\n`, `web+trunkline:${address}`, `web+trunkline://${address}`, `WEB+TRUNKLINE:${encodeURIComponent(address)}`, contactLink(origin, address)]) {
    expect(addressOf(text), text).toBe(address);
  }
  // The protocol handler puts the whole link behind the #.
  expect(at(`/add#${encodeURIComponent(`web+trunkline:${address}`)}`)).toEqual({ screen: 'add', address });
  for (const odd of ['', '%', '#add=%', 'javascript:alert(1)']) expect(typeof addressOf(odd)).toBe('string');
});

test('a fragment without end is not looked at', () => {
  expect(at(`/#add=${'a'.repeat(4000)}`)).toEqual({ screen: 'home' });
});

test('an invitation is told from anything else', () => {
  for (const good of ['https://acme.example/#invite=abc', 'http://127.0.0.1:7420/#invite=q83vEjRWeJA', ' https://acme.example#invite=a ']) expect(isInvite(good), good).toBe(true);
  for (const bad of ['', 'https://acme.example/', 'javascript:1#invite=a', 'https://acme.example/#invite=', `https://acme.example/#invite=${'a'.repeat(200)}`, address]) expect(isInvite(bad), bad).toBe(false);
});

test('a link into a call carries who is called, and an invitation to its own node alone', () => {
  const link = callLink(origin, { address, name: 'Alice', invite: 'abc-_1' });
  expect(new URL(link).pathname + new URL(link).search).toBe('/');
  expect(at(link.slice(origin.length))).toEqual({ screen: 'call', address, name: 'Alice', invite: 'abc-_1' });
  // Pasted elsewhere: whoever joins is at home there already.
  expect(joinRoute(` ${link}\n`, origin)).toEqual({ screen: 'call', address, name: 'Alice', invite: '' });
  expect(joinRoute(contactLink(origin, address), origin)).toEqual({ screen: 'call', address, name: '', invite: '' });
  expect(joinRoute(address, origin)).toEqual({ screen: 'call', address, name: '', invite: '' });
});

test('what a stranger put into a link into a call is cut to its size', () => {
  expect(at(`/#call=${address}&name=${'n'.repeat(500)}&invite=a%20b`)).toEqual({ screen: 'call', address, name: 'n'.repeat(64), invite: '' });
  for (const odd of ['/#call=', '/#call=%', '/#call=x&name=%00&name=2&invite=']) expect(at(odd).screen).toBe('call');
  expect(at(`/#call=${'a'.repeat(4000)}`)).toEqual({ screen: 'home' });
});

test('a card is one wherever it stands, and leads to its screen', () => {
  const at = (pathname: string, hash: string) => parseRoute({ origin: 'https://acme.example', pathname, hash });
  const card = { screen: 'card', text: 'c1.abc-_' };
  expect(at('/', '#c1.abc-_')).toEqual(card);
  expect(at('/card', '#c1.abc-_')).toEqual(card);
  expect(at('/card', '')).toEqual({ screen: 'card', text: '' });
  expect(at('/card', '#add=x')).toEqual({ screen: 'card', text: '' });
  expect(at('/add', `#${encodeURIComponent('web+trunkline:c1.abc')}`)).toEqual({ screen: 'card', text: 'web+trunkline:c1.abc' });
  expect(at('/', '#c2.abc')).toEqual({ screen: 'card', text: 'c2.abc' });
  expect(at('/', `#c1.${'a'.repeat(5000)}`)).toEqual({ screen: 'home' });
  expect(routeText({ screen: 'card', text: 'c1.abc' })).toBe('/card#c1.abc');
});

test('a room is found by its whole link, at its own node by its path', () => {
  const own = `${origin}/r/${room}#${secret}`;
  const other = `https://other.example:8443/r/${room}#${secret}`;
  expect(joinRoute(` ${own}\n`, origin)).toEqual({ screen: 'room', link: `/r/${room}#${secret}` });
  expect(joinRoute(other, origin)).toEqual({ screen: 'room', link: other });
  for (const link of [own, other]) expect(roomLink(origin, roomRoute(origin, link))).toBe(link);
  // The secret never is a part of what the browser asks for.
  expect(new URL(routeText(roomRoute(origin, other)), origin).pathname).toBe('/room');
  for (const bad of ['', room, own.slice(0, -1), `${own}x`, own.replace('/r/', '/x/'), own.replace('https', 'ftp'), own.replace('acme', 'a@acme'), `${origin}/?r/${room}#${secret}`, `https://${'a'.repeat(261)}/r/${room}#${secret}`]) {
    expect(isRoomLink(bad), bad).toBe(false);
  }
  // Half a link is the screen of a room, too: there it says what is wrong with it.
  expect(at(`/r/${room}`)).toEqual({ screen: 'room', link: `/r/${room}#` });
  expect(at('/room#hello')).toEqual({ screen: 'room', link: '' });
  expect(at(`/r/${'r'.repeat(65)}`).screen).toBe('unknown');
});

test('a room\'s link is opened in the app of the node that a person names, and nowhere else', () => {
  const link = `https://acme.example/r/${'A'.repeat(43)}#${'B'.repeat(43)}`;
  const there = `https://globex.example/room#${link}`;
  for (const text of ['globex.example', ' Globex.Example\n', 'https://globex.example', 'https://globex.example/settings', 'tl1abc@globex.example', 'tl1abc@globex.example/12D3Koo']) {
    expect(atNode(text, link), text).toBe(there);
  }
  expect(atNode('globex.example:8443', link)).toBe(`https://globex.example:8443/room#${link}`);
  expect(parseRoute(new URL(there))).toEqual({ screen: 'room', link });
  for (const bad of ['', 'globex', 'globex .example', 'globex.example:0', 'globex.example:port', 'javascript:alert(1)', 'http://globex.example', 'globex.example?x', `${'a'.repeat(300)}.example`, 'gl\u043ebex.example']) {
    expect(atNode(bad, link), bad).toBe('');
  }
});
