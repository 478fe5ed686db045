import { spawn, type ChildProcess } from "node:child_process";
import { join } from "node:path";
import { inject } from "vitest";
import { REPO_DIR, STATE_DIR } from "./paths.ts";
import { until } from "./until.ts";

const MAIN = join(REPO_DIR, "packages/cli/src/main.ts");
const CLI_WITHIN_MS = 120_000;

export interface CliResult {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Runs a command of the CLI as its user would, to its end. */
export async function cli(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<CliResult> {
  const child = spawnCli(args, env);
  const output = collect(child);
  const limit = setTimeout(() => child.kill("SIGKILL"), CLI_WITHIN_MS);
  const [code] = await exitOf(child);
  clearTimeout(limit);
  return { code, ...output() };
}

/** What a command answers as JSON, with its exit code. */
export async function cliJson(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<{ readonly code: number | null; readonly json: unknown }> {
  const { code, out, err } = await cli([...args, "--json"], env);
  try {
    return { code, json: JSON.parse(out) };
  } catch (error) {
    throw new Error(`Cannot read the answer of ${args.join(" ")} (exit code ${code}) as JSON: ${out}\n${err}`, { cause: error });
  }
}

export interface UpProcess {
  readonly child: ChildProcess;
  /** Exit code and signal, once it has ended. */
  readonly exited: Promise<readonly [number | null, NodeJS.Signals | null]>;
  /** What it has said so far. */
  readonly output: () => { readonly out: string; readonly err: string };
}

/** Starts `up` as a process of its own and waits until it says that the plane is up. */
export async function startUp(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<UpProcess> {
  const child = spawnCli(["up", "--json", "--no-install", ...args], env);
  const output = collect(child);
  const exited = exitOf(child);
  await until("the plane is up", () => (/"apiUrl"[^]*}\n/.test(output().out) ? true : undefined), {
    withinMs: CLI_WITHIN_MS,
    seen: () => {
      child.kill("SIGKILL");
      return output();
    },
  });
  return { child, exited, output };
}

function spawnCli(args: readonly string[], env: Readonly<Record<string, string>>): ChildProcess {
  const { PATH, HOME } = process.env;
  const own = { HOME: HOME ?? "/", PATH: PATH ?? "", NO_COLOR: "1", TORPOR_STATE_DIR: STATE_DIR };
  return spawn(process.execPath, [MAIN, ...args], {
    cwd: REPO_DIR,
    env: { ...own, ...inject("prepared").env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
}

function collect(child: ChildProcess): () => { out: string; err: string } {
  const [out, err]: [Buffer[], Buffer[]] = [[], []];
  child.stdout?.on("data", (chunk: Buffer) => void out.push(chunk));
  child.stderr?.on("data", (chunk: Buffer) => void err.push(chunk));
  return () => ({ out: Buffer.concat(out).toString("utf8"), err: Buffer.concat(err).toString("utf8") });
}

function exitOf(child: ChildProcess): Promise<readonly [number | null, NodeJS.Signals | null]> {
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => resolve([code, signal]));
  });
}
