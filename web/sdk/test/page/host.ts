// The page of the test of plugins in workers: it has what a hostile plugin would like to have.

import { Plugins } from "../../src/plugin/plugins.ts";
import { workerPlugin } from "../../src/plugin/remote.ts";
import { systemTimers } from "../../src/link/wire.ts";
import { inBrowser } from "../../src/browser.ts";
import type { ClientEvent } from "../../src/client/events.ts";

const told: ClientEvent[] = [];
const plugins = new Plugins({ timers: systemTimers, tell: (e) => told.push(e) });
const policy = (globalThis as unknown as { trustedTypes: { createPolicy(name: string, o: object): { createScriptURL(s: string): string } } })
  .trustedTypes.createPolicy("t", { createScriptURL: (s: string) => s });

const steps = {
  /** Something is there that could be taken. */
  prepare: async () => {
    const { store, vault } = await inBrowser("test");
    await vault.device();
    await store.write([{ key: "secret/root", value: await vault.wrap(new Uint8Array(32)) }]);
    await store.close();
  },
  use: async (name: string) => {
    plugins.use(workerPlugin({ name, version: "1", capabilities: ["messages.compose"] }, new Worker(policy.createScriptURL(`/${name}.js`))));
  },
  stop: async () => plugins.stop(),
  compose: async (text: string) => plugins.compose("somebody", text),
  told: async () => told,
};
export type HostSteps = typeof steps;
Object.assign(globalThis, { steps });
