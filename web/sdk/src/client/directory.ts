// Finds nodes and people. It believes nobody: a domain document counts by its signature and its pin, a
// descriptor by the node's host key, a device list by the root key. The own node only carries them, and
// carries look-ups without being able to read them.

import { checkAbort } from "../abort.ts";
import { hex, unhex } from "../bytes.ts";
import { parseBundle, type Bundle } from "../envelope/prekey.ts";
import { AnswerStatus, Operation, sealQuery, type Answer } from "../envelope/query.ts";
import { refuse, TrunklineError } from "../errors.ts";
import { hasHome, parseDeviceList, type DeviceList } from "../identity/device.ts";
import {
  checkDomainPin, checkFollows, descriptorValidAt, parseDescriptor, parseDomain, pinDomain, type DomainDocument, type NodeDescriptor,
} from "../identity/domain.ts";
import type { PeerId, PublicKey } from "../identity/key.ts";
import { nodeRefusal, type Wire } from "../link/wire.ts";
import type { Records } from "./store.ts";

/** What a look-up brought. */
export interface Person {
  readonly list: DeviceList;
  /** By device id. */
  readonly bundles: ReadonlyMap<string, Bundle>;
  readonly askedMs: number;
}

const personFreshMs = 10 * 60_000;
const partFreshMs = 15_000; // while a listed device offers no prekey yet

export interface DirectoryHost {
  readonly records: Records;
  now(): number;
  wire(signal?: AbortSignal): Promise<Wire>;
  /** Holds a list against its pin; throws where it may not be used. */
  pin(list: DeviceList): Promise<void>;
  alarm(root: PublicKey, what: string): void;
}

export async function askOver(w: Wire, n: NodeDescriptor, operation: number, argument?: Uint8Array, signal?: AbortSignal): Promise<Answer> {
  const q = await sealQuery(n.routingKey, n.peerId, operation, argument);
  const { box } = await w.call({ case: "query", value: { destination: n.peerId.bytes, box: q.box } }, "answer", signal);
  const a = await q.open(box);
  if (a.status === AnswerStatus.limited) throw nodeRefusal("rate", Number(a.retryAfterMs));
  if (a.status === AnswerStatus.unsupported) throw refuse("node", "the other node does not know this kind of question");
  return a;
}

export class Directory {
  readonly #h: DirectoryHost;
  readonly #nodes = new Map<string, NodeDescriptor>();
  readonly #found = new Map<string, Person>();

  constructor(h: DirectoryHost) {
    this.#h = h;
  }

  /** Checks a descriptor against the newest one seen of that node and remembers it. */
  async learn(n: NodeDescriptor): Promise<void> {
    descriptorValidAt(n, this.#h.now());
    const key = `document/node/${n.peerId.hex}`;
    const old = this.#h.records.get<string>(key);
    const last = old === undefined ? undefined : await parseDescriptor(unhex(old));
    checkFollows(n, last);
    if (last === undefined || n.notBefore > last.notBefore) {
      this.#h.records.set(key, hex(n.signed));
      await this.#h.records.commit();
    }
    this.#nodes.set(n.peerId.hex, n);
  }

  /** A usable descriptor of one node. */
  async node(domain: string, peer: PeerId, signal?: AbortSignal): Promise<NodeDescriptor> {
    const known = this.#nodes.get(peer.hex);
    if (known !== undefined && this.#h.now() < known.notAfter * 1000) return known;
    await this.domain(domain, signal);
    const n = this.#nodes.get(peer.hex);
    if (n === undefined || n.domain !== domain) throw refuse("other_identity", "the domain does not name the node that this identity calls its home");
    return n;
  }

  forgetNode(peer: string): void { this.#nodes.delete(peer); }

  /** The descriptors of a domain's nodes, verified. */
  async domain(name: string, signal?: AbortSignal): Promise<NodeDescriptor[]> {
    const w = await this.#h.wire(signal);
    const got = await w.call({ case: "domain", value: { domain: name } }, "domain", signal);
    const doc = await this.#admit(name, got.document);
    const out: NodeDescriptor[] = [];
    for (const raw of got.descriptors) {
      const n = await parseDescriptor(raw);
      if (n.domain !== name || !doc.nodes.some((x) => x.peerId.equals(n.peerId))) {
        throw refuse("other_identity", "a descriptor that is not of the domain was given as its own");
      }
      await this.learn(n);
      out.push(n);
    }
    if (out.length === 0) throw refuse("unreachable", `no node of ${name} can be reached now`);
    return out;
  }

  // The first document of a domain is believed on the own node's word (docs/THREAT-MODEL.md); an address that
  // carries the home's peer id closes that.
  async #admit(name: string, raw: Uint8Array): Promise<DomainDocument> {
    const doc = await parseDomain(raw);
    const key = `document/domain/${name}`;
    const old = this.#h.records.get<string>(key);
    const pin = old === undefined ? { domain: name, key: doc.key, epoch: 0, hash: new Uint8Array(32) } : pinDomain(await parseDomain(unhex(old)));
    if (checkDomainPin(pin, doc, this.#h.now()).change !== "same") {
      this.#h.records.set(key, hex(raw));
      await this.#h.records.commit();
    }
    return doc;
  }

  async ask(n: NodeDescriptor, operation: number, argument?: Uint8Array, signal?: AbortSignal): Promise<Answer> {
    return askOver(await this.#h.wire(signal), n, operation, argument, signal);
  }

  /** The devices of an identity, from memory when asked lately. */
  async person(root: PublicKey, domain: string, home: PeerId | undefined, signal?: AbortSignal): Promise<Person> {
    const p = this.#found.get(root.hex);
    if (p !== undefined && this.#h.now() - p.askedMs < (p.bundles.size < p.list.devices.length ? partFreshMs : personFreshMs)) return p;
    return this.lookup(root, domain, home, signal);
  }

  forget(root: PublicKey): void { this.#found.delete(root.hex); }

  /** Asks the node at a domain for an identity and holds what comes against the pin. */
  async lookup(root: PublicKey, domain: string, home: PeerId | undefined, signal?: AbortSignal): Promise<Person> {
    const nodes = home === undefined ? await this.domain(domain, signal) : [await this.node(domain, home, signal)];
    let failed: unknown;
    for (const n of nodes) {
      let answer: Answer;
      try {
        answer = await this.ask(n, Operation.lookup, root.bytes, signal);
        if (answer.status !== AnswerStatus.found) throw refuse("no_contact", "that node knows no such identity");
      } catch (err) {
        checkAbort(signal);
        failed = err;
        continue;
      }
      return this.#take(root, n, answer);
    }
    throw failed;
  }

  async #take(root: PublicKey, n: NodeDescriptor, answer: Answer): Promise<Person> {
    const list = await parseDeviceList(answer.list);
    if (!list.root.equals(root)) throw refuse("other_identity", "the node answered with another identity's devices");
    if (!hasHome(list, n.peerId)) {
      // The owner says which nodes are its homes. Another one that answers may stand in the middle.
      this.#h.alarm(root, "a node that is not among this person's homes answered for it: somebody may stand in the middle");
      throw refuse("key_alarm", "the node that answered is not a home of this identity");
    }
    await this.#h.pin(list);
    const now = this.#h.now();
    const bundles = new Map<string, Bundle>();
    for (const raw of answer.bundles) {
      // A bundle of a device that the signed list does not name is somebody else's idea.
      try {
        const b = await parseBundle(raw, list, now);
        bundles.set(b.deviceId.hex, b);
      } catch (err) {
        if (!(err instanceof TrunklineError)) throw err;
      }
    }
    const p = { list, bundles, askedMs: now };
    this.#found.set(root.hex, p);
    return p;
  }
}
