// Imports files in a process that is thrown away, and tells what each did: what it read of the environment, and whether it
// drew a random number. What draws one at import may keep it, and all clones would have it in common.
import crypto from "node:crypto";
import { syncBuiltinESMExports } from "node:module";
import type { Finding } from "./protocol.ts";
import { directImports, importAhead } from "./modules.ts";

/** Readers of the whole environment that are known: by where they are, and the names that they look for among all. */
const KNOWN_READERS = [
  { where: "node_modules/debug/", looksFor: /^debug_/i },
  // Keeps a copy for the system's own tools, which it starts: none of them looks at what a run adds
  { where: "node_modules/systeminformation/", looksFor: /^$/ },
];

const watched = { loads: [] as string[], reads: {} as Record<string, string | null>, unsafe: null as string | null };

watchEnvironment();
watchRandomness();
const findings = await look(process.argv.slice(2));
process.send?.(findings, undefined, undefined, () => process.exit(0));

async function look(files: readonly string[]): Promise<Finding[]> {
  const found = new Map<string, Finding>();
  for (const file of files) {
    watched.loads = [];
    watched.reads = {};
    const needs = directImports(file).find((path) => found.get(path)?.unsafe !== null);
    watched.unsafe = needs === undefined ? null : `it imports ${needs}`;
    if (needs === undefined)
      await importAhead([file], { onLoad: (url) => watched.loads.push(url) }).catch(
        (error: unknown) => void (watched.unsafe = String(error)),
      );
    found.set(file, { file, loads: watched.loads, reads: watched.reads, unsafe: watched.unsafe });
  }
  return [...found.values()];
}

function read(env: NodeJS.ProcessEnv, name: string | symbol): void {
  if (typeof name === "string") watched.reads[name] = env[name] ?? null;
}

function drawn(what: string): void {
  watched.unsafe ??= `it calls ${what}`;
}

function watchEnvironment(): void {
  let known: (typeof KNOWN_READERS)[number] | undefined;
  process.env = new Proxy(process.env, {
    get: (env, name) => (known === undefined && read(env, name), Reflect.get(env, name)),
    has: (env, name) => (read(env, name), Reflect.has(env, name)),
    ownKeys: (env) => {
      const stack = new Error().stack ?? "";
      known = KNOWN_READERS.find(({ where }) => stack.includes(where));
      if (known === undefined) watched.unsafe ??= "it reads the whole environment";
      else watched.reads[known.looksFor.source] = null;
      queueMicrotask(() => void (known = undefined)); // until then it reads what it has listed
      return Reflect.ownKeys(env);
    },
  });
}

function watchRandomness(): void {
  for (const name of ["randomBytes", "randomFill", "randomFillSync", "randomInt", "randomUUID", "generateKeyPairSync"] as const)
    watchCall(crypto, name);
  for (const name of ["getRandomValues", "randomUUID"] as const) watchCall(Object.getPrototypeOf(globalThis.crypto), name);
  watchCall(Math, "random");
  syncBuiltinESMExports();
}

function watchCall(owner: object, name: string): void {
  const original: unknown = Reflect.get(owner, name);
  if (typeof original !== "function") return;
  Object.defineProperty(owner, name, {
    configurable: true,
    writable: true,
    value: function (this: unknown, ...args: unknown[]): unknown {
      drawn(name);
      return Reflect.apply(original, this, args);
    },
  });
}
