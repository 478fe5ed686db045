// Finds gVisor's runsc, or builds it from the pinned Go module. A checkpoint can be restored only by the runsc that wrote
// it, so the version is part of what is stamped into the binary.
import { execFile, spawn } from "node:child_process";
import { mkdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { findOnPath } from "./findOnPath.ts";
import { withSetupLock } from "./setupLock.ts";

/** Older releases lack what suspending relies on: `--leave-running` after a pause, and `wait --restore`. */
const OLDEST_RELEASE = 20260901;

const MODULE = "gvisor.dev/gvisor";
const PROGRESS_EVERY_MS = 5_000;
const ASK_TIMEOUT_MS = 10_000;

export interface EnsureRunscOptions {
  /** Root of this checkout: `tools/runsc` in it pins the version. */
  repoDir: string;
  /** A built runsc is kept in `bin/` below it. */
  stateDir: string;
  env: NodeJS.ProcessEnv;
  progress: (line: string) => void;
  /** False: look only. Default true. */
  mayBuild?: boolean;
  signal?: AbortSignal;
}

export type RunscOutcome =
  | { kind: "ready"; path: string; version: string; origin: "configured" | "path" | "built" }
  /** There is none that will do. `hint` is what to do about it. */
  | {
      kind: "missing";
      reason: "configured_unusable" | "not_linux" | "no_go" | "not_built" | "build_failed";
      message: string;
      hint: string;
    };

/**
 * Takes `TORPOR_RUNSC` if it is set, else a recent enough `runsc` on PATH, else the one that was built here, else builds
 * it (about a minute, needs Go; downloads modules, which `go.sum` checks). Two at once build once.
 */
export async function ensureRunsc(options: EnsureRunscOptions): Promise<RunscOutcome> {
  const { env, stateDir, repoDir, mayBuild = true } = options;
  const configured = env["TORPOR_RUNSC"];
  if (configured !== undefined && configured !== "") return await useConfigured(configured);
  if (process.platform !== "linux") return missing("not_linux", "gVisor runs on Linux only", "Use the process driver here");
  const onPath = await findOnPath("runsc", env);
  const installed = onPath === undefined ? undefined : await askVersion(onPath);
  if (onPath !== undefined && installed !== undefined && isRecent(installed))
    return { kind: "ready", path: onPath, version: installed, origin: "path" };
  const pin = await readPin(repoDir);
  const built = join(stateDir, "bin", "runsc");
  if ((await askVersion(built)) === pin) return ready(built, pin);
  if (!mayBuild) return missing("not_built", "runsc is not built yet", "Run `./torpor up`, which builds it");
  return await build(options, pin, built);
}

function ready(path: string, version: string): RunscOutcome {
  return { kind: "ready", path, version, origin: "built" };
}

function missing(reason: Extract<RunscOutcome, { kind: "missing" }>["reason"], message: string, hint: string): RunscOutcome {
  return { kind: "missing", reason, message, hint };
}

async function useConfigured(path: string): Promise<RunscOutcome> {
  const version = await askVersion(path);
  const hint = `Name a runsc of release ${OLDEST_RELEASE} or newer, or unset TORPOR_RUNSC`;
  if (version === undefined) return missing("configured_unusable", `TORPOR_RUNSC is ${path}, which does not run as runsc`, hint);
  if (!isRecent(version)) return missing("configured_unusable", `TORPOR_RUNSC is ${path}, whose version ${version} is too old`, hint);
  return { kind: "ready", path, version, origin: "configured" };
}

/** What `runsc --version` says of itself, undefined when it cannot be run. */
async function askVersion(path: string): Promise<string | undefined> {
  try {
    const { stdout } = await promisify(execFile)(path, ["--version"], { timeout: ASK_TIMEOUT_MS });
    return parseVersion(stdout);
  } catch {
    return undefined; // absent, not executable, or something else under that name: all mean that it is of no use
  }
}

export function parseVersion(output: string): string | undefined {
  return /^runsc version (\S+)/m.exec(output)?.[1];
}

/** The date (yyyymmdd) in `release-20260901.0` and in `v0.0.0-20260905035102-160fafc42237`. */
export function releaseDate(version: string): number | undefined {
  const date = /^release-(\d{8})\b/.exec(version)?.[1] ?? /^v\d+\.\d+\.\d+-(?:\S+\.)?(\d{8})\d{6}-[0-9a-f]{12}$/.exec(version)?.[1];
  return date === undefined ? undefined : Number(date);
}

function isRecent(version: string): boolean {
  return (releaseDate(version) ?? 0) >= OLDEST_RELEASE;
}

async function readPin(repoDir: string): Promise<string> {
  const file = join(repoDir, "tools/runsc/go.mod");
  const pin = /gvisor\.dev\/gvisor (v\S+)/.exec(await readFile(file, "utf8"))?.[1];
  if (pin === undefined) throw new Error(`Cannot find the version of ${MODULE} in ${file}`);
  return pin;
}

async function build(options: EnsureRunscOptions, pin: string, target: string): Promise<RunscOutcome> {
  const { env, progress, signal } = options;
  const go = await findOnPath("go", env);
  if (go === undefined) {
    const hint = `Install Go 1.21 or newer (https://go.dev/doc/install), or runsc of release ${OLDEST_RELEASE} or newer (https://gvisor.dev/docs/user_guide/install)`;
    return missing("no_go", "There is no recent runsc, and no Go to build it with", hint);
  }
  const onWait = (owner: number): void => progress(`Waiting for process ${owner}, which builds runsc`);
  return await withSetupLock(`${target}.lock`, { onWait, signal }, async () => {
    if ((await askVersion(target)) === pin) return ready(target, pin);
    return await compile(go, options, pin, target);
  });
}

async function compile(go: string, options: EnsureRunscOptions, pin: string, target: string): Promise<RunscOutcome> {
  const work = `${target}.${process.pid}.tmp`;
  await mkdir(join(target, ".."), { recursive: true });
  try {
    options.progress(`Building gVisor's runsc ${pin} (about a minute, once)`);
    const args = ["build", "-v", "-trimpath", "-ldflags", `-s -w -X ${MODULE}/runsc/version.version=${pin}`, "-o", work, `${MODULE}/runsc`];
    const { code, tail } = await runGo(go, args, options);
    const hint = `Try it yourself: cd ${join(options.repoDir, "tools/runsc")} && go build ${MODULE}/runsc\n${tail.join("\n")}`;
    if (code !== 0) return missing("build_failed", `Go cannot build runsc (exit code ${code})`, hint);
    if ((await askVersion(work)) !== pin) return missing("build_failed", "The built runsc does not run on this machine", hint);
    await rename(work, target);
    return ready(target, pin);
  } finally {
    await rm(work, { force: true });
  }
}

/** Go prints each package as it is compiled: they are counted, and the last lines kept for the case that it fails. */
async function runGo(go: string, args: readonly string[], options: EnsureRunscOptions): Promise<{ code: number; tail: string[] }> {
  const { repoDir, env, progress, signal } = options;
  const startedAtMs = performance.now();
  const child = spawn(go, args, {
    cwd: join(repoDir, "tools/runsc"),
    env: { ...env, CGO_ENABLED: "0", GOFLAGS: "-mod=readonly" },
    stdio: ["ignore", "ignore", "pipe"],
    signal,
  });
  const tail: string[] = [];
  let packages = 0;
  createInterface({ input: child.stderr }).on("line", (line) => {
    packages++;
    tail.push(line);
    if (tail.length > 20) tail.shift();
  });
  const tick = (): void => progress(`  ${Math.round((performance.now() - startedAtMs) / 1000)} s, ${packages} packages compiled`);
  const timer = setInterval(tick, PROGRESS_EVERY_MS);
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  child.once("error", reject);
  child.once("close", (code) => resolve(code ?? -1));
  return { code: await promise.finally(() => clearInterval(timer)), tail };
}
