// The vectors in Chromium and in Firefox: with what the browser has itself, and with the fallback alone. They judge
// alike, or a signature that one person sees another would not.

import { existsSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import puppeteer from "puppeteer-core";
import { build } from "vite";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Files, Page } from "./page/vectors.ts";
import { vectors } from "./vectors.ts";

const files: Files = {
  wycheproof: vectors("identity/testdata/wycheproof_ed25519.json"), edge: vectors("identity/testdata/cctv_ed25519_edge.json"),
  objects: vectors("identity_objects.json"), envelope: vectors("envelope.json"), session: vectors("session.json"),
  derivation: vectors("identity_derivation.json"), files: vectors("files.json"),
};

let server: Server;
let origin = "";

beforeAll(async () => {
  const bundle = await build({
    configFile: false, logLevel: "error", root: fileURLToPath(new URL("page", import.meta.url)),
    build: { write: false, target: "es2022", lib: { entry: fileURLToPath(new URL("page/vectors.ts", import.meta.url)), formats: ["es"], fileName: "main" }, rollupOptions: { output: { inlineDynamicImports: true } } },
  });
  const script = (Array.isArray(bundle) ? bundle : [bundle]).flatMap((b) => ("output" in b ? b.output : [])).map((o) => (o.type === "chunk" ? o.code : "")).join("");
  server = createServer((req, res) => {
    res.setHeader("Content-Type", req.url === "/main.js" ? "text/javascript" : "text/html");
    res.end(req.url === "/main.js" ? script : '<!doctype html><meta charset="utf-8"><script type="module" src="/main.js"></script>');
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}, 120_000);

afterAll(() => { server?.close(); });

const judge = ([f, fallback]: readonly [Files, boolean]) => (globalThis as unknown as Page).run(f, fallback);
const judged = 151 + 275 + files.objects.accepted.length + files.objects.refused.length + 2 * 2 + 1 + 1 + files.envelope.hops_of_one_encapsulation.length + 1 + 2
  + 2 * files.derivation.derived.length + files.files.files.length;

it.each([false, true])("in Chromium, the fallback alone: %s", async (fallback) => {
  const executablePath = ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find((p) => existsSync(p));
  if (executablePath === undefined) throw new Error("chromium is not installed: apt-get install --no-install-recommends chromium");
  const browser = await chromium.launch({ executablePath, headless: true, args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"] });
  try {
    const page = await browser.newPage();
    await page.goto(origin);
    const got = await page.evaluate(judge, [files, fallback] as const);
    expect(got).toMatchObject({ wrong: [], judged });
    expect(got.native).toEqual(expect.arrayContaining(["ed25519", "x25519"]));
  } finally {
    await browser.close();
  }
}, 240_000);

it.each([false, true])("in Firefox, the fallback alone: %s", async (fallback) => {
  const executablePath = process.env["FIREFOX"] ?? "/usr/bin/firefox-esr";
  if (!existsSync(executablePath)) throw new Error("firefox is not installed: apt-get install --no-install-recommends firefox-esr");
  const browser = await puppeteer.launch({ browser: "firefox", executablePath, headless: true, protocolTimeout: 240_000 });
  try {
    const page = await browser.newPage();
    await page.goto(origin);
    const got = await page.evaluate(judge, [files, fallback] as const);
    expect(got).toMatchObject({ wrong: [], judged });
    expect(got.native).toEqual(expect.arrayContaining(["ed25519", "x25519"]));
  } finally {
    await browser.close();
  }
}, 240_000);
