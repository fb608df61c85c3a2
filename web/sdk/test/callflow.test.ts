// Whole calls between two TypeScript participants over a node in memory. The WebRTC stack is a stand-in that
// writes real descriptions and joins two channels; a real one is in calls.test.ts and browser.test.ts.

import { afterEach, describe, expect, it } from "vitest";
import { hex, random, utf8, type Bytes } from "../src/bytes.ts";
import { call as calling, Client, createIdentity, MemoryStore, StoreVault, type ClientEvent } from "../src/index.ts";
import { Reason } from "../src/envelope/bodies.ts";
import { marshalSessionMessage, SessionType, type SessionMessage } from "../src/envelope/sessionmessage.ts";
import { Puppet } from "./puppet.ts";

const open: Client[] = [];
afterEach(async () => { await Promise.all(open.splice(0).map((c) => c.close())); });

/** Joins the two ends of a connection by the fingerprints in their descriptions. */
class Ether {
  readonly peers = new Map<string, StandIn>();
  readonly made: StandIn[] = [];
  /** Whether connections come up as soon as both descriptions are there. */
  works = true;
  /** Whether the library throws at offers. */
  refuses = false;
  /** What the connections count of sound and picture; undefined: they carry none. */
  counts: (() => Promise<readonly calling.SlotCounts[]>) | undefined;
  readonly factory: calling.PeerFactory = (o) => {
    const p = new StandIn(this, o);
    this.made.push(p);
    return p;
  };
}

class StandIn implements calling.CallPeer {
  fingerprint = random(32);
  readonly candidates: (string | undefined)[] = [];
  readonly servers: (readonly calling.IceServer[])[] = [];
  /** What it says the other side's certificate is, if not the truth. */
  seen: Bytes | undefined;
  media: calling.CallMedia | undefined;
  readonly held: Parameters<calling.CallMedia["hold"]>[0][] = [];
  readonly renewed: string[] = [];
  closed = false;
  generation = 0;
  report = new Map<string, Record<string, unknown>>();
  other: StandIn | undefined;
  taken = ""; // the other side's description, as it came
  readonly o: calling.PeerOptions;
  readonly #e: Ether;

  constructor(e: Ether, o: calling.PeerOptions) {
    this.#e = e;
    this.o = o;
    const { counts } = e;
    if (counts !== undefined) {
      this.media = {
        counts, hold: (on) => this.held.push(on), renew: (slot, way) => slot < 4 && !this.renewed.includes(`${way} ${slot}`) && this.renewed.push(`${way} ${slot}`) > 0, send: async () => undefined, bound: () => undefined, stats: () => this.stats(),
        onTrack: () => undefined, onAdapted: () => undefined, tracks: new Map(), adapted: { why: undefined, camera: "full", screen: "full" },
      };
    }
    e.peers.set(hex(this.fingerprint), this);
  }

  sdp(setup: string): string {
    return ["v=0", "o=- 1 1 IN IP4 192.0.2.1", "s=-", "t=0 0", `a=fingerprint:${calling.formatFingerprint(this.fingerprint)}`, `a=ice-ufrag:gen${this.generation}`,
      "a=ice-pwd:aaaaaaaaaaaaaaaaaaaaaaaa", `a=setup:${setup}`, "m=application 9 UDP/DTLS/SCTP webrtc-datachannel", "c=IN IP4 0.0.0.0", "a=mid:0", ""].join("\r\n");
  }
  #meet(sdp: string): void {
    this.taken = sdp;
    this.other = this.#e.peers.get(hex(calling.parseSdp(utf8(sdp)).fingerprint));
  }
  async createOffer(): Promise<string> {
    this.o.onCandidate(`candidate:1 1 udp 1 192.0.2.1 9 typ host ufrag gen${this.generation}`);
    return this.sdp("actpass");
  }
  async restart(): Promise<string> {
    this.generation++;
    return this.createOffer();
  }
  async acceptOffer(sdp: string): Promise<string> {
    if (this.#e.refuses) throw new TypeError("no transceiver");
    this.#meet(sdp);
    this.generation = Number(/gen(\d+)/.exec(sdp)![1]);
    return this.sdp("active");
  }
  async acceptAnswer(sdp: string): Promise<void> {
    this.#meet(sdp);
    if (this.#e.works) this.connect();
  }
  connect(): void {
    for (const p of [this, this.other!]) {
      p.o.onPath(true);
      p.o.onControlOpen();
    }
  }
  setServers(s: readonly calling.IceServer[]): void { this.servers.push(s); }
  async addCandidate(line: string | undefined): Promise<void> { this.candidates.push(line); }
  async peerFingerprint(): Promise<Bytes> { return this.seen ?? this.other!.fingerprint; }
  sendControl(b: Bytes): void { queueMicrotask(() => { if (!this.other!.closed) this.other!.o.onControl(b); }); }
  async sendFile(b: Bytes): Promise<void> { queueMicrotask(() => this.other!.o.onFile(b)); }
  async stats(): Promise<RTCStatsReport> { return this.report as unknown as RTCStatsReport; }
  close(): void {
    this.closed = true;
    // As in a browser, which is faster than any frame that goes over nodes.
    queueMicrotask(() => { if (this.other !== undefined && !this.other.closed) this.other.o.onGone(); });
  }
}

interface Person { readonly client: Client; readonly calls: calling.Calls; readonly rung: calling.Call[]; readonly hear: (match: (e: ClientEvent) => boolean) => Promise<void> }

async function someone(node: Puppet, ether: Ether): Promise<Person> {
  const store = new MemoryStore();
  const { client } = await createIdentity({ store, vault: new StoreVault(store), socket: node.socket });
  open.push(client);
  await client.register(node.invite);
  const heard: ClientEvent[] = [];
  let wake: (() => void)[] = [];
  client.listen((e) => {
    heard.push(e);
    for (const f of wake.splice(0)) f();
  });
  const rung: calling.Call[] = [];
  const calls = new calling.Calls(client, { peer: ether.factory, onCall: (c) => { if (c.direction === "incoming") rung.push(c); } });
  client.start();
  await client.wire();
  const hear = async (match: (e: ClientEvent) => boolean) => {
    while (!heard.some(match)) await new Promise<void>((resolve) => wake.push(resolve));
  };
  return { client, calls, rung, hear };
}

async function friends() {
  const node = await Puppet.make();
  const ether = new Ether();
  const [a, b] = [await someone(node, ether), await someone(node, ether)];
  await a.client.knock(b.client.address);
  await b.hear((e) => e.type === "knock");
  await b.client.accept(a.client.id);
  await a.hear((e) => e.type === "knock-accepted");
  return { node, ether, a, b };
}

const phase = (p: Person, c: calling.Call, state: string) => p.hear((e) => e.type === "call" && e.call === c.id && e.state === state);

async function ringing(a: Person, b: Person) {
  const out = await a.calls.startCall(b.client.id);
  await b.hear((e) => e.type === "ringing");
  return { out, into: b.rung.at(-1)! };
}

async function live(counts?: Ether["counts"]) {
  const w = await friends();
  w.ether.counts = counts;
  const { out, into } = await ringing(w.a, w.b);
  into.accept();
  await Promise.all([phase(w.a, out, "live"), phase(w.b, into, "live")]);
  return { ...w, out, into, caller: w.ether.made[1]!.o.role === 0 ? w.ether.made[1]! : w.ether.made[0]!, callee: w.ether.made[1]!.o.role === 1 ? w.ether.made[1]! : w.ether.made[0]! };
}

describe("a call", () => {
  it("is bound on both sides before anything is said, and ends by a goodbye", async () => {
    const { a, b, out, into } = await live();
    expect([out.bound, into.bound]).toEqual([true, true]);
    const said: string[] = [];
    into.onControl = (m) => said.push(m.case);
    out.sendControl({ case: "mediaStart", value: { audio: 1 } });
    out.hangup();
    await Promise.all([phase(a, out, "ended"), phase(b, into, "ended")]);
    // The call code begins by itself, and may or may not have got that far.
    expect(said.filter((c) => !c.startsWith("code"))).toEqual(["mediaStart"]);
    expect([a.calls.active, b.calls.active]).toEqual([[], []]);
    expect(() => out.sendControl({ case: "bye", value: {} })).toThrow();
  });

  it("shows no address of the callee before the caller has proven that it holds the keys", async () => {
    const { ether, a, b } = await friends();
    const { into } = await ringing(a, b);
    expect(ether.made).toHaveLength(0);
    into.accept();
    await phase(b, into, "connecting");
    expect(ether.made.map((p) => p.o.role)).toEqual([0, 1]);
  });

  it("is declined, is cancelled, and is missed", async () => {
    const { a, b } = await friends();
    const one = await ringing(a, b);
    one.into.decline();
    await a.hear((e) => e.type === "call" && e.call === one.out.id && e.reason === "declined");
    const two = await a.calls.startCall(b.client.id);
    await b.hear((e) => e.type === "ringing" && e.call === b.rung.at(-1)!.id && b.rung.length === 2);
    two.hangup();
    await b.hear((e) => e.type === "missed" && e.reason === "ended");
    expect(b.calls.active).toEqual([]);
  });

  it("is busy while another one is under way", async () => {
    const w = await live();
    const c = await someone(w.node, w.ether);
    await c.client.knock(w.b.client.address);
    await w.b.hear((e) => e.type === "knock" && e.from === c.client.id);
    await w.b.client.accept(c.client.id);
    await c.hear((e) => e.type === "knock-accepted");
    const out = await c.calls.startCall(w.b.client.id);
    await c.hear((e) => e.type === "call" && e.call === out.id && e.reason === "busy");
    await w.b.hear((e) => e.type === "missed" && e.reason === "busy");
    expect(w.into.state.phase).toBe("live");
  });

  it("two people who ring each other are in one call without asking", async () => {
    const { a, b } = await friends();
    const [x, y] = await Promise.all([a.calls.startCall(b.client.id), b.calls.startCall(a.client.id)]);
    await Promise.all([a, b].map((p) => p.hear((e) => e.type === "call" && e.state === "live")));
    expect([a.calls.active.length, b.calls.active.length]).toEqual([1, 1]);
    expect([x.state.phase, y.state.phase].sort()).toEqual(["ended", "live"]);
  });
});

describe("hide my address", () => {
  it("tells the other side no address but the relay's", async () => {
    const { ether, a, b } = await friends();
    const out = await a.calls.startCall(b.client.id, { relayOnly: true });
    await b.hear((e) => e.type === "ringing");
    const into = b.rung[0]!;
    into.accept();
    await Promise.all([phase(a, out, "live"), phase(b, into, "live")]);
    const [caller, callee] = ether.made as [StandIn, StandIn];
    expect([caller.o.relayOnly, caller.o.role, callee.o.relayOnly]).toEqual([true, 0, false]);
    caller.o.onCandidate("candidate:2 1 udp 1 198.51.100.7 6000 typ relay raddr 192.0.2.1 rport 7000");
    while (callee.candidates.length === 0) await new Promise((r) => setImmediate(r));
    expect(callee.candidates).toEqual(["candidate:2 1 udp 1 198.51.100.7 6000 typ relay raddr 0.0.0.0 rport 9"]);
    expect(callee.taken).toContain("o=- 1 1 IN IP4 0.0.0.0");
    expect(callee.taken).not.toContain("192.0.2.1");
  });
});

describe("the end of sound and picture", () => {
  const count = (slot: calling.SlotName, way: "seal" | "open", passed: number): calling.SlotCounts => ({ slot, way, passed, seen: passed, bytes: 0, dropped: 0 });
  const heardBy = (into: calling.Call) => {
    const ends: unknown[] = [];
    into.onControl = (m) => { if (m.case === "mediaEnd") ends.push(m.value); };
    return ends;
  };

  it("says how many frames there were, and nothing is sent after it", async () => {
    const { b, out, into, caller } = await live(async () => [count("microphone", "seal", 500), count("camera", "seal", 30), count("screen", "seal", 7), count("camera", "open", 9)]);
    const ends = heardBy(into);
    out.hangup();
    await phase(b, into, "ended");
    expect([ends, caller.held]).toEqual([[{ audioFrames: 500n, videoFrames: 30n }], [true]]);
  });

  it("is not waited for where the page is going, or where nobody counts any more", async () => {
    const { b, out, into } = await live(async () => [count("microphone", "seal", 500)]);
    const ends = heardBy(into);
    out.hangup({ atOnce: true });
    await phase(b, into, "ended");
    expect(ends).toEqual([]);
    const silent = await live(() => new Promise(() => undefined));
    const none = heardBy(silent.into);
    silent.out.hangup();
    await phase(silent.b, silent.into, "ended");
    expect(none).toEqual([]);
  });

  it("nothing is sent while there is no path, and all of it afterwards", async () => {
    const { caller, out, ether } = await live(async () => []);
    ether.works = false;
    caller.o.onPath(false);
    while (out.brokenSinceMs === undefined) await new Promise((r) => setImmediate(r));
    expect(caller.held).toEqual([true]);
    caller.o.onPath(true);
    while (out.brokenSinceMs !== undefined) await new Promise((r) => setImmediate(r));
    expect(caller.held).toEqual([true, false]);
  });
});

describe("names that browsers put in place of addresses", () => {
  const name = "candidate:1 1 udp 1 0f8a1c1e-4b1d-4c55-9d0e-1f2a3b4c5d6e.local 5 typ host";
  const told = (p: StandIn) => p.candidates.filter((c) => c?.includes(".local"));
  const settled = async (p: StandIn, mark: string) => { while (!p.candidates.some((c) => c?.includes(mark))) await new Promise((r) => setImmediate(r)); };

  it("go to the other browser, and no other names do", async () => {
    const { caller, callee } = await live();
    caller.o.onCandidate("candidate:1 1 udp 1 printer.local 5 typ host");
    caller.o.onCandidate(name);
    caller.o.onCandidate("candidate:9 1 udp 1 192.0.2.99 9 typ host");
    await settled(callee, "192.0.2.99");
    expect(told(callee)).toEqual([name]);
  });

  it("are neither told nor used by whoever hides the address", async () => {
    const { ether, a, b } = await friends();
    const out = await a.calls.startCall(b.client.id, { relayOnly: true });
    await b.hear((e) => e.type === "ringing");
    b.rung[0]!.accept();
    await Promise.all([phase(a, out, "live"), phase(b, b.rung[0]!, "live")]);
    const [hiding, open] = ether.made as [StandIn, StandIn];
    const relayed = (host: string) => `candidate:2 1 udp 1 ${host} 6000 typ relay raddr 0.0.0.0 rport 9`;
    hiding.o.onCandidate(name);
    hiding.o.onCandidate(relayed("198.51.100.7"));
    open.o.onCandidate(name);
    open.o.onCandidate(relayed("198.51.100.8"));
    await Promise.all([settled(open, "198.51.100.7"), settled(hiding, "198.51.100.8")]);
    expect([told(open), told(hiding)]).toEqual([[], []]);
  });
});

describe("what the other side must not say", () => {
  type Description = Extract<SessionMessage, { type: 2 | 3 }>;
  const described = (type: 2 | 3, from: StandIn, generation: number, change: Partial<Description> = {}): Description => {
    const setup = type === SessionType.offer ? "actpass" : "active";
    const sdp = utf8(from.sdp(setup));
    return { type, sdp, fingerprint: from.fingerprint, ufrag: calling.parseSdp(sdp).ufrag, setup: setup === "actpass" ? 3 : 1, generation, ...change } as Description;
  };
  /** One side of a call that is live says something over the session. */
  const say = async (from: calling.Call, to: calling.Call, m: SessionMessage) => to.onFrame(await from.session!.seal(marshalSessionMessage(m)));

  it.each<[string, "caller" | "callee", (w: Awaited<ReturnType<typeof live>>) => SessionMessage, string]>([
    ["an offer by the side that answers", "callee", ({ callee }) => described(2, callee, 1), "malformed"],
    ["an answer by the side that offers", "caller", ({ caller }) => described(3, caller, 0), "malformed"],
    ["an offer that leaves a generation out", "caller", ({ caller }) => described(2, caller, 2), "malformed"],
    ["a description that is not the signed one", "caller", ({ caller }) => described(2, caller, 1, { ufrag: "other" }), "malformed"],
    ["another certificate than the one of this call", "caller", ({ caller }) => { caller.fingerprint = random(32); return described(2, caller, 1); }, "key_alarm"],
  ])("%s ends the call", async (_, who, make, code) => {
    const w = await live();
    const m = make(w);
    const [from, to, person] = who === "caller" ? [w.out, w.into, w.b] as const : [w.into, w.out, w.a] as const;
    await say(from, to, m);
    await phase(person, to, "ended");
    expect(to.why?.code).toBe(code);
  });

  it("an old offer, an old answer and a frame that does not open change nothing", async () => {
    const w = await live();
    await say(w.into, w.out, described(3, w.callee, 0));
    w.out.onFrame(new Uint8Array(200));
    w.into.onFrame(random(200));
    w.caller.o.onPath(false);
    while (w.callee.generation !== 1) await new Promise((r) => setImmediate(r));
    await say(w.out, w.into, { ...described(2, w.caller, 0) });
    // What comes after it is still heard.
    await say(w.out, w.into, { type: SessionType.ice, candidates: ["candidate:77 1 udp 1 192.0.2.77 9 typ host"], generation: 1 });
    while (!w.callee.candidates.some((c) => c?.includes("192.0.2.77"))) await new Promise((r) => setImmediate(r));
    expect([w.out.state.phase, w.into.state.phase]).toEqual(["live", "live"]);
  });

  it.each<[string, (p: StandIn) => void]>([
    ["a file", (p) => p.o.onFile(new Uint8Array(100))],
    ["a message", (p) => p.o.onControl(calling.marshalControlMessage({ case: "bye", value: {} }))],
  ])("%s before the channel binding ends the call", async (_, sends) => {
    const { ether, a, b } = await friends();
    ether.works = false;
    const { out, into } = await ringing(a, b);
    into.accept();
    await Promise.all([phase(a, out, "connecting"), phase(b, into, "connecting")]);
    sends(ether.made.find((p) => p.o.role === 1)!);
    await phase(b, into, "ended");
    expect([into.why?.code, into.bound]).toEqual(["binding", false]);
  });
});

describe("somebody in between", () => {
  it("a certificate that is not the signed one ends the call with an alarm (54, 55)", async () => {
    const { ether, a, b } = await friends();
    ether.works = false;
    const { out, into } = await ringing(a, b);
    into.accept();
    await Promise.all([phase(a, out, "connecting"), phase(b, into, "connecting")]);
    const [caller, callee] = ether.made as [StandIn, StandIn];
    while (caller.other === undefined) await new Promise((r) => setImmediate(r));
    callee.seen = random(32);
    caller.connect();
    await Promise.all([phase(a, out, "ended"), phase(b, into, "ended")]);
    // Who did not notice is told, and knows that it was told.
    expect([out.why?.code, into.why?.code]).toEqual(["peer_alarm", "key_alarm"]);
    expect([out.state, into.state]).toMatchObject([{ reason: Reason.alarm }, { reason: Reason.alarm }]);
    expect([out.bound, into.bound]).toEqual([false, false]);
  });

  it("another certificate within a call ends it with the alarm's code", async () => {
    const { a, b, out, into, caller, ether } = await live();
    caller.fingerprint = random(32);
    ether.peers.set(hex(caller.fingerprint), caller);
    caller.o.onPath(false);
    await phase(b, into, "ended");
    expect(into.why?.code).toBe("key_alarm");
    await phase(a, out, "ended");
    expect(out.why?.code).toBe("peer_alarm");
  });

  it("what a goodbye of a later version means is not known, and it ends the call", async () => {
    const { a, out, into } = await live();
    out.onFrame(await into.session!.seal(marshalSessionMessage({ type: SessionType.bye, reason: 99, generation: 0 })));
    await phase(a, out, "ended");
    expect([out.state, out.why?.code]).toMatchObject([{ reason: Reason.failed }, "peer_failed"]);
  });

  it("a connection that is closed without a word ends the call a little later; until then nothing is said on it", async () => {
    const { a, out, caller } = await live();
    caller.o.onGone();
    caller.o.onGone();
    const file = () => out.sendFile(new Uint8Array(1)).then(() => undefined, (err: unknown) => err);
    let refused = await file();
    for (; refused === undefined; refused = await file()) await new Promise((r) => setImmediate(r));
    expect(refused).toMatchObject({ code: "unreachable" });
    const said: Uint8Array[] = [];
    caller.sendControl = (m) => void said.push(m);
    out.sendReaction("yes");
    expect(out.state.phase).toBe("live");
    await phase(a, out, "ended");
    expect([out.state, out.why?.code, said]).toMatchObject([{ reason: Reason.failed }, "unreachable", []]);
  });
});

describe("a library that throws", () => {
  it("ends the call, and the client goes on", async () => {
    const { ether, a, b } = await friends();
    ether.refuses = true; // the description passes every check and is still too much for it
    const { out, into } = await ringing(a, b);
    into.accept();
    await Promise.all([phase(a, out, "ended"), phase(b, into, "ended")]);
    expect([into.why?.code, into.why?.cause instanceof TypeError]).toEqual(["unreachable", true]);
    expect(out.why?.code).toBe("peer_failed");
    await a.client.sendMessage(b.client.id, "still here");
    await b.hear((e) => e.type === "note" && e.text === "still here");
  });
});

describe("a stream that went past what opens it", () => {
  const none = async () => [];

  it("gets a fresh section by the next offer of the caller that found it", async () => {
    const { caller, callee, out, into } = await live(none);
    caller.o.onBypassed!(1, "past");
    while (callee.generation !== 1) await new Promise((r) => setImmediate(r));
    expect([out.state.phase, into.state.phase, callee.renewed]).toEqual(["live", "live", []]);
  });

  it("is asked for by the callee that found it, once for each slot", async () => {
    const { caller, callee, out, a } = await live(none);
    callee.o.onBypassed!(0, "past");
    callee.o.onBypassed!(1, "past");
    while (callee.generation !== 1) await new Promise((r) => setImmediate(r));
    expect([caller.renewed, out.state.phase]).toEqual([["seal 0", "seal 1"], "live"]);
    callee.o.onBypassed!(1, "past");
    await phase(a, out, "ended");
    expect(out.why?.code).toBe("malformed");
  });

  it("is not asked for of a slot that does not exist, of a call without media, or by the side that offers", async () => {
    for (const [counts, who, slot] of [[none, "callee", 4], [undefined, "callee", 0], [none, "caller", 0]] as const) {
      const w = await live(counts);
      const [from, to, person] = who === "callee" ? [w.into, w.out, w.a] as const : [w.out, w.into, w.b] as const;
      from.sendControl({ case: "fresh", value: { slot } });
      await phase(person, to, "ended");
      expect([to.why?.code, w.caller.renewed, w.caller.generation]).toEqual(["malformed", [], 0]);
    }
  });
});

describe("a broken path", () => {
  it("the caller restarts with fresh servers; certificates stay, and the call goes on", async () => {
    const { caller, callee, into, out } = await live();
    caller.o.onPath(false);
    while (callee.generation !== 1 || callee.candidates.length < 2) await new Promise((r) => setImmediate(r));
    expect([caller.servers.length, callee.servers.length]).toEqual([1, 1]);
    expect(callee.candidates.some((c) => c?.includes("ufrag gen1"))).toBe(true);
    expect([out.state.phase, into.state.phase]).toEqual(["live", "live"]);
  });

  it("is broken since the last packet, not since the library says so; and a little silence is none", async () => {
    const { caller, out, a, ether } = await live();
    ether.works = false; // a restart does not bring the path back
    const pair = (silence: number | undefined) => new Map<string, Record<string, unknown>>([
      ["T", { id: "T", type: "transport", selectedCandidatePairId: "P" }], ["L", { id: "L", type: "local-candidate" }], ["R", { id: "R", type: "remote-candidate" }],
      ["P", { id: "P", type: "candidate-pair", localCandidateId: "L", remoteCandidateId: "R", timestamp: 100_000, ...(silence === undefined ? {} : { lastPacketReceivedTimestamp: 100_000 - silence }) }],
    ]);
    for (const [silence, since] of [[6_000, 6_000], [60_000, 15_000], [-5, 0], [undefined, 0]] as const) {
      caller.report = pair(silence);
      const before = a.client.now();
      caller.o.onPath(false);
      while (out.brokenSinceMs === undefined) await new Promise((r) => setImmediate(r));
      expect(out.brokenSinceMs).toBeGreaterThanOrEqual(before - since);
      expect(out.brokenSinceMs).toBeLessThanOrEqual(a.client.now() - since);
      caller.o.onPath(true);
      while (out.brokenSinceMs !== undefined) await new Promise((r) => setImmediate(r));
    }
  });

  it("that is in doubt is used while another one is looked for, and found broken it does not begin anew", async () => {
    const { caller, callee, out, ether } = await live();
    ether.works = false;
    caller.o.onDoubt!();
    while (callee.generation !== 1) await new Promise((r) => setImmediate(r));
    expect(out.brokenSinceMs).toBeUndefined();
    expect([out.state.phase, caller.generation, caller.servers.length]).toEqual(["live", 1, 1]);
    caller.o.onPath(false);
    while (out.brokenSinceMs === undefined) await new Promise((r) => setImmediate(r));
    expect(caller.generation).toBe(1);
  });

  it("is asked for by the callee in doubt, too", async () => {
    const { caller, callee, into } = await live();
    callee.o.onDoubt!();
    while (callee.generation !== 1) await new Promise((r) => setImmediate(r));
    expect([caller.generation, into.brokenSinceMs]).toEqual([1, undefined]);
  });

  it("the callee asks for it, because only the side that offered offers", async () => {
    const { caller, callee } = await live();
    callee.o.onPath(false);
    while (callee.generation !== 1) await new Promise((r) => setImmediate(r));
    expect(caller.generation).toBe(1);
  });
});
