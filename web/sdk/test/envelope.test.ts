import { chacha20poly1305 } from "@noble/ciphers/chacha.js";
import { x25519 } from "@noble/curves/ed25519.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { Decrypter } from "age-encryption";
import { describe, expect, it } from "vitest";
import { concat, empty, hex, isZero, utf8, type Bytes } from "../src/bytes.ts";
import { decode, encode } from "../src/canon.ts";
import * as env from "../src/envelope/index.ts";
import { checkXWingEnc, openBox, recipientX25519, recipientXWing, sealBox, xwingPublic } from "../src/envelope/hpke.ts";
import { parseInner, signMessage } from "../src/envelope/message.ts";
import { AnswerMessage } from "../src/envelope/wire.ts";
import * as id from "../src/identity/index.ts";
import { context } from "../src/labels.ts";
import { codeWord, refusal, unbase64, unhex, vectors } from "./vectors.ts";

interface PartyVector {
  root_seed: string; device_seed: string; device_id: string; cert: string; list: string; route_tag: string; token: string;
  prekey_seed: string; prekey_id: string; hint: string; bundle: string;
}

class Party {
  readonly root: id.SeedSigner;
  readonly device: id.SeedSigner;
  readonly cert: id.DeviceCert;
  readonly list: id.DeviceList;
  readonly prekey: env.Prekey;
  readonly bundle: env.Bundle;
  readonly tag: Bytes;
  readonly token: Bytes;
  readonly contacts = new Map<string, env.Known>();
  now: number;
  opener: env.Opener;

  private constructor(
    v: PartyVector, now: number,
    made: { root: id.SeedSigner; device: id.SeedSigner; cert: id.DeviceCert; list: id.DeviceList; prekey: env.Prekey; bundle: env.Bundle },
  ) {
    this.now = now;
    this.root = made.root;
    this.device = made.device;
    this.cert = made.cert;
    this.list = made.list;
    this.prekey = made.prekey;
    this.bundle = made.bundle;
    this.tag = unhex(v.route_tag);
    this.token = unhex(v.token);
    this.opener = this.newOpener();
  }

  static async of(v: PartyVector, now: number): Promise<Party> {
    const list = await id.parseDeviceList(unhex(v.list));
    return new Party(v, now, {
      root: await id.SeedSigner.from(unhex(v.root_seed)), device: await id.SeedSigner.from(unhex(v.device_seed)), cert: await id.parseDeviceCert(unhex(v.cert)),
      list, prekey: await env.Prekey.from(unhex(v.prekey_seed), now), bundle: await env.parseBundle(unhex(v.bundle), list, now),
    });
  }

  get home(): id.Home { return this.list.homes[0]!; }
  get grant(): env.Grant { return { home: this.home, tag: this.tag, token: this.token, tokenEpoch: 1n, device: this.cert.deviceId }; }

  newOpener(): env.Opener {
    return new env.Opener({
      root: this.root.publicKey, device: this.cert.deviceId, tag: () => this.tag, now: () => this.now, ownList: () => this.list,
      prekey: (h) => (hex(h) === hex(this.prekey.hint) ? this.prekey : undefined),
      contact: (root) => this.contacts.get(root.hex) ?? { standing: "stranger", list: undefined },
      replay: new env.MemoryReplay(() => this.now),
    });
  }

  open(payload: Bytes): Promise<env.Opened> { return this.opener.open(payload, this.prekey.hint, false); }
}

async function world(v: { parties: readonly [PartyVector, PartyVector]; now_ms: number }): Promise<[Party, Party]> {
  const [a, b] = await Promise.all(v.parties.map((p) => Party.of(p, v.now_ms))) as [Party, Party];
  a.contacts.set(b.root.publicKey.hex, { standing: "accepted", list: b.list });
  b.contacts.set(a.root.publicKey.hex, { standing: "accepted", list: a.list });
  return [a, b];
}

const file = vectors<{
  parties: [PartyVector, PartyVector]; now_ms: number; padding: { body: string; size: number; block: string }[];
  envelope: {
    routing_seed: string; routing_public: string; destination: string; ttl: env.Ttl; aad: string; tag: string; token: string;
    collapse_key: string; hint: string; knock: boolean; box: string; id: string; marshalled_sha256: string;
  };
  hops_of_one_encapsulation: { name: string; ttl: env.Ttl; exported_key: string; nonce: string; box: string; accept: boolean }[];
  sealed: { signed: string; hash: string; message_id: string; text: string; payload_b64: string };
  queries: { operation: number; argument: string; response_key: string; box: string; salt: string; answer_message: string; answer_size: number; answer_box_sha256: string }[];
}>("envelope.json");

describe("two people", () => {
  it.each([0, 1] as const)("person %i has what the seeds give", async (i) => {
    const v = file.parties[i];
    const p = await Party.of(v, file.now_ms);
    expect(p.cert.deviceId.hex).toBe(v.device_id);
    expect(hex(p.prekey.id)).toBe(v.prekey_id);
    expect(hex(p.prekey.hint)).toBe(v.hint);
    expect(hex((await id.signDeviceCert(p.root, p.cert)).signed)).toBe(v.cert);
    expect(hex((await id.signDeviceList(p.root, p.list)).signed)).toBe(v.list);
    const b = await env.signBundle(p.prekey, p.device, p.root.publicKey, p.list.epoch, p.bundle.route);
    expect(hex(b.signed)).toBe(v.bundle);
  });
});

describe("envelope and hop", () => {
  const v = file.envelope;
  const payload = new Uint8Array(1024).map((_, i) => i);
  const destination = id.PeerId.fromBytes(unhex(v.destination));
  const e: env.Envelope = { destination, ttl: v.ttl, payload, hop: unhex(v.box) };

  it.each(file.padding)("pads $body to $size", (p) => {
    expect(hex(env.pad(p.size, unhex(p.body)))).toBe(p.block);
    expect(hex(env.unpad(unhex(p.block)))).toBe(p.body);
  });

  it("has the id, the bytes and the plaintext of the vector", async () => {
    expect(hex(await env.x25519Public(unhex(v.routing_seed)))).toBe(v.routing_public);
    expect(hex(env.hopAad(destination, v.ttl, payload))).toBe(v.aad);
    expect(hex(env.envelopeId(e))).toBe(v.id);
    const b = env.marshalEnvelope(e);
    expect(hex(sha256(b))).toBe(v.marshalled_sha256);
    expect(hex(env.envelopeId(env.parseEnvelope(b)))).toBe(v.id);
    const h = await env.openHop(e, destination, unhex(v.routing_seed));
    expect([hex(h.tag), hex(h.token), hex(h.collapse), hex(h.hint), h.knock]).toEqual([v.tag, v.token, v.collapse_key, v.hint, v.knock]);
  });

  it.each(file.hops_of_one_encapsulation)("one encapsulation: $name", async (h) => {
    const box = unhex(h.box);
    expect(hex((await recipientX25519(box.subarray(0, 32), unhex(v.routing_seed), context("hop"))).export(context("hopkey"), 32))).toBe(h.exported_key);
    const open = () => env.openHop({ ...e, ttl: h.ttl, hop: box }, destination, unhex(v.routing_seed));
    if (!h.accept) {
      await refusal(open);
      return;
    }
    expect(hex((await open()).tag)).toBe(v.tag);
    const plain = concat(unhex(v.tag), unhex(v.token), unhex(v.collapse_key), unhex(v.hint), new Uint8Array([0]));
    const again = await sealBox(unhex(h.exported_key), unhex(h.nonce), plain, env.hopAad(destination, h.ttl, payload));
    expect(hex(concat(box.subarray(0, 34), again))).toBe(h.box);
  });

  it("seals what it opens, and nothing on another payload, node or class (42, 43)", async () => {
    const hop = { tag: unhex(v.tag), token: unhex(v.token), hint: unhex(v.hint) };
    const made = await env.newEnvelope(unhex(v.routing_public), destination, env.Ttl.week, hop, payload);
    const secret = unhex(v.routing_seed);
    expect(hex((await env.openHop(made, destination, secret)).token)).toBe(v.token);
    const other = payload.slice();
    other[0]!++;
    await refusal(() => env.openHop({ ...made, payload: other }, destination, secret));
    await refusal(() => env.openHop({ ...made, ttl: env.Ttl.day }, destination, secret));
    const node = (await id.SeedSigner.generate()).publicKey.peerId();
    await refusal(() => env.openHop(made, node, secret));
    await refusal(() => env.openHop({ ...made, destination: node }, node, secret));
    await refusal(() => env.openHop({ ...made, hop: concat(made.hop.subarray(0, 33), new Uint8Array([1]), made.hop.subarray(34)) }, destination, secret));
  });

  it("shares an encapsulation between the frames of a session", async () => {
    const s = new env.HopSender(unhex(v.routing_public), destination, { tag: unhex(v.tag), token: unhex(v.token) });
    const [x, y] = [await s.envelope(payload), await s.envelope(payload)];
    expect(hex(x.hop.subarray(0, 32))).toBe(hex(y.hop.subarray(0, 32)));
    expect([hex(x.hop.subarray(32, 34)), hex(y.hop.subarray(32, 34))]).toEqual(["0000", "0001"]);
    for (const e of [x, y]) expect(hex((await env.openHop(e, destination, unhex(v.routing_seed))).tag)).toBe(v.tag);
  });

  it("ends an encapsulation after its last number", async () => {
    const s = new env.HopSender(unhex(v.routing_public), destination, { tag: unhex(v.tag), token: unhex(v.token) });
    for (let i = 0; i < env.maxHops - 1; i++) await s.envelope(payload);
    expect(hex((await s.envelope(payload)).hop.subarray(32, 34))).toBe("ffff");
    expect((await refusal(() => s.envelope(payload))).code).toBe("exhausted");
  });
});

describe("sealed message", () => {
  const v = file.sealed;

  it("is signed byte for byte, and opened", async () => {
    const [a, b] = await world(file);
    const { signed } = await signMessage(a.device, a.cert, { root: b.root.publicKey, device: b.cert.deviceId, prekeyId: b.prekey.id, tag: b.tag }, {
      body: { type: env.Type.note, text: v.text }, id: unhex(v.message_id), grant: a.grant, ownList: a.list, theirList: b.list,
      createdMs: parseInner(unhex(v.signed).subarray(64)).createdMs, expiresMs: parseInner(unhex(v.signed).subarray(64)).expiresMs,
    });
    expect(hex(signed)).toBe(v.signed);
    const o = await b.open(unbase64(v.payload_b64));
    expect(hex(o.hash)).toBe(v.hash);
    expect(o.content).toEqual({ type: env.Type.note, text: v.text });
    expect([o.list, o.echo, o.standing, hex(o.grant!.token)]).toEqual(["current", "current", "accepted", hex(a.token)]);
    expect((await refusal(() => b.open(unbase64(v.payload_b64)))).code).toBe("replay");
  });

  it("takes the smallest payload, and opens what it sealed", async () => {
    const [a, b] = await world(file);
    for (const [n, size] of [[10, 4096], [3000, 8192], [10000, 16384], [16384, 32768]] as const) {
      const s = await env.sealMessage(a.device, a.cert, b.bundle, {
        body: { type: env.Type.note, text: "x".repeat(n) }, createdMs: a.now, expiresMs: a.now + 1000, ownList: a.list, theirList: b.list,
      });
      expect(s.payload.length).toBe(size);
      expect(env.isSealed(s.payload)).toBe(true);
      expect((await b.open(s.payload)).hash).toEqual(sha256(s.signed));
    }
  });

  const refused = vectors<{ parties: [PartyVector, PartyVector]; now_ms: number; payloads: { name: string; reason: string; payload_b64: string }[] }>("envelope_refused.json");
  it.each(refused.payloads)("$name: $reason", async (p) => {
    const [, b] = await world(refused);
    const word = await codeWord(() => b.open(unbase64(p.payload_b64)));
    expect(word).toBe(p.reason);
  });

  it("drops what was changed, cut or lengthened (28)", async () => {
    const [, b] = await world(refused);
    const good = unbase64(refused.payloads[0]!.payload_b64);
    for (let i = 0; i < good.length; i += 97) {
      const bad = good.slice();
      bad[i]! ^= 1;
      await refusal(() => b.newOpener().open(bad, b.prekey.hint, false));
    }
    await refusal(() => b.open(good.slice(0, -1)));
    await refusal(() => b.open(concat(good, new Uint8Array(1))));
  });

  it("keeps a sender to its cap without forgetting (35), and the clock from going back (39)", async () => {
    let now = 1000;
    const r = new env.MemoryReplay(() => now);
    const dev = id.DeviceId.of((await id.SeedSigner.generate()).publicKey);
    const mid = (i: number) => concat(new Uint8Array(12), new Uint8Array([i >> 24, i >> 16, i >> 8, i]));
    for (let i = 0; i < env.replayStrangers; i++) expect(await r.seen(dev, mid(i), 2000, true)).toBe(false);
    expect((await refusal(() => r.seen(dev, mid(9999), 2000, true))).code).toBe("full");
    expect(await r.seen(dev, mid(0), 2000, false)).toBe(true);
    now = 2000;
    expect(await r.seen(dev, mid(9999), 3000, true)).toBe(false);
    let t = 50;
    const clock = new env.Clock(() => t, 100);
    expect([clock.now(), (t = 200, clock.now()), (t = 10, clock.now())]).toEqual([100, 200, 200]);
  });
});

describe("bodies", () => {
  interface Body { name: string; type: number; fields?: Record<string, unknown>; body: string }
  const f = vectors<{
    bodies: Body[]; bodies_refused: Body[]; session_messages: Body[]; session_messages_refused: Body[];
    hop_plaintexts: { name: string; plain: string; ttl: number; payload_size: number; accept: boolean }[]; bundle_list: string; now_ms: number;
    bundles: { name: string; accept: boolean; bundle: string }[]; max_lifetime_ms: Record<string, number>; who_may_send: { standing: env.Standing; types: number[] }[];
  }>("bodies.json");

  it.each(f.bodies)("$name is read and written again", async (v) => {
    const b = env.parseBody(v.type, unhex(v.body));
    expect(hex(env.marshalBody(b))).toBe(v.body);
    expect(await plainBody(b)).toEqual(v.fields ?? {});
  });
  it.each(f.bodies_refused)("$name is refused", async (v) => void (await refusal(() => env.parseBody(v.type, unhex(v.body)))));
  it.each(f.session_messages)("$name is read and written again", (v) => {
    const m = env.parseSessionMessage(unhex(v.body));
    expect(hex(env.marshalSessionMessage(m))).toBe(v.body);
    expect(plainSession(m)).toEqual(v.fields ?? {});
  });
  it.each(f.session_messages_refused)("$name is refused", async (v) => void (await refusal(() => env.parseSessionMessage(unhex(v.body)))));

  it.each(f.hop_plaintexts)("hop: $name, $accept", async (v) => {
    const read = () => env.checkHop(v.ttl, v.payload_size, env.parseHop(unhex(v.plain)));
    if (v.accept) read();
    else await refusal(read);
  });

  it.each(f.bundles)("bundle: $name, $accept", async (v) => {
    const list = await id.parseDeviceList(unhex(f.bundle_list));
    const read = () => env.parseBundle(unhex(v.bundle), list, f.now_ms);
    if (v.accept) expect(hex((await read()).signed)).toBe(v.bundle);
    else expect(["bundle", "list_epoch"]).toContain((await refusal(read)).code);
  });

  it("has the lifetimes and the senders of the table", () => {
    const names = Object.entries(env.Type).map(([k, n]) => [k.replace(/[A-Z]/g, (c) => `_${c}`).toUpperCase(), n] as const);
    expect(Object.fromEntries(names.map(([k, n]) => [k, env.maxLifetimeMs(n)]))).toEqual(f.max_lifetime_ms);
    for (const v of f.who_may_send) {
      expect([v.standing, Array.from({ length: 16 }, (_, t) => t).filter((t) => env.maySend(v.standing, t))]).toEqual([v.standing, v.types]);
    }
  });
});

function plainHome(h: id.Home) { return { domain: h.domain, peer_id: hex(h.peerId.bytes) }; }
function plainReply(r: env.ReplyAddress) {
  return { ...plainHome(r.home), route_tag: hex(r.tag), token: hex(r.token), ...(r.handle === undefined ? {} : { handle: hex(r.handle) }) };
}
async function plainBody(b: env.Body): Promise<Record<string, unknown>> {
  switch (b.type) {
    case env.Type.knock: case env.Type.knockAccept:
      return { ...(b.text === "" ? {} : { text: b.text }), ...(b.name === "" ? {} : { name: b.name }), ...plainHome(b.home) };
    case env.Type.note: return { ...(b.text === "" ? {} : { text: b.text }), ...(b.replyTo === undefined ? {} : { reply_to: hex(b.replyTo) }) };
    case env.Type.read: return { message_ids: b.ids.map(hex) };
    case env.Type.ring: {
      expect(hex(await xwingPublic(new Uint8Array(32).fill(0x91)))).toBe(hex(b.ephemeral));
      return { ephemeral_seed: "91".repeat(32), media: b.media, reply: plainReply(b.reply), collapse_key: hex(b.collapse) };
    }
    case env.Type.accept: return { ring_hash: hex(b.ringHash), enc_hash: hex(b.encHash), reply: plainReply(b.reply) };
    case env.Type.decline: case env.Type.busy: return { ring_hash: hex(b.ringHash), enc_hash: hex(b.encHash), reason: b.reason };
    case env.Type.cancel: return { ring_hash: hex(b.ringHash), reason: b.reason };
    case env.Type.listUpdate: return { list: hex(b.list) };
    case env.Type.tokenUpdate: case env.Type.compared: return {};
    case env.Type.contactSync:
      return {
        root_key: b.root.hex, ...plainHome(b.home), state: b.state === "accepted" ? 1 : 2, ...(b.name === "" ? {} : { name: b.name }),
        ...(b.grants.length === 0 ? {} : {
          grants: b.grants.map((g) => ({ ...plainHome(g.home), route_tag: hex(g.tag), token: hex(g.token), token_epoch: Number(g.tokenEpoch), device: g.device.hex })),
        }),
      };
  }
}
function plainSession(m: env.SessionMessage): Record<string, unknown> {
  const generation = m.generation === 0 ? {} : { generation: m.generation };
  switch (m.type) {
    case 2: case 3:
      return { sdp: new TextDecoder().decode(m.sdp), fingerprint: hex(m.fingerprint), ufrag: m.ufrag, setup: m.setup, ...generation };
    case 4: return { candidates: m.candidates, ...generation };
    case 6: return { reason: m.reason, ...generation };
    default: return generation;
  }
}

describe("queries", () => {
  it.each(file.queries)("operation $operation", async (v) => {
    const self = id.PeerId.fromBytes(unhex(file.envelope.destination));
    const secret = unhex(file.envelope.routing_seed);
    const q = await env.openQuery(unhex(v.box), self, secret);
    expect([q.operation, hex(q.argument), hex(q.responseKey)]).toEqual([v.operation, v.argument, v.response_key]);
    const answer = await env.openAnswer(q.operation, q.responseKey, q.hash, await sealRaw(v.operation, q, unhex(v.salt), unhex(v.answer_message)));
    expect(hex(encode(AnswerMessage, answer))).toBe(v.answer_message);
    const box = await env.sealAnswer(v.operation, q.responseKey, q.hash, unhex(v.salt), answer);
    expect([box.length, hex(sha256(box))]).toEqual([v.answer_size, v.answer_box_sha256]);

    const pending = await env.sealQuery(unhex(file.envelope.routing_public), self, v.operation, unhex(v.argument));
    expect(pending.box.length).toBe(env.querySize);
    const again = await env.openQuery(pending.box, self, secret);
    const theirs = await env.sealAnswer(v.operation, again.responseKey, again.hash, unhex(v.salt), answer);
    expect(await pending.open(theirs)).toEqual(answer);
    // The answer to another query does not open.
    await refusal(() => pending.open(box));
  });
});

async function sealRaw(operation: number, q: { responseKey: Bytes; hash: Bytes }, salt: Bytes, message: Bytes): Promise<Bytes> {
  return await env.sealAnswer(operation, q.responseKey, q.hash, salt, await env.openAnswer(operation, q.responseKey, q.hash,
    await env.sealAnswer(operation, q.responseKey, q.hash, salt, decodeAnswer(message))));
}
function decodeAnswer(b: Bytes): env.Answer { return decode(AnswerMessage, b, 16384); }

describe("session", () => {
  const v = vectors<{
    parties: [PartyVector, PartyVector]; now_ms: number; ephemeral_seed: string; signed_ring: string; ring_hash: string; ring_payload_b64: string;
    answer_payload_b64: string; signed_accept: string; hpke_info: string; secret: string; transcript: string; keys: Record<string, string>;
    stepped: Record<string, string>; frames: { sender_role: env.Role; stepped: boolean; recipient_route_tag: string; counter: number; body: string; frame_b64: string }[];
    channel_bindings: { role: env.Role; own_fingerprint: string; peer_fingerprint: string; mac: string }[];
    call_code: { nonce_a: string; nonce_b: string; commitment: string; code: string };
  }>("session.json");
  const keys = env.sessionKeys(unhex(v.secret), unhex(v.transcript));

  it("derives its keys", () => {
    const k = {
      i2r: keys.frame[0], r2i: keys.frame[1], hi: keys.handle[0], hr: keys.handle[1], media: keys.mediaSecret, file: keys.file,
      channel_binding: keys.binding, sas: keys.sas, media_i2r: keys.media[0], media_r2i: keys.media[1],
    };
    expect(Object.fromEntries(Object.entries(k).map(([n, b]) => [n, hex(b)]))).toEqual(v.keys);
    const [i, r] = [env.steppedKeys(keys, 0), env.steppedKeys(keys, 1)];
    expect({ i2r: hex(i.key), r2i: hex(r.key), hi: hex(i.handle), hr: hex(r.handle) }).toEqual(v.stepped);
  });

  it("comes from the ring and its answer", async () => {
    const [a, b] = await world(v);
    const ring = await b.open(unbase64(v.ring_payload_b64));
    expect(hex(ring.hash)).toBe(v.ring_hash);
    expect(hex(sha256(unhex(v.signed_ring)))).toBe(v.ring_hash);
    if (ring.content.type !== env.Type.ring) throw new Error("not a ring");
    const state = new env.RingState({
      payload: unbase64(v.ring_payload_b64), hash: ring.hash, collapse: ring.content.collapse, to: b.bundle, sessionId: ring.sessionId,
      expiresMs: ring.expiresMs, reply: ring.content.reply, seed: unhex(v.ephemeral_seed),
    });
    const answer = unbase64(v.answer_payload_b64);
    const info = concat(context("session"), ring.hash);
    expect(hex(info)).toBe(v.hpke_info);
    const c = await recipientXWing(answer.subarray(8, 1128), unhex(v.ephemeral_seed), info);
    expect(hex(env.unpad(await c.open(answer.subarray(1128), ring.content.reply.tag)))).toBe(v.signed_accept);
    expect(hex(c.export(context("session-secret"), 32))).toBe(v.secret);
    expect(hex(env.transcript(ring.hash, sha256(unhex(v.signed_accept))))).toBe(v.transcript);

    const done = await state.finish(answer, a.opener);
    expect(done.kind).toBe(env.Type.accept);
    const session = done.session!;
    expect(session.handles()).toEqual([v.keys["hr"], v.stepped["hr"]]);
    expect((await refusal(() => state.finish(answer, a.opener))).code).toBe("replay");
    const other = answer.slice();
    other[2000]!++;
    expect((await refusal(() => state.finish(other, a.opener))).code).toBe("ring_over");
    for (const f of v.frames.filter((f) => f.sender_role === env.Role.responder)) expect(hex(await session.open(unbase64(f.frame_b64)))).toBe(f.body);
    const bind = v.channel_bindings;
    expect(hex(session.binding(unhex(bind[0]!.own_fingerprint), unhex(bind[0]!.peer_fingerprint)))).toBe(bind[0]!.mac);
  });

  it.each(v.frames)("frame $counter of role $sender_role, stepped $stepped", async (f) => {
    const step = env.steppedKeys(keys, f.sender_role);
    const [key, handle] = f.stepped ? [step.key, step.handle] : [keys.frame[f.sender_role], keys.handle[f.sender_role]];
    const out = new env.Direction(key, handle, unhex(f.recipient_route_tag), f.counter);
    expect(hex(await out.seal(unhex(f.body)))).toBe(hex(unbase64(f.frame_b64)));
    expect(hex(await new env.Direction(key, handle, unhex(f.recipient_route_tag)).open(unbase64(f.frame_b64)))).toBe(f.body);
  });

  it("stops after the last counter (51)", async () => {
    const d = new env.Direction(keys.frame[0], keys.handle[0], new Uint8Array(16), 0xffffffff);
    await d.seal(empty);
    expect((await refusal(() => d.seal(empty))).code).toBe("exhausted");
  });

  it("binds the channel, and a reflected binding does not verify (55)", () => {
    for (const b of v.channel_bindings) {
      expect(hex(env.bind(keys, b.role, unhex(b.own_fingerprint), unhex(b.peer_fingerprint)))).toBe(b.mac);
    }
  });

  it("gives the call code, and fails for another nonce (58)", async () => {
    const c = v.call_code;
    const sas = unhex(v.keys["sas"]!);
    const pair = () => [new env.CallCode(0, sas, unhex(c.nonce_a)), new env.CallCode(1, sas, unhex(c.nonce_b))] as const;
    const [a, b] = pair();
    const commitment = a.commit();
    expect(hex(commitment)).toBe(c.commitment);
    const opened = a.reveal(b.answer(commitment));
    expect([opened.code, b.finish(opened.nonce)]).toEqual([c.code, c.code]);
    const [x, y] = pair();
    x.reveal(y.answer(x.commit()));
    expect((await refusal(() => y.finish(new Uint8Array(32)))).code).toBe("call_code");
    expect((await refusal(() => y.finish(unhex(c.nonce_a)))).code).toBe("call_code");
    expect((await refusal(() => x.commit())).code).toBe("call_code");
  });

  async function call(): Promise<{ a: Party; b: Party; caller: env.Session; callee: env.Session; ring: env.RingState; opened: env.Opened }> {
    const [a, b] = await world(v);
    const ring = await env.newRing(a.device, a.cert, b.bundle, {
      media: 1, sessionId: new Uint8Array(16).fill(9), reply: { home: a.home, tag: a.tag, token: a.token }, nowMs: a.now, ownList: a.list, theirList: b.list,
    });
    expect(ring.payload.length).toBe(4096);
    const opened = await b.open(ring.payload);
    const { payload, session } = await env.answerRing(b.device, b.cert, opened, {
      kind: env.Type.accept, reply: { home: b.home, tag: b.tag, token: b.token }, nowMs: b.now, ownList: b.list, callerList: a.list,
    });
    const done = await ring.finish(payload, a.opener);
    return { a, b, ring, opened, caller: done.session!, callee: session! };
  }

  it("carries frames both ways, before and after the step, and each once (50)", async () => {
    const { caller, callee } = await call();
    const early = await caller.seal(utf8("offer"));
    expect(new TextDecoder().decode(await callee.open(early))).toBe("offer");
    expect((await refusal(() => callee.open(early))).code).toBe("replay");
    expect((await refusal(() => caller.open(early))).code).toBe("session");
    const late = await callee.seal(utf8("on its way"));
    caller.step();
    expect(new TextDecoder().decode(await callee.open(await caller.seal(utf8("stepped"))))).toBe("stepped");
    callee.step();
    expect(new TextDecoder().decode(await caller.open(await callee.seal(utf8("answer"))))).toBe("answer");
    expect(new TextDecoder().decode(await caller.open(late))).toBe("on its way");
    caller.forget();
    const old = caller.handles();
    expect(old).toHaveLength(1);
    expect([hex(caller.mediaKeys().send), hex(caller.fileKey())]).toEqual([hex(callee.mediaKeys().receive), hex(callee.fileKey())]);
    const [f, g] = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)];
    callee.checkBinding(caller.binding(f, g), g, f);
    expect((await refusal(() => caller.checkBinding(caller.binding(f, g), f, g))).code).toBe("binding");
    caller.close();
    expect((await refusal(() => caller.seal(empty))).code).toBe("closed");
  });

  it("keeps a window of 64", async () => {
    const { caller, callee } = await call();
    const frames = await Promise.all(Array.from({ length: 70 }, (_, i) => caller.seal(utf8(String(i)))));
    await callee.open(frames[69]!);
    expect((await refusal(() => callee.open(frames[5]!))).code).toBe("replay");
    expect(new TextDecoder().decode(await callee.open(frames[6]!))).toBe("6");
    expect((await refusal(() => callee.open(frames[6]!))).code).toBe("replay");
  });

  it("takes no answer of another ring or with another encapsulation (46, 49)", async () => {
    const one = await call();
    const two = await call();
    const { payload } = await env.answerRing(two.b.device, two.b.cert, two.opened, {
      kind: env.Type.decline, reply: { home: two.b.home, tag: two.b.tag, token: two.b.token }, nowMs: two.b.now, ownList: two.b.list, callerList: undefined,
    });
    const fresh = await env.newRing(one.a.device, one.a.cert, one.b.bundle, {
      media: 0, sessionId: new Uint8Array(16).fill(8), reply: { home: one.a.home, tag: one.a.tag, token: one.a.token }, nowMs: one.a.now, ownList: one.a.list,
    });
    await refusal(() => fresh.finish(concat(fresh.handle, payload.subarray(8)), one.a.opener));
    const opened = await one.b.newOpener().open(fresh.payload, one.b.prekey.hint, false);
    const good = await env.answerRing(one.b.device, one.b.cert, opened, {
      kind: env.Type.busy, reply: { home: one.b.home, tag: one.b.tag, token: one.b.token }, nowMs: one.b.now, ownList: one.b.list, callerList: undefined,
    });
    const bad = good.payload.slice();
    bad[20]!++;
    await refusal(() => fresh.finish(bad, one.a.opener));
    const done = await fresh.finish(good.payload, one.a.opener);
    expect([done.kind, done.reason, done.session]).toEqual([env.Type.busy, env.Reason.busy, undefined]);
  });

  it("starts no session without the caller's list, or after the ring's end", async () => {
    const { b, a, opened } = await call();
    const c = { kind: env.Type.accept, reply: { home: b.home, tag: b.tag, token: b.token }, nowMs: b.now, ownList: b.list } as const;
    expect((await refusal(() => env.answerRing(b.device, b.cert, opened, { ...c, callerList: undefined }))).code).toBe("unverified");
    expect((await refusal(() => env.answerRing(b.device, b.cert, opened, { ...c, callerList: a.list, nowMs: b.now + 61_000 }))).code).toBe("time");
    const moved = { ...a.list, homes: [{ ...a.home, domain: "elsewhere.example" }] };
    expect((await refusal(() => env.answerRing(b.device, b.cert, opened, { ...c, callerList: moved }))).code).toBe("unverified");
  });

  it("seals a CANCEL to the same device", async () => {
    const { a, b, ring } = await call();
    const payload = await ring.sealCancel(a.device, a.cert, b.bundle, env.Reason.answeredElsewhere, { nowMs: a.now, ownList: a.list, theirList: b.list });
    expect((await b.open(payload)).content).toEqual({ type: env.Type.cancel, ringHash: ring.hash, reason: env.Reason.answeredElsewhere });
  });
});

describe("vectors of others", () => {
  it("age, hybrid: 27", async () => {
    const list = vectors<{ name: string; expect: string; payload: string | null; identity: string | string[]; file_b64: string }[]>("envelope/testdata/cctv_age_hybrid.json");
    expect(list).toHaveLength(27);
    for (const v of list) {
      const f = unbase64(v.file_b64);
      const identities = [v.identity].flat().flatMap((s) => s.split("\n")).filter((s) => s.startsWith("AGE-SECRET-KEY-"));
      const d = new Decrypter();
      identities.forEach((s) => d.addIdentity(s));
      let plain: Uint8Array | undefined;
      try {
        plain = await d.decrypt(f);
      } catch { /* judged below */ }
      expect([v.name, plain !== undefined]).toEqual([v.name, v.expect === "success"]);
      if (plain !== undefined) expect(hex(sha256(plain))).toBe(v.payload);
    }
  });

  it("X25519: 179, of which 31 give zero", async () => {
    const f = vectors<{ testGroups: { tests: { tcId: number; public: string; private: string; shared: string; result: string }[] }[] }>("envelope/testdata/wycheproof_x25519.json");
    let [n, zero] = [0, 0];
    for (const t of f.testGroups.flatMap((g) => g.tests)) {
      n++;
      const pub = unhex(t.public);
      if (isZero(unhex(t.shared))) {
        zero++;
        await refusal(() => id.checkX25519(pub));
        await refusal(() => checkXWingEnc(concat(new Uint8Array(1088), pub)));
        const dest = (await id.SeedSigner.generate()).publicKey.peerId();
        await refusal(() => env.newEnvelope(pub, dest, env.Ttl.live, { tag: new Uint8Array(16) }, new Uint8Array(1024)));
        continue;
      }
      expect([t.tcId, hex(x25519.getSharedSecret(unhex(t.private), pub))]).toEqual([t.tcId, t.shared]);
    }
    expect([n, zero]).toEqual([179, 31]);
  });

  it("ChaCha20-Poly1305: 211", async () => {
    const f = vectors<{ testGroups: { tests: { tcId: number; key: string; iv: string; aad: string; msg: string; ct: string; tag: string; result: string }[] }[] }>(
      "envelope/testdata/wycheproof_chacha20_poly1305.json");
    let n = 0;
    for (const t of f.testGroups.flatMap((g) => g.tests)) {
      n++;
      const [key, iv, aad] = [unhex(t.key), unhex(t.iv), unhex(t.aad)];
      const box = concat(unhex(t.ct), unhex(t.tag));
      if (t.result === "invalid") {
        if (iv.length === 12) await refusal(() => openBox(key, iv, box, aad));
        else expect(() => chacha20poly1305(key, iv, aad)).toThrow();
        continue;
      }
      expect([t.tcId, hex(await openBox(key, iv, box, aad))]).toEqual([t.tcId, t.msg]);
      expect(hex(await sealBox(key, iv, unhex(t.msg), aad))).toBe(hex(box));
    }
    expect(n).toBe(211);
  });
});
