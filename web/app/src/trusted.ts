interface Policies {
  createPolicy(name: string, rules: { createScriptURL: (url: string) => string }): { createScriptURL(url: string): unknown };
}

const workers = new Set(['/sw.js', '/files.js', '/frames.js', '/roomframes.js']);

/** The one policy of Trusted Types: it lets our own worker scripts through and nothing else. */
export function workerURL(path: string): string {
  const policies = (globalThis as { trustedTypes?: Policies }).trustedTypes;
  if (!policies) return path;
  policy ??= policies.createPolicy('trunkline', {
    createScriptURL: (url) => {
      if (!workers.has(url)) throw new TypeError('not a worker of this app');
      return url;
    },
  });
  return policy.createScriptURL(path) as string;
}

let policy: ReturnType<Policies['createPolicy']> | undefined;
