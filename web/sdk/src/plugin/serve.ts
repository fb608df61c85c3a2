// The worker's half of a plugin. Import it before the plugin's code: it confines the worker.

import { confined } from "./confine.ts";
import type { Hooks } from "./plugin.ts";
import type { HookAnswer, HookCall } from "./remote.ts";

export type { DraftView, Hooks, MessageView } from "./plugin.ts";

/** Runs the hooks when the page asks for it. */
export function servePlugin(hooks: Pick<Hooks, "message" | "compose">): void {
  confined.listen((data) => {
    const { id, hook, view } = data as HookCall;
    const answer = (a: HookAnswer) => confined.post(a);
    void (async () => (hooks[hook] as ((v: object) => unknown) | undefined)?.(Object.freeze(view)))().then(
      (text) => answer(typeof text === "string" ? { id, ok: true, text } : { id, ok: text === undefined }),
      () => answer({ id, ok: false }),
    );
  });
}
