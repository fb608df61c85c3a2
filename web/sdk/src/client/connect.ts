// From a storage that holds an identity to a participant whom others reach.

import type { Abortable } from "../abort.ts";
import { Client } from "./client.ts";
import type { ClientOptions } from "./core.ts";
import type { Listener } from "./events.ts";

/** What {@link connect} needs: where things are kept, and what it may use. */
export interface ConnectOptions extends ClientOptions, Abortable {
  /** A node's address, or what it printed as an invitation; used where the identity is not registered yet. */
  readonly invite?: string;
  /** Hears everything that happens, from the first moment on. */
  readonly listen?: Listener;
}

/**
 * Opens the identity of a storage and waits until its node holds the link. An abort, and every error, closes it again
 * and leaves the storage free; what was registered stays registered.
 *
 * @throws TrunklineError storage (none there, or another program has it), not_registered (and no invite was given),
 *   refused (the node; nodeCode says why), unreachable (after 30 seconds), aborted
 */
export async function connect(o: ConnectOptions): Promise<Client> {
  const client = await Client.open(o);
  if (o.listen !== undefined) client.listen(o.listen);
  try {
    await client.connect(o);
  } catch (err) {
    await client.close();
    throw err;
  }
  return client;
}
