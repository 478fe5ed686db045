// Between two runs of one sandbox: the next run finds what it would find in a new one. The runner forks a new process for each run;
// files, other processes and variables of the run before are our matter. Where a project keeps its process (`processKeepAlive`),
// the runner asks for the next run all the same, and this is done too; what the process itself remembers stays, as the project wants.
import childProcess from "node:child_process";
import { existsSync, lstatSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { HOOK_OPTIONS } from "./options.ts";
import { NEXT_RUN_ROLE, ROLE_VARIABLE } from "./protocol.ts";

/** Made for scratch: emptied. */
const SCRATCH = ["/tmp", "/var/tmp", "/dev/shm"];
/** The sandbox's own mark, a mount that cannot be removed: without it this is no sandbox of ours, and nothing is touched. */
const MARK = "/tmp/.sandbox";
/** Below these a task may write too, beside what the image has there. */
const APP_DIRS = ["/app", "/home/task"];
/** Paths of everything that the image has below those. */
const FILE_LIST = fileURLToPath(new URL("./files.json", import.meta.url));

/** Keeps the runs of this runner apart. Called once, before the runner begins. */
export function keepRunsApart(): void {
  if (process.pid !== 1 || !existsSync(MARK)) return;
  const startedMs = Date.now();
  const worker = watchForks();
  const fetchNext = globalThis.fetch;
  globalThis.fetch = async (input, init) => {
    if (!isAboutToWait(input)) return await fetchNext(input, init);
    endStrays(new Set([process.pid, worker()]));
    // A run that has changed a file of the image is the last of its sandbox: the runner is told that nothing is to be waited for.
    return cleanUp(startedMs) ? await fetchNext(input, init) : Response.json({ connectionTimeoutMs: 0, keepaliveMs: 0 });
  };
}

/** The first thing that a runner does when it is done with a run is to ask how long it may wait for another one. */
function isAboutToWait(input: unknown): boolean {
  const base = process.env["TRIGGER_WARM_START_URL"];
  return base !== undefined && typeof input === "string" && input === new URL("/connect", base).href;
}

/** Has each worker after the first forget the variables of the run before. Returns who tells the latest one's process id. */
function watchForks(): () => number | undefined {
  const { fork } = childProcess;
  let latest: number | undefined;
  let count = 0;
  const watched = (path: string | URL, args?: readonly string[], options: childProcess.ForkOptions = {}): childProcess.ChildProcess => {
    const isFirst = count++ === 0;
    const next = {
      ...options,
      execArgv: [...(options.execArgv ?? []), ...HOOK_OPTIONS],
      env: { ...options.env, [ROLE_VARIABLE]: NEXT_RUN_ROLE },
    };
    const child = fork(path, args ?? [], isFirst ? options : next);
    latest = child.pid;
    return child;
  };
  Object.defineProperty(childProcess, "fork", { value: watched, writable: true, configurable: true, enumerable: true });
  syncBuiltinESMExports();
  return () => latest;
}

/** Ends what a run has left running. */
function endStrays(kept: ReadonlySet<number | undefined>): void {
  for (const name of readdirSync("/proc")) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || kept.has(pid)) continue;
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // it has ended by itself
    }
  }
}

/** Removes the files that a run has left. False: it has changed what the image came with, which cannot be brought back. */
function cleanUp(startedMs: number): boolean {
  try {
    for (const dir of SCRATCH) for (const name of readdirSync(dir)) if (join(dir, name) !== MARK) remove(join(dir, name));
    const known = new Set(JSON.parse(readFileSync(FILE_LIST, "utf8")) as string[]);
    let seen = 0;
    for (const dir of APP_DIRS) seen += removeNew(dir, known, startedMs);
    return seen === known.size;
  } catch {
    return false; // something stands in the way: then a new sandbox is better
  }
}

/** Removes what the image does not have below `dir`; returns how much of what it has is there unchanged. */
function removeNew(dir: string, known: ReadonlySet<string>, startedMs: number): number {
  let unchanged = 0;
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    const path = join(dir, entry.name);
    if (!known.has(path)) remove(path);
    else if (entry.isDirectory()) unchanged += 1 + removeNew(path, known, startedMs);
    else if (lstatSync(path).ctimeMs < startedMs) unchanged++;
  }
  return unchanged;
}

function remove(path: string): void {
  rmSync(path, { recursive: true, force: true });
}
