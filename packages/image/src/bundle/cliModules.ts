// The modules of the project's own `trigger.dev` CLI that make a bundle, without a login and without its command line.
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { z } from "zod";

export const ResolvedConfig = z.looseObject({
  project: z.unknown().optional(),
  dirs: z.array(z.string()),
  runtime: z.string(),
  workingDir: z.string(),
});
export type ResolvedConfig = z.infer<typeof ResolvedConfig>;

export const BuildManifest = z.looseObject({
  contentHash: z.string(),
  packageVersion: z.string(),
  cliPackageVersion: z.string(),
  runtime: z.string(),
  indexWorkerEntryPoint: z.string(),
  runControllerEntryPoint: z.string(),
  sources: z.record(z.string(), z.unknown()),
  externals: z.array(z.object({ name: z.string(), version: z.string() })).optional(),
  build: z.object({ commands: z.array(z.string()).optional(), env: z.record(z.string(), z.string()).optional() }),
  deploy: z.object({
    env: z.record(z.string(), z.string()).optional(),
    sync: z.looseObject({ env: z.record(z.string(), z.string()).optional() }).optional(),
  }),
  image: z.looseObject({ pkgs: z.array(z.string()).optional(), instructions: z.array(z.string()).optional() }).optional(),
  otelImportHook: z.object({ include: z.array(z.string()).optional(), exclude: z.array(z.string()).optional() }).optional(),
});
export type BuildManifest = z.infer<typeof BuildManifest>;

export interface CliModules {
  loadConfig(options: { cwd: string; warn: boolean }): Promise<unknown>;
  buildWorker(options: Record<string, unknown>): Promise<unknown>;
  indexWorkerManifest(options: Record<string, unknown>): Promise<unknown>;
  resolveSourceFiles(sources: Record<string, unknown>, tasks: readonly unknown[]): unknown;
  execOptionsForRuntime(runtime: string, manifest: unknown): string;
  alwaysExternal: readonly string[];
}

type AnyFunction = (...args: never[]) => unknown;
const Callable = z.custom<AnyFunction>((value) => typeof value === "function", "is not a function");

/** Loads them by file path: the package exports none of them. Throws when this release has others. */
export async function loadCliModules(cliDir: string): Promise<CliModules> {
  const load = async (path: string, name: string): Promise<AnyFunction> => {
    const module: Record<string, unknown> = await import(pathToFileURL(join(cliDir, "dist/esm", path)).href);
    return Callable.parse(module[name], { error: () => `${path} of trigger.dev has no ${name}` });
  };
  const core = createRequire(join(cliDir, "package.json"))("@trigger.dev/core/v3/build");
  return {
    loadConfig: (await load("config.js", "loadConfig")) as CliModules["loadConfig"],
    buildWorker: (await load("build/buildWorker.js", "buildWorker")) as CliModules["buildWorker"],
    indexWorkerManifest: (await load("indexing/indexWorkerManifest.js", "indexWorkerManifest")) as CliModules["indexWorkerManifest"],
    resolveSourceFiles: (await load("utilities/sourceFiles.js", "resolveSourceFiles")) as CliModules["resolveSourceFiles"],
    execOptionsForRuntime: Callable.parse(core.execOptionsForRuntime) as CliModules["execOptionsForRuntime"],
    alwaysExternal: z.array(z.string()).parse(core.alwaysExternal),
  };
}
