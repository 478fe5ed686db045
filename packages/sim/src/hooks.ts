// Puts the simulated machine under the gateway's own code, and mutants over whatever they change. Loaded first in each thread.
import { registerHooks } from "node:module";
import { fileURLToPath } from "node:url";
import type { Mutant } from "./mutants/mutant.ts";

const GATEWAY = /\/packages\/gateway\/src\//;
const REPLACED: Readonly<Record<string, string>> = {
  "node:fs/promises": new URL("./disk/memoryFs.ts", import.meta.url).href,
  "node:os": new URL("./disk/machine.ts", import.meta.url).href,
};
const CRYPTO = new URL("./host/crypto.ts", import.meta.url).href;
/** Whatever signs, seals or compares while a plane runs. */
const SIGNS = /\/packages\/(gateway\/src\/(snapshots|sandboxes)|supervisor\/src\/snapshot)\//;
const SEAL_THREADS = /\/packages\/gateway\/src\/snapshots\/sealThreads\.ts$/;
/** Parts of the gateway that a simulation does not run stay as they are: they are loaded, never called. */
const REAL = /\/drivers\/(gvisor|process)\/|\/cleanup\.ts$|\/instanceLock\.ts$/;

/** Replaces modules for everything that is imported from now on. Throws at import when a mutant's anchor is not there exactly once. */
export function installHooks(mutant: Mutant | null): void {
  registerHooks({
    resolve(specifier, context, next) {
      const parent = context.parentURL ?? "";
      const replaced = REPLACED[specifier];
      if (replaced !== undefined && GATEWAY.test(parent) && !REAL.test(parent)) return { url: replaced, shortCircuit: true };
      if (specifier === "node:crypto" && SIGNS.test(parent)) return { url: CRYPTO, shortCircuit: true };
      const resolved = next(specifier, context);
      if (SEAL_THREADS.test(resolved.url) && GATEWAY.test(parent))
        return { url: new URL("./disk/sealThreads.ts", import.meta.url).href, shortCircuit: true };
      return resolved;
    },
    load(url, context, next) {
      const loaded = next(url, context);
      if (mutant === null || !url.startsWith("file:") || !fileURLToPath(url).endsWith(`/packages/${mutant.file}`)) return loaded;
      return { ...loaded, source: mutated(String(loaded.source), mutant) };
    },
  });
}

/** The source with the guard taken away. */
export function mutated(source: string, mutant: Mutant): string {
  const count = source.split(mutant.find).length - 1;
  if (count !== 1)
    throw new Error(`Cannot make mutant ${mutant.name}: its anchor is ${count} times in packages/${mutant.file}, and must be there once`);
  return source.replace(mutant.find, () => mutant.replace);
}
