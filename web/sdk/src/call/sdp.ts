// Reads just what a call must not believe an SDP about: the certificate's fingerprint, the ICE user name, the
// DTLS role and the addresses (docs/spec/media.md, section 1). Call checkDescription on what arrives before a
// WebRTC library sees it, cleanDescription on what is sent or accepted, parseCandidate on every candidate line.

import { equal, hex, text, unhex, utf8, type Bytes } from "../bytes.ts";
import { refuse } from "../errors.ts";

export const maxSdp = 16_000;
const maxLine = 1024;
const maxLines = 1024;
const maxSections = 16;
const maxCandidates = 64;
const maxCandidate = 256;

export type Setup = 1 | 2 | 3;
const setups: Record<string, Setup> = { active: 1, passive: 2, actpass: 3 };

export interface ParsedSdp { readonly fingerprint: Bytes; readonly ufrag: string; readonly pwd: string; readonly setup: Setup }

function bad(why: string) {
  return refuse("malformed", `description: ${why}`);
}

function badFingerprint(why: string) {
  return refuse("key_alarm", `description: ${why}`);
}

function split(b: Uint8Array): string[] {
  if (b.length === 0 || b.length > maxSdp) throw bad(`${b.length} bytes`);
  const lines = text(b).split("\n");
  if (lines.length - 1 > maxLines) throw bad("too many lines");
  if (lines.at(-1) === "") lines.pop();
  return lines.map((l, i) => {
    const line = l.endsWith("\r") ? l.slice(0, -1) : l;
    if (utf8(line).length > maxLine) throw bad(`line ${i + 1} is too long`);
    // A lone CR, a NUL or another control character can end a line for one parser and not for the next.
    if (/[\x00-\x1f\x7f\u0085\u2028\u2029]/.test(line)) throw bad(`control character in line ${i + 1}`);
    return line;
  });
}

function fields(s: string): string[] {
  return s.trim().split(/ +/);
}

function attribute(line: string): { name: string; value: string } | undefined {
  if (!line.startsWith("a=")) return undefined;
  const at = line.indexOf(":");
  return at < 0 ? { name: line.slice(2), value: "" } : { name: line.slice(2, at), value: line.slice(at + 1) };
}

const transport = ["fingerprint", "ice-ufrag", "ice-pwd", "setup"] as const;

/** Reads the description. Every fingerprint is SHA-256, all are equal, and no section is without; the same for the rest. */
export function parseSdp(b: Uint8Array): ParsedSdp {
  const values = new Map<string, string>();
  const session = new Set<string>();
  let at = { media: false, rejected: false, has: session };
  let sections = 0;
  let candidates = 0;
  const complete = () => {
    if (!at.media || (at.rejected && at.has.size === 0)) return; // a refused medium has no transport
    for (const name of transport) {
      if (at.has.has(name) || session.has(name)) continue;
      throw name === "fingerprint" ? badFingerprint("a section has no fingerprint") : bad(`a section has no ${name}`);
    }
  };
  split(b).forEach((line, i) => {
    if (line[1] !== "=" || (i === 0) !== (line[0] === "v") || (i === 0 && line !== "v=0")) throw bad(`line ${i + 1}`);
    if (line[0] === "m") {
      complete();
      if (++sections > maxSections) throw bad("too many sections");
      const f = fields(line.slice(2));
      if (f.length < 4) throw bad(`line ${i + 1}`);
      at = { media: true, rejected: f[1] === "0", has: new Set() };
      return;
    }
    const a = attribute(line);
    // A line that another parser might take for a fingerprint although this one does not.
    if (/fingerprint/i.test(line) && a?.name !== "fingerprint") throw badFingerprint("odd fingerprint line");
    if (a === undefined) return;
    if (a.name === "candidate" && ++candidates > maxCandidates) throw bad("too many candidates");
    if (!transport.some((t) => t === a.name)) return;
    const value = a.name === "fingerprint" ? hex(parseFingerprint(a.value)) : a.value;
    const old = values.get(a.name);
    if (old !== undefined && old !== value) throw a.name === "fingerprint" ? badFingerprint("two fingerprints that differ") : bad(`two different ${a.name}`);
    values.set(a.name, value);
    at.has.add(a.name);
  });
  complete();
  if (sections === 0) throw bad("no media section");
  const setup = setups[values.get("setup") ?? ""];
  const ufrag = values.get("ice-ufrag") ?? "";
  const pwd = values.get("ice-pwd") ?? "";
  // RFC 8839, 5.4: at least 4 and 22, at most 256 characters.
  if (!/^[A-Za-z0-9+/]{4,256}$/.test(ufrag) || !/^[A-Za-z0-9+/]{22,256}$/.test(pwd)) throw bad("ICE credentials");
  if (setup === undefined) throw bad("setup");
  return { fingerprint: unhex(values.get("fingerprint") ?? ""), ufrag, pwd, setup };
}

/** What is signed beside a description. */
export interface SignedPart { readonly sdp: Bytes; readonly fingerprint: Bytes; readonly ufrag: string; readonly setup: Setup }

/** Parses the description and compares it with what was signed. A wrong fingerprint is key_alarm. */
export function checkDescription(d: SignedPart): ParsedSdp {
  const p = parseSdp(d.sdp);
  if (!equal(p.fingerprint, d.fingerprint)) throw badFingerprint("the fingerprint is not the signed one");
  if (p.ufrag !== d.ufrag) throw bad("ufrag is not the signed one");
  if (p.setup !== d.setup) throw bad("setup is not the signed one");
  return p;
}

/** Reads "sha-256 AB:CD:…", the only hash that is accepted. */
export function parseFingerprint(s: string): Bytes {
  const m = /^sha-256 ([0-9a-f]{2}(?::[0-9a-f]{2}){31})$/i.exec(s);
  if (m === null) throw badFingerprint("the fingerprint is no sha-256");
  return unhex(m[1]!.replaceAll(":", "").toLowerCase());
}

export function formatFingerprint(fp: Uint8Array): string {
  return `sha-256 ${hex(fp).toUpperCase().match(/../g)!.join(":")}`;
}

// RFC 6464 and 6465: the extensions tell everyone on the path who speaks when.
const audioLevels = ["urn:ietf:params:rtp-hdrext:ssrc-audio-level", "urn:ietf:params:rtp-hdrext:csrc-audio-level"];

/**
 * Removes audio levels and what is said of a payload type that its section does not list; with relayOnly also every
 * address that is not a relay's.
 */
export function cleanDescription(b: Uint8Array, relayOnly: boolean): Bytes {
  const out: string[] = [];
  let listed: readonly string[] = []; // of the section: what its m= line names
  for (let line of split(b)) {
    const a = attribute(line);
    if (line.startsWith("m=")) listed = fields(line.slice(2)).slice(3);
    if (a?.name === "rtpmap" || a?.name === "fmtp" || a?.name === "rtcp-fb") {
      // Firefox leaves the feedback of formats that were taken out, and Chromium refuses a description that has any.
      const format = a.value.split(" ")[0]!;
      if (format !== "*" && !listed.includes(format)) continue;
    }
    if (a?.name === "extmap" && audioLevels.includes(a.value.trim().split(/ +/)[1] ?? "")) continue;
    if (relayOnly) {
      if (a?.name === "candidate") {
        const c = tryCandidate(line);
        if (c?.type !== "relay") continue;
        line = `a=${formatCandidate(hidden(c))}`;
      } else if (a?.name === "rtcp") {
        line = "a=rtcp:9 IN IP4 0.0.0.0";
      } else if (line.startsWith("c=")) {
        line = "c=IN IP4 0.0.0.0";
      } else if (line.startsWith("o=")) {
        const f = line.split(/ +/);
        if (f.length !== 6) throw bad("origin");
        line = [...f.slice(0, 3), "IN", "IP4", "0.0.0.0"].join(" ");
      }
    }
    out.push(line);
  }
  return utf8(out.map((l) => `${l}\r\n`).join(""));
}

export interface Candidate {
  readonly foundation: string;
  readonly component: number;
  readonly transport: "udp" | "tcp";
  readonly priority: number;
  readonly address: string;
  readonly port: number;
  readonly type: "host" | "srflx" | "prflx" | "relay";
  readonly related: { readonly address: string; readonly port: number } | undefined;
  readonly extensions: readonly string[];
}

function tryCandidate(line: string): Candidate | undefined {
  try {
    return parseCandidate(line);
  } catch {
    return undefined;
  }
}

/** Whether s is a literal address; a name is none, and a zone is not for others. */
function isAddress(s: string): boolean {
  if (/^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}$/.test(s)) return true;
  if (!s.includes(":") || !/^[0-9A-Fa-f:.]+$/.test(s)) return false;
  try {
    return new URL(`http://[${s}]/`).hostname !== "";
  } catch {
    return false;
  }
}

function isUnusable(s: string): boolean {
  if (!s.includes(":")) return s === "0.0.0.0" || /^(22[4-9]|23\d)\./.test(s);
  return /^\[(::|ff)/.test(new URL(`http://[${s}]/`).hostname) && !/^\[::.+\]$/.test(new URL(`http://[${s}]/`).hostname);
}

function count(s: string, max: number): number {
  const n = /^[0-9]{1,10}$/.test(s) ? Number(s) : -1;
  if (n < 0 || n > max) throw bad("candidate number");
  return n;
}

/**
 * Reads "candidate:…", with or without "a=" in front. A name instead of an address is refused: resolving it would
 * tell a name server, or the local network, about the call.
 */
export function parseCandidate(line: string): Candidate {
  if (line.length > maxCandidate || !/^[\x20-\x7e]*$/.test(line)) throw bad("candidate");
  const rest = (line.startsWith("a=") ? line.slice(2) : line);
  if (!rest.startsWith("candidate:")) throw bad("candidate");
  let f = rest.slice("candidate:".length).split(" ");
  const [foundation, component, transportName, priority, address, port, typ, type] = f as [string, string, string, string, string, string, string, string];
  if (f.length < 8 || typ !== "typ" || !/^[A-Za-z0-9+/]{1,32}$/.test(foundation)) throw bad("candidate fields");
  const proto = transportName.toLowerCase();
  if (proto !== "udp" && proto !== "tcp") throw bad("candidate transport");
  const c = { foundation, component: count(component, 255), transport: proto, priority: count(priority, 0xffffffff), address, port: count(port, 65535) } as const;
  if (c.component < 1 || c.priority === 0 || c.port === 0 || !isAddress(address) || isUnusable(address)) throw bad("candidate address");
  if (type !== "host" && type !== "srflx" && type !== "prflx" && type !== "relay") throw bad("candidate type");
  f = f.slice(8);
  let related: Candidate["related"];
  if (f.length >= 4 && f[0] === "raddr" && f[2] === "rport") {
    if (!isAddress(f[1]!)) throw bad("candidate related address");
    related = { address: f[1]!, port: count(f[3]!, 65535) };
    f = f.slice(4);
  }
  if (f.length % 2 !== 0 || f.some((e) => e === "" || e === "raddr" || e === "rport")) throw bad("candidate extensions");
  return { ...c, type, related, extensions: f };
}

/** Whether the line is a host candidate whose address a browser has put an mDNS name in place of. */
export function isNamed(line: string): boolean {
  const m = /^((?:a=)?candidate:\S+ \d+ udp \d+ )([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.local)( \d+ typ host.*)$/i.exec(line);
  // But for the name it is a candidate as all are.
  return m !== null && tryCandidate(`${m[1]!}192.0.2.1${m[3]!}`) !== undefined;
}

/** The candidate without the address behind it and without what describes the network. */
export function hidden(c: Candidate): Candidate {
  const extensions: string[] = [];
  for (let i = 0; i + 1 < c.extensions.length; i += 2) {
    if (c.extensions[i] === "ufrag" || c.extensions[i] === "tcptype") extensions.push(c.extensions[i]!, c.extensions[i + 1]!);
  }
  // RFC 8839 wants the related address to be there, and says what stands for "not told".
  const related = c.type === "host" ? undefined : { address: c.address.includes(":") ? "::" : "0.0.0.0", port: 9 };
  return { ...c, extensions, related };
}

export function formatCandidate(c: Candidate): string {
  const related = c.related === undefined ? "" : ` raddr ${c.related.address} rport ${c.related.port}`;
  return `candidate:${c.foundation} ${c.component} ${c.transport} ${c.priority} ${c.address} ${c.port} typ ${c.type}${related}${c.extensions.map((e) => ` ${e}`).join("")}`;
}
