// Takes a worker everything but the language and its messages, before the plugin's code is evaluated. It is a list of
// what stays, so that what browsers add later goes, too. Importing it is doing it:
//
//   import { servePlugin } from "@trunkline/sdk/plugin";   // first: it confines
//   import hooks from "./plugin.js";
//   servePlugin(hooks);
//
// One door cannot be taken away from inside: import(), which loads scripts. A content security policy of
// "default-src 'none'" on the worker's own script closes it; without one, a plugin could tell the own origin something
// by the name of a script that it asks for.

const kept = new Set([
  // the language
  "Object", "Function", "Array", "Number", "parseFloat", "parseInt", "Infinity", "NaN", "undefined", "Boolean", "String", "Symbol", "Date", "Promise", "RegExp",
  "Error", "AggregateError", "EvalError", "RangeError", "ReferenceError", "SyntaxError", "TypeError", "URIError", "SuppressedError", "globalThis", "JSON", "Math",
  "Intl", "ArrayBuffer", "Atomics", "Uint8Array", "Int8Array", "Uint16Array", "Int16Array", "Uint32Array", "Int32Array", "Float16Array", "Float32Array",
  "Float64Array", "Uint8ClampedArray", "BigUint64Array", "BigInt64Array", "DataView", "Map", "BigInt", "Set", "Iterator", "WeakMap", "WeakSet", "WeakRef",
  "FinalizationRegistry", "Proxy", "Reflect", "decodeURI", "decodeURIComponent", "encodeURI", "encodeURIComponent", "escape", "unescape", "isFinite", "isNaN",
  "DisposableStack", "AsyncDisposableStack", "SharedArrayBuffer", "WebAssembly", "eval",
  // text, and what hooks wait with
  "TextEncoder", "TextDecoder", "structuredClone", "queueMicrotask", "setTimeout", "clearTimeout", "setInterval", "clearInterval",
  // names of what is left
  "self", "constructor",
]);

/** Removes it all and gives back what servePlugin needs. Throws where something cannot be removed. */
function confine(): { readonly post: (m: unknown) => void; readonly listen: (f: (data: unknown) => void) => void } {
  const scope = globalThis as unknown as { postMessage: (m: unknown) => void; addEventListener: (type: string, f: (e: { data: unknown }) => void) => void };
  const post = scope.postMessage.bind(scope);
  const add = scope.addEventListener.bind(scope);
  const left: string[] = [];
  for (let o: object | null = scope; o !== null && o !== Object.prototype; o = Object.getPrototypeOf(o) as object | null) {
    for (const key of Reflect.ownKeys(o)) {
      if (typeof key === "string" && kept.has(key)) continue;
      if (Reflect.deleteProperty(o, key)) continue;
      const value: unknown = Reflect.getOwnPropertyDescriptor(o, key)?.value;
      if (typeof value !== "number") left.push(String(key)); // constants cannot be removed and lead nowhere
    }
  }
  if (left.length > 0) throw new Error(`this worker cannot be confined: ${left.join(", ")}`);
  return { post, listen: (f) => add("message", (e) => f(e.data)) };
}

export const confined = confine();
