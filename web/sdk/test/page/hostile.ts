// A plugin that tries to reach keys, people and the network: when it is evaluated, and in its hook.

import type { DraftView, Hooks } from "../../src/plugin/serve.ts";

const scope = globalThis as unknown as Record<string, unknown>;
const fresh = (source: string) => (Function(source) as () => unknown)();

/** What worked. */
async function tries(): Promise<string[]> {
  const got: string[] = [];
  const attempt = async (what: string, f: () => unknown) => {
    try {
      if ((await f()) !== undefined) got.push(what);
    } catch {
      // refused, as it should be
    }
  };
  for (const name of [
    "indexedDB", "IDBFactory", "caches", "CacheStorage", "navigator", "location", "origin", "fetch", "Request", "XMLHttpRequest", "WebSocket", "WebSocketStream", "EventSource",
    "WebTransport", "Worker", "SharedWorker", "importScripts", "BroadcastChannel", "MessageChannel", "postMessage", "addEventListener", "dispatchEvent", "crypto", "CryptoKey",
    "RTCPeerConnection", "FileReaderSync", "URL", "Blob", "OffscreenCanvas", "FontFace", "fonts", "trustedTypes", "cookieStore", "performance", "reportError", "onmessage", "close",
  ]) {
    await attempt(name, () => scope[name]);
    await attempt(`Function ${name}`, () => fresh(`return typeof ${name} === "undefined" ? undefined : ${name}`));
    await attempt(`prototype ${name}`, () => Object.getPrototypeOf(globalThis)?.[name]);
  }
  await attempt("import of a script", () => import(/* @vite-ignore */ String("/leak.js?what+was+written")));
  await attempt("import of data", () => import(/* @vite-ignore */ String("data:text/javascript,export default 1")));
  return got;
}

const early = tries();
const hooks: Hooks = {
  compose: async (d: DraftView) => {
    if (d.text === "loop") for (let n = 0; ; n++) scope["n"] = n;
    return `tried: ${[...await early, ...await tries()].join(", ")}`;
  },
};
export default hooks;
