// The media keys of a room, where the frames are sealed and opened: in this thread, or in the rooms' worker.

import type { Bytes } from "../bytes.ts";
import { TrunklineError } from "../errors.ts";
import { GroupReceiver, GroupSender, type GroupKey } from "./group.ts";

/** What is done with keys. Each call that gives one answers with the generation that is held then. */
export type KeyCall =
  | { readonly do: "begin"; readonly index: number; readonly key: GroupKey }
  | { readonly do: "use"; readonly key: GroupKey }
  | { readonly do: "used" }
  | { readonly do: "give"; readonly of: number; readonly key: GroupKey }
  | { readonly do: "step"; readonly of: number; readonly generation: number }
  | { readonly do: "expect" | "drop"; readonly of: number }
  | { readonly do: "forget"; readonly of: number; readonly generation: number }
  | { readonly do: "end" };

/** used: whether the present key has sealed anything. generation: of the newest key that is held of a member. */
export interface KeyAnswer { readonly used?: boolean; readonly generation?: number | undefined }

export type KeyCaller = (c: KeyCall) => Promise<KeyAnswer>;

/** All keys of one stay in a room. */
export class KeyRing {
  sender: GroupSender | undefined;
  readonly receivers = new Map<number, GroupReceiver>();

  /** A key that is refused changes nothing: what is held then tells its sender. */
  call(c: KeyCall): KeyAnswer {
    switch (c.do) {
      case "begin":
        this.receivers.clear();
        this.sender = new GroupSender(c.index, c.key);
        return {};
      case "use":
        this.sender?.use(c.key);
        return {};
      case "used": return { used: this.sender?.used ?? false };
      case "drop":
        this.receivers.delete(c.of);
        return {};
      case "end":
        this.receivers.clear();
        this.sender = undefined;
        return {};
    }
    let r = this.receivers.get(c.of);
    if (r === undefined) this.receivers.set(c.of, r = new GroupReceiver(c.of));
    try {
      if (c.do === "give") r.give(c.key);
      else if (c.do === "step") r.step(c.generation);
      else if (c.do === "forget") r.forget(c.generation);
      else r.expect();
    } catch (err) {
      if (!(err instanceof TrunklineError)) throw err;
    }
    return { generation: r.generation };
  }
}

/** Keys in this thread: for a room without sound and picture. */
export function localKeys(): KeyCaller {
  const ring = new KeyRing();
  return async (c) => ring.call(c);
}

/** A copy that leaves this thread. */
export function copyKey(k: GroupKey): GroupKey { return { generation: k.generation, base: k.base.slice() as Bytes }; }
