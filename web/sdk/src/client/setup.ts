// From nothing, or from a phrase, to a participant.

import { deriveRoot, generatePhrase } from "../identity/phrase.ts";
import { Client } from "./client.ts";
import type { ClientOptions } from "./core.ts";

/** Makes a new identity. The phrase is the only copy: show it when the person asks for it, and store it nowhere. */
export async function createIdentity(o: ClientOptions): Promise<{ readonly client: Client; readonly phrase: string }> {
  const phrase = generatePhrase(24);
  return { client: await Client.create(o, deriveRoot(phrase)), phrase };
}

/** Makes this storage a new device of the identity that the phrase gives. register then finds its device list. */
export async function recoverIdentity(o: ClientOptions, phrase: string, passphrase = "", account = 0): Promise<Client> {
  return Client.create(o, deriveRoot(phrase, passphrase, account));
}
