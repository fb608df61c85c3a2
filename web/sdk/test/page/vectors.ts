// What the test of the vectors runs in a browser: each family of the vectors that rests on a primitive, with whatever
// this browser has, or with the fallback alone.

import { hex, unhex, utf8 } from "../../src/bytes.ts";
import { onlyFallback } from "../../src/crypto/index.ts";
import { works } from "../../src/crypto/native.ts";
import { openAge, sealAge } from "../../src/envelope/age.ts";
import { recipientX25519, recipientXWing, xwingPublic } from "../../src/envelope/hpke.ts";
import * as env from "../../src/envelope/index.ts";
import { TrunklineError } from "../../src/errors.ts";
import * as id from "../../src/identity/index.ts";
import { context } from "../../src/labels.ts";

export interface Files {
  readonly wycheproof: { testGroups: { publicKey: { pk: string }; tests: { tcId: number; msg: string; sig: string; result: string }[] }[] };
  readonly edge: { number: number; key: string; sig: string; msg: string }[];
  readonly objects: { accepted: { type: string; signed: string }[]; refused: { type: string; signed: string }[] };
  readonly envelope: { parties: { prekey_seed: string; prekey_id: string; root_seed: string; list: string }[]; sealed: { signed: string; payload_b64: string }; envelope: { routing_seed: string; routing_public: string }; hops_of_one_encapsulation: { exported_key: string; box: string }[] };
  readonly session: { ephemeral_seed: string; answer_payload_b64: string; hpke_info: string; secret: string };
}

const readers: Record<string, (b: Uint8Array) => Promise<unknown>> = {
  DeviceCert: id.parseDeviceCert, DeviceList: id.parseDeviceList, NodeDescriptor: id.parseDescriptor, DomainDocument: id.parseDomain, DomainHandover: id.parseHandover,
};

async function takes(f: () => unknown): Promise<boolean> {
  try {
    await f();
    return true;
  } catch (err) {
    if (err instanceof TrunklineError) return false;
    throw err;
  }
}

const bytesOf = (base64: string) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));

/** What was judged wrongly, by name; and what of the primitives is the browser's own. */
async function run(f: Files, fallback: boolean): Promise<{ wrong: string[]; judged: number; native: string[] }> {
  if (fallback) await onlyFallback();
  const wrong: string[] = [];
  let judged = 0;
  const judge = (name: string, good: boolean) => {
    judged++;
    if (!good) wrong.push(name);
  };
  for (const g of f.wycheproof.testGroups) {
    const key = id.PublicKey.check(unhex(g.publicKey.pk));
    for (const t of g.tests) judge(`wycheproof ${t.tcId}`, await id.verifyBytes(key, unhex(t.msg), unhex(t.sig)) === (t.result === "valid"));
  }
  for (const v of f.edge) {
    const good = await takes(() => id.PublicKey.check(unhex(v.key))) && await id.verifyBytes(id.PublicKey.check(unhex(v.key)), utf8(v.msg), unhex(v.sig));
    judge(`edge ${v.number}`, good === (v.number === 304 || v.number === 305));
  }
  for (const [i, o] of f.objects.accepted.entries()) judge(`accepted ${i}`, await takes(() => readers[o.type]!(unhex(o.signed))));
  for (const [i, o] of f.objects.refused.entries()) judge(`refused ${i}`, !await takes(() => readers[o.type]!(unhex(o.signed))));
  for (const p of f.envelope.parties) {
    judge("prekey", hex((await env.Prekey.from(unhex(p.prekey_seed), 0)).id) === p.prekey_id);
    const root = await id.SeedSigner.from(unhex(p.root_seed));
    const list = await id.parseDeviceList(unhex(p.list));
    judge("list", hex((await id.signDeviceList(root, list)).signed) === p.list);
  }
  judge("sealed", hex(await env.openSealed(bytesOf(f.envelope.sealed.payload_b64), await env.Prekey.from(unhex(f.envelope.parties[1]!.prekey_seed), 0))) === f.envelope.sealed.signed);
  const routing = unhex(f.envelope.envelope.routing_seed);
  judge("routing key", hex(await env.x25519Public(routing)) === f.envelope.envelope.routing_public);
  for (const h of f.envelope.hops_of_one_encapsulation) {
    judge("hop", hex((await recipientX25519(unhex(h.box).subarray(0, 32), routing, context("hop"))).export(context("hopkey"), 32)) === h.exported_key);
  }
  const c = await recipientXWing(bytesOf(f.session.answer_payload_b64).subarray(8, 1128), unhex(f.session.ephemeral_seed), unhex(f.session.hpke_info));
  judge("session", hex(c.export(context("session-secret"), 32)) === f.session.secret);
  const seed = new Uint8Array(32).fill(5);
  judge("sealed here", hex(await openAge(seed, await sealAge(await xwingPublic(seed), utf8("x")))) === "78");
  judge("opened by nobody else", !await takes(async () => openAge(new Uint8Array(32).fill(6), await sealAge(await xwingPublic(seed), utf8("x")))));
  const names = ["ed25519", "x25519", "mlkem", "aead"] as const;
  const native = (await Promise.all(names.map(async (n) => (await works(n) ? [n] : [])))).flat();
  return { wrong, judged, native };
}

export interface Page { run: typeof run }
(globalThis as unknown as Page).run = run;
