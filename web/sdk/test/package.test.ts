// What `npm pack` makes is installed beside its dependencies, type-checked and run.

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, it } from "vitest";

const sdk = fileURLToPath(new URL("..", import.meta.url));
const modules = join(sdk, "..", "node_modules");
const folder = mkdtempSync(join(tmpdir(), "trunkline-pack-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it("packs an installable package with types, whose example compiles and starts", () => {
  const run = (program: string, args: string[], cwd = folder) => execFileSync(program, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  const [packed] = JSON.parse(run("npm", ["pack", "--json", "--pack-destination", folder], sdk).replace(/^[^[]*/s, "")) as { filename: string; files: { path: string }[] }[];
  const paths = packed!.files.map((f) => f.path);
  for (const p of ["dist/index.js", "dist/index.d.ts", "dist/node.d.ts", "dist/browser.js", "examples/hello.ts", "README.md", "LICENSE"]) expect(paths).toContain(p);
  expect(paths.filter((p) => p.startsWith("src/") || p.startsWith("test/"))).toEqual([]);

  for (const name of ["@types/node", "@types/ws", "undici-types", "ws", "age-encryption", ...readdirSync(join(modules, "@noble")).map((n) => `@noble/${n}`), ...readdirSync(join(modules, "@scure")).map((n) => `@scure/${n}`)]) {
    const at = join(folder, "node_modules", name);
    mkdirSync(dirname(at), { recursive: true });
    symlinkSync(join(modules, name), at);
  }
  const installed = join(folder, "node_modules", "@trunkline", "sdk");
  mkdirSync(installed, { recursive: true });
  run("tar", ["-xzf", packed!.filename, "-C", installed, "--strip-components=1"]);
  writeFileSync(join(folder, "package.json"), '{"type":"module"}');
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({
    compilerOptions: { strict: true, target: "ES2022", module: "NodeNext", moduleResolution: "NodeNext", types: ["node"], lib: ["ES2023", "DOM"], outDir: "out", skipLibCheck: true },
    files: [join(installed, "examples", "hello.ts")],
  }));
  run(join(modules, ".bin", "tsc"), ["-p", "tsconfig.json"]);
  const check = 'import { Client, identity } from "@trunkline/sdk"; import { inFolder } from "@trunkline/sdk/node"; import "@trunkline/sdk/browser";'
    + 'console.log(typeof Client.open, typeof inFolder, identity.generatePhrase().split(" ").length)';
  expect(run(process.execPath, ["--input-type=module", "-e", check]).trim()).toBe("function function 24");
}, 300_000);
