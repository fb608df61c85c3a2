// A plugin: what adds something to a participant without being part of it. It says what it is and what it wants to do;
// it is given that and nothing else, in frozen values made for it. No value that a hook gets leads to a key, a contact,
// the storage or the link.
//
// How far that reaches depends on where its code runs:
//
//   - A hook handed to use() directly runs in the same realm as the program. It is not given keys, but JavaScript has no
//     walls inside a realm: such a plugin can change what others call, or open the page's storage by itself. Only code
//     that is trusted like the program's own belongs there.
//   - Behind workerPlugin() it runs in a worker that has messages and nothing else: see confine.ts. It reaches no object
//     of the page, no storage and no network, and a hook that never returns is ended with its worker.
//   - What the capability media.audio brings runs in an audio worklet, a realm that browsers make without storage,
//     network and timers. It hears the microphone and can change it, and has nobody to tell.

import { TrunklineError, type Code } from "../errors.ts";

/**
 * What a plugin may ask for:
 *
 * - messages.read: sees the text of what comes and of what is sent
 * - messages.compose: may change a text before it is sent
 * - media.audio: changes the sound of the own microphone
 */
export type Capability = "messages.read" | "messages.compose" | "media.audio";

/** A note, without who wrote it: a conversation has a name of its own for each plugin and each run. */
export interface MessageView {
  /** 16 hexadecimal digits, the same for all notes of one conversation until the plugin ends. */
  readonly conversation: string;
  /** Whether this side wrote it. */
  readonly out: boolean;
  readonly text: string;
  /** Milliseconds since 1970. */
  readonly createdMs: number;
}

/** A text that is about to be sent. */
export interface DraftView {
  readonly conversation: string;
  readonly text: string;
}

/** A stage of the microphone's way: a script of the same origin for an audio worklet, and the processor that it registers. */
export interface AudioStage {
  /** A path of the own origin: "/", up to 64 of A-Z a-z 0-9 . _ -, and ".js" at the end. */
  readonly module: string;
  /** Up to 32 of a-z 0-9 -, a letter first. */
  readonly processor: string;
}

/** What a plugin does. Each hook needs the capability that is named with it. */
export interface Hooks {
  /** messages.read. Its answer is not waited for by anybody. */
  readonly message?: (m: MessageView) => void | Promise<void>;
  /** messages.compose. Gives the text to send instead; undefined leaves it. Sending waits for at most a second. */
  readonly compose?: (d: DraftView) => string | undefined | Promise<string | undefined>;
  /** media.audio. */
  readonly audio?: AudioStage;
}

/** What use() takes. */
export interface Plugin {
  /** Up to 32 of a-z 0-9 -, a letter first. One plugin of a name at a time. */
  readonly name: string;
  /** One to three numbers of at most four digits, with dots between. */
  readonly version: string;
  /** What it asks for: neither more nor less than its hooks need. */
  readonly capabilities: readonly Capability[];
  readonly hooks: Hooks;
  /** Called once when the plugin ends, whatever ends it. */
  readonly end?: () => void;
}

/** Which capability each hook needs. */
export const needs = { message: "messages.read", compose: "messages.compose", audio: "media.audio" } as const satisfies Record<keyof Hooks, Capability>;

const capabilities = new Set<string>(Object.values(needs));
const nameForm = /^[a-z][a-z0-9-]{0,31}$/;
const versionForm = /^\d{1,4}(\.\d{1,4}){0,2}$/;
const moduleForm = /^\/[A-Za-z0-9._-]{1,64}\.js$/;

/** What is refused of a plugin: `code` is "plugin", `what` says which rule. */
export class PluginError extends TrunklineError {
  readonly what: "name" | "version" | "capability" | "hook" | "twice" | "too_many" | "unreadable";

  constructor(what: PluginError["what"], message: string, cause?: unknown) {
    super("plugin" satisfies Code, message, cause === undefined ? undefined : { cause });
    this.what = what;
  }
}

/**
 * Reads a plugin once, into values of its own: what its author changes later changes nothing.
 *
 * @throws PluginError
 */
export function checkPlugin(p: Plugin): Plugin {
  try {
    return read(p);
  } catch (err) {
    // A getter or a proxy that throws is no different from a value that is wrong.
    throw err instanceof PluginError ? err : new PluginError("unreadable", "the plugin cannot be read", err);
  }
}

function read(p: Plugin): Plugin {
  const { name, version, capabilities: asked, hooks, end } = p;
  if (typeof name !== "string" || !nameForm.test(name)) throw new PluginError("name", "a plugin's name has up to 32 of a-z, 0-9 and -");
  if (typeof version !== "string" || !versionForm.test(version)) throw new PluginError("version", "a plugin's version is one to three numbers with dots between");
  if (!Array.isArray(asked) || asked.length === 0 || asked.length > capabilities.size) throw new PluginError("capability", "a plugin asks for at least one capability and for none twice");
  const wanted = new Set<string>(asked.map((c: unknown) => {
    if (typeof c !== "string" || !capabilities.has(c)) throw new PluginError("capability", "a plugin asks for what nobody can have");
    return c;
  }));
  if (wanted.size !== asked.length) throw new PluginError("capability", "a plugin asks for a capability twice");
  if (typeof hooks !== "object" || hooks === null || Reflect.ownKeys(hooks).length > 8) throw new PluginError("hook", "a plugin has hooks");
  const own: { message?: Hooks["message"]; compose?: Hooks["compose"]; audio?: AudioStage } = {};
  for (const key of Reflect.ownKeys(hooks)) {
    if (typeof key !== "string" || !Object.hasOwn(needs, key)) throw new PluginError("hook", "a plugin has a hook that there is not");
    const hook = key as keyof Hooks;
    if (!wanted.delete(needs[hook])) throw new PluginError("capability", `the hook ${hook} needs the capability ${needs[hook]}, which was not asked for`);
    if (hook === "audio") {
      own.audio = stage(hooks.audio);
      continue;
    }
    const f = hooks[hook];
    if (typeof f !== "function") throw new PluginError("hook", `the hook ${hook} is no function`);
    own[hook] = f as never;
  }
  if (wanted.size > 0) throw new PluginError("capability", "a plugin asks for more than its hooks need");
  if (end !== undefined && typeof end !== "function") throw new PluginError("hook", "what ends a plugin is a function");
  return Object.freeze({ name, version, capabilities: Object.freeze([...asked]), hooks: Object.freeze(own) as Hooks, ...(end === undefined ? {} : { end }) });
}

function stage(s: AudioStage | undefined): AudioStage {
  const { module, processor } = s ?? {};
  if (typeof module !== "string" || !moduleForm.test(module)) throw new PluginError("hook", "the script of an audio stage is a path of the own origin");
  if (typeof processor !== "string" || !nameForm.test(processor)) throw new PluginError("hook", "an audio stage names a processor");
  return Object.freeze({ module, processor });
}
