// A worker that is forked before the runner asks for one, and handed out when the runner forks the very same.
import childProcess, { type ChildProcess } from "node:child_process";
import { readFileSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { firstMisfit } from "./environment.ts";
import { HOOK_OPTIONS } from "./options.ts";
import { IMPORTS_VARIABLE, ROLE_VARIABLE, type Ahead, type WorkerCloned, type WorkerGo } from "./protocol.ts";
import { say } from "./say.ts";

/** What the runner passes besides; another runner may pass other things, and then forks itself. */
const RUNNERS_OPTIONS = ["--trace-uncaught", "--no-warnings=ExperimentalWarning"];
const STDIO = ["ignore", "pipe", "pipe", "ipc"] as const;
/** Of a machine's memory, this share is the heap's: the runner's own arithmetic. */
const HEAP_SHARE = 0.8;

/** The entry point of the project's workers; undefined when there is none, or when its project loads something before it. */
export function workerEntryOf(dir: string): string | undefined {
  let manifest: { workerEntryPoint?: unknown; loaderEntryPoint?: unknown };
  try {
    manifest = JSON.parse(readFileSync(`${dir}/index.json`, "utf8")) as typeof manifest;
  } catch {
    return undefined; // no project of the runner's
  }
  const { workerEntryPoint, loaderEntryPoint } = manifest;
  return typeof workerEntryPoint === "string" && loaderEntryPoint === undefined ? workerEntryPoint : undefined;
}

interface Given extends Ahead {
  readonly entry: string;
  readonly reads: Readonly<Record<string, string | null>>;
}

export class SpareWorker {
  readonly #given: Given;
  readonly #env: Readonly<Record<string, string>>;
  readonly #child: ChildProcess;

  private constructor(given: Given, env: Readonly<Record<string, string>>, child: ChildProcess) {
    this.#given = given;
    this.#env = env;
    this.#child = child;
  }

  /** Forks it and waits until it stands by. Throws when it ends before. */
  static async fork(given: Given, templateEnv: Readonly<Record<string, string | undefined>>): Promise<SpareWorker> {
    const env = predictedEnv(templateEnv);
    const child = childProcess.fork(given.entry, [], {
      stdio: [...STDIO],
      execArgv: [...RUNNERS_OPTIONS, ...HOOK_OPTIONS],
      env: {
        ...env,
        [ROLE_VARIABLE]: "worker",
        [IMPORTS_VARIABLE]: JSON.stringify({ files: given.files, loads: given.loads, isAll: given.isAll } satisfies Ahead),
      },
    });
    const spare = new SpareWorker(given, env, child);
    await new Promise<void>((resolve, reject) => {
      child.once("message", () => resolve());
      child.once("exit", (code) =>
        reject(new Error(`a worker that was forked ahead ended with ${code}: ${String(child.stderr?.read() ?? "")}`)),
      );
    });
    for (const event of ["message", "exit"]) child.removeAllListeners(event);
    return spare;
  }

  /** From now on the runner's first fork gets this worker, if it asks for what this one is. */
  offer(): void {
    const original = childProcess.fork;
    let isFirst = true;
    const fork = (...call: Parameters<typeof original>): ChildProcess => {
      const env = isFirst ? this.#fits(call) : undefined;
      if (isFirst && env === undefined) this.kill();
      isFirst = false;
      if (env === undefined) return Reflect.apply(original, childProcess, call);
      this.#child.send({ torpor: "go", env } satisfies WorkerGo);
      return this.#child;
    };
    childProcess.fork = fork as typeof original;
    syncBuiltinESMExports();
  }

  /** It has random numbers of its own from here on, and is ready to go at once. */
  cloned(): void {
    this.#child.send({ torpor: "cloned" } satisfies WorkerCloned);
  }

  kill(): void {
    this.#child.kill("SIGKILL");
  }

  /** The environment that is asked for; undefined when the worker that is asked for is another one than this. */
  #fits([entry, args, options]: Parameters<typeof childProcess.fork>): Record<string, string> | undefined {
    if (!Array.isArray(args) || args.length > 0 || options === undefined) return undefined;
    const { stdio, execArgv, execPath, env, cwd, serialization = "json", ...others } = options as Record<string, unknown>;
    const same =
      entry === this.#given.entry &&
      equal(stdio, STDIO) &&
      equal(execArgv, RUNNERS_OPTIONS) &&
      (execPath === undefined || execPath === process.execPath) &&
      (cwd === undefined || cwd === process.cwd()) &&
      serialization === "json" &&
      Object.keys(others).length === 0;
    if (!same || !this.#child.connected || typeof env !== "object" || env === null) return undefined;
    const wanted = Object.fromEntries(Object.entries(env).flatMap(([name, value]) => (value === undefined ? [] : [[name, String(value)]])));
    const misfit = firstMisfit(this.#env, wanted, this.#given.reads);
    if (misfit !== undefined) say(`torpor: a new worker is forked, because of ${misfit} in its environment`);
    return misfit === undefined ? wanted : undefined;
  }
}

function equal(a: unknown, b: readonly string[]): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** What of a worker's environment is known before there is a run. */
function predictedEnv(env: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const kept = ["NODE_ENV", "UV_USE_IO_URING", "PATH"].flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]]]));
  const memoryMib = Math.round(Number(env["TRIGGER_MACHINE_MEMORY"] ?? "0") * 1_024 * HEAP_SHARE);
  return { ...(Object.fromEntries(kept) as Record<string, string>), NODE_OPTIONS: `--max-old-space-size=${memoryMib}` };
}
