// Two federated nodes as real processes, and people of the Go command line on them.

import { execFile, execFileSync, spawn, type ChildProcess } from "node:child_process";
import { copyFileSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const repository = fileURLToPath(new URL("../../../", import.meta.url));

/** Runs with a signal at the parent's death, so that nothing outlives the test, whatever ends it. */
const tied = existsSync("/usr/bin/setpriv") ? ["/usr/bin/setpriv", "--pdeathsig", "KILL"] : [];

export class Node {
  readonly domain: string;
  readonly data: string;
  readonly key: string;
  readonly peerId: string;
  http = "";
  #metrics = "";
  #policy = "";
  #child: ChildProcess | undefined;
  readonly #w: Organisations;

  constructor(w: Organisations, domain: string) {
    this.#w = w;
    this.domain = domain;
    this.data = join(w.folder, domain);
    const made = w.run("init", "--data", this.data, "--domain", domain, "--json") as { domain_key: string; peer_id: string };
    this.key = made.domain_key;
    this.peerId = made.peer_id;
  }

  /** more: policy beside that for the partner. */
  configure(partner: Node, more = ""): void {
    writeFileSync(join(this.data, "node.toml"), `domain = "${this.domain}"

[http]
listen = "127.0.0.1:${this.http === "" ? 0 : new URL(this.http).port}"
tls    = "off"
origins = ${JSON.stringify(this.#w.origins)}

[federation]
listen = ["127.0.0.1:0"]

[turn]
listen      = "127.0.0.1:0"
external_ip = "127.0.0.1"
allow_peers = ["127.0.0.1/32:1024-65535"]

[sfu]
listen = "127.0.0.1:0"

[metrics]
listen = "127.0.0.1:0"

[[federation.peer]]
domain   = "${partner.domain}"
document = "${join(this.data, "partner.document")}"
`);
    this.#policy = `version = 1

[register]
mode = "invitation"

[[domain]]
name  = "${partner.domain}"
level = "partner"
key   = "${partner.key}"

[[rule]]
name      = "partners"
level     = "partner"
direction = "both"
actions   = ["federate", "signal", "knock", "store", "query", "turn"]
`;
    writeFileSync(join(this.data, "policy.toml"), this.#policy + more);
  }

  /** Puts a policy in force that adds to the one that it was configured with. */
  rules(more: string): void {
    writeFileSync(join(this.data, "policy.toml"), this.#policy + more);
    this.#w.run("policy", "reload", "--data", this.data, "--json");
  }

  /** What the node counts under a name, over all results or of one. */
  async counts(name: string, result = ""): Promise<number> {
    const page = await (await fetch(this.#metrics)).text();
    return page.split("\n").filter((l) => l.startsWith(`${name}{`) && l.includes(`result="${result}`)).reduce((n, l) => n + Number(l.slice(l.lastIndexOf(" "))), 0);
  }

  /** Starts the node and waits until it says that it is ready. */
  async start(): Promise<void> {
    const command = [...tied, this.#w.binary, "serve", "--data", this.data, "--json"];
    const child = spawn(command[0]!, command.slice(1), { stdio: ["ignore", "pipe", "ignore"] });
    this.#child = child;
    const line = await new Promise<string>((resolve, reject) => {
      createInterface({ input: child.stdout }).once("line", resolve);
      child.once("exit", (code) => reject(new Error(`${this.domain} ended with ${code} before it was ready`)));
    });
    const ready = JSON.parse(line) as { http: string; metrics: string };
    this.http = ready.http;
    this.#metrics = ready.metrics;
  }

  async stop(signal: "SIGTERM" | "SIGKILL" = "SIGTERM"): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    await ended;
  }

  /** Says and does nothing until it goes on, as a machine that stands still. */
  pause(): void { this.#child!.kill("SIGSTOP"); }
  goOn(): void { this.#child!.kill("SIGCONT"); }

  introduce(partner: Node): void {
    copyFileSync(join(partner.data, "domain.document"), join(this.data, "partner.document"));
    this.#w.run("policy", "reload", "--data", this.data, "--json");
  }

  /** One person's way in. */
  invite(): string {
    return (this.#w.run("invite", "create", "--data", this.data, "--json") as { url: string }).url;
  }
}

/** Somebody who uses the Go command line. */
export class GoPerson {
  readonly data: string;
  id = "";
  address = "";
  readonly #w: Organisations;

  constructor(w: Organisations, name: string) {
    this.#w = w;
    this.data = join(w.folder, name);
  }

  async join(invite: string, domain: string): Promise<void> {
    await this.run("id", "new");
    await this.run("register", invite);
    this.id = (await this.run("id", "show") as { id: string }).id;
    this.address = `${this.id}@${domain}`;
  }

  run(...args: string[]): Promise<unknown> {
    return this.#w.later(...args, "--data", this.data, "--json");
  }
}

export class Organisations {
  readonly folder = mkdtempSync(join(tmpdir(), "trunkline-sdk-"));
  /** TRUNKLINE_BINARY, or what is built here. */
  readonly binary = process.env["TRUNKLINE_BINARY"] ?? join(this.folder, "trunkline");
  readonly acme: Node;
  readonly globex: Node;

  /** Origins of pages that may open links. */
  readonly origins: readonly string[];

  private constructor(origins: readonly string[]) {
    this.origins = origins;
    if (process.env["TRUNKLINE_BINARY"] === undefined) execFileSync("go", ["build", "-o", this.binary, "./cmd/trunkline"], { cwd: repository, stdio: "inherit" });
    this.acme = new Node(this, "acme.example");
    this.globex = new Node(this, "globex.example");
    this.acme.configure(this.globex);
    this.globex.configure(this.acme);
  }

  static async start(origins: readonly string[] = []): Promise<Organisations> {
    const w = new Organisations(origins);
    await Promise.all([w.acme.start(), w.globex.start()]);
    w.acme.introduce(w.globex);
    w.globex.introduce(w.acme);
    return w;
  }

  async stop(): Promise<void> {
    await Promise.all([this.acme.stop(), this.globex.stop()]);
    rmSync(this.folder, { recursive: true, force: true });
  }

  run(...args: string[]): unknown {
    return JSON.parse(execFileSync(this.binary, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"], timeout: 60_000 }));
  }

  later(...args: string[]): Promise<unknown> {
    return new Promise((resolve, reject) => {
      execFile(this.binary, args, { encoding: "utf8", timeout: 120_000 }, (err, stdout, stderr) => {
        if (err !== null) reject(new Error(`trunkline ${args[0]} ${args[1]}: ${stderr || err.message}`));
        else resolve(JSON.parse(stdout));
      });
    });
  }
}
