// What the browser tests of rooms share: Chromium's pages with somebody in each, participants of the Go command line, and nodes
// that are real processes with an SFU. Pictures are counted where a page shows them.

import { spawn, type ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { chromium, type BrowserContext, type Page } from "playwright-core";
import { build } from "vite";
import { afterAll, afterEach, beforeAll } from "vitest";
import { Client, createIdentity } from "../src/index.ts";
import { inFolder } from "../src/node.ts";
import { createGroup, joinGroup, type Room, type RoomSettings } from "../src/room/index.ts";
import type { Look, Steps } from "./page/room.ts";
import { Organisations } from "./organisations.ts";

const program = ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find((p) => existsSync(p));

let w: Organisations;
let server: Server;
let origin = "";
let context: BrowserContext;
let owner: Client;
const children: ChildProcess[] = [];
const held: Room[] = [];

async function script(entry: string): Promise<string> {
  const bundle = await build({
    configFile: false, logLevel: "error", root: fileURLToPath(new URL("page", import.meta.url)),
    build: { write: false, minify: true, target: "es2022", lib: { entry: fileURLToPath(new URL(`page/${entry}`, import.meta.url)), formats: ["es"], fileName: "main" }, rollupOptions: { output: { inlineDynamicImports: true } } },
  });
  return (Array.isArray(bundle) ? bundle : [bundle]).flatMap((b) => ("output" in b ? b.output : [])).map((o) => (o.type === "chunk" ? o.code : "")).join("");
}

/** To be called once by a file of tests: what is started here ends with it. */
export function withBrowser(): void {
  beforeAll(begin, 300_000);
  afterEach(async () => {
    for (const c of children.splice(0)) c.kill("SIGKILL");
    for (const p of context.pages()) await p.close();
    await Promise.all(held.splice(0).map((r) => r.leave()));
  }, 60_000);
  afterAll(async () => {
    await context?.close();
    server?.close();
    await owner?.close();
    await w?.stop();
  }, 60_000);
}

async function begin(): Promise<void> {
  if (program === undefined) throw new Error("chromium is not installed: apt-get install --no-install-recommends chromium");
  const files = new Map([["/main.js", await script("room.ts")], ["/worker.js", await script("roomworker.ts")]]);
  server = createServer((req, res) => {
    const code = files.get(req.url ?? "");
    res.setHeader("Content-Security-Policy", "default-src 'self'; connect-src 'self' ws://127.0.0.1:*; media-src 'self' blob: mediastream:");
    res.setHeader("Content-Type", code === undefined ? "text/html" : "text/javascript");
    res.end(code ?? '<!doctype html><meta charset="utf-8"><title>t</title><body><script type="module" src="/main.js"></script>');
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  w = await Organisations.start([origin]);
  const { client } = await createIdentity(inFolder(join(w.folder, "owner")));
  owner = client;
  await owner.register(w.acme.invite());
  owner.start();
  context = await chromium.launchPersistentContext(join(w.folder, "profile"), {
    executablePath: program, headless: true,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--mute-audio",
      "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream=device-count=1,fps=10", "--autoplay-policy=no-user-gesture-required",
      "--disable-renderer-backgrounding", "--disable-backgrounding-occluded-windows", "--disable-background-timer-throttling"],
  });
}

/** The nodes; rooms are made at acme's. */
export const nodes = () => ({ acme: w.acme, globex: w.globex });

/** Somebody in a page. */
export class Somebody {
  readonly page: Page;
  constructor(page: Page) { this.page = page; }

  /** In its page, and in no room yet. */
  static async come(): Promise<Somebody> {
    const page = await context.newPage();
    await page.goto(origin);
    await page.waitForFunction(() => "steps" in globalThis);
    return new Somebody(page);
  }

  static async join(link: string, name: string, large = false): Promise<Somebody> {
    const s = await Somebody.come();
    await s.step("join", link, name, true, large);
    return s;
  }

  step<K extends keyof Steps>(name: K, ...args: Parameters<Steps[K]>): Promise<Awaited<ReturnType<Steps[K]>>> {
    return this.page.evaluate(([n, a]) => {
      const { steps } = globalThis as unknown as { steps: Record<string, (...a: unknown[]) => unknown> };
      return steps[n as string]!(...(a as unknown[]));
    }, [name, args] as const) as Promise<Awaited<ReturnType<Steps[K]>>>;
  }

  /** Waits until the page shows what is asked for; what it shows instead is in the error. */
  async until(what: string, match: (l: Look) => boolean | Promise<boolean>): Promise<Look> {
    for (let last = 0; ; last++) {
      const l = await this.step("look");
      if (await match(l)) return l;
      if (l.phase === "ended") throw new Error(`${what}: the room ended: ${JSON.stringify(l)}`);
      if (process.env["ROOM_TRACE"] !== undefined && last % 20 === 0) console.log(what, JSON.stringify(l));
      await this.page.waitForTimeout(100);
    }
  }

  /** So many others are seen: each of their pictures has moved on by ten. */
  async sees(others: number, over: "mesh" | "sfu"): Promise<void> {
    const moving = (l: Look) => l.tiles.filter((t) => t.slot === "camera" && t.state === "live" && t.over === over);
    const first = await this.until(`${others} cameras over ${over}`, (l) => moving(l).length === others && moving(l).every((t) => t.playing > 0));
    const before = new Map(first.tiles.map((t) => [t.key, t.playing]));
    await this.until(`${others} cameras move on`, (l) => moving(l).length === others && moving(l).every((t) => t.playing >= (before.get(t.key) ?? 0) + 10));
  }
}

/** A room whose owner is in with data alone. */
export async function room(settings: RoomSettings): Promise<{ readonly link: string; readonly chair: Room }> {
  const { link } = await createGroup(owner, settings);
  const chair = await joinGroup(owner, link, { name: "Olga" });
  held.push(chair);
  return { link, chair };
}

const clip = (kind: "ivf" | "ogg") => fileURLToPath(new URL(`../../../internal/demo/clip/clip.${kind}`, import.meta.url));

interface Counts { readonly members: readonly { readonly name: string; readonly unopened: number; readonly frames: readonly { readonly slot: string; readonly mesh: number; readonly sfu: number }[] }[] }

/** trunkline room join, with its newest counts. */
export class GoMember {
  #counts: Counts | undefined;
  #wake: (() => void)[] = [];

  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;

  /** talks: it sends its clip over and over. */
  constructor(link: string, name: string, talks = false) {
    const media = talks ? ["--audio", clip("ogg"), "--video", clip("ivf"), "--loop"] : [];
    const child = spawn(w.binary, ["room", "join", link, "--guest", "--as", name, "--counts", "--json", ...media], { stdio: ["ignore", "pipe", "inherit"] });
    children.push(child);
    this.#child = child;
    this.#ended = new Promise((resolve) => child.once("exit", resolve));
    createInterface({ input: child.stdout }).on("line", (l) => {
      const { event, what } = JSON.parse(l) as { event: string; what: Counts };
      if (event === "counts") this.#counts = what;
      for (const f of this.#wake.splice(0)) f();
    });
  }

  async stop(): Promise<void> {
    this.#child.kill("SIGINT");
    await this.#ended;
  }

  /** Waits until it has opened frames of the named one. */
  async hears(name: string, slot: string, over: "mesh" | "sfu", least: number): Promise<void> {
    for (;;) {
      const m = this.#counts?.members.find((x) => x.name === name);
      if ((m?.frames.find((f) => f.slot === slot)?.[over] ?? 0) >= least) return;
      if (process.env["ROOM_TRACE"] !== undefined) console.log("go", JSON.stringify(this.#counts?.members));
      await new Promise<void>((resolve) => this.#wake.push(resolve));
    }
  }
}

