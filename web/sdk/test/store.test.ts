import { appendFileSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { utf8 } from "../src/bytes.ts";
import { Records, type Change, type Store } from "../src/client/store.ts";
import { FileStore, inFolder } from "../src/node.ts";
import { refusal } from "./vectors.ts";

const root = mkdtempSync(join(tmpdir(), "trunkline-store-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let n = 0;
const folder = () => join(root, String(n++));
const shown = async (s: Store) => Object.fromEntries([...await s.load()].map(([k, v]) => [k, new TextDecoder().decode(v)]));

describe("a store in a folder", () => {
  it("has after a reopening what was written, and what was removed is gone", async () => {
    const at = folder();
    const s = new FileStore(at);
    await s.write([{ key: "a", value: utf8("1") }, { key: "b", value: utf8("2") }]);
    await s.write([{ key: "a" }, { key: "c", value: utf8("3") }]);
    await s.close();
    const again = new FileStore(at);
    expect(await shown(again)).toEqual({ b: "2", c: "3" });
    await again.close();
    expect(statSync(at).mode & 0o777).toBe(0o700);
    expect(statSync(join(at, "client.log")).mode & 0o777).toBe(0o600);
  });

  it("drops a write that a kill cut off, whole, and goes on behind it", async () => {
    const at = folder();
    const s = new FileStore(at);
    await s.write([{ key: "a", value: utf8("1") }]);
    await s.close();
    appendFileSync(join(at, "client.log"), '[["a","eA=="],["b"');
    const again = new FileStore(at);
    expect(await shown(again)).toEqual({ a: "1" });
    await again.write([{ key: "b", value: utf8("2") }]);
    await again.close();
    const third = new FileStore(at);
    expect(await shown(third)).toEqual({ a: "1", b: "2" });
    await third.close();
  });

  it("writes its file anew when a secret is removed", async () => {
    const at = folder();
    const s = new FileStore(at);
    await s.write([{ key: "secret/prekey/1", value: utf8("planted marker") }, { key: "x", value: utf8("stays") }]);
    const bytes = () => readFileSync(join(at, "client.log"), "utf8");
    const marker = Buffer.from("planted marker").toString("base64");
    expect(bytes()).toContain(marker);
    await s.write([{ key: "secret/prekey/1" }]);
    expect(bytes()).not.toContain(marker);
    expect(await shown(s)).toEqual({ x: "stays" });
    await s.close();
  });

  it("is one process's, also when another one was killed with it", async () => {
    const at = folder();
    const s = new FileStore(at);
    expect((await refusal(() => inFolder(at))).code).toBe("storage");
    await s.close();
    writeFileSync(join(at, "lock"), "999999999"); // of a process that is no more
    const again = new FileStore(at);
    await again.close();
  });
});

describe("records", () => {
  it("writes what was set together together, and what waits in one write behind the one that runs", async () => {
    const writes: (readonly Change[])[] = [];
    let release: () => void = () => undefined;
    const store: Store = {
      load: async () => new Map(), read: async (keys) => keys.map(() => undefined), close: async () => undefined,
      write: async (c) => {
        writes.push(c);
        await new Promise<void>((resolve) => { release = resolve; });
      },
    };
    const r = new Records(store, new Map(), () => undefined);
    r.set("a", 1);
    const first = r.commit();
    r.set("b", 2);
    r.set("c", 3);
    const second = r.commit();
    r.set("b", 4);
    const third = r.commit();
    release();
    await first;
    await new Promise((f) => setImmediate(f));
    release();
    await Promise.all([second, third]);
    expect(writes.map((w) => w.map((c) => c.key))).toEqual([["a"], ["b", "c"]]);
    expect(r.get("b")).toBe(4);
  });
});
