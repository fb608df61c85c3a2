// A node that does what the test says, also what no honest node does. It speaks the real frames over sockets in
// memory and holds real keys; clients cannot tell.

import { x25519 } from "@noble/curves/ed25519.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { hex, random, type Bytes } from "../src/bytes.ts";
import { Fate, AnswerStatus, envelopeId, openHop, openQuery, parseEnvelope, sealAnswer, Operation, Ttl } from "../src/envelope/index.ts";
import * as id from "../src/identity/index.ts";
import * as link from "../src/link/index.ts";

type ClientKind = ReturnType<typeof link.parseClientFrame>["kind"];

interface Account { list: id.DeviceList; readonly bundles: Map<string, Uint8Array> }

class Mailbox {
  tokenHash: string;
  socket: PuppetSocket | undefined;
  readonly waiting: { storedId: bigint; knock: boolean; hint: Uint8Array; payload: Uint8Array; envelopeId: Uint8Array }[] = [];
  constructor(tokenHash: string) { this.tokenHash = tokenHash; }
}

class PuppetSocket implements link.Socket {
  binaryType = "";
  readonly protocol = link.subprotocol;
  onopen: ((e: never) => void) | null = null;
  onmessage: ((e: never) => void) | null = null;
  onclose: ((e: never) => void) | null = null;
  onerror: ((e: never) => void) | null = null;
  device = "";
  closed = false;
  readonly #node: Puppet;

  constructor(node: Puppet) { this.#node = node; }
  send(b: Uint8Array<ArrayBuffer>): void {
    const f = link.parseClientFrame(new Uint8Array(b));
    void Promise.resolve().then(() => this.#node.take(this, f.id, f.kind));
  }
  close(): void { this.closed = true; }
  say(kind: link.NodeKind, n = 0n): void {
    const b = link.marshalNodeFrame({ id: n, kind });
    queueMicrotask(() => { if (!this.closed) (this.onmessage as ((e: { data: unknown }) => void) | null)?.({ data: b.buffer }); });
  }
  break(): void { (this.onclose as (() => void) | null)?.(); }
}

export class Puppet {
  readonly domain = "puppet.example";
  readonly host: id.SeedSigner;
  readonly domainKey: id.SeedSigner;
  readonly peerId: id.PeerId;
  readonly accounts = new Map<string, Account>();
  readonly mailboxes = new Map<string, Mailbox>();
  readonly acked: bigint[] = [];
  readonly submitted: Uint8Array[] = [];
  readonly #routing = random(32);
  readonly #outcomes = new Map<string, number>();
  #descriptor: id.NodeDescriptor | undefined;
  #document: id.DomainDocument | undefined;
  #next = 1n;
  /** What a LOOKUP answers instead of the truth. */
  lie: ((root: string, truth: { list: Uint8Array; bundles: readonly Uint8Array[] }) => { list: Uint8Array; bundles: readonly Uint8Array[] }) | undefined;
  /** The domain document instead of the true one. */
  document: Uint8Array | undefined;
  descriptors: readonly Uint8Array[] | undefined;
  /** Refuses every Publish with this code. */
  conflict: ((list: id.DeviceList) => boolean) | undefined;
  #onAck: (() => void)[] = [];
  /** How often each stored envelope is delivered. */
  times = 1;

  private constructor(host: id.SeedSigner, domainKey: id.SeedSigner) {
    this.host = host;
    this.domainKey = domainKey;
    this.peerId = host.publicKey.peerId();
  }

  static async make(): Promise<Puppet> { return new Puppet(await id.SeedSigner.generate(), await id.SeedSigner.generate()); }

  readonly socket: link.SocketFactory = () => {
    const s = new PuppetSocket(this);
    void this.#greet(s);
    return s;
  };

  get invite(): string { return "http://127.0.0.1:7/#invite=x"; }

  async descriptor(): Promise<id.NodeDescriptor> {
    const now = Math.floor(Date.now() / 1000);
    return this.#descriptor ??= await id.signDescriptor(this.host, {
      domain: this.domain, routingKey: x25519.getPublicKey(this.#routing), notBefore: now - 60, notAfter: now + 86_400,
    });
  }

  async domainDocument(key = this.domainKey): Promise<id.DomainDocument> {
    const now = Math.floor(Date.now() / 1000);
    return id.signDomain(key, { domain: this.domain, epoch: 1, issued: now - 60, expires: now + 86_400, nodes: [{ peerId: this.peerId, addresses: [] }], services: ["signal"] });
  }

  async #greet(s: PuppetSocket): Promise<void> {
    const descriptor = (await this.descriptor()).signed;
    const c = { version: 1, node: this.peerId.bytes, domain: this.domain, nonce: random(32), timeMs: BigInt(Date.now()), descriptor, signature: new Uint8Array(64) };
    s.say({ case: "challenge", value: { ...c, signature: await id.sign(this.host, "challenge", link.challengeBody(c)) } });
  }

  async take(s: PuppetSocket, n: bigint, k: ClientKind): Promise<void> {
    switch (k.case) {
      case "authenticate":
        s.device = (await id.parseDeviceCert(k.value.cert)).deviceId.hex;
        return s.say({ case: "authenticated", value: { epoch: 0n, idleMs: 100_000n } }, n);
      case "publish": {
        const list = await id.parseDeviceList(k.value.list);
        if (this.conflict?.(list)) return s.say({ case: "error", value: { code: "epoch_conflict", retryAfterMs: 0n } }, n);
        const a = this.accounts.get(list.root.hex) ?? { list, bundles: new Map() };
        a.list = list;
        for (const b of k.value.bundles) a.bundles.set(s.device, b);
        this.accounts.set(list.root.hex, a);
        return s.say({ case: "published", value: { epoch: BigInt(list.epoch) } }, n);
      }
      case "register": {
        const tag = hex(k.value.routeTag);
        const box = this.mailboxes.get(tag) ?? new Mailbox("");
        box.tokenHash = hex(k.value.tokenHash);
        box.socket = s;
        this.mailboxes.set(tag, box);
        s.say({ case: "registered", value: { waiting: box.waiting.length, maxEnvelopes: 128, maxBytes: 4n << 20n } }, n);
        for (const d of box.waiting) s.say({ case: "deliver", value: { ...d, payload: d.payload as Bytes, hint: d.hint as Bytes, envelopeId: d.envelopeId as Bytes } });
        return;
      }
      case "domain": {
        const document = this.document ?? (this.#document ??= await this.domainDocument()).signed;
        const descriptors = (this.descriptors ?? [(await this.descriptor()).signed]) as readonly Bytes[];
        return s.say({ case: "domain", value: { document: document as Bytes, descriptors, code: "" } }, n);
      }
      case "query": {
        const q = await openQuery(k.value.box, this.peerId, this.#routing);
        return s.say({ case: "answer", value: { box: await sealAnswer(q.operation, q.responseKey, q.hash, random(32), this.#answer(q.operation, q.argument)), code: "" } }, n);
      }
      case "submit": return this.#submit(s, n, k.value.envelope);
      case "ack":
        this.acked.push(...k.value.storedIds);
        for (const box of this.mailboxes.values()) {
          for (const i of k.value.storedIds) {
            const at = box.waiting.findIndex((d) => d.storedId === i);
            if (at >= 0) box.waiting.splice(at, 1);
          }
        }
        for (const f of this.#onAck.splice(0)) f();
        return;
      case "ping": return s.say({ case: "pong", value: k.value }, n);
      case "turn":
        return s.say({ case: "turn", value: { urls: ["turn:puppet.example:3478?transport=udp", "turn:puppet.example:3478?transport=tcp"], username: "u", credential: "c", ttlSeconds: 60, handle: random(16), code: "" } }, n);
      case "turnRelease": return;
    }
  }

  /** Waits until every envelope was acknowledged. */
  async emptied(): Promise<void> {
    while ([...this.mailboxes.values()].some((m) => m.waiting.length > 0)) await new Promise<void>((resolve) => this.#onAck.push(resolve));
  }

  #answer(operation: number, argument: Uint8Array) {
    if (operation === Operation.outcome) {
      const fate = this.#outcomes.get(hex(argument));
      return fate === undefined ? { status: AnswerStatus.absent } : { status: AnswerStatus.found, fate };
    }
    const a = this.accounts.get(hex(argument));
    if (operation !== Operation.lookup || a === undefined) return { status: AnswerStatus.absent };
    const truth = { list: a.list.signed as Uint8Array, bundles: [...a.bundles.values()] as readonly Uint8Array[] };
    return { status: AnswerStatus.found, ...(this.lie?.(hex(argument), truth) ?? truth) };
  }

  async #submit(s: PuppetSocket, n: bigint, raw: Uint8Array): Promise<void> {
    this.submitted.push(raw);
    const e = parseEnvelope(raw);
    const eid = envelopeId(e);
    const receipt = (c: number, code = "") => s.say({ case: "receipt", value: { envelopeId: eid, class: c, durable: false, code, retryAfterMs: 0n } }, n);
    receipt(link.ReceiptClass.accepted);
    const hop = await openHop(e, this.peerId, this.#routing);
    const box = this.mailboxes.get(hex(hop.tag));
    if (box === undefined || (!hop.knock && hex(sha256(hop.token)) !== box.tokenHash)) return receipt(link.ReceiptClass.refused, "refused");
    const d = { storedId: e.ttl === Ttl.live ? 0n : this.#next++, knock: hop.knock, hint: hop.hint as Bytes, payload: e.payload, envelopeId: eid };
    if (e.ttl !== Ttl.live) box.waiting.push(d);
    this.#outcomes.set(hex(eid), Fate.stored);
    receipt(e.ttl === Ttl.live ? link.ReceiptClass.delivered : link.ReceiptClass.stored);
    for (let i = 0; i < this.times; i++) box.socket?.say({ case: "deliver", value: d });
  }
}
