// Rooms in Chromium, and with participants of the Go command line, at a node that is a real process with
// an SFU: pictures are counted where a page shows them.

import { spawn, type ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { chromium, type BrowserContext, type Page } from "playwright-core";
import { build } from "vite";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
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

beforeAll(async () => {
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
}, 300_000);

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

class Somebody {
  readonly page: Page;
  constructor(page: Page) { this.page = page; }

  static async join(link: string, name: string, media = true): Promise<Somebody> {
    const page = await context.newPage();
    await page.goto(origin);
    await page.waitForFunction(() => "steps" in globalThis);
    const s = new Somebody(page);
    await s.step("join", link, name, media);
    return s;
  }

  step<K extends keyof Steps>(name: K, ...args: Parameters<Steps[K]>): Promise<Awaited<ReturnType<Steps[K]>>> {
    return this.page.evaluate(([n, a]) => {
      const { steps } = globalThis as unknown as { steps: Record<string, (...a: unknown[]) => unknown> };
      return steps[n as string]!(...(a as unknown[]));
    }, [name, args] as const) as Promise<Awaited<ReturnType<Steps[K]>>>;
  }

  /** Waits until the page shows what is asked for; what it shows instead is in the error. */
  async until(what: string, match: (l: Look) => boolean): Promise<Look> {
    for (let last = 0; ; last++) {
      const l = await this.step("look");
      if (match(l)) return l;
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

async function room(settings: RoomSettings): Promise<{ readonly link: string; readonly chair: Room }> {
  const { link } = await createGroup(owner, settings);
  const chair = await joinGroup(owner, link, { name: "Olga" });
  held.push(chair);
  return { link, chair };
}

interface Counts { readonly members: readonly { readonly name: string; readonly unopened: number; readonly frames: readonly { readonly slot: string; readonly mesh: number; readonly sfu: number }[] }[] }

/** trunkline room join, with its newest counts. */
class GoMember {
  #counts: Counts | undefined;
  #wake: (() => void)[] = [];

  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;

  constructor(link: string, name: string) {
    const child = spawn(w.binary, ["room", "join", link, "--guest", "--as", name, "--counts", "--json"], { stdio: ["ignore", "pipe", "inherit"] });
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

it("shows everybody to everybody in a mesh of three, and sends one of them away", async () => {
  const { link, chair } = await room({ title: "Mesh", meshMost: 4, topology: "mesh" });
  const [a, b, c] = [await Somebody.join(link, "Ada"), await Somebody.join(link, "Bob"), await Somebody.join(link, "Cyd")];
  await Promise.all([a, b, c].map((x) => x.sees(2, "mesh")));
  const path = (await a.step("look")).people.find((p) => p.name === "Bob")?.path;
  expect(["lan", "direct"]).toContain(path);
  await chair.remove((await c.step("look")).me);
  await Promise.all([a.sees(1, "mesh"), b.sees(1, "mesh")]);
  expect((await c.step("look")).end).toBe("removed");
  expect([(await a.step("look")).alarms, (await b.step("look")).alarms]).toEqual([0, 0]);
}, 400_000);

it("goes over to the SFU when there are too many for a mesh, where a participant of Go opens what browsers send", async () => {
  const { link } = await room({ title: "Grow", meshMost: 2 });
  const a = await Somebody.join(link, "Ada");
  const b = await Somebody.join(link, "Bob");
  await Promise.all([a.sees(1, "sfu"), b.sees(1, "sfu")]);
  const go = new GoMember(link, "Gopher");
  await go.hears("Ada", "camera", "sfu", 20);
  await go.hears("Bob", "microphone", "sfu", 20);
  expect((await a.step("look")).alarms).toBe(0);
  await go.stop();
}, 400_000);
