// What `npm pack` makes is installed in an empty folder as its user would, type-checked, and its example talks to a Go
// client over a real node.

import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { GoPerson, Organisations } from "./organisations.ts";

const sdk = fileURLToPath(new URL("..", import.meta.url));
const modules = join(sdk, "..", "node_modules");
const folder = mkdtempSync(join(tmpdir(), "trunkline-pack-"));
const installed = join(folder, "node_modules", "@trunkline", "sdk");
let files: string[] = [];

const run = (program: string, args: string[], cwd = folder) => execFileSync(program, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
/** The versions that the tests have run with. */
const version = (name: string) => (JSON.parse(readFileSync(join(modules, name, "package.json"), "utf8")) as { version: string }).version;

beforeAll(() => {
  const [packed] = JSON.parse(run("npm", ["pack", "--json", "--pack-destination", folder], sdk).replace(/^[^[]*/s, "")) as { filename: string; files: { path: string }[] }[];
  files = packed!.files.map((f) => f.path);
  writeFileSync(join(folder, "package.json"), '{"name":"somebody","version":"1.0.0","type":"module"}');
  const also = ["ws", "typescript", "@types/node", "@types/ws"].map((name) => `${name}@${version(name)}`);
  // From npm's own cache where the packages lie there already.
  run("npm", ["install", "--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts", `./${packed!.filename}`, ...also]);
}, 300_000);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

it("has the code with its types, the example and the words, and nothing else", () => {
  for (const p of ["dist/index.js", "dist/index.d.ts", "dist/node.d.ts", "dist/browser.js", "dist/plugin/serve.js", "examples/hello.ts", "README.md", "LICENSE"]) expect(files).toContain(p);
  expect(files.filter((p) => p.startsWith("src/") || p.startsWith("test/"))).toEqual([]);
  const example = readFileSync(join(installed, "examples", "hello.ts"), "utf8").trim().split("\n");
  expect(example.length).toBeLessThanOrEqual(20);
});

it("says what each part of its surface does, in the types that an editor shows", () => {
  const silent = [...undocumented(join(installed, "dist"), ["client/client.d.ts", "client/connect.d.ts", "client/setup.d.ts", "client/history.d.ts", "plugin/plugin.d.ts", "plugin/plugins.d.ts", "plugin/remote.d.ts", "abort.d.ts", "browser.d.ts", "node.d.ts"])];
  expect(silent).toEqual([]);
});

it("compiles for its user, and every entry can be imported", () => {
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({
    compilerOptions: { strict: true, target: "ES2022", module: "NodeNext", moduleResolution: "NodeNext", types: ["node"], lib: ["ES2023", "DOM"], outDir: ".", rootDir: installed, skipLibCheck: false },
    files: [join(installed, "examples", "hello.ts")],
  }));
  run(join(folder, "node_modules", ".bin", "tsc"), ["-p", "tsconfig.json"]);
  const check = 'import { Client, connect, createIdentity, recoverIdentity, PluginError } from "@trunkline/sdk"; import { inFolder } from "@trunkline/sdk/node"; import { processAudio } from "@trunkline/sdk/browser";'
    + "console.log([Client, connect, createIdentity, recoverIdentity, PluginError, inFolder, processAudio].map((f) => typeof f).join())";
  expect(run(process.execPath, ["--input-type=module", "-e", check]).trim()).toBe(Array(7).fill("function").join());
});

it("its example registers at a node, lets a Go client in and answers it, also after it was started again", async () => {
  const w = await Organisations.start();
  try {
    const invite = w.acme.invite();
    const start = async () => {
      const child = spawn(process.execPath, ["examples/hello.js", invite, join(folder, "data")], { cwd: folder, stdio: ["ignore", "pipe", "inherit"] });
      const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
      const address = await new Promise<string>((resolve, reject) => {
        createInterface({ input: child.stdout }).once("line", resolve);
        void ended.then((code) => reject(new Error(`the example ended with ${code}`)));
      });
      return { child, ended, address, id: address.split("@")[0]! };
    };
    const bob = new GoPerson(w, "bob");
    await bob.join(w.globex.invite(), "globex.example");
    let hello = await start();
    try {
      expect(hello.address).toMatch(/^tl1[0-9a-z]+@acme\.example$/);
      await bob.run("contact", "add", hello.address, "--name", "Bob");
      for (const text of ["first", "second"]) {
        while (!JSON.stringify(await bob.run("contact", "list")).includes('"accepted"')) await bob.run("inbox");
        await bob.run("send", hello.id, text, "--wait", "read");
        let got = "";
        while (!got.includes(`you wrote: ${text}`)) got += JSON.stringify(await bob.run("inbox"));
        hello.child.kill("SIGTERM");
        expect(await hello.ended).toBe(0);
        const before = hello.address;
        hello = await start();
        expect(hello.address).toBe(before);
      }
    } finally {
      hello.child.kill("SIGTERM");
      await hello.ended;
    }
  } finally {
    await w.stop();
  }
}, 300_000);

/** What is exported or public in these files without a comment in front of it. */
function* undocumented(dist: string, names: readonly string[]): Generator<string> {
  const documented = (lines: string[], i: number) => lines[i - 1]?.trim().endsWith("*/") ?? false;
  for (const name of names) {
    const lines = readFileSync(join(dist, name), "utf8").split("\n");
    for (const [i, line] of lines.entries()) {
      const member = name === "client/client.d.ts" && /^    (static |get )?(?!constructor)[a-z]\w*\(/.test(line);
      if (member && !documented(lines, i)) yield `${name}: ${line.trim()}`;
      if (!/^export (declare )?(abstract )?(class|function|interface|const)\b/.test(line)) continue;
      if (!documented(lines, i)) yield `${name}: ${line.trim()}`;
    }
  }
}
