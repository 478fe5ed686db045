// A clone's environment in place of the template's.

/** Read by Node or its libraries when a process starts and never again, so that setting them later changes nothing. */
const READ_AT_START = /^(NODE_|SSL_CERT_|OPENSSL_|UV_|LD_|MALLOC_|GLIBC_|LC_|LANG$|LANGUAGE$|ICU_)/;
/** Written by Node itself for its child. */
const NODES_OWN = /^NODE_CHANNEL_/;

type Env = Readonly<Record<string, string | undefined>>;

/** Of the names that `before` and `after` have: the first that would have mattered to what has happened already. */
export function firstMisfit(before: Env, after: Env, reads: Readonly<Record<string, string | null>>): string | undefined {
  const names = new Set([...Object.keys(before), ...Object.keys(after)]);
  const patterns = Object.keys(reads).filter((name) => name.startsWith("^"));
  for (const name of names) {
    if (READ_AT_START.test(name) && !NODES_OWN.test(name) && before[name] !== after[name]) return name;
    if (after[name] !== undefined && patterns.some((pattern) => new RegExp(pattern, "i").test(name))) return name;
  }
  return Object.entries(reads).find(([name, value]) => !name.startsWith("^") && (after[name] ?? null) !== value)?.[0];
}

/** Makes `process.env` equal to `env`. */
export function replaceEnvironment(env: Env): void {
  for (const name of Object.keys(process.env)) if (env[name] === undefined) Reflect.deleteProperty(process.env, name);
  for (const [name, value] of Object.entries(env)) process.env[name] = value;
}

/** `NAME=value` pairs, separated by NUL. */
export function parseEnvironment(text: string): Record<string, string> {
  const pairs = text.split("\0").filter((pair) => pair.includes("="));
  return Object.fromEntries(pairs.map((pair) => [pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1)]));
}
