// The one kind of recipient that Trunkline seals to: age's hybrid one, mlkem768x25519. The library has it too, in
// one module with passphrases and the P-256 of hardware tokens; this one is what a page has to load.

import { Stanza, type Identity, type Recipient } from "age-encryption";
import { base64nopad } from "@scure/base";
import { isCode, refuse } from "../errors.ts";
import { utf8 } from "../bytes.ts";
import { recipientXWing, senderXWing, xwingEncSize } from "./hpke.ts";

const kind = "mlkem768x25519";
const info = utf8(`age-encryption.org/${kind}`);
const none = new Uint8Array(0);

export function hybridRecipient(recipient: Uint8Array): Recipient {
  return {
    wrapFileKey: (fileKey) => {
      const { enc, context } = senderXWing(recipient, info);
      return [new Stanza([kind, base64nopad.encode(enc)], context.seal(fileKey, none))];
    },
  };
}

export function hybridIdentity(seed: Uint8Array): Identity {
  return {
    unwrapFileKey: (stanzas) => {
      for (const s of stanzas.filter((x) => x.args[0] === kind)) {
        const enc = base64nopad.decode(s.args[1] ?? "");
        if (s.args.length !== 2 || enc.length !== xwingEncSize || s.body.length !== 32) throw refuse("malformed", "stanza");
        try {
          return recipientXWing(enc, seed, info).open(s.body, none);
        } catch (err) {
          if (!isCode(err, "decrypt")) throw err; // another's, perhaps
        }
      }
      return null;
    },
  };
}
