import { describe, expect, it } from "vitest";
import { unhex, utf8, type Bytes } from "../src/bytes.ts";
import * as call from "../src/call/index.ts";
import { Reason, Role, Session, sessionKeys } from "../src/envelope/index.ts";
import * as id from "../src/identity/index.ts";
import { refusal } from "./vectors.ts";

const t0 = 1_000_000;

/** Runs events through the machine and gives the actions of the last one. */
function run(s: call.CallState, ...events: (call.CallEvent & { at?: number })[]): { phase: string; did: string[]; state: call.CallState } {
  let did: readonly call.CallAction[] = [];
  for (const e of events) ({ state: s, actions: did } = call.next(s, t0 + (e.at ?? 0), e));
  return { phase: s.phase, did: did.map(say), state: s };
}
const say = (a: call.CallAction) => [a.do, "device" in a ? a.device : "", "reason" in a ? String(a.reason) : ""].filter((x) => x !== "").join(" ");

describe("caller", () => {
  const ringing = call.outgoing(t0, ["a", "b"]);
  const answered = run(ringing, { type: "accepted", device: "a" }).state;
  const connecting = run(answered, { type: "frame" }).state;
  const live = run(connecting, { type: "bound" }).state;

  it.each<[string, call.CallState, (call.CallEvent & { at?: number })[], string, string[]]>([
    ["ACCEPT of a rung device", ringing, [{ type: "accepted", device: "a" }], "answered", ["send-first a", `cancel b ${Reason.answeredElsewhere}`]],
    ["ACCEPT of a device that was not rung", ringing, [{ type: "accepted", device: "x" }], "ringing", []],
    ["a second ACCEPT", answered, [{ type: "accepted", device: "b" }], "answered", []],
    ["DECLINE", ringing, [{ type: "declined", device: "b" }], "ended", [`cancel a ${Reason.declined}`, `end ${Reason.declined}`]],
    ["BUSY of one", ringing, [{ type: "busy", device: "a" }], "ringing", []],
    ["BUSY of one, the other unreachable", ringing, [{ type: "busy", device: "a" }, { type: "unreachable", device: "b" }], "ended", [`end ${Reason.busy}`]],
    ["both unreachable", ringing, [{ type: "unreachable", device: "a" }, { type: "unreachable", device: "b" }], "ended", [`end ${Reason.failed}`]],
    ["hang up while it rings", ringing, [{ type: "hangup" }], "ended", [`cancel a ${Reason.ended}`, `cancel b ${Reason.ended}`, `end ${Reason.ended}`]],
    ["glare lost", ringing, [{ type: "glare-lost" }], "ended", [`cancel a ${Reason.ended}`, `cancel b ${Reason.ended}`, `end ${Reason.ended}`]],
    ["an alarm while it rings", ringing, [{ type: "alarm" }], "ended", [`cancel a ${Reason.failed}`, `cancel b ${Reason.failed}`, `end ${Reason.failed}`]],
    ["failure while it rings", ringing, [{ type: "failed" }], "ended", [`cancel a ${Reason.failed}`, `cancel b ${Reason.failed}`, `end ${Reason.failed}`]],
    ["59 s", ringing, [{ type: "tick", at: 59_999 }], "ringing", []],
    ["60 s", ringing, [{ type: "tick", at: 60_000 }], "ended", [`cancel a ${Reason.timeout}`, `cancel b ${Reason.timeout}`, `end ${Reason.timeout}`]],
    ["a valid frame", answered, [{ type: "frame" }], "connecting", []],
    ["2 s without one", answered, [{ type: "tick", at: 2_000 }], "answered", ["resend-first a"]],
    ["the same ACCEPT again", answered, [{ type: "accept-again", device: "a" }], "answered", ["resend-first a"]],
    ["an old answer of another device", answered, [{ type: "accept-again", device: "b" }], "answered", []],
    ["20 s without one", answered, [{ type: "tick", at: 20_000 }], "ended", [`bye ${Reason.failed}`, `end ${Reason.failed}`]],
    ["the same ACCEPT while connecting", connecting, [{ type: "accept-again", device: "a" }], "connecting", ["resend-first a"]],
    ["channel bound", connecting, [{ type: "bound" }], "live", ["step"]],
    ["30 s without a channel", connecting, [{ type: "tick", at: 30_000 }], "ended", [`bye ${Reason.failed}`, `end ${Reason.failed}`]],
    ["BYE", live, [{ type: "bye", reason: Reason.ended }], "ended", [`end ${Reason.ended}`]],
    ["hang up", live, [{ type: "hangup" }], "ended", [`bye ${Reason.ended}`, `end ${Reason.ended}`]],
    ["an alarm", live, [{ type: "alarm" }], "ended", [`bye ${Reason.alarm}`, `end ${Reason.alarm}`]],
    ["an alarm at the other side", live, [{ type: "bye", reason: Reason.alarm }], "ended", [`end ${Reason.alarm}`]],
    ["failure", live, [{ type: "failed" }], "ended", [`bye ${Reason.failed}`, `end ${Reason.failed}`]],
    ["bound twice", live, [{ type: "bound" }], "live", []],
    ["anything after the end", live, [{ type: "hangup" }, { type: "hangup" }], "ended", []],
  ])("%s", (_, s, events, phase, did) => expect(run(s, ...events)).toMatchObject({ phase, did }));
});

describe("callee", () => {
  const ringing = call.incoming(t0, t0 + 60_000, "ring").state;
  const answered = run(ringing, { type: "accept" }).state;
  const connecting = run(answered, { type: "frame" }).state;

  it.each<[call.Greeting, number, string, string[]]>([
    ["ring", 0, "ringing", []], ["accept", 0, "answered", ["accept"]], ["busy", 0, "ended", ["send-busy", `missed ${Reason.busy}`, `end ${Reason.busy}`]],
    ["missed", 0, "ended", [`missed ${Reason.timeout}`, `end ${Reason.timeout}`]], ["ring", 60_000, "ended", [`missed ${Reason.timeout}`, `end ${Reason.timeout}`]],
    ["accept", 60_000, "ended", [`missed ${Reason.timeout}`, `end ${Reason.timeout}`]],
  ])("a ring that is taken as %s after %i ms", (greeting, at, phase, did) => {
    const s = call.incoming(t0 + at, t0 + 60_000, greeting);
    expect([s.state.phase, s.actions.map(say)]).toEqual([phase, did]);
  });

  it.each<[string, call.CallState, (call.CallEvent & { at?: number })[], string, string[]]>([
    ["accepts", ringing, [{ type: "accept" }], "answered", ["accept"]],
    ["accepts too late", ringing, [{ type: "accept", at: 60_000 }], "ended", [`missed ${Reason.timeout}`, `end ${Reason.timeout}`]],
    ["declines", ringing, [{ type: "decline" }], "ended", ["decline", `end ${Reason.declined}`]],
    ["answered elsewhere", ringing, [{ type: "cancelled", reason: Reason.answeredElsewhere }], "ended", [`end ${Reason.answeredElsewhere}`]],
    ["declined elsewhere", ringing, [{ type: "cancelled", reason: Reason.declined }], "ended", [`end ${Reason.declined}`]],
    ["the caller gives up", ringing, [{ type: "cancelled", reason: Reason.ended }], "ended", [`missed ${Reason.ended}`, `end ${Reason.ended}`]],
    ["an alarm while it rings", ringing, [{ type: "alarm" }], "ended", [`missed ${Reason.failed}`, `end ${Reason.failed}`]],
    ["failure while it rings", ringing, [{ type: "failed" }], "ended", [`missed ${Reason.failed}`, `end ${Reason.failed}`]],
    ["the ring's end", ringing, [{ type: "tick", at: 60_000 }], "ended", [`missed ${Reason.timeout}`, `end ${Reason.timeout}`]],
    ["the caller's first frame", answered, [{ type: "frame" }], "connecting", ["open-ice"]],
    ["2 s without it", answered, [{ type: "tick", at: 2_000 }], "answered", ["resend-answer"]],
    ["CANCEL after the answer", answered, [{ type: "cancelled", reason: Reason.answeredElsewhere }], "ended", [`end ${Reason.answeredElsewhere}`]],
    ["20 s without it", answered, [{ type: "tick", at: 20_000 }], "ended", [`bye ${Reason.failed}`, `end ${Reason.failed}`]],
    ["CANCEL once frames flow", connecting, [{ type: "cancelled", reason: Reason.ended }], "connecting", []],
    ["channel bound", connecting, [{ type: "bound" }], "live", ["step"]],
  ])("%s", (_, s, events, phase, did) => expect(run(s, ...events)).toMatchObject({ phase, did }));

  it("the ring of the lower key survives a glare", async () => {
    const keys = [(await id.SeedSigner.generate()).publicKey, (await id.SeedSigner.generate()).publicKey].sort((a, b) => (a.hex < b.hex ? -1 : 1)) as [id.PublicKey, id.PublicKey];
    const [low, high] = keys;
    const device = id.DeviceId.of(low);
    expect([call.glareIsOurs(low, high, device, device), call.glareIsOurs(high, low, device, device)]).toEqual([true, false]);
  });
});

describe("descriptions", () => {
  const fp = unhex("43e8d0e6da464e6201917bf2669b821d023b8427fa87f46fb4348087cefdb09f");
  const line = `a=fingerprint:${call.formatFingerprint(fp)}`;
  const other = line.replace("43:E8", "00:E8");
  const credentials = ["a=ice-ufrag:njXDKWBkwyPOVHLl", "a=ice-pwd:vjGHtFqhtkibeSZLOidhPXnRDIGwCTxg", "a=setup:actpass"];
  function sdp(session: string[], ...sections: string[][]): Bytes {
    const media = ["m=audio 9 UDP/TLS/RTP/SAVPF 111", "m=video 9 UDP/TLS/RTP/SAVPF 96", "m=application 9 UDP/DTLS/SCTP webrtc-datachannel"];
    const lines = ["v=0", "o=- 3688752784069454908 1795197442 IN IP4 192.0.2.7", "s=-", "t=0 0", ...session,
      ...media.flatMap((m, i) => [m, "c=IN IP4 192.0.2.7", `a=mid:${i}`, ...credentials, ...(sections[i] ?? [])])];
    return utf8(lines.join("\r\n") + "\r\n");
  }
  const good = sdp([line]);
  const signed = (b: Bytes) => ({ sdp: b, fingerprint: fp, ufrag: "njXDKWBkwyPOVHLl", setup: 3 as const });

  it.each([["for the session", good], ["in every section", sdp([], [line], [line], [line])], ["with lower-case digits", sdp([line.toLowerCase().replace("sha-256", "SHA-256")])],
    ["with a refused medium", new Uint8Array([...good, ...utf8("m=audio 0 UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 0.0.0.0\r\n")])]])(
    "takes the signed fingerprint %s", (_, b) => expect(call.checkDescription(signed(b)).pwd).toBe("vjGHtFqhtkibeSZLOidhPXnRDIGwCTxg"));

  it.each<[string, Bytes, string]>([
    ["another fingerprint (52)", sdp([other]), "key_alarm"], ["two that differ (53)", sdp([line, other]), "key_alarm"], ["one section differs (53)", sdp([line], [], [other]), "key_alarm"],
    ["sha-1 (53)", sdp(["a=fingerprint:sha-1 43:E8:D0:E6:DA:46:4E:62:01:91:7B:F2:66:9B:82:1D:02:3B:84:27"]), "key_alarm"], ["in one section only (53)", sdp([], [line]), "key_alarm"],
    ["none", sdp([]), "key_alarm"], ["hidden in another line", sdp([line, "a=x-fingerprint:1"]), "key_alarm"], ["in another spelling", sdp([line, "a=Fingerprint:sha-256 00"]), "key_alarm"],
    ["a control character", sdp([line + "\r", "a=x"]), "malformed"], ["two user names", sdp([line, "a=ice-ufrag:other"]), "malformed"],
    ["no section", utf8(`v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\n${line}\r\n`), "malformed"], ["17 sections", sdp([line], [], [], Array<string>(14).fill("m=audio 9 UDP/TLS/RTP/SAVPF 111")), "malformed"],
    ["too long", new Uint8Array(16_001), "malformed"],
  ])("refuses %s", async (_, b, code) => expect((await refusal(() => call.checkDescription(signed(b)))).code).toBe(code));

  it("holds user name and role to what was signed", async () => {
    await refusal(() => call.checkDescription({ ...signed(good), ufrag: "another" }));
    await refusal(() => call.checkDescription({ ...signed(good), setup: 1 }));
  });

  it("tells no address with relay only, and no audio levels ever", () => {
    const b = sdp([line, "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level"], [
      "a=candidate:1 1 udp 2130706431 192.168.1.5 5000 typ host generation 0 network-id 1", "a=rtcp:9 IN IP4 192.0.2.7",
      "a=candidate:2 1 udp 1 198.51.100.7 6000 typ relay raddr 203.0.113.9 rport 7000 generation 0 network-cost 50 ufrag abcd",
    ]);
    const open = new TextDecoder().decode(call.cleanDescription(b, false));
    expect(open).not.toContain("audio-level");
    expect(open).toContain("192.168.1.5");
    const hiddenText = new TextDecoder().decode(call.cleanDescription(b, true));
    for (const secret of ["192.168.1.5", "192.0.2.7", "203.0.113.9", "network", "audio-level"]) expect(hiddenText).not.toContain(secret);
    expect(hiddenText).toContain("a=candidate:2 1 udp 1 198.51.100.7 6000 typ relay raddr 0.0.0.0 rport 9 ufrag abcd");
    expect(call.checkDescription(signed(utf8(hiddenText))).ufrag).toBe("njXDKWBkwyPOVHLl");
  });

  it.each(["candidate:1 1 udp 2130706431 192.0.2.1 9 typ host", "a=candidate:1 1 TCP 1 2001:db8::1 9 typ host tcptype passive", "candidate:a/+1 2 udp 4294967295 ::1 65535 typ srflx raddr 10.0.0.1 rport 0"])(
    "reads %s", (l) => expect(call.formatCandidate(call.parseCandidate(l)).toLowerCase()).toBe(l.replace("a=", "").toLowerCase()));
  it.each(["", "candidate:", "candidate:1 1 udp 1 host.example 9 typ host", "candidate:1 1 udp 1 3f1c.local 9 typ host", "candidate:1 1 udp 1 0.0.0.0 9 typ host", "candidate:1 1 udp 1 224.0.0.1 9 typ host",
    "candidate:1 1 udp 1 :: 9 typ host", "candidate:1 1 udp 1 ff02::1 9 typ host", "candidate:1 1 udp 1 fe80::1%eth0 9 typ host", "candidate:1 1 udp 1 192.0.2.1 0 typ host", "candidate:1 1 udp 1 192.0.2.1 65536 typ host",
    "candidate:1 0 udp 1 192.0.2.1 9 typ host", "candidate:1 1 sctp 1 192.0.2.1 9 typ host", "candidate:1 1 udp 0 192.0.2.1 9 typ host", "candidate:1 1 udp 1 192.0.2.1 9 typ magic", "candidate:1 1 udp 1 192.0.2.1 9 typ host raddr",
    "candidate:1 1 udp 1 192.0.2.1 9 typ host x", "candidate:1 1 udp 1 192.0.2.999 9 typ host", "candidate:1 1 udp 1 192.0.2.1 9 typ host\nx"])(
    "refuses %j", async (l) => void (await refusal(() => call.parseCandidate(l))));
});

describe("gate of the control channel", () => {
  const [f, g] = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)];
  async function pair(): Promise<[call.Gate, call.Gate]> {
    const home = { peerId: (await id.SeedSigner.generate()).publicKey.peerId(), domain: "a.example" };
    const peer = (await id.SeedSigner.generate()).publicKey;
    const session = (role: Role) => new Session({
      role, keys: sessionKeys(new Uint8Array(32).fill(3), new Uint8Array(32).fill(4)), ownTag: new Uint8Array(16), id: new Uint8Array(16), peer, peerDevice: id.DeviceId.of(peer),
      reply: { home, tag: new Uint8Array(16), token: new Uint8Array(16).fill(1) },
    });
    return [new call.Gate(session(Role.initiator), f, g), new call.Gate(session(Role.responder), g, f)];
  }

  it("is bound when both have proven themselves and said so", async () => {
    const [a, b] = await pair();
    const toA = b.take(a.open()).send!;
    const toB = a.take(b.open()).send!;
    expect([a.bound, b.bound]).toEqual([false, false]);
    expect([a.take(toA).bound, b.take(toB).bound]).toEqual([true, true]);
    expect(a.take(call.marshalControlMessage({ case: "leg", value: { kind: 1 } })).control).toEqual({ case: "leg", value: { kind: 1 } });
  });

  it.each<[string, (a: call.Gate, b: call.Gate) => unknown, string]>([
    ["nothing of the protocol", (a) => a.take(new Uint8Array([1, 2])), "binding"],
    ["content before the binding (56)", (a) => a.take(call.marshalControlMessage({ case: "bye", value: {} })), "binding"],
    ["our own binding (55)", (a) => a.take(a.open()), "binding"],
    ["a wrong binding (55)", (a) => a.take(call.marshalControlMessage({ case: "binding", value: { mac: new Uint8Array(32) } })), "binding"],
    ["content before Ready", (a, b) => (a.take(b.open()), a.take(call.marshalControlMessage({ case: "bye", value: {} }))), "binding"],
    ["a second binding", (a, b) => (a.take(b.open()), a.take(call.marshalControlMessage({ case: "ready", value: {} })), a.take(b.open())), "malformed"],
  ])("ends at %s", async (_, what, code) => {
    const [a, b] = await pair();
    expect((await refusal(() => what(a, b))).code).toBe(code);
  });

});
