import { describe, expect, it } from "vitest";
import { concat, hex, utf8, type Bytes } from "../src/bytes.ts";
import { decode, encode } from "../src/canon.ts";
import { TrunklineError } from "../src/errors.ts";
import * as id from "../src/identity/index.ts";
import { context } from "../src/labels.ts";
import * as link from "../src/link/index.ts";
import { refusal, unhex, vectors } from "./vectors.ts";

const v = vectors<{
  host_seed: string; root_seed: string; device_seed: string; now_ms: number; host: string; challenge: string; challenge_signed: string; authenticate: string;
  link_signed: string; client_frames: { name: string; bytes: string }[]; node_frames: { name: string; bytes: string }[]; client_frames_refused: { name: string; bytes: string }[];
}>("link.json");
const challenge = decode(link.ChallengeMessage, unhex(v.challenge), 1024);

describe("frames", () => {
  it.each(v.client_frames)("$name is read and written again", (f) => {
    const { id: n, kind } = link.parseClientFrame(unhex(f.bytes));
    expect(hex(link.marshalClientFrame(n, kind))).toBe(f.bytes);
  });
  it.each(v.node_frames)("$name is read and written again", (f) => {
    expect(hex(link.marshalNodeFrame(link.parseNodeFrame(unhex(f.bytes))))).toBe(f.bytes);
  });
  it.each(v.client_frames_refused)("$name is refused", async (f) => void (await refusal(() => link.parseClientFrame(unhex(f.bytes)))));
  it("writes no frame over a limit", async () => {
    await refusal(() => link.marshalClientFrame(1n, { case: "domain", value: { domain: "a".repeat(254) } }));
    await refusal(() => link.marshalClientFrame(1n, { case: "ack", value: { storedIds: Array<bigint>(513).fill(1n) } }));
  });
});

describe("handshake", async () => {
  const device = await id.SeedSigner.from(unhex(v.device_seed));
  const cert = await id.parseDeviceCert(decode(link.AuthenticateMessage, unhex(v.authenticate), 1024).cert);

  it("signs and verifies the bytes of the vector", async () => {
    expect(hex(concat(context("challenge"), link.challengeBody(challenge)))).toBe(v.challenge_signed);
    expect(hex(concat(context("link"), link.linkBody(challenge, v.host)))).toBe(v.link_signed);
    expect((await link.verifyChallenge(challenge)).domain).toBe("acme.example");
    expect(hex(encode(link.AuthenticateMessage, await link.authenticate(challenge, v.host, { device, cert })))).toBe(v.authenticate);
    await refusal(() => link.verifyChallenge({ ...challenge, domain: "evil.example" }));
    await refusal(() => link.verifyChallenge({ ...challenge, nonce: new Uint8Array(32) }));
  });

  it.each([["acme.example", "acme.example"], ["acme.example", "Node.ACME.example:443"], ["acme.example", "127.0.0.1:7420"], ["acme.example", "[::1]:7420"], ["acme.example", "localhost"]])(
    "%s may answer at %s", (domain, host) => expect(link.mayAnswerAt(domain, host)).toBe(true));
  it.each([["acme.example", "evil.example"], ["acme.example", "notacme.example"], ["acme.example", "192.0.2.1"], ["acme.example", "127.0.0.1.evil.example"]])(
    "%s may not answer at %s", (domain, host) => expect(link.mayAnswerAt(domain, host)).toBe(false));

  it("dials plain HTTP on this machine only", async () => {
    expect(link.linkAddress("http://127.0.0.1:7420/x#y")).toEqual({ url: "ws://127.0.0.1:7420/v1/link", host: "127.0.0.1:7420" });
    expect(link.linkAddress("https://acme.example").url).toBe("wss://acme.example/v1/link");
    await refusal(() => link.linkAddress("http://acme.example"));
    await refusal(() => link.linkAddress("ftp://acme.example"));
    await refusal(() => link.linkAddress("acme.example"));
    expect(link.parseInvite(" https://acme.example/#invite=abc\n")).toEqual({ base: "https://acme.example/", invitation: "abc" });
    await refusal(() => link.parseInvite("https://acme.example/#other=abc"));
  });
});

/** A node at the other end of a socket in memory, and a clock that the test turns. */
class World implements link.Timers {
  time = 1000;
  chance = 0.5;
  #timers: { at: number; f: () => void }[] = [];
  readonly sockets: FakeSocket[] = [];

  now(): number { return this.time; }
  random(): number { return this.chance; }
  after(ms: number, f: () => void): () => void {
    const t = { at: this.time + ms, f };
    this.#timers.push(t);
    return () => { this.#timers = this.#timers.filter((x) => x !== t); };
  }
  socket = (): link.Socket => {
    const s = new FakeSocket();
    this.sockets.push(s);
    return s;
  };
  async turn(ms: number): Promise<void> {
    const until = this.time + ms;
    for (;;) {
      await settled();
      const next = this.#timers.sort((a, b) => a.at - b.at)[0];
      if (next === undefined || next.at > until) break;
      this.#timers.shift();
      this.time = Math.max(this.time, next.at);
      next.f();
    }
    this.time = until;
    await settled();
  }
}

class FakeSocket implements link.Socket {
  binaryType = "";
  readonly protocol = link.subprotocol;
  onopen: ((e: never) => void) | null = null;
  onmessage: ((e: never) => void) | null = null;
  onclose: ((e: never) => void) | null = null;
  onerror: ((e: never) => void) | null = null;
  readonly sent: Bytes[] = [];
  closed = false;
  send(b: Uint8Array<ArrayBuffer>): void { this.sent.push(b); }
  close(): void { this.closed = true; }
  say(b: Bytes | string): void { (this.onmessage as ((e: { data: unknown }) => void) | null)?.({ data: typeof b === "string" ? b : b.buffer }); }
  break(): void { (this.onclose as (() => void) | null)?.(); }
  frames() { return this.sent.map((b) => link.parseClientFrame(b)); }
}

async function settled(): Promise<void> {
  for (let i = 0; i < 30; i++) await new Promise((r) => setImmediate(r));
}

/** The device has checked the challenge, which takes as long as WebCrypto takes, and said who it is. */
async function answered(s: FakeSocket): Promise<void> {
  while (s.sent.length === 0) await new Promise((r) => setImmediate(r));
}

const hello = (kind: link.NodeKind, n = 0n) => link.marshalNodeFrame({ id: n, kind });

async function dialled(w: World, more: Partial<link.DialOptions> = {}) {
  const got: { delivered: link.NodeKindOf<"deliver">[]; ends: TrunklineError[] } = { delivered: [], ends: [] };
  const dial = link.Wire.dial({ base: "http://127.0.0.1:1", socket: w.socket, timers: w, onDeliver: (d) => got.delivered.push(d), onEnd: (e) => got.ends.push(e), ...more });
  await settled();
  const s = w.sockets.at(-1)!;
  s.say(hello({ case: "challenge", value: challenge }));
  await answered(s);
  s.say(hello({ case: "authenticated", value: { epoch: 3n, idleMs: 100000n } }));
  return { wire: await dial, s, got };
}

describe("wire", () => {
  it("matches answers, and hands on what comes unasked", async () => {
    const w = new World();
    const { wire, s, got } = await dialled(w);
    expect(wire.epoch).toBe(3n);
    const one = wire.call({ case: "domain", value: { domain: "a.example" } }, "domain");
    const two = wire.call({ case: "turn", value: { purpose: "call" } }, "turn");
    const ids = s.frames().slice(1).map((f) => f.id);
    s.say(hello({ case: "error", value: { code: "quota", retryAfterMs: 5n } }, ids[1]!));
    s.say(hello({ case: "domain", value: { document: utf8("x"), descriptors: [], code: "" } }, ids[0]!));
    s.say(hello({ case: "deliver", value: { storedId: 1n, knock: false, hint: new Uint8Array(2), payload: new Uint8Array(1024), envelopeId: new Uint8Array(16) } }));
    expect((await one).document).toEqual(utf8("x"));
    const err = await refusal(() => two);
    expect([err.code, err.nodeCode, link.isTemporary(err)]).toEqual(["refused", "quota", true]);
    expect(got.delivered).toHaveLength(1);
  });

  it("tells everybody who waits when it ends", async () => {
    const w = new World();
    const { wire, s, got } = await dialled(w);
    const call = refusal(() => wire.call({ case: "turn", value: { purpose: "call" } }, "turn"));
    s.break();
    expect((await call).code).toBe("unreachable");
    expect(got.ends).toHaveLength(1);
    expect((await refusal(() => wire.send({ case: "ping", value: {} }))).code).toBe("unreachable");
  });

  it.each([["a text", "text"], ["bytes that are no frame", new Uint8Array([1, 2, 3])], ["a frame over the limit", new Uint8Array(link.maxFrame + 1)]])(
    "ends at %s", async (_, data) => {
      const { s, got } = await dialled(new World());
      s.say(data);
      expect(got.ends).toHaveLength(1);
      expect(s.closed).toBe(true);
    });

  it("aborts when another node answers than the pinned one, or for another domain", async () => {
    for (const [more, code] of [[{ pin: (await id.SeedSigner.generate()).publicKey.peerId() }, "aborted"], [{ base: "https://evil.example" }, "aborted"]] as const) {
      const w = new World();
      const failed = refusal(() => link.Wire.dial({ base: "http://127.0.0.1:1", socket: w.socket, timers: w, onDeliver: () => undefined, onEnd: () => undefined, ...more }));
      await settled();
      w.sockets[0]!.say(hello({ case: "challenge", value: challenge }));
      expect((await failed).code).toBe(code);
      expect(w.sockets[0]!.sent).toHaveLength(0);
      expect(w.sockets[0]!.closed).toBe(true);
    }
  });

  it("notices a node that fell silent", async () => {
    const w = new World();
    const { s, got } = await dialled(w);
    await w.turn(41_000);
    expect(s.frames().at(-1)!.kind.case).toBe("ping");
    await w.turn(200_000);
    expect(got.ends.map((e) => e.code)).toEqual(["unreachable"]);
  });
});

describe("link", () => {
  function make() {
    const w = new World();
    const states: link.LinkState[] = [];
    const l = new link.Link({
      timers: w, dial: async () => ({ base: "http://127.0.0.1:1", socket: w.socket, onDeliver: () => undefined }), join: async () => undefined, onState: (s) => states.push(s),
    });
    const connect = async () => {
      await settled();
      const s = w.sockets.at(-1)!;
      s.say(hello({ case: "challenge", value: challenge }));
      await answered(s);
      s.say(hello({ case: "authenticated", value: { epoch: 0n, idleMs: 0n } }));
      await settled();
      return s;
    };
    return { w, l, states, connect };
  }

  it("comes back with pauses that grow, and at once when it is hurried", async () => {
    const { w, l, states, connect } = make();
    l.start();
    (await connect()).break();
    await settled();
    const waits: number[] = [];
    for (let i = 0; i < 9; i++) {
      const s = states.at(-1)!;
      if (s.state !== "waiting") throw new Error(s.state);
      waits.push(s.retryAtMs - w.time);
      await w.turn(s.retryAtMs - w.time);
      w.sockets.at(-1)!.break();
      await settled();
    }
    expect(waits).toEqual([300, 600, 1200, 2400, 4800, 9600, 19200, 30000, 30000]);
    const before = w.sockets.length;
    l.hurry();
    await connect();
    expect([w.sockets.length, l.state!.state]).toEqual([before + 1, "up"]);
    l.stop();
    expect(l.state!.state).toBe("ended");
  });

  it("comes back when a draining node asks it to, after a random part of the jitter", async () => {
    const { w, l, states, connect } = make();
    l.start();
    const s = await connect();
    s.say(hello({ case: "drain", value: { reconnectAfterMs: 5000n, jitterMs: 2000n, reason: "restart" } }));
    await settled();
    const waiting = states.at(-1)!;
    expect(waiting.state === "waiting" && waiting.retryAtMs - w.time).toBe(6000);
    const up = l.up();
    await w.turn(6000);
    await connect();
    expect((await up).node.domain).toBe("acme.example");
    l.stop();
  });

  it("ends when this device connected elsewhere", async () => {
    const { l, connect } = make();
    l.start();
    const s = await connect();
    s.say(hello({ case: "error", value: { code: "replaced", retryAfterMs: 0n } }));
    await settled();
    expect(l.state).toMatchObject({ state: "ended", why: { nodeCode: "replaced" } });
    expect((await refusal(() => l.up())).nodeCode).toBe("replaced");
  });
});
