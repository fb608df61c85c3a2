import { ed25519 } from "@noble/curves/ed25519.js";
import { entropyToMnemonic, mnemonicToEntropy, validateMnemonic } from "@scure/bip39";
import { wordlist } from "@scure/bip39/wordlists/english.js";
import { describe, expect, it } from "vitest";
import { empty, hex, isZero } from "../src/bytes.ts";
import { decode, encode, type Fields, type Schema } from "../src/canon.ts";
import { isCode, TrunklineError } from "../src/errors.ts";
import * as id from "../src/identity/index.ts";
import { DeviceCertMessage, DeviceListMessage, HomeMessage } from "../src/identity/wire.ts";
import { context, contexts } from "../src/labels.ts";
import { codeWord, refusal, unhex, vectors, vectorText } from "./vectors.ts";

describe("phrases", () => {
  const f = vectors<{
    derived: {
      name: string; mnemonic: string; passphrase: string; account: number; normal_form: string; bip39_seed: string; root_seed: string;
      public_key: string; id: string; peer_id: string; fingerprint: string; backup_seed: string; storage_key: string;
    }[];
    refused: { name: string; mnemonic: string; wrong_word?: number }[];
    unhardened_path_refused: string;
  }>("identity_derivation.json");

  it.each(f.derived)("$name gives its key", async (v) => {
    expect(id.normalizePhrase(v.mnemonic)).toBe(v.normal_form);
    expect(hex(await id.bip39Seed(v.mnemonic, v.passphrase))).toBe(v.bip39_seed);
    const root = await id.deriveRoot(v.mnemonic, v.passphrase, v.account);
    expect(hex(root.seed())).toBe(v.root_seed);
    expect(root.publicKey.hex).toBe(v.public_key);
    expect(root.publicKey.id()).toBe(v.id);
    expect(root.publicKey.peerId().toString()).toBe(v.peer_id);
    expect(root.publicKey.fingerprint()).toBe(v.fingerprint);
    expect(hex(await id.deriveBackupSeed(v.mnemonic, v.passphrase, v.account))).toBe(v.backup_seed);
    expect(hex(await id.deriveStorageKey(v.mnemonic, v.passphrase, v.account))).toBe(v.storage_key);
  });

  it.each(f.refused)("$name is refused", async (v) => {
    const err = await refusal(() => id.normalizePhrase(v.mnemonic));
    expect(err.code).toBe("phrase");
    expect(err instanceof id.WordError ? err.position : undefined).toBe(v.wrong_word);
  });

  it("has hardened steps only", async () => {
    expect((await refusal(() => id.derivePath(new Uint8Array(64), f.unhardened_path_refused))).code).toBe("phrase");
  });

  it("follows SLIP-0010", async () => {
    const { vectors: list } = vectors<{ vectors: { seed: string; chain: { path: string; chainCode: string; private: string; public: string }[] }[] }>(
      "identity/testdata/slip0010_ed25519.json");
    let seen = 0;
    for (const v of list) {
      for (const step of v.chain) {
        const n = await id.derivePath(unhex(v.seed), step.path);
        expect([hex(n.key), hex(n.chain)]).toEqual([step.private, step.chainCode]);
        expect(hex(ed25519.getPublicKey(n.key))).toBe(step.public);
        seen++;
      }
    }
    expect(seen).toBeGreaterThan(10);
  });

  it("follows BIP39", async () => {
    const f = vectors<{ passphrase: string; english: { mnemonic: string; seed: string }[] }>("identity/testdata/bip39_english.json");
    let seen = 0;
    for (const { mnemonic: phrase, seed } of f.english) {
      const words = phrase.split(" ").length;
      if (words !== 12 && words !== 24) continue;
      expect(hex(await id.bip39Seed(phrase, f.passphrase))).toBe(seed);
      seen++;
    }
    expect(seen).toBe(16);
  });

  it("draws phrases that it and others read, each of its own", () => {
    for (const n of [12, 24] as const) {
      const drawn = Array.from({ length: 200 }, () => id.generatePhrase(n));
      for (const p of drawn) {
        expect(p.split(" ")).toHaveLength(n);
        expect(id.normalizePhrase(p)).toBe(p);
        expect(entropyToMnemonic(mnemonicToEntropy(p, wordlist), wordlist)).toBe(p);
      }
      expect(new Set(drawn).size).toBe(drawn.length);
    }
  });

  it("refuses what another reader refuses: any other last word but those with its checksum", async () => {
    for (const n of [12, 24] as const) {
      const first = id.generatePhrase(n).split(" ").slice(0, -1);
      const refused = await Promise.all(wordlist.map(async (last) => {
        const phrase = [...first, last].join(" ");
        if (validateMnemonic(phrase, wordlist)) return id.normalizePhrase(phrase) !== phrase;
        return (await refusal(() => id.normalizePhrase(phrase))).code === "phrase";
      }));
      expect(refused.filter((r) => !r)).toHaveLength(n === 12 ? 128 : 8);
    }
  });
});

describe("keys and texts", () => {
  interface Named { name: string; value: string }
  const f = vectors<{
    keys: {
      seed: string; public_key: string; id: string; id_upper: string; peer_id: string; peer_id_bytes: string; fingerprint: string;
      device_id: string; recovery_commitment: string;
    }[];
    keys_refused: Named[]; x25519_accepted: Named[]; x25519_refused: Named[]; ids_refused: Named[]; peer_ids_refused: Named[];
    addresses: { text: string; public_key: string; domain: string; home?: string; canonical: string }[]; addresses_refused: string[];
    domains_accepted: string[]; domains_refused: string[]; safety_numbers: { a: string; b: string; number: string }[];
    context_strings: Record<string, string>;
  }>("identity_text.json");

  it.each(f.keys)("writes and reads $id", async (v) => {
    const key = (await id.SeedSigner.from(unhex(v.seed))).publicKey;
    expect(key.hex).toBe(v.public_key);
    expect(key.id()).toBe(v.id);
    expect(id.parseId(v.id).equals(key)).toBe(true);
    expect(id.parseId(v.id_upper).equals(key)).toBe(true);
    expect(key.peerId().toString()).toBe(v.peer_id);
    expect(hex(id.parsePeerId(v.peer_id).bytes)).toBe(v.peer_id_bytes);
    expect(key.fingerprint()).toBe(v.fingerprint);
    expect(id.DeviceId.of(key).hex).toBe(v.device_id);
    expect(hex(id.recoveryCommitment(key))).toBe(v.recovery_commitment);
  });

  it.each(f.keys_refused)("refuses a key: $name", async (v) => {
    expect((await refusal(() => id.PublicKey.check(unhex(v.value)))).code).toBe("key");
  });
  it.each(f.x25519_accepted)("takes an X25519 key: $name", (v) => id.checkX25519(unhex(v.value)));
  it.each(f.x25519_refused)("refuses an X25519 key: $name", async (v) => {
    expect((await refusal(() => id.checkX25519(unhex(v.value)))).code).toBe("key");
  });
  it.each(f.ids_refused)("refuses an id: $name", async (v) => void (await refusal(() => id.parseId(v.value))));
  it.each(f.peer_ids_refused)("refuses a peer id: $name", async (v) => void (await refusal(() => id.parsePeerId(v.value))));

  it.each(f.addresses)("reads $text", (v) => {
    const a = id.parseAddress(v.text);
    expect([a.root.hex, a.domain, a.home?.toString()]).toEqual([v.public_key, v.domain, v.home]);
    expect(id.formatAddress(a)).toBe(v.canonical);
  });
  it.each(f.addresses_refused)("refuses the address %j", async (s) => void (await refusal(() => id.parseAddress(s))));
  it.each(f.domains_accepted)("takes the domain %j", (s) => id.checkDomain(s));
  it.each(f.domains_refused)("refuses the domain %j", async (s) => void (await refusal(() => id.checkDomain(s))));

  it("refuses every id with one changed character (5)", async () => {
    const good = f.keys[0]!.id;
    for (let i = 3; i < good.length; i++) {
      const other = good[i] === "q" ? "p" : "q";
      await refusal(() => id.parseId(good.slice(0, i) + other + good.slice(i + 1)));
    }
  });

  it.each(f.safety_numbers)("gives the safety number $number", (v) => {
    expect(id.safetyNumber(id.PublicKey.check(unhex(v.a)), id.PublicKey.check(unhex(v.b)))).toBe(v.number);
  });

  it("has the context strings of the table, and no other", () => {
    for (const [s, bytes] of Object.entries(f.context_strings)) {
      expect(hex(context(s.replace("trunkline/v1/", "") as (typeof contexts)[number]))).toBe(bytes);
    }
    expect(Object.keys(f.context_strings).map((s) => s.replace("trunkline/v1/", "")).sort()).toEqual([...contexts].sort());
    const spec = vectorText("docs/spec/identity.md").matchAll(/^\| `trunkline\/v1\/([a-z0-9-]+)` \|/gm);
    expect([...contexts].sort()).toEqual([...spec].map((m) => m[1]).sort());
  });

  it("derives the identities of the shared file", async () => {
    const f = vectors<{ vectors: { mnemonic: string; passphrase: string; account: number; public_key: string; peer_id: string; id: string; fingerprint: string }[] }>(
      "identity/testdata/trunkline_identity.json");
    expect(f.vectors.length).toBeGreaterThan(1);
    for (const v of f.vectors) {
      const key = (await id.deriveRoot(v.mnemonic, v.passphrase, v.account)).publicKey;
      expect([key.hex, key.peerId().toString(), key.id(), key.fingerprint()]).toEqual([v.public_key, v.peer_id, v.id, v.fingerprint]);
    }
  });

  it("does not print what it holds", async () => {
    const s = await id.SeedSigner.from(new Uint8Array(32).fill(7));
    const shown = JSON.stringify({ s, key: s.publicKey, device: id.DeviceId.of(s.publicKey) }) + `${s.publicKey}`;
    expect(shown).not.toContain(s.publicKey.hex);
    expect(shown).not.toContain("0707");
    expect(shown).not.toContain(id.DeviceId.of(s.publicKey).hex);
  });
});

describe("signatures", () => {
  it("passes Wycheproof", async () => {
    const f = vectors<{ testGroups: { publicKey: { pk: string }; tests: { tcId: number; msg: string; sig: string; result: string }[] }[] }>(
      "identity/testdata/wycheproof_ed25519.json");
    let seen = 0;
    for (const g of f.testGroups) {
      for (const t of g.tests) {
        const ok = await verifyRaw(unhex(g.publicKey.pk), unhex(t.msg), unhex(t.sig));
        expect([t.tcId, ok]).toEqual([t.tcId, t.result === "valid"]);
        seen++;
      }
    }
    expect(seen).toBe(151);
  });

  it("refuses the edge cases: 267 keys, six signatures", async () => {
    const f = vectors<{ number: number; key: string; sig: string; msg: string }[]>("identity/testdata/cctv_ed25519_edge.json");
    let keys = 0;
    const verified: number[] = [];
    for (const v of f) {
      try {
        id.PublicKey.check(unhex(v.key));
      } catch {
        keys++;
        continue;
      }
      if (await verifyRaw(unhex(v.key), new TextEncoder().encode(v.msg), unhex(v.sig))) verified.push(v.number);
    }
    expect(f).toHaveLength(275);
    expect(keys).toBe(267);
    expect(verified).toEqual([304, 305]);
  });
});

/** The SDK's verification, without a context string. */
async function verifyRaw(key: Uint8Array, msg: Uint8Array, sig: Uint8Array): Promise<boolean> {
  return await id.verifyBytes(id.PublicKey.check(key), msg, sig);
}

type Json = Record<string, unknown>;

async function fieldsOf(type: string, signed: Uint8Array): Promise<{ fields: Json; again: () => Promise<Uint8Array>; hash?: string }> {
  const h = (b: Uint8Array | undefined) => (b === undefined ? "" : hex(b));
  switch (type) {
    case "DeviceCert": {
      const c = await id.parseDeviceCert(signed);
      return {
        fields: { root_key: c.root.hex, device_key: c.device.hex, device_id: c.deviceId.hex, epoch: c.epoch, not_before: c.notBefore, not_after: c.notAfter },
        again: async () => (await id.signDeviceCert(signer, c)).signed,
      };
    }
    case "DeviceList": {
      const l = await id.parseDeviceList(signed);
      return {
        fields: {
          root_key: l.root.hex, epoch: l.epoch, previous: h(l.previous), issued: l.issued, expires: l.expires,
          devices: l.devices.map((c) => hex(c.signed)), revoked: l.revoked.map((d) => d.hex), lowest_suite: l.lowestSuite,
          recovery: h(l.recovery), homes: l.homes.map((x) => ({ peer_id: x.peerId.toString(), domain: x.domain })),
        },
        again: async () => (await id.signDeviceList(signer, l)).signed, hash: hex(l.hash),
      };
    }
    case "NodeDescriptor": {
      const d = await id.parseDescriptor(signed);
      return {
        fields: { peer_id: d.peerId.toString(), domain: d.domain, routing_key: hex(d.routingKey), not_before: d.notBefore, not_after: d.notAfter },
        again: async () => (await id.signDescriptor(signer, d)).signed,
      };
    }
    case "DomainDocument": {
      const d = await id.parseDomain(signed);
      return {
        fields: {
          domain: d.domain, domain_key: d.key.hex, epoch: d.epoch, previous: h(d.previous), issued: d.issued, expires: d.expires,
          nodes: d.nodes.map((n) => ({ peer_id: n.peerId.toString(), addresses: n.addresses })), directory_key: d.directoryKey?.hex ?? "",
          contact: d.contact, services: d.services, handovers: d.handovers.map((x) => hex(x.signed)),
        },
        again: async () => (await id.signDomain(signer, d)).signed, hash: hex(d.hash),
      };
    }
    case "DomainHandover": {
      const x = await id.parseHandover(signed);
      return {
        fields: { domain: x.domain, old_key: x.oldKey.hex, new_key: x.newKey.hex, epoch: x.epoch },
        again: async () => (await id.signHandover(signer, x)).signed,
      };
    }
  }
  throw new Error(type);
}

let signer: id.SeedSigner;

describe("signed objects", () => {
  const f = vectors<{
    accepted: { name: string; type: string; signer_seed: string; signed: string; hash?: string; fields: Json }[];
    refused: { name: string; type: string; signed: string }[];
  }>("identity_objects.json");

  it.each(f.accepted)("$type, $name: read, and made again byte for byte", async (v) => {
    const got = await fieldsOf(v.type, unhex(v.signed));
    expect(withoutEmpty(got.fields)).toEqual(withoutEmpty(v.fields));
    if (v.hash !== undefined) expect(got.hash).toBe(v.hash);
    signer = await id.SeedSigner.from(unhex(v.signer_seed));
    expect(hex(await got.again())).toBe(v.signed);
  });

  it.each(f.refused)("$type, $name: refused", async (v) => void (await refusal(() => fieldsOf(v.type, unhex(v.signed)))));
});

function withoutEmpty(o: Json): Json {
  return JSON.parse(JSON.stringify(o, (_, v: unknown) => (Array.isArray(v) && v.length === 0 ? undefined : v))) as Json;
}

describe("history", () => {
  const f = vectors<{
    device_lists: { name: string; pin_epoch: number; pin_hash: string; pin_recovery: string; list: string; now: number; change?: string; stale?: boolean; error?: string }[];
    devices: { name: string; list: string; cert: string; now: number; current: boolean; error?: string }[];
    domain_documents: { name: string; pin_domain: string; pin_key: string; pin_epoch: number; pin_hash: string; document: string; now: number; change?: string; key_changed?: boolean; error?: string }[];
    node_descriptors: { name: string; last: string; descriptor: string; error?: string }[];
  }>("identity_history.json");

  it.each(f.device_lists)("list: $name", async (v) => {
    const pin = v.pin_epoch === 0 ? undefined : {
      epoch: v.pin_epoch, hash: unhex(v.pin_hash), seenMs: 0, suite: 1,
      recovery: v.pin_recovery === "" || isZero(unhex(v.pin_recovery)) ? undefined : unhex(v.pin_recovery),
    };
    const list = await id.parseDeviceList(unhex(v.list));
    expect(await codeWord(() => id.checkPin(pin, list, v.now * 1000))).toBe(v.error ?? "");
    if (!v.error) expect(id.checkPin(pin, list, v.now * 1000)).toEqual({ change: v.change, stale: v.stale ?? false });
  });

  it.each(f.devices)("device: $name", async (v) => {
    const list = await id.parseDeviceList(unhex(v.list));
    const cert = await id.parseDeviceCert(unhex(v.cert));
    expect(await codeWord(() => id.admit(list, cert, v.now * 1000))).toBe(v.error ?? "");
    if (!v.error) expect(id.admit(list, cert, v.now * 1000)).toBe(v.current);
  });

  it.each(f.domain_documents)("document: $name", async (v) => {
    const key = v.pin_key === "" || isZero(unhex(v.pin_key)) ? undefined : id.PublicKey.check(unhex(v.pin_key));
    const pin = { domain: v.pin_domain, key, epoch: v.pin_epoch, hash: v.pin_hash === "" ? empty : unhex(v.pin_hash) };
    const doc = await id.parseDomain(unhex(v.document));
    expect(await codeWord(() => id.checkDomainPin(pin, doc, v.now * 1000))).toBe(v.error ?? "");
    if (!v.error) expect(id.checkDomainPin(pin, doc, v.now * 1000)).toEqual({ change: v.change, keyChanged: v.key_changed ?? false });
  });

  it.each(f.node_descriptors)("descriptor: $name", async (v) => {
    const last = await id.parseDescriptor(unhex(v.last));
    const d = await id.parseDescriptor(unhex(v.descriptor));
    expect(await codeWord(() => id.checkFollows(d, last))).toBe(v.error ?? "");
  });

  it("makes the next list of each kind", async () => {
    const now = 1_772_366_400_000;
    const root = await id.SeedSigner.generate();
    const [a, b] = [(await id.SeedSigner.generate()).publicKey, (await id.SeedSigner.generate()).publicKey];
    const home = { peerId: (await id.SeedSigner.generate()).publicKey.peerId(), domain: "a.example" };
    const one = await id.firstList(root, a, [home], now);
    const two = await id.nextList(root, one, { kind: "add", device: b }, now);
    const three = await id.nextList(root, two, { kind: "revoke", device: id.DeviceId.of(a) }, now);
    let pin: id.Pin | undefined;
    for (const l of [one, two, three]) {
      expect(id.checkPin(pin, l, now).change).toBe(pin === undefined ? "first" : "next");
      pin = id.advancePin(pin, l, now);
    }
    expect(three.devices.map((c) => c.device.hex)).toEqual([b.hex]);
    expect((await refusal(() => id.admit(three, one.devices[0]!, now))).code).toBe("revoked");
    expect((await refusal(() => id.nextList(root, three, { kind: "add", device: a }, now))).code).toBe("revoked");
    expect((await refusal(() => id.nextList(root, three, { kind: "revoke", device: id.DeviceId.of(b) }, now))).code).toBe("malformed");
    expect(id.renewDue(three, now)).toBe(false);
    expect(id.renewDue(three, now + 15 * 86_400_000)).toBe(true);
    const later = now + 50 * 86_400_000;
    const four = await id.nextList(root, three, { kind: "renew" }, later);
    expect(four.devices[0]!.epoch).toBe(4);
    expect(four.devices[0]!.notBefore * 1000).toBe(later);
  });
});

describe("canonical form", () => {
  const f = vectors<{ cases: { name: string; type: string; bytes: string; accept: boolean }[] }>("identity_canonical.json");
  const schemas: Record<string, Schema<Fields>> = { DeviceCert: DeviceCertMessage, DeviceList: DeviceListMessage, Home: HomeMessage };

  it.each(f.cases)("$type, $name: $accept", async (v) => {
    const b = unhex(v.bytes);
    if (v.accept) {
      expect(hex(encode(schemas[v.type]!, decode(schemas[v.type]!, b, 4096)))).toBe(v.bytes);
    } else {
      const err = await refusal(() => decode(schemas[v.type]!, b, 4096));
      expect(["not_canonical", "too_large", "malformed"]).toContain(err.code);
    }
  });

  it("looks at the length before anything else", async () => {
    expect((await refusal(() => decode(HomeMessage, new Uint8Array(5000), 4096))).code).toBe("too_large");
  });

  it("never takes two inputs for one object", () => {
    const good = f.cases.filter((v) => v.accept).map((v) => unhex(v.bytes));
    let state = 20261129;
    const draw = (n: number) => (state = (Math.imul(state, 1103515245) + 12345) >>> 0) % n;
    let taken = 0;
    for (let i = 0; i < 20_000; i++) {
      const b = good[draw(good.length)]!.slice();
      if (b.length === 0) continue;
      for (let k = draw(3); k >= 0; k--) b[draw(b.length)] = draw(256);
      for (const s of Object.values(schemas)) {
        try {
          expect(hex(encode(s, decode(s, b, 4096)))).toBe(hex(b));
          taken++;
        } catch (err) {
          if (!(err instanceof TrunklineError)) throw err;
        }
      }
    }
    expect(taken).toBeGreaterThan(100);
  });
});

it("finds a code in the causes of an error", () => {
  const inner = new TrunklineError("revoked", "x");
  expect(isCode(new TrunklineError("sender", "y", { cause: inner }), "revoked")).toBe(true);
  expect(isCode(inner, "stale")).toBe(false);
});
