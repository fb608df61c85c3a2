// @trunkline/sdk: Trunkline in TypeScript, for the browser and for Node.

export * as call from "./call/index.ts";
export * as envelope from "./envelope/index.ts";
export * as identity from "./identity/index.ts";
export * as link from "./link/index.ts";
export * as sframe from "./sframe.ts";
export * as transfer from "./transfer/index.ts";
export type { Abortable } from "./abort.ts";
export * from "./client/index.ts";
export { PluginError, type AudioStage, type Capability, type DraftView, type Hooks, type MessageView, type Plugin } from "./plugin/plugin.ts";
export type { PluginHandle, Plugins } from "./plugin/plugins.ts";
export { workerPlugin, type PluginWorker } from "./plugin/remote.ts";
export { codeOf, isAlarm, isCode, TrunklineError, UnknownNodeError, WordError, type Code } from "./errors.ts";
