// The same plugin in a worker that nobody confined: what it would reach.

import hooks from "./hostile.ts";

const scope = globalThis as unknown as { onmessage: (e: { data: { id: number; view: never } }) => void; postMessage: (m: unknown) => void };
scope.onmessage = (e) => void (async () => scope.postMessage({ id: e.data.id, ok: true, text: await hooks.compose!(e.data.view) }))();
