// Plugins: what is refused, what a hook sees, and that nothing suffers from one that misbehaves.

import { afterEach, describe, expect, it } from "vitest";
import { checkPlugin } from "../src/plugin/plugin.ts";
import { hookMs, maxPlugins, maxUnderWay, Plugins } from "../src/plugin/plugins.ts";
import { Client, createIdentity, MemoryStore, PluginError, StoreVault, workerPlugin, type ClientEvent, type MessageView, type Plugin } from "../src/index.ts";
import type { Timers } from "../src/link/wire.ts";
import { Puppet } from "./puppet.ts";

/** Time that moves when the test says so. */
class Clock implements Timers {
  ms = 0;
  readonly due: { at: number; f: () => void }[] = [];
  now(): number { return this.ms; }
  random(): number { return 0.5; }
  after(ms: number, f: () => void): () => void {
    const entry = { at: this.ms + ms, f };
    this.due.push(entry);
    return () => { if (this.due.includes(entry)) this.due.splice(this.due.indexOf(entry), 1); };
  }
  async pass(ms: number): Promise<void> {
    this.ms += ms;
    for (const d of [...this.due]) {
      if (d.at > this.ms || !this.due.includes(d)) continue;
      this.due.splice(this.due.indexOf(d), 1);
      d.f();
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
}

function host() {
  const clock = new Clock();
  const told: ClientEvent[] = [];
  return { clock, told, plugins: new Plugins({ timers: clock, tell: (e) => told.push(e) }) };
}

const reader = (name: string, message: (m: MessageView) => void): Plugin => ({ name, version: "1.0", capabilities: ["messages.read"], hooks: { message } });
const writer = (name: string, compose: NonNullable<Plugin["hooks"]["compose"]>): Plugin => ({ name, version: "1", capabilities: ["messages.compose"], hooks: { compose } });
const note = { out: false, text: "hello", createdMs: 5 };

function refused(p: unknown): PluginError["what"] {
  try {
    checkPlugin(p as Plugin);
  } catch (err) {
    expect(err).toBeInstanceOf(PluginError);
    expect((err as PluginError).code).toBe("plugin");
    return (err as PluginError).what;
  }
  throw new Error("it was taken");
}

describe("what a plugin asks for", () => {
  const good = reader("a", () => undefined);
  it("is refused where it breaks a rule, with the rule", () => {
    for (const name of ["", "A", "1a", "a b", "a".repeat(33), "a/b", 5, undefined, "../x"]) expect(refused({ ...good, name })).toBe("name");
    for (const version of ["", "1.", "1.2.3.4", "v1", "12345", "1.0-beta", 1]) expect(refused({ ...good, version })).toBe("version");
    for (const capabilities of [[], ["keys"], ["messages.read", "messages.read"], ["network"], "messages.read", ["messages.read", "x", "y", "z"], [{}]]) {
      expect(refused({ ...good, capabilities })).toBe("capability");
    }
    // A hook without its capability, and a capability without its hook.
    expect(refused({ ...good, capabilities: ["messages.compose"] })).toBe("capability");
    expect(refused({ ...good, capabilities: ["messages.read", "messages.compose"] })).toBe("capability");
    expect(refused({ ...good, hooks: { message: () => undefined, compose: () => "" } })).toBe("capability");
    for (const hooks of [null, 5, { keys: () => undefined }, { message: "x" }, { toString: () => "" }, { [Symbol.iterator]: () => undefined }]) expect(refused({ ...good, hooks })).toBe("hook");
    for (const audio of [{}, { module: "https://evil.example/x.js", processor: "x" }, { module: "//evil.example/x.js", processor: "x" }, { module: "/a/../b.js", processor: "x" }, { module: "/x.js", processor: "X" }, null]) {
      expect(refused({ name: "a", version: "1", capabilities: ["media.audio"], hooks: { audio } })).toBe("hook");
    }
    expect(refused({ ...good, end: 5 })).toBe("hook");
    expect(refused({ get name() { throw new Error("gotcha"); } })).toBe("unreadable");
    expect(refused(undefined)).toBe("unreadable");
  });

  it("is read once: what its author changes afterwards changes nothing", async () => {
    const { plugins } = host();
    const heard: string[] = [];
    const p = { name: "a", version: "1", capabilities: ["messages.read"], hooks: { message: () => void heard.push("first") } };
    plugins.use(p as unknown as Plugin);
    p.hooks.message = () => void heard.push("second");
    (p.hooks as Record<string, unknown>)["compose"] = () => "mine";
    p.capabilities.push("messages.compose");
    plugins.message("c", note);
    expect(await plugins.compose("c", "yours")).toBe("yours");
    expect(heard).toEqual(["first"]);
  });

  it("is one of a name, and of sixteen", () => {
    const { plugins, told } = host();
    const first = plugins.use(good);
    expect(() => plugins.use(good)).toThrow(PluginError);
    for (let i = 1; i < maxPlugins; i++) plugins.use({ ...good, name: `a${i}` });
    expect(() => plugins.use({ ...good, name: "z" })).toThrow("16");
    first.stop();
    first.stop();
    expect(first.running).toBe(false);
    plugins.use(good);
    expect(first.running).toBe(false);
    expect(told.filter((e) => e.type === "plugin" && e.name === "a").map((e) => (e as { state: string }).state)).toEqual(["on", "off", "on"]);
  });
});

describe("what a hook sees", () => {
  it("is frozen, has nothing of the program's on it, and does not say who", async () => {
    const { plugins } = host();
    const seen: MessageView[] = [];
    for (const n of ["a", "b"]) plugins.use(reader(n, (m) => void seen.push(m)));
    for (const who of ["ab".repeat(32), "ab".repeat(32), "cd".repeat(32)]) plugins.message(who, note);
    await new Promise((resolve) => setImmediate(resolve));
    expect(seen).toHaveLength(6);
    const [a1, b1, a2, , a3] = seen as [MessageView, MessageView, MessageView, MessageView, MessageView];
    expect(Object.isFrozen(a1)).toBe(true);
    expect(Object.getPrototypeOf(a1)).toBe(null);
    expect(Reflect.ownKeys(a1).sort()).toEqual(["conversation", "createdMs", "out", "text"]);
    expect(a1.conversation).toMatch(/^[0-9a-f]{16}$/);
    expect(JSON.stringify(seen)).not.toContain("abab");
    // The same conversation for one plugin, and not for two of them to compare.
    expect(a1.conversation).toBe(a2.conversation);
    expect(a1.conversation).not.toBe(a3.conversation);
    expect(a1.conversation).not.toBe(b1.conversation);
  });

  it("has no receiver, and its arguments lead to no function but its own", async () => {
    const { plugins } = host();
    let receiver: unknown = "unset";
    let functions = 0;
    plugins.use(writer("a", function (this: unknown, ...args) {
      receiver = this;
      const walk = (o: unknown) => {
        if (typeof o === "function") functions++;
        if (typeof o === "object" && o !== null) for (const k of Reflect.ownKeys(o)) walk((o as Record<PropertyKey, unknown>)[k]);
      };
      walk(args);
      return undefined;
    }));
    await plugins.compose("c", "x");
    expect([receiver, functions]).toEqual([undefined, 0]);
  });
});

describe("a plugin that misbehaves", () => {
  const cut = (told: ClientEvent[]) => told.flatMap((e) => (e.type === "plugin" && e.state === "cut" ? [`${e.name}: ${e.why}`] : []));

  it("is cut off when it throws, and the text goes as it was written, through those that are left", async () => {
    const { plugins, told } = host();
    plugins.use(writer("bad", () => { throw new Error("with a secret in it"); }));
    plugins.use(writer("good", (d) => `${d.text}!`));
    expect(await plugins.compose("c", "hi")).toBe("hi!");
    expect(await plugins.compose("c", "hi")).toBe("hi!");
    expect(cut(told)).toEqual(["bad: threw"]);
    expect(JSON.stringify(told)).not.toContain("secret");
  });

  it("is cut off when it hangs, after a second, also behind an answer that never comes", async () => {
    const { plugins, told, clock } = host();
    let ended = 0;
    plugins.use({ ...writer("hangs", () => new Promise(() => undefined)), end: () => void ended++ });
    plugins.use(writer("odd", () => ({ then: () => undefined }) as unknown as string));
    const text = plugins.compose("c", "hi");
    await clock.pass(hookMs - 1);
    expect(cut(told)).toEqual([]);
    await clock.pass(1);
    await clock.pass(hookMs);
    expect(await text).toBe("hi");
    expect([cut(told), ended]).toEqual([["hangs: hung", "odd: hung"], 1]);
    expect(clock.due).toEqual([]);
  });

  it("is cut off when it answers what is no text that can be sent", async () => {
    for (const wrong of [5, {}, "", "x".repeat(16_385), "ü".repeat(8_193), "\ud800", null, true]) {
      const { plugins, told } = host();
      plugins.use(writer("a", () => wrong as string));
      expect(await plugins.compose("c", "hi")).toBe("hi");
      expect(cut(told)).toEqual(["a: answer"]);
    }
  });

  it("is cut off when its hooks pile up, and what a stopped one still answers is dropped", async () => {
    const { plugins, told } = host();
    plugins.use(reader("slow", () => new Promise(() => undefined) as never));
    for (let i = 0; i <= maxUnderWay; i++) plugins.message("c", note);
    expect(cut(told)).toEqual(["slow: hung"]);
    let answer: (s: string) => void = () => undefined;
    const late = plugins.use(writer("late", () => new Promise<string>((resolve) => { answer = resolve; })));
    const text = plugins.compose("c", "hi");
    await new Promise((resolve) => setImmediate(resolve));
    late.stop();
    answer("mine");
    expect(await text).toBe("hi");
  });

  it("is cut off when its end throws", () => {
    const { plugins, told } = host();
    plugins.use({ ...reader("a", () => undefined), end: () => { throw new Error("x"); } }).stop();
    expect(cut(told)).toEqual(["a: threw"]);
  });
});

describe("a plugin in a worker", () => {
  function worker(answer: (m: { id: number; hook: string; view: object }) => unknown) {
    const w = {
      onmessage: null as ((e: never) => void) | null, onerror: null as ((e: never) => void) | null, ended: 0,
      postMessage: (m: unknown) => queueMicrotask(() => {
        const a = answer(m as { id: number; hook: string; view: object });
        if (a !== undefined) (w.onmessage as ((e: { data: unknown }) => void) | null)?.({ data: a });
      }),
      terminate: () => void w.ended++,
    };
    return w;
  }
  const about = { name: "far", version: "1", capabilities: ["messages.compose", "messages.read"] as const };

  it("gets text and numbers and gives text, and ends with the plugin", async () => {
    const { plugins } = host();
    const w = worker(({ id, view }) => ({ id, ok: true, text: `${(view as { text: string }).text} from afar` }));
    const handle = plugins.use(workerPlugin(about, w));
    expect(await plugins.compose("c", "hi")).toBe("hi from afar");
    handle.stop();
    expect(w.ended).toBe(1);
  });

  it("is ended when it hangs, fails, crashes, or speaks without being asked", async () => {
    for (const answer of [() => undefined, ({ id }: { id: number }) => ({ id, ok: false }), () => ({ id: 77, ok: true }), () => "hello", () => ({ id: "0", ok: true }), () => null]) {
      const { plugins, told, clock } = host();
      const w = worker(answer);
      plugins.use(workerPlugin(about, w));
      const text = plugins.compose("c", "hi");
      await clock.pass(0);
      await clock.pass(hookMs);
      expect(await text).toBe("hi");
      expect(told.at(-1)).toMatchObject({ type: "plugin", state: "cut" });
      expect(w.ended).toBeGreaterThan(0);
    }
    const { plugins, told } = host();
    const w = worker(() => undefined);
    plugins.use(workerPlugin(about, w));
    (w.onerror as (() => void) | null)?.();
    expect(await plugins.compose("c", "hi")).toBe("hi");
    expect(told.at(-1)).toMatchObject({ state: "cut", why: "threw" });
  });

  it("is no place for sound", () => {
    expect(() => workerPlugin({ ...about, capabilities: ["media.audio"] }, worker(() => undefined))).toThrow(PluginError);
  });
});

describe("in a client", () => {
  const open: Client[] = [];
  afterEach(async () => { await Promise.all(open.splice(0).map((c) => c.close())); });

  it("a text is changed before it is sent, both sides' plugins read it, and they end with the client", async () => {
    const node = await Puppet.make();
    const someone = async () => {
      const store = new MemoryStore();
      const { client } = await createIdentity({ store, vault: new StoreVault(store), socket: node.socket });
      open.push(client);
      await client.connect({ invite: node.invite });
      return client;
    };
    const [a, b] = [await someone(), await someone()];
    const event = (c: Client, type: ClientEvent["type"]) => new Promise<void>((resolve) => { const off = c.listen((e) => { if (e.type === type) { off(); resolve(); } }); });
    const knocked = event(b, "knock");
    await a.knock(b.address);
    await knocked;
    const accepted = event(a, "knock-accepted");
    await b.accept(a.id);
    await accepted;
    const read: [string, boolean, string][] = [];
    await a.use(writer("shrug", (d) => d.text.replace(":shrug:", "¯\\_(ツ)_/¯")));
    await a.use(reader("mine", (m) => void read.push(["a", m.out, m.text])));
    await b.use(reader("theirs", (m) => void read.push(["b", m.out, m.text])));
    const came = event(b, "note");
    await a.sendMessage(b.id, "well :shrug:");
    await came;
    await new Promise((resolve) => setImmediate(resolve));
    expect(read).toEqual([["a", true, "well ¯\\_(ツ)_/¯"], ["b", false, "well ¯\\_(ツ)_/¯"]]);
    expect((await a.history(b.id)).notes[0]!.text).toBe("well ¯\\_(ツ)_/¯");
    const off: string[] = [];
    a.listen((e) => { if (e.type === "plugin") off.push(`${e.name} ${e.state}`); });
    await a.stop();
    expect(off).toEqual(["shrug off", "mine off"]);
  });
});
