// What a session frame says (docs/spec/session.md, section 5).

import { utf8, type Bytes } from "../bytes.ts";
import { decode, encode } from "../canon.ts";
import { refuse } from "../errors.ts";
import { checkText } from "./bodies.ts";
import { maxFrameBody } from "./session.ts";
import { SessionMessageMessage } from "./wire.ts";

export const SessionType = { confirm: 1, offer: 2, answer: 3, ice: 4, iceEnd: 5, bye: 6, restart: 7 } as const;

export type SessionMessage =
  | {
    readonly type: 2 | 3; readonly sdp: Bytes; readonly fingerprint: Bytes; readonly ufrag: string;
    /** 1 active, 2 passive, 3 actpass. */
    readonly setup: 1 | 2 | 3; readonly generation: number;
  }
  | { readonly type: 4; readonly candidates: readonly string[]; readonly generation: number }
  | { readonly type: 1 | 5 | 7; readonly generation: number }
  | { readonly type: 6; /** Read with byeReason. */ readonly reason: number; readonly generation: number };

const maxSdp = 16000;
const maxUfrag = 256;
const maxCandidates = 16;
const maxCandidate = 256;

export function marshalSessionMessage(m: SessionMessage): Bytes {
  const b = encode(SessionMessageMessage, { ...m });
  parseSessionMessage(b);
  return b;
}

/** A field that the type does not have is refused, so that there is one way to say a thing. */
export function parseSessionMessage(b: Uint8Array): SessionMessage {
  const m = decode(SessionMessageMessage, b, maxFrameBody);
  const { generation } = m;
  const describes = m.sdp.length > 0 || m.fingerprint.length > 0 || m.ufrag !== "" || m.setup !== 0;
  const bad = () => refuse("malformed", `session message of type ${m.type}`);
  const only = (part: "description" | "candidates" | "reason" | "none") => {
    if ((describes && part !== "description") || (m.candidates.length > 0 && part !== "candidates") || (m.reason !== 0 && part !== "reason")) throw bad();
  };
  switch (m.type) {
    case SessionType.offer: case SessionType.answer: {
      only("description");
      const { setup } = m;
      if (m.sdp.length === 0 || m.fingerprint.length !== 32 || m.ufrag === "" || (setup !== 1 && setup !== 2 && setup !== 3)) throw bad();
      if (m.sdp.length > maxSdp || utf8(m.ufrag).length > maxUfrag) throw refuse("too_large", "description");
      return { type: m.type, sdp: m.sdp, fingerprint: m.fingerprint, ufrag: m.ufrag, setup, generation };
    }
    case SessionType.ice:
      only("candidates");
      if (m.candidates.length === 0 || m.candidates.length > maxCandidates) throw bad();
      for (const line of m.candidates) {
        checkText("candidate", line, maxCandidate);
        if (line === "") throw bad();
      }
      return { type: m.type, candidates: m.candidates, generation };
    case SessionType.confirm: case SessionType.iceEnd: case SessionType.restart:
      only("none");
      return { type: m.type, generation };
    case SessionType.bye:
      only("reason");
      if (m.reason < 1) throw bad();
      return { type: m.type, reason: m.reason, generation };
  }
  throw bad();
}
