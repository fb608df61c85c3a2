// The SDK in Chromium, against the Go client over two real nodes: IndexedDB, WebCrypto keys, the browser's
// sockets and its WebRTC. The network log shows that the page asks nobody but itself and its node.

import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium, type BrowserContext, type Page } from "playwright-core";
import { build } from "vite";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Steps } from "./page/main.ts";
import { GoPerson, Organisations } from "./organisations.ts";

const program = ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find((p) => existsSync(p));

let w: Organisations;
let server: Server;
let context: BrowserContext;
let page: Page;
let bob: GoPerson;
let address = "";
const asked = new Set<string>();

beforeAll(async () => {
  if (program === undefined) throw new Error("chromium is not installed: apt-get install --no-install-recommends chromium");
  const bundle = await build({
    configFile: false, logLevel: "error", root: fileURLToPath(new URL("page", import.meta.url)),
    build: { write: false, minify: true, target: "es2022", lib: { entry: fileURLToPath(new URL("page/main.ts", import.meta.url)), formats: ["es"], fileName: "main" }, rollupOptions: { output: { inlineDynamicImports: true } } },
  });
  const script = (Array.isArray(bundle) ? bundle : [bundle]).flatMap((b) => ("output" in b ? b.output : [])).map((o) => (o.type === "chunk" ? o.code : "")).join("");
  server = createServer((req, res) => {
    const html = '<!doctype html><meta charset="utf-8"><title>t</title><script type="module" src="/main.js"></script>';
    res.setHeader("Content-Security-Policy", "default-src 'self'; connect-src 'self' ws://127.0.0.1:*; require-trusted-types-for 'script'");
    res.setHeader("Content-Type", req.url === "/main.js" ? "text/javascript" : "text/html");
    res.end(req.url === "/main.js" ? script : html);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  w = await Organisations.start([origin]);
  bob = new GoPerson(w, "bob");
  await bob.join(w.globex.invite(), "globex.example");
  context = await chromium.launchPersistentContext(join(w.folder, "profile"), {
    executablePath: program, headless: true,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  context.on("request", (r) => asked.add(new URL(r.url()).host));
  page = context.pages()[0] ?? await context.newPage();
  page.on("websocket", (s) => asked.add(new URL(s.url()).host));
  await page.goto(origin);
}, 300_000);

afterAll(async () => {
  await context?.close();
  server?.close();
  await w?.stop();
}, 60_000);

function step<K extends keyof Steps>(name: K, ...args: Parameters<Steps[K]>): Promise<Awaited<ReturnType<Steps[K]>>> {
  return page.evaluate(([n, a]) => {
    const { steps } = globalThis as unknown as { steps: Record<string, (...a: unknown[]) => Promise<unknown>> };
    return steps[n as string]!(...(a as unknown[]));
  }, [name, args] as const) as Promise<Awaited<ReturnType<Steps[K]>>>;
}

const ready = () => page.waitForFunction(() => "steps" in globalThis);

it("makes an identity whose keys do not leave the browser, and registers", async () => {
  await ready();
  const made = await step("create", w.acme.invite());
  address = made.address;
  expect([made.words, address.endsWith("@acme.example")]).toEqual([24, true]);
  expect((await step("keys")).map((k) => k.join(" ")).sort()).toEqual(["AES-GCM false", "Ed25519 false"]);
}, 120_000);

it("writes notes with a Go client, both ways, and keeps them over a reload", async () => {
  await step("knock", bob.address);
  await bob.run("inbox");
  await bob.run("contact", "accept", address.split("@")[0]!);
  await step("accepted");
  const id = await step("note", bob.id, "hello from Chromium");
  await bob.run("inbox");
  await step("read", id);
  await bob.run("send", address.split("@")[0]!, "hello, page", "--wait", "read");
  await step("heard", "hello, page");
  await page.reload();
  await ready();
  expect(await step("open")).toEqual({ address, contacts: ["accepted"] });
  expect(await step("history", bob.id)).toEqual([[true, "hello from Chromium", "read"], [false, "hello, page", "delivered"]]);
}, 180_000);

it("a second tab is told that the first one has the identity", async () => {
  const first = page;
  page = await context.newPage();
  await page.goto(first.url());
  await ready();
  expect(await step("refused")).toBe("storage");
  await page.close();
  page = first;
}, 60_000);

it("takes a file from a Go client over the browser's own WebRTC", async () => {
  const content = randomBytes(3_000_000);
  const path = join(w.folder, "to page.bin");
  writeFileSync(path, content);
  const sent = bob.run("file", "send", address.split("@")[0]!, path);
  expect(await step("received")).toEqual({ name: "to page.bin", size: content.length, digest: createHash("sha256").update(content).digest("hex") });
  await sent;
}, 180_000);

it("sends a file to a Go client", async () => {
  const folder = join(w.folder, "taken");
  mkdirSync(folder);
  const child = spawn(w.binary, ["file", "receive", "--dir", folder, "--data", bob.data, "--json"], { stdio: "ignore" });
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  try {
    const digest = await step("send", bob.id, 3_000_000);
    expect(createHash("sha256").update(readFileSync(join(folder, "from page.bin"))).digest("hex")).toBe(digest);
  } finally {
    child.kill("SIGTERM");
    await ended;
  }
}, 180_000);

it("asked nobody but its own page and its own node", () => {
  const own = [(new URL(page.url())).host, new URL(w.acme.http).host];
  expect([...asked].sort()).toEqual(own.sort());
});
