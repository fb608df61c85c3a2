// A plugin whose code runs in a worker: the page's half. They share no object; what goes over is text and numbers.

import { TrunklineError } from "../errors.ts";
import { PluginError, type Capability, type Hooks, type Plugin } from "./plugin.ts";

/** What of a Worker is used. */
export interface PluginWorker {
  postMessage(message: unknown): void;
  onmessage: ((e: never) => void) | null;
  onerror: ((e: never) => void) | null;
  terminate(): void;
}

/** To the worker: a hook to run. */
export interface HookCall { readonly id: number; readonly hook: "message" | "compose"; readonly view: object }
/** From the worker: what came of it. */
export interface HookAnswer { readonly id: number; readonly ok: boolean; readonly text?: string }

/**
 * A plugin for use() whose hooks run in a worker that serves them with servePlugin. When the plugin ends, so does the
 * worker. The worker's script is the program's own: it names the plugin's code after the import that confines it.
 *
 * @throws PluginError for media.audio, which has a realm of its own
 */
export function workerPlugin(about: { readonly name: string; readonly version: string; readonly capabilities: readonly Capability[] }, worker: PluginWorker): Plugin {
  const waiting = new Map<number, (a: HookAnswer | undefined) => void>();
  let next = 0;
  let over = false;
  const end = () => {
    over = true;
    worker.terminate();
    for (const answer of waiting.values()) answer(undefined);
    waiting.clear();
  };
  worker.onerror = end;
  worker.onmessage = (e: { readonly data: unknown }) => {
    const a = answerOf(e.data);
    const answer = a === undefined ? undefined : waiting.get(a.id);
    if (answer === undefined) return end(); // a plugin speaks when it is asked
    waiting.delete(a!.id);
    answer(a);
  };
  const ask = async (hook: "message" | "compose", view: object): Promise<string | undefined> => {
    const id = next++;
    const a = over ? undefined : await new Promise<HookAnswer | undefined>((resolve) => {
      waiting.set(id, resolve);
      worker.postMessage({ id, hook, view: { ...view } } satisfies HookCall);
    });
    if (a === undefined || !a.ok) throw new TrunklineError("plugin", "the plugin's worker failed");
    return a.text;
  };
  const hooks: { -readonly [K in keyof Hooks]: Hooks[K] } = {};
  for (const c of about.capabilities) {
    if (c === "messages.read") hooks.message = async (m) => void (await ask("message", m));
    else if (c === "messages.compose") hooks.compose = (d) => ask("compose", d);
    else throw new PluginError("capability", "what a worker cannot do");
  }
  return { ...about, hooks, end };
}

function answerOf(x: unknown): HookAnswer | undefined {
  if (typeof x !== "object" || x === null) return undefined;
  const { id, ok, text } = x as Partial<HookAnswer>;
  if (typeof id !== "number" || typeof ok !== "boolean") return undefined;
  return typeof text === "string" ? { id, ok, text } : { id, ok };
}
