// The connection of two members of a mesh when something of it is not as it must be: an alarm is told, and ends it for good.

import { expect, it } from "vitest";
import { type Bytes } from "../src/bytes.ts";
import type { PeerFactory, PeerOptions } from "../src/call/peer.ts";
import { Reason, Role, Session, sessionKeys } from "../src/envelope/index.ts";
import { marshalSessionMessage, parseSessionMessage, SessionType, type SessionMessage } from "../src/envelope/sessionmessage.ts";
import { refuse, type Code } from "../src/errors.ts";
import * as id from "../src/identity/index.ts";
import { Pair } from "../src/room/pair.ts";

const sdp = ["v=0", "o=- 1 1 IN IP4 192.0.2.1", "s=-", "t=0 0", `a=fingerprint:sha-256 ${Array(32).fill("0A").join(":")}`, "a=ice-ufrag:abcd", "a=ice-pwd:aaaaaaaaaaaaaaaaaaaaaaaa",
  "a=setup:actpass", "m=application 9 UDP/DTLS/SCTP webrtc-datachannel", "c=IN IP4 0.0.0.0", "a=mid:0", ""].join("\r\n");

/** One side whose library makes descriptions and nothing else, and whose time is given. */
async function side(role: Role) {
  const peer = (await id.SeedSigner.generate()).publicKey;
  const home = { peerId: peer.peerId(), domain: "a.example" };
  const session = new Session({
    role, keys: sessionKeys(new Uint8Array(32).fill(3), new Uint8Array(32).fill(4)), ownTag: new Uint8Array(16), id: new Uint8Array(16), peer, peerDevice: id.DeviceId.of(peer),
    reply: { home, tag: new Uint8Array(16), token: new Uint8Array(16).fill(1) },
  });
  const made: PeerOptions[] = [];
  const factory: PeerFactory = (o) => {
    made.push(o);
    return {
      createOffer: async () => sdp, acceptOffer: async () => sdp, acceptAnswer: async () => undefined, restart: async () => sdp, setServers: () => undefined, addCandidate: async () => undefined,
      peerFingerprint: async () => new Uint8Array(32), sendControl: () => undefined, sendFile: async () => undefined, close: () => undefined,
    };
  };
  const timers = new Set<() => void>();
  const said: SessionMessage[] = [];
  const alarms: Code[] = [];
  const pair = new Pair({
    session, asks: false, relayOnly: false, peer: factory, now: () => 0, wire: () => undefined, home: undefined, onBound: () => undefined, changed: () => undefined,
    after: (_, f) => {
      timers.add(f);
      return () => void timers.delete(f);
    },
    say: async (m: Bytes) => void said.push(parseSessionMessage(m)),
    alarm: (why) => void alarms.push(why.code),
  });
  const settled = async (done: () => boolean) => { while (!done()) await new Promise((r) => setImmediate(r)); };
  /** Everything that was put off happens now. */
  const later = async () => {
    for (const f of [...timers]) f();
    timers.clear();
    await new Promise((r) => setImmediate(r));
  };
  return { pair, made, said, alarms, settled, later };
}

const bye = (reason: number) => marshalSessionMessage({ type: SessionType.bye, reason, generation: 0 });
const offer = (generation: number) => marshalSessionMessage({ type: SessionType.offer, sdp: new TextEncoder().encode(sdp), fingerprint: new Uint8Array(32).fill(10), ufrag: "abcd", setup: 3, generation });

it.each<Code>(["key_alarm", "binding"])("%s is told to the other side, and nothing is tried again", async (code) => {
  const { pair, made, said, alarms, settled, later } = await side(Role.initiator);
  await settled(() => said.length === 1);
  made[0]!.onFailed(refuse(code, "not as it must be"));
  expect([said.at(-1), alarms]).toEqual([{ type: SessionType.bye, reason: Reason.alarm, generation: 0 }, [code]]);
  pair.heard(offer(0));
  await later();
  expect([made.length, said.length, alarms.length]).toEqual([1, 2, 1]);
});

it.each([Role.initiator, Role.responder])("what the other side of role %i says of an alarm is its word, and nothing is tried again", async (role) => {
  const { pair, made, said, alarms, settled, later } = await side(role);
  if (role === Role.initiator) await settled(() => said.length === 1);
  pair.heard(bye(Reason.alarm));
  expect(alarms).toEqual(["peer_alarm"]);
  const before = [made.length, said.length];
  pair.heard(offer(0));
  pair.heard(bye(Reason.alarm));
  pair.revive();
  await later();
  expect([made.length, said.length, alarms.length]).toEqual([...before, 1]);
});

it("a failure is no alarm, and the connection is made again", async () => {
  const { pair, made, said, alarms, settled, later } = await side(Role.initiator);
  await settled(() => said.length === 1);
  pair.heard(marshalSessionMessage({ type: SessionType.iceEnd, generation: 0 }));
  made[0]!.onFailed(refuse("unreachable", "a path that broke"));
  await later();
  await settled(() => made.length === 2);
  expect(alarms).toEqual([]);
});
