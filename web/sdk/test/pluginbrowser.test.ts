// A plugin in a worker, in Chromium: what it can reach, and that a loop without end harms nobody.

import { existsSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { chromium, type Browser, type Page } from "playwright-core";
import { build } from "vite";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { HostSteps } from "./page/host.ts";

const program = ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find((p) => existsSync(p));
const asked: string[] = [];
let server: Server;
let browser: Browser;
let page: Page;

async function script(name: string, format: "es" | "iife"): Promise<string> {
  const entry = fileURLToPath(new URL(`page/${name}.ts`, import.meta.url));
  const built = await build({
    configFile: false, logLevel: "error", root: fileURLToPath(new URL("page", import.meta.url)),
    build: {
      write: false, target: "es2022", lib: { entry, formats: [format], fileName: name, name: "t" },
      rollupOptions: { output: { inlineDynamicImports: true } }, // one file is served
    },
  });
  return (Array.isArray(built) ? built : [built]).flatMap((b) => ("output" in b ? b.output : [])).map((o) => (o.type === "chunk" ? o.code : "")).join("");
}

/** A processor that says what it finds around it. */
const nosy = `registerProcessor("nosy", class extends AudioWorkletProcessor {
  constructor() {
    super();
    const names = ["indexedDB", "caches", "fetch", "XMLHttpRequest", "WebSocket", "EventSource", "BroadcastChannel", "navigator", "localStorage", "document", "importScripts", "Worker", "RTCPeerConnection", "crypto"];
    const found = ["sampleRate", ...names].filter((n) => n in globalThis);
    import("/leak.js").then(() => found.push("import"), () => undefined).then(() => this.port.postMessage(found));
  }
  process() { return true; }
});`;

beforeAll(async () => {
  if (program === undefined) throw new Error("chromium is not installed: apt-get install --no-install-recommends chromium");
  const files: Record<string, [type: string, body: string, policy: string]> = {
    "/": ["text/html", '<!doctype html><meta charset="utf-8"><title>t</title><script type="module" src="/host.js"></script>', "default-src 'self'; require-trusted-types-for 'script'; trusted-types t"],
    "/host.js": ["text/javascript", await script("host", "es"), "default-src 'none'"],
    // What the page may do, the worker may not: nothing at all, and no further scripts. eval is allowed to show that it is of no use.
    "/confined.js": ["text/javascript", await script("hostileworker", "iife"), "default-src 'none'; script-src 'unsafe-eval'"],
    "/open.js": ["text/javascript", await script("openworker", "iife"), "default-src 'self'; script-src 'self' data: 'unsafe-eval'"],
    "/nosy.js": ["text/javascript", nosy, "default-src 'self'"],
    "/leak.js": ["text/javascript", "export default 1", "default-src 'self'"],
  };
  server = createServer((req, res) => {
    asked.push(req.url!);
    const [type, body, policy] = files[req.url!.split("?")[0]!] ?? ["text/plain", "", "default-src 'none'"];
    res.setHeader("Content-Type", type);
    res.setHeader("Content-Security-Policy", policy);
    res.end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  browser = await chromium.launch({ executablePath: program, headless: true, args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"] });
  page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  await page.waitForFunction(() => "steps" in globalThis);
}, 120_000);

afterAll(async () => {
  await browser?.close();
  server?.close();
});

function step<K extends keyof HostSteps>(name: K, ...args: Parameters<HostSteps[K]>): Promise<Awaited<ReturnType<HostSteps[K]>>> {
  return page.evaluate(([n, a]) => (globalThis as unknown as { steps: Record<string, (...a: unknown[]) => Promise<unknown>> }).steps[n as string]!(...(a as unknown[])), [name, args] as const) as
    Promise<Awaited<ReturnType<HostSteps[K]>>>;
}

const strange = () => asked.filter((url) => !["/", "/host.js", "/confined.js", "/favicon.ico"].includes(url));

it("reaches no key, no storage, nobody's name and no network, neither when it is loaded nor when it is asked", async () => {
  await step("prepare");
  await step("use", "confined");
  expect(await step("compose", "what was written")).toBe("tried: ");
  expect(strange()).toEqual([]);
});

it("is ended with its worker when it never returns, and the text goes out as it was written", async () => {
  expect(await step("compose", "loop")).toBe("loop");
  expect((await step("told")).at(-1)).toEqual({ type: "plugin", name: "confined", state: "cut", why: "hung" });
  await step("use", "confined");
  expect(await step("compose", "again")).toBe("tried: ");
  await step("stop");
});

it("has no storage and no network in an audio worklet, where the capability media.audio runs, without anything being taken away", async () => {
  const before = strange().length;
  const found = await page.evaluate(async () => {
    const context = new AudioContext();
    await context.audioWorklet.addModule("/nosy.js");
    const node = new AudioWorkletNode(context, "nosy");
    return new Promise((resolve) => { node.port.onmessage = (e) => resolve(e.data); });
  });
  expect(found).toEqual(["sampleRate"]);
  expect(strange().slice(before)).toEqual(["/nosy.js"]);
});

it("would have reached all of it in a worker that is not confined", async () => {
  await step("use", "open");
  const tried = (await step("compose", "what was written")).split(/: |, /);
  for (const what of ["indexedDB", "Function fetch", "WebSocket", "prototype addEventListener", "import of a script", "navigator", "postMessage"]) expect(tried).toContain(what);
  expect(strange()).toContain("/leak.js?what+was+written");
});
