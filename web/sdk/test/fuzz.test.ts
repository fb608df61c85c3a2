// Every reader of outside bytes, with changed, cut and lengthened input: it gives a value or a TrunklineError, and
// nothing else; an error of another kind would end the client.

import { describe } from "vitest";
import { base32, base58, base64, base64url } from "../src/base.ts";
import { utf8, type Bytes } from "../src/bytes.ts";
import * as calling from "../src/call/index.ts";
import { openApproval, parseDeviceRequest, sealApproval, deviceRequest } from "../src/client/devices.ts";
import * as env from "../src/envelope/index.ts";
import { openAge, sealAge } from "../src/envelope/age.ts";
import { xwingPublic } from "../src/envelope/hpke.ts";
import { parseInner } from "../src/envelope/message.ts";
import * as id from "../src/identity/index.ts";
import * as link from "../src/link/index.ts";
import { parseHeader } from "../src/sframe.ts";
import * as file from "../src/transfer/index.ts";
import { draw, fuzz, seed, text } from "./fuzzing.ts";
import { unhex, vectors } from "./vectors.ts";

const bytesOf = (list: readonly { bytes?: string; body?: string; signed?: string; plain?: string }[]) => list.map((v) => unhex(v.bytes ?? v.body ?? v.signed ?? v.plain ?? ""));

describe(`readers, seed ${seed}`, async () => {
  const frames = vectors<{ client_frames: { bytes: string }[]; node_frames: { bytes: string }[] }>("link.json");
  fuzz("node frame", link.parseNodeFrame, bytesOf(frames.node_frames).filter((b) => b.length < 2000));
  fuzz("client frame", link.parseClientFrame, bytesOf(frames.client_frames));

  const bodies = vectors<{ bodies: { type: number; body: string }[]; session_messages: { body: string }[]; hop_plaintexts: { plain: string }[]; bundle_list: string; now_ms: number; bundles: { bundle: string }[] }>("bodies.json");
  fuzz("body", (b) => env.parseBody(draw(14), b), bytesOf(bodies.bodies));
  for (const v of bodies.bodies) fuzz(`body of type ${v.type}`, (b) => env.parseBody(v.type, b), [unhex(v.body)], 150);
  fuzz("session message", env.parseSessionMessage, bytesOf(bodies.session_messages));
  fuzz("hop", env.parseHop, bytesOf(bodies.hop_plaintexts));
  const list = await id.parseDeviceList(unhex(bodies.bundle_list));
  fuzz("bundle", (b) => env.parseBundle(b, list, bodies.now_ms), bodies.bundles.map((v) => unhex(v.bundle)), 200);

  const objects = vectors<{ accepted: { type: string; signed: string }[] }>("identity_objects.json").accepted;
  const readers: Record<string, (b: Bytes) => unknown> = {
    DeviceCert: id.parseDeviceCert, DeviceList: id.parseDeviceList, NodeDescriptor: id.parseDescriptor, DomainDocument: id.parseDomain, DomainHandover: id.parseHandover,
  };
  for (const [type, read] of Object.entries(readers)) fuzz(type, read, bytesOf(objects.filter((o) => o.type === type)), 300);

  const e0 = unhex("00000102030405fffefdfc");
  const sealed = vectors<{ sealed: { signed: string }; envelope: { box: string; destination: string } }>("envelope.json");
  fuzz("message", (b) => parseInner(b), [unhex(sealed.sealed.signed).subarray(64)]);
  const e = { destination: id.PeerId.fromBytes(unhex(sealed.envelope.destination)), hop: unhex(sealed.envelope.box), ttl: env.Ttl.week, payload: new Uint8Array(1024) };
  const file0 = await sealAge(await xwingPublic(new Uint8Array(32)), env.pad(64, utf8("x")));
  fuzz("sealed payload", (b) => openAge(new Uint8Array(32), b), [file0], 60);
  fuzz("kept list", id.readKeptList, [unhex(bodies.bundle_list)], 300);
  for (const [name, base] of Object.entries({ base32, base58, base64, base64url })) fuzz(name, text(base.decode), [utf8(base.encode(e0))]);
  fuzz("envelope", env.parseEnvelope, [env.marshalEnvelope(e)]);
  fuzz("padding", env.unpad, [env.pad(64, utf8("x"))]);

  fuzz("SFrame header", parseHeader, [unhex("00"), unhex("9901234567"), unhex("ffffffffffffffffffffffffffffffffff")]);
  const attempt16 = new Uint8Array(16).fill(1);
  fuzz("file control", file.parseControl, (["accept", "done"] as const).map((kind) => file.marshalControl(kind === "accept" ? { kind, attempt: attempt16, unit: 3n } : { kind, attempt: attempt16 })));
  fuzz("chunk", file.parseChunk, [new Uint8Array(100)]);
  fuzz("file name", text(file.cleanName), [utf8("../a b\u202e.exe"), utf8("CON.txt"), utf8("ä".repeat(200))]);
  fuzz("control message", calling.parseControlMessage, [calling.marshalControlMessage({ case: "leg", value: { kind: 2 } }), calling.marshalControlMessage({ case: "binding", value: { mac: new Uint8Array(32).fill(1) } })]);
  const sdp = `v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\na=fingerprint:${calling.formatFingerprint(new Uint8Array(32))}\r\na=ice-ufrag:abcd\r\na=ice-pwd:aaaaaaaaaaaaaaaaaaaaaaaa\r\na=setup:active\r\nm=audio 9 X 0\r\na=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n`;
  fuzz("description", (b) => [calling.parseSdp(b), calling.cleanDescription(b, true)], [utf8(sdp)]);
  fuzz("candidate", text(calling.parseCandidate), ["candidate:1 1 udp 1 192.0.2.1 9 typ host", "candidate:1 1 udp 1 2001:db8::1 9 typ relay raddr :: rport 9 ufrag x", "candidate:1 1 udp 1 1::1.2.3.4 9 typ srflx"].map(utf8), 6000);

  const cards = vectors<{ good: { signed: string; link: string; qr: string }[]; refused: { signed: string }[]; session: { xwing_key: string } }>("cards.json");
  fuzz("card", env.parseCard, bytesOf([...cards.good, ...cards.refused]), 600);
  fuzz("text of a card", text(env.parseCardText), cards.good.flatMap((c) => [utf8(c.link), utf8(c.qr)]));
  fuzz("address of a card", env.parseCardCandidate, ["01c0000207c350", "1120010db8000000000000000000000007c352", "214d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4dc353"].map(unhex));
  const codes = new env.CardParts();
  fuzz("code of a card", text((s) => codes.take(s)), env.cardQrs(unhex(cards.good[0]!.signed)).map(utf8));
  fuzz("card message", env.parseCardMessage, [env.marshalCardMessage({ case: "key", value: { value: unhex(cards.session.xwing_key) } }), env.marshalCardMessage({ case: "binding", value: { mac: new Uint8Array(32).fill(1) } })]);

  const key = (await id.SeedSigner.generate()).publicKey;
  fuzz("id", text(id.parseId), [utf8(key.id())]);
  fuzz("address", text(id.parseAddress), [utf8(`${key.id()}@a.example/${key.peerId()}`)]);
  fuzz("phrase", text(id.normalizePhrase), [utf8(id.generatePhrase(12))], 300);
  fuzz("invite", text(link.parseInvite), [utf8("https://node.example/#invite=abc"), utf8("http://[::1]:7420/#invite=%41")]);
  const request = await deviceRequest(key);
  fuzz("device request", text(parseDeviceRequest), [utf8(request.text)], 300);
  const approval = await sealApproval(parseDeviceRequest(request.text), list, { url: "https://a.example", domain: "a.example", peerId: list.homes[0]!.peerId }, []);
  fuzz("approval", text((s) => openApproval(s, key, request.secret)), [utf8(approval)], 60);
});
