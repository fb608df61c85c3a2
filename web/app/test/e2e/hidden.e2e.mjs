// Whoever hides the address: two browsers and two nodes on machines of their own, and every packet of the browsers'
// machines counted by where it came from and where it went. The call without hiding shows that the count would tell.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { World } from '../../scripts/harness.mjs';
import { answer, connect, fakes, join, moving, over } from './people.mjs';
import { Internet, possible } from './spaces.mjs';

const why = possible();

// Without root this is left out by name; path.e2e.mjs holds what is told to the other side everywhere.
describe.skipIf(why)(`on machines of their own${why && `: ${why}`}`, () => {
  let world;
  let net;
  let alice;
  let bob;

  beforeAll(async () => {
    world = new World().build();
    net = new Internet(world.dir, 'acme', 'globex', 'alice', 'bob');
    const at = (domain) => net.address(domain.split('.')[0]);
    world.on = (domain) => net.on(domain.split('.')[0]);
    // Ports of a machine without anything else on it are free; off loopback a browser goes to names alone.
    const [acme, globex] = await world.pair('acme.example', 'globex.example', (domain) => [
      '--http-listen', `${at(domain)}:8443`, '--http-public-url', `https://${domain}:8443`, '--http-tls', 'local', '--federation-listen', `${at(domain)}:0`,
      '--turn-listen', `${at(domain)}:0`, '--turn-external-ip', at(domain), '--turn-allow-peers', '10.64.0.0/24:1024-65535',
    ]);
    for (const domain of ['acme.example', 'globex.example']) for (const scheme of ['https', 'wss']) world.origins.add(`${scheme}://${domain}:8443`);
    const names = ['acme.example', 'globex.example'].map((domain) => `MAP ${domain} ${at(domain)}`).join(', ');
    const options = { ignoreHTTPSErrors: true };
    const person = async (name, node) => {
      const browser = await world.browser([...fakes, '--ignore-certificate-errors', `--host-resolver-rules=${names}`], false, net.wrapper(name, process.env.CHROMIUM ?? '/usr/bin/chromium'));
      return join(world, node, { ...options, browser }, ({ page }) =>
        page.addInitScript(() => {
          globalThis.told = [];
          const { addIceCandidate, setRemoteDescription } = RTCPeerConnection.prototype;
          RTCPeerConnection.prototype.addIceCandidate = function (c) {
            if (c?.candidate) globalThis.told.push(c.candidate);
            return addIceCandidate.call(this, c);
          };
          RTCPeerConnection.prototype.setRemoteDescription = function (d) {
            globalThis.told.push(...d.sdp.split('\r\n').filter((line) => /^a=candidate|^c=/.test(line)));
            return setRemoteDescription.call(this, d);
          };
        }),
      );
    };
    alice = await person('alice', acme);
    bob = await person('bob', globex);
    await connect(alice, bob, new URL(bob.page.url()).origin);
  });

  afterAll(async () => {
    await world?.stop();
    net?.stop();
  });

  /** A call, and what passed the two machines while it ran. */
  async function call(hide) {
    for (const name of ['alice', 'bob']) net.record(name);
    for (const person of [alice, bob]) await person.page.evaluate(() => globalThis.told.splice(0));
    await alice.page.getByRole('button', { name: 'Video call with Bob' }).click();
    if (hide) await alice.page.getByRole('switch', { name: /Hide my address/ }).click();
    await alice.page.locator('.preview video').waitFor();
    await alice.page.getByRole('button', { name: 'Call', exact: true }).click();
    await answer(bob);
    await Promise.all([moving(alice), moving(bob)]);
    const route = await alice.page.getByTestId('route').textContent();
    await over(alice, bob);
    const between = { alice: net.address('bob'), bob: net.address('alice') };
    const flows = Object.fromEntries(['alice', 'bob'].map((name) => [name, net.flows(name)]));
    const met = Object.entries(between).flatMap(([name, other]) => flows[name].filter((f) => f.from === other || f.to === other));
    return { route, flows, met, told: await bob.page.evaluate(() => globalThis.told) };
  }

  test('without hiding, the two machines exchange packets, and the count says so', async () => {
    const { route, met, told } = await call(false);
    expect(route).toMatch(/^Mesh, (LAN|direct)/);
    expect(met.filter((f) => f.protocol === 'udp').reduce((n, f) => n + f.packets, 0)).toBeGreaterThan(100);
    expect(told.some((line) => line.includes(net.address('alice')))).toBe(true);
  });

  test('with a hidden address not one packet goes from one machine to the other, and all of them through the relay', async () => {
    const { route, flows, met, told } = await call(true);
    expect(route).toMatch(/^Mesh, relay/);
    expect(met).toEqual([]);
    const relayed = flows.alice.filter((f) => f.protocol === 'udp' && [f.from, f.to].includes(net.address('acme')));
    expect(relayed.reduce((n, f) => n + f.packets, 0)).toBeGreaterThan(100);
    // What Bob's side was told: relays, and nothing in which an address of Alice's stands.
    const candidates = told.filter((line) => line.includes('candidate'));
    expect(candidates.length).toBeGreaterThan(0);
    for (const line of candidates) expect(line).toMatch(/ typ relay raddr 0\.0\.0\.0 rport 9/);
    for (const line of told) expect(line).not.toContain(net.address('alice'));
    expect(world.foreign).toEqual([]);
  });
});
