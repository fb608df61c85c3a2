import { describe, expect, it } from "vitest";
import { hex, unhex, utf8, type Bytes } from "../src/bytes.ts";
import * as calling from "../src/call/index.ts";
import * as env from "../src/envelope/index.ts";
import * as id from "../src/identity/index.ts";
import { codeWord, refusal, vectors } from "./vectors.ts";

interface Vector {
  name: string; by: number; kind: 1 | 2; id: string; created: number; expires: number; ephemeral_seed: string; ephemeral: string; ufrag: string; pwd: string;
  fingerprint: string; candidates: { type: number; address: string; name: string; port: number; bytes: string }[]; media: 0 | 1 | 2; relay_only: boolean; called: string;
  domain: string; peer_id: string; offer: string; signed: string; hash: string; link: string; app_link: string; qr: string;
}
interface Mac { role: number; own_fingerprint: string; peer_fingerprint: string; mac: string }
const v = vectors<{
  parties: { device_seed: string; cert: string; list: string }[]; now_ms: number; good: Vector[];
  session: {
    offer: string; answer: string; offer_ephemeral_seed: string; answer_ephemeral_seed: string; transcript_of_cards: string; bindings_of_cards: Mac[];
    xwing_seed: string; xwing_key: string; encapsulation: string; transcript: string; keys: Record<string, string>; channel_bindings: Mac[];
  };
  refused: { name: string; reason: string; want: 1 | 2; now_ms: number; pinned: boolean; signed: string }[];
  refused_texts: { name: string; reason: string; text: string }[];
}>("cards.json");
const device = (i: number) => id.SeedSigner.from(unhex(v.parties[i]!.device_seed));
const cert = (i: number) => id.parseDeviceCert(unhex(v.parties[i]!.cert));
const kinds = ["", "host", "srflx", "relay"];
const uuidName = (h: string) => `${h.slice(0, 8)}-${h.slice(8, 12)}-${h.slice(12, 16)}-${h.slice(16, 20)}-${h.slice(20)}.local`;

describe("cards", async () => {
  it.each(v.good)("$name is the same bytes here", async (g) => {
    const candidates = g.candidates.map((c) => ({ type: kinds[c.type] as env.CardCandidateType, address: c.address === "" ? uuidName(c.name) : c.address, port: c.port }));
    expect(hex(await env.x25519Public(unhex(g.ephemeral_seed)))).toBe(g.ephemeral);
    const card = await env.signCard(await device(g.by), {
      kind: g.kind, cert: await cert(g.by), nowMs: g.created * 1000, life: g.expires - g.created, id: unhex(g.id), ephemeral: unhex(g.ephemeral), ufrag: g.ufrag, pwd: g.pwd,
      fingerprint: unhex(g.fingerprint), candidates, media: g.media, relayOnly: g.relay_only, name: g.called,
      home: g.domain === "" ? undefined : { domain: g.domain, peerId: id.PeerId.fromBytes(unhex(g.peer_id)) }, offer: g.offer === "" ? undefined : unhex(g.offer),
    });
    expect(hex(card.signed)).toBe(g.signed);
    expect(hex(card.hash)).toBe(g.hash);
    expect(card).toMatchObject({ kind: g.kind, ufrag: g.ufrag, pwd: g.pwd, candidates, media: g.media, relayOnly: g.relay_only, name: g.called, expires: g.expires });
    expect([env.cardLink("https://acme.example", card.signed), env.cardLink("", card.signed), env.cardQr(card.signed)]).toEqual([g.link, g.app_link, g.qr]);
    for (const t of [g.link, g.app_link, g.qr, env.cardText(card.signed), ` \n${g.link}\n`, `Web+Trunkline://${env.cardText(card.signed)}`]) {
      expect(hex(env.parseCardText(t))).toBe(g.signed);
      expect(env.isCardText(t)).toBe(true);
    }
    for (const [i, c] of candidates.entries()) expect(hex(env.marshalCardCandidate(c))).toBe(g.candidates[i]!.bytes);
  });

  const own = await env.parseCard(unhex(v.good[2]!.signed));
  it.each(v.refused)("$name: $reason", async (r) => {
    expect(await codeWord(async () => {
      const c = await env.parseCard(unhex(r.signed));
      env.checkCard(c, {
        kind: r.want, nowMs: r.now_ms, own: (await cert(1)).deviceId, offer: own, ...(r.pinned ? { pinned: await id.parseDeviceList(unhex(v.parties[0]!.list)) } : {}),
      });
    })).toBe(r.reason);
  });
  it.each(v.refused_texts)("text, $name: $reason", async (r) => expect(await codeWord(() => env.parseCardText(r.text))).toBe(r.reason));

  it("has the keys of the vectors", async () => {
    const s = v.session;
    const [offer, answer] = [await env.parseCard(unhex(s.offer)), await env.parseCard(unhex(s.answer))];
    const caller = await env.Meeting.of(env.Role.initiator, unhex(s.offer_ephemeral_seed), offer, answer);
    const callee = await env.Meeting.of(env.Role.responder, unhex(s.answer_ephemeral_seed), offer, answer);
    expect([hex(caller.transcript), hex(callee.transcript)]).toEqual([s.transcript_of_cards, s.transcript_of_cards]);
    for (const b of s.bindings_of_cards) {
      const [me, other] = b.role === 0 ? [caller, callee] : [callee, caller];
      expect(hex(me.binding(unhex(b.own_fingerprint), unhex(b.peer_fingerprint)))).toBe(b.mac);
      other.checkBinding(unhex(b.mac), unhex(b.peer_fingerprint), unhex(b.own_fingerprint));
    }
    expect(hex(await caller.initiate(unhex(s.xwing_seed)))).toBe(s.xwing_key);
    const session = await caller.finish(unhex(s.encapsulation));
    expect(hex(session.mediaKeys().send)).toBe(s.keys["media_i2r"]);
    expect(hex(session.mediaKeys().receive)).toBe(s.keys["media_r2i"]);
    expect(hex(session.fileKey())).toBe(s.keys["file"]);
    expect(session.handles()[0]).toBe(s.keys["hr"]);
    const [b] = s.channel_bindings;
    expect(hex(session.binding(unhex(b!.own_fingerprint), unhex(b!.peer_fingerprint)))).toBe(b!.mac);
  });

  const meeting = async () => {
    const [offer, answer] = [await env.parseCard(unhex(v.session.offer)), await env.parseCard(unhex(v.session.answer))];
    return [await env.Meeting.of(0, unhex(v.session.offer_ephemeral_seed), offer, answer), await env.Meeting.of(1, unhex(v.session.answer_ephemeral_seed), offer, answer)] as const;
  };

  it("gives both sides one session, and each step once and in its turn", async () => {
    const [caller, callee] = await meeting();
    expect((await refusal(() => callee.initiate())).code).toBe("binding");
    expect((await refusal(() => caller.finish(new Uint8Array(1120)))).code).toBe("binding");
    const key = await caller.initiate();
    expect((await refusal(() => caller.initiate())).code).toBe("binding");
    const { enc, session } = await callee.respond(key);
    expect((await refusal(() => callee.respond(key))).code).toBe("binding");
    const mine = await caller.finish(enc);
    expect(new TextDecoder().decode(await session.open(await mine.seal(new TextEncoder().encode("hello"))))).toBe("hello");
    expect(mine.peer.equals((await cert(1)).root)).toBe(true);
    expect((await refusal(() => mine.reply)).code).toBe("closed");
    const low = new Uint8Array(key);
    low.fill(0, 1184);
    expect((await refusal(async () => (await meeting())[1].respond(low))).code).toBe("key");
  });

  it("refuses its own binding, and one over another certificate", async () => {
    const [caller, callee] = await meeting();
    const [a, b] = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)];
    callee.checkBinding(caller.binding(a, b), b, a);
    expect((await refusal(() => caller.checkBinding(caller.binding(a, b), a, b))).code).toBe("binding");
    expect((await refusal(() => callee.checkBinding(caller.binding(a, b), b, b))).code).toBe("binding");
  });
});

describe("what a browser says and what a card says", () => {
  const name = "0f8a1c1e-4b1d-4c55-9d0e-1f2a3b4c5d6e.local";
  const lines = [
    `candidate:1 1 udp 2113937151 ${name} 50000 typ host generation 0 ufrag x network-cost 999`, "candidate:2 1 udp 1 10.0.0.7 50001 typ host", "candidate:3 1 tcp 1 10.0.0.7 9 typ host tcptype active",
    "candidate:4 2 udp 1 10.0.0.7 50002 typ host", "candidate:5 1 udp 1 2001:DB8:0:0::7 50003 typ host", "candidate:6 1 udp 1 fe80::1 50004 typ host", "candidate:7 1 udp 1 10.0.0.7 50001 typ host",
    "candidate:8 1 udp 1 203.0.113.5 3478 typ relay raddr 0.0.0.0 rport 9", "candidate:9 1 udp 1 198.51.100.7 4 typ srflx raddr 10.0.0.7 rport 50001", "candidate:10 1 udp 1 printer.local 5 typ host",
    ...Array.from({ length: 12 }, (_, i) => `candidate:2${i} 1 udp 1 10.0.1.${i} 50000 typ host`),
  ];
  const sdp = lines.map((l) => `a=${l}\r\n`).join("");
  it("takes what others can use, the shortest way first, and keeps room for what others see", () => {
    const got = calling.cardCandidates(sdp, false);
    expect(got.slice(0, 3)).toEqual([{ type: "host", address: name, port: 50000 }, { type: "host", address: "10.0.0.7", port: 50001 }, { type: "host", address: "2001:db8::7", port: 50003 }]);
    expect(got.filter((c) => c.type === "host").length).toBe(8);
    expect(got.slice(-2)).toEqual([{ type: "srflx", address: "198.51.100.7", port: 4 }, { type: "relay", address: "203.0.113.5", port: 3478 }]);
    expect(calling.cardCandidates(sdp, true)).toEqual([{ type: "relay", address: "203.0.113.5", port: 3478 }]);
  });
  it("writes a description that is checked like every other", async () => {
    const card = await env.parseCard(unhex(v.good[0]!.signed));
    const text = calling.cardDescription(card, false);
    expect(calling.parseSdp(utf8(text))).toMatchObject({ ufrag: card.ufrag, pwd: card.pwd, setup: 3, fingerprint: card.fingerprint });
    expect(calling.cardLines(card, false).length).toBe(5);
    for (const l of calling.cardLines(card, false)) expect(calling.isNamed(l) || calling.parseCandidate(l).port > 0).toBe(true);
    expect(calling.cardLines(card, true).length).toBe(1);
  });
  it.each([["printer.local", false], [name, true], [`${name}.example`, false], ["0F8A1C1E-4B1D-4C55-9D0E-1F2A3B4C5D6E.LOCAL", true]])("%s as an address: %s", (n, good) => {
    expect(calling.isNamed(`candidate:1 1 udp 1 ${n} 5 typ host`)).toBe(good);
    expect(calling.isNamed(`candidate:1 1 udp 1 ${n} 5 typ relay`)).toBe(false);
  });
});

describe("moving codes", () => {
  const big = unhex(v.good[0]!.signed);
  const codes = env.cardQrs(big);
  it("are as many as are needed", () => {
    expect(codes.length).toBe(2);
    for (const c of codes) {
      expect(c.length).toBeLessThanOrEqual(env.maxQrText);
      expect(c).toMatch(/^[0-9A-Z $%*+\-./:]+$/);
    }
    const small = unhex(v.refused.find((r) => r.name === "good offer")!.signed);
    expect(env.cardQrs(small).length).toBeGreaterThan(0);
  });
  it("are put together in any order, with others seen between", () => {
    const p = new env.CardParts();
    expect(p.take("https://example.com")).toBeUndefined();
    expect(p.take(codes[1]!)).toBe("part");
    expect(p.take(codes[1]!)).toBe("part");
    expect([p.have, p.of]).toEqual([1, 2]);
    expect(hex(env.parseCardText(p.take(codes[0]!)!))).toBe(hex(big));
  });
  it("of two cards do not mix", () => {
    const other = env.cardQrs(unhex(v.good[0]!.signed.replace(/^../, "ff")));
    const p = new env.CardParts();
    expect(p.take(codes[0]!)).toBe("part");
    expect(p.take(other[1]!)).toBe("part");
    expect(p.have).toBe(1);
  });
  it("that were misread are read again", () => {
    const p = new env.CardParts();
    p.take(codes[0]!);
    const wrong = codes[1]!.slice(0, -1) + (codes[1]!.endsWith("A") ? "B" : "A");
    expect(p.take(wrong)).toBe("part");
    expect(p.have).toBe(0);
  });
});

it("reads a message of the channel and nothing else", async () => {
  const frame: Bytes = new Uint8Array(16384).fill(1);
  const b = env.marshalCardMessage({ case: "frame", value: { frame } });
  expect(b.length).toBeLessThanOrEqual(env.maxCardMessage);
  expect(env.parseCardMessage(b)).toEqual({ case: "frame", value: { frame } });
  for (const m of [{ case: "binding", value: { mac: new Uint8Array(31) } }, { case: "key", value: { value: new Uint8Array(1215).fill(1) } }, { case: "frame", value: { frame: new Uint8Array(1025) } }] as const) {
    expect((await refusal(() => env.marshalCardMessage(m))).code).toBe("malformed");
  }
  expect((await refusal(() => env.parseCardMessage(new Uint8Array(0)))).code).toBe("malformed");
});
