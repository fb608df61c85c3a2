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
import * as file from "../../src/transfer/index.ts";

export interface Files {
  readonly wycheproof: { testGroups: { publicKey: { pk: string }; tests: { tcId: number; msg: string; sig: string; result: string }[] }[] };
  readonly edge: { number: number; key: string; sig: string; msg: string }[];
  readonly objects: { accepted: { type: string; signed: string }[]; refused: { type: string; signed: string }[] };
  readonly envelope: { parties: { prekey_seed: string; prekey_id: string; root_seed: string; list: string }[]; sealed: { signed: string; payload_b64: string }; envelope: { routing_seed: string; routing_public: string }; hops_of_one_encapsulation: { exported_key: string; box: string }[] };
  readonly derivation: { derived: { name: string; mnemonic: string; passphrase: string; account: number; bip39_seed: string; root_seed: string; backup_seed: string; storage_key: string }[] };
  readonly files: { files: { name: string; size: number; fill: number; root: string; file_id: string; file_key: string; attempt: string; sender: string; from_unit: number; messages: { sha256: string }[] }[] };
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

/** Whether a file is cut into the chunks of the vectors, and is put together from them and from no others. */
async function goesThrough(v: Files["files"]["files"][number]): Promise<boolean> {
  const layout = new file.Layout(v.size);
  const units = Array.from({ length: layout.units }, (_, u) => new Uint8Array(layout.unitLength(u)).fill(v.fill));
  const hashes = await Promise.all(units.map(file.digest));
  const root = await file.rootOf(hashes);
  const [fileId, attempt] = [file.fileIdOf(v.name, v.size, root), unhex(v.attempt)];
  const key = file.chunkKey(unhex(v.file_key), v.sender === "initiator" ? 0 : 1, fileId, attempt);
  const box = () => file.ChunkBox.make({ key, fileId, attempt, size: v.size });
  const cutter = new file.Cutter(layout, await box(), v.from_unit);
  const messages: Uint8Array<ArrayBuffer>[] = [];
  for (let u = v.from_unit; u < layout.units; u++) messages.push(...await cutter.unit(units[u]!, hashes[u]!));
  for await (const piece of cutter.end(root)) messages.push(...piece);
  const sums = (await Promise.all(messages.map(file.digest))).map(hex);
  if (hex(root) !== v.root || hex(fileId) !== v.file_id || sums.join() !== v.messages.map((m) => m.sha256).join()) return false;
  const [right, wrong] = await Promise.all([1, 2].map(async () => new file.Assembler(layout, await box(), root, hashes.slice(0, v.from_unit))));
  const bad = messages[0]!.slice();
  bad[bad.length - 1]! ^= 1;
  if (await takes(() => wrong!.take(file.parseChunk(bad), () => undefined))) return false;
  let whole = false;
  for (const m of messages) whole = await right!.take(file.parseChunk(m), () => undefined);
  return whole;
}

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
  for (const v of f.derivation.derived) {
    const of = [v.mnemonic, v.passphrase, v.account] as const;
    judge(`seed of ${v.name}`, hex(await id.bip39Seed(v.mnemonic, v.passphrase)) === v.bip39_seed);
    const derived = [(await id.deriveRoot(...of)).seed(), await id.deriveBackupSeed(...of), await id.deriveStorageKey(...of)].map(hex);
    judge(`keys of ${v.name}`, derived.join() === [v.root_seed, v.backup_seed, v.storage_key].join());
  }
  for (const v of f.files.files) judge(`file ${v.name} from ${v.from_unit}`, await goesThrough(v));
  const seed = new Uint8Array(32).fill(5);
  judge("sealed here", hex(await openAge(seed, await sealAge(await xwingPublic(seed), utf8("x")))) === "78");
  judge("opened by nobody else", !await takes(async () => openAge(new Uint8Array(32).fill(6), await sealAge(await xwingPublic(seed), utf8("x")))));
  const names = ["ed25519", "x25519", "mlkem", "aead"] as const;
  const native = (await Promise.all(names.map(async (n) => (await works(n) ? [n] : [])))).flat();
  return { wrong, judged, native };
}

export interface Page { run: typeof run }
(globalThis as unknown as Page).run = run;
