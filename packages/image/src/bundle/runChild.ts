// The parent's side of the bundling child.
import { fork, type ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import type { BundleOutcome } from "./bundleProject.ts";
import { BundleAnswer, type BundleJob } from "./messages.ts";

/** npm may have to bring packages over a slow line; beyond this nobody waits any more. */
const TIMEOUT_MS = 10 * 60_000;

export interface RunChildOptions {
  /** Called with each line that the steps, npm and the project's own code print. */
  progress: (line: string) => void;
  signal?: AbortSignal | undefined;
}

/** Throws when the bundling ends in a way that is not known to be the project's fault. */
export async function bundleInChild(job: BundleJob, options: RunChildOptions): Promise<BundleOutcome> {
  const child = fork(fileURLToPath(new URL("./child.ts", import.meta.url)), [], {
    cwd: job.projectDir,
    env: childEnv(),
    execArgv: [],
    stdio: ["ignore", "pipe", "pipe", "ipc"],
    timeout: TIMEOUT_MS,
    killSignal: "SIGKILL",
    detached: true, // a process group of its own, so that npm and the indexing process end with it
  });
  const abort = (): void => killGroup(child);
  options.signal?.addEventListener("abort", abort, { once: true });
  try {
    for (const stream of [child.stdout, child.stderr]) readLines(stream, options.progress);
    child.send(job);
    return await outcomeOf(child, options);
  } finally {
    options.signal?.removeEventListener("abort", abort);
    abort();
  }
}

function killGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error; // ESRCH: all of it has ended
  }
}

/** Ours, without what would change the runner's Node or make the CLI draw boxes. */
function childEnv(): NodeJS.ProcessEnv {
  const { NODE_OPTIONS: _, ...env } = process.env;
  return { ...env, NO_COLOR: "1", CI: "1", TRIGGER_TELEMETRY_DISABLED: "1" };
}

function readLines(stream: Readable | null, progress: (line: string) => void): void {
  if (stream === null) return;
  createInterface({ input: stream }).on("line", (line) => line.trim() !== "" && progress(line.trimEnd()));
}

async function outcomeOf(child: ChildProcess, { progress, signal }: RunChildOptions): Promise<BundleOutcome> {
  const { promise, resolve, reject } = Promise.withResolvers<BundleOutcome>();
  child.on("message", (message) => {
    const answer = BundleAnswer.parse(message);
    if (answer.type === "progress") progress(answer.line);
    else if (answer.type === "bundled") resolve({ kind: "bundled", bundle: answer.bundle });
    else if (answer.type === "rejected") resolve({ kind: "rejected", error: answer.error });
    else reject(new Error(`Cannot bundle the project: ${answer.stack}`));
  });
  child.once("error", reject);
  child.once("exit", (code, killedBy) => {
    if (signal?.aborted === true) reject(signal.reason);
    else reject(new Error(`Cannot bundle the project: the bundling process ended early (${killedBy ?? `exit code ${code}`})`));
  });
  return await promise;
}
