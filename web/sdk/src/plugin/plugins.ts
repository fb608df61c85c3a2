// The plugins of a client. One that throws, hangs or answers nonsense is cut off and reported, and nothing else suffers:
// a text goes out as it was written, and the other plugins go on.

import { sha256 } from "../crypto/hash.ts";
import { concat, hex, random, utf8, type Bytes } from "../bytes.ts";
import { maxNoteText } from "../envelope/bodies.ts";
import type { ClientEvent } from "../client/events.ts";
import type { Timers } from "../link/wire.ts";
import { checkPlugin, PluginError, type AudioStage, type MessageView, type Plugin } from "./plugin.ts";

/** How long a hook may take. */
export const hookMs = 1_000;
/** Hooks of one plugin that may be under way at once: more come only where none of them ends. */
export const maxUnderWay = 64;
/** Plugins that run at a time. */
export const maxPlugins = 16;

/** A plugin that runs. */
export interface PluginHandle {
  readonly name: string;
  readonly running: boolean;
  /** Ends it. What a hook of it still answers is dropped. */
  stop(): void;
}

interface Running {
  readonly plugin: Plugin;
  /** Names conversations for this plugin alone. */
  readonly key: Bytes;
  underWay: number;
}

/** What the plugins of a client need of it. */
export interface PluginHost {
  readonly timers: Timers;
  tell(e: ClientEvent): void;
}

type Note = Omit<MessageView, "conversation">;

/** The plugins that run. */
export class Plugins {
  readonly #h: PluginHost;
  readonly #running = new Map<string, Running>();

  constructor(h: PluginHost) {
    this.#h = h;
  }

  use(p: Plugin): PluginHandle {
    const plugin = checkPlugin(p);
    const { name } = plugin;
    if (this.#running.has(name)) throw new PluginError("twice", "a plugin of this name runs already");
    if (this.#running.size >= maxPlugins) throw new PluginError("too_many", `${maxPlugins} plugins are the most`);
    const r: Running = { plugin, key: random(32), underWay: 0 };
    this.#running.set(name, r);
    this.#h.tell({ type: "plugin", name, state: "on", why: "" });
    const runs = () => this.#running.get(name) === r;
    return { name, get running() { return runs(); }, stop: () => this.#end(r, "") };
  }

  /** The stages of the microphone's way, in the order in which the plugins came. */
  get audio(): readonly AudioStage[] {
    return [...this.#running.values()].flatMap(({ plugin }) => plugin.hooks.audio ?? []);
  }

  /** An audio stage that does not work. */
  audioFailed(stage: AudioStage): void {
    for (const r of this.#running.values()) if (r.plugin.hooks.audio === stage) this.#end(r, "threw");
  }

  /** Shows a note to those who may read. */
  message(contact: string, note: Note): void {
    for (const r of this.#running.values()) {
      const hook = r.plugin.hooks.message;
      if (hook !== undefined) void this.#run(r, () => hook(view({ conversation: conversation(r, contact), ...note })));
    }
  }

  /** Lets those who may change a text before it is sent. */
  async compose(contact: string, text: string): Promise<string> {
    let now = text;
    for (const r of [...this.#running.values()]) {
      const hook = r.plugin.hooks.compose;
      if (hook === undefined) continue;
      const said = await this.#run(r, () => hook(view({ conversation: conversation(r, contact), text: now })));
      if (said === undefined || said.answer === undefined) continue;
      if (isText(said.answer)) now = said.answer;
      else this.#end(r, "answer");
    }
    return now;
  }

  /** Runs a hook within its time. Undefined: it did not come to an end, and the plugin is cut off. */
  async #run(r: Running, hook: () => unknown): Promise<{ readonly answer: unknown } | undefined> {
    if (r.underWay >= maxUnderWay) return this.#end(r, "hung");
    r.underWay++;
    let cancel: () => void = () => undefined;
    try {
      const late = new Promise<"late">((resolve) => { cancel = this.#h.timers.after(hookMs, () => resolve("late")); });
      const answer = await Promise.race([Promise.resolve().then(hook).then((a) => ({ answer: a })), late]);
      if (answer === "late") return this.#end(r, "hung");
      return this.#running.get(r.plugin.name) === r ? answer : undefined;
    } catch {
      // What it threw is its own; it may hold what people wrote, so nobody is told more than that it threw.
      return this.#end(r, "threw");
    } finally {
      cancel();
      r.underWay--;
    }
  }

  #end(r: Running, why: "" | "threw" | "hung" | "answer"): undefined {
    const { name, end } = r.plugin;
    if (this.#running.get(name) !== r) return;
    this.#running.delete(name);
    try {
      end?.();
    } catch {
      why ||= "threw";
    }
    this.#h.tell({ type: "plugin", name, state: why === "" ? "off" : "cut", why });
  }

  stop(): void {
    for (const r of [...this.#running.values()]) this.#end(r, "");
  }
}

function conversation(r: Running, contact: string): string {
  return hex(sha256(concat(r.key, utf8(contact)))).slice(0, 16);
}

// Without a prototype: nothing of the program's hangs on it.
function view<T extends object>(fields: T): T {
  return Object.freeze(Object.assign(Object.create(null) as T, fields));
}

function isText(x: unknown): x is string {
  if (typeof x !== "string" || x === "" || x.length > maxNoteText || /\p{Surrogate}/u.test(x)) return false;
  return utf8(x).length <= maxNoteText;
}
