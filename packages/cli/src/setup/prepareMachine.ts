import type { CommandContext } from "../command.ts";
import { ensureRunsc } from "./runsc.ts";
import { ensureSystemTools, readOsRelease } from "./systemTools.ts";

const SBIN = "/usr/local/sbin:/usr/sbin:/sbin";

/** What this machine can do for sandboxes. */
export interface PreparedMachine {
  /** `process`: tasks run as plain processes, and waits stay in memory. */
  readonly driver: "gvisor" | "process";
  /** Why sandboxes cannot run, and what mends it; empty when they can. */
  readonly missing: readonly { readonly message: string; readonly hint: string }[];
  /** Added to the environment of every part. */
  readonly env: Readonly<Record<string, string>>;
}

export interface PrepareOptions {
  /** Install packages, build runsc. False: look only. */
  readonly mayInstall: boolean;
}

/** Brings what sandboxes need, as far as it may and can, and says what is missing. */
export async function prepareMachine(context: CommandContext, options: PrepareOptions): Promise<PreparedMachine> {
  const { env, terminal, repoDir, stateDir, signal } = context;
  const progress = (line: string): void => terminal.progress(line);
  const withSbin = { PATH: `${env["PATH"] ?? ""}:${SBIN}` };
  const refused = (message: string, hint: string): PreparedMachine => ({ driver: "process", missing: [{ message, hint }], env: withSbin });
  if (process.platform !== "linux")
    return refused(`gVisor needs Linux: this is ${process.platform}`, "run Torpor on a Linux machine to let tasks sleep on disk");
  const isRoot = process.getuid?.() === 0;
  const tools = await ensureSystemTools({
    env,
    progress,
    mayInstall: options.mayInstall,
    isRoot,
    osRelease: await readOsRelease(),
    signal,
  });
  const runsc = await ensureRunsc({ repoDir, stateDir, env, progress, mayBuild: options.mayInstall, signal });
  const missing = [
    ...(isRoot ? [] : [{ message: "sandboxes need root: they have namespaces and addresses of their own", hint: "run as root" }]),
    ...(tools.kind === "missing" ? [{ message: tools.message, hint: tools.hint }] : []),
    ...(runsc.kind === "missing" ? [{ message: runsc.message, hint: runsc.hint }] : []),
  ];
  const runscEnv = runsc.kind === "ready" ? { TORPOR_RUNSC: runsc.path } : {};
  return { driver: missing.length === 0 ? "gvisor" : "process", missing, env: { ...withSbin, ...runscEnv } };
}
