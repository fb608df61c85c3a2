// From nothing, or from a phrase, to a participant.

import { Client } from "./client.ts";
import type { ClientOptions } from "./core.ts";

/** Makes a new identity. The phrase is the only copy: show it when the person asks for it, and store it nowhere. */
export async function createIdentity(o: ClientOptions): Promise<{ readonly client: Client; readonly phrase: string }> {
  const [{ deriveRoot, generatePhrase }] = await Promise.all([phrases(), import("./arrive.ts")]); // which comes next
  const phrase = generatePhrase(24);
  return { client: await Client.create(o, await deriveRoot(phrase)), phrase };
}

/** Makes this storage a new device of the identity that the phrase gives. register then finds its device list. */
export async function recoverIdentity(o: ClientOptions, phrase: string, passphrase = "", account = 0): Promise<Client> {
  const { deriveRoot } = await phrases();
  return Client.create(o, await deriveRoot(phrase, passphrase, account));
}

/** The one form of a phrase, before anything is done with it. Throws WordError for a word that is in no list. */
export async function checkPhrase(phrase: string): Promise<string> {
  return (await phrases()).normalizePhrase(phrase);
}

// The word list is loaded by whoever makes an identity, and by nobody who has one.
const phrases = () => import("../identity/phrase.ts");
