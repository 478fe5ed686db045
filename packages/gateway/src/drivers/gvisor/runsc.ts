// The calls of runsc that we need. Every one has a timeout: on a sick host any of them may hang.
import { spawn } from "node:child_process";
import { kill } from "node:process";
import { readFile } from "node:fs/promises";
import { z } from "zod";
import { exec, execOrThrow, type ExecResult } from "./exec.ts";

export interface RunscOptions {
  readonly binary: string;
  /** Holds sockets, whose paths are limited to 108 characters: keep it short. */
  readonly stateRoot: string;
  /**
   * Flags that stand on every call. They must be the same when a sandbox is saved and when it is restored.
   */
  readonly flags: readonly string[];
}

const QUICK_MS = 15_000;
/** Starting and restoring on an overloaded host; idle ones need 0.1 to 0.2 s. */
const START_MS = 60_000;
/** Saving writes all memory: 1 s per GB here, more on slow disks. */
const SAVE_MS = 120_000;

const ListEntry = z.object({ id: z.string(), pid: z.number(), status: z.string() });
const RunscList = z.array(ListEntry).nullable();
export type RunscState = z.infer<typeof ListEntry>;

export interface StartCall {
  readonly id: string;
  readonly bundleDir: string;
  readonly pidFile: string;
  /** Opened for appending: with a plain file the guest writes at its own, saved offset. */
  readonly outputFd: number;
}

/** A `runsc wait` that is under way. */
export interface ExitWatch {
  /** The exit code; null when it cannot be known. Never rejects. */
  readonly exited: Promise<number | null>;
  stop(): void;
}

/** runsc as a library of calls. */
export class Runsc {
  readonly #options: RunscOptions;

  constructor(options: RunscOptions) {
    this.#options = options;
  }

  run(call: StartCall): Promise<ExecResult> {
    return this.#call(["run", "--detach", ...bundleArgs(call), call.id], START_MS, { outputFd: call.outputFd });
  }

  /** Makes the sandbox with its kernel, in which nothing runs yet. */
  create(call: StartCall): Promise<ExecResult> {
    return this.#call(["create", ...bundleArgs(call), call.id], START_MS, { outputFd: call.outputFd });
  }

  /** Restores into a sandbox that was created. Returns when the guest runs; its memory may still be loading: see `waitRestored`. */
  restore(call: StartCall, imageDir: string): Promise<ExecResult> {
    return this.#call(["restore", "--background", "--image-path", imageDir, "--detach", ...bundleArgs(call), call.id], START_MS, {
      outputFd: call.outputFd,
    });
  }

  /** Fails when the files turn out to be damaged: `restore` itself does not tell. */
  waitRestored(id: string): Promise<ExecResult> {
    return this.#call(["wait", "--restore", id], START_MS);
  }

  pause(id: string): Promise<ExecResult> {
    return this.#call(["pause", id], QUICK_MS);
  }

  /** While a save is under way it waits for its end: the sandbox's kernel does one after the other. */
  resume(id: string): Promise<ExecResult> {
    return this.#call(["resume", id], SAVE_MS);
  }

  /** Always with --leave-running: without it a failed save, on a full disk for one, ends the sandbox. */
  checkpoint(id: string, dir: string, signal: AbortSignal): Promise<ExecResult> {
    return this.#call(["checkpoint", "--leave-running", "--image-path", dir, id], SAVE_MS, { signal });
  }

  deleteForce(id: string): Promise<ExecResult> {
    return this.#call(["delete", "--force", id], QUICK_MS);
  }

  /** Undefined when runsc does not know it. */
  async state(id: string): Promise<RunscState | undefined> {
    const result = await this.#call(["state", id], QUICK_MS);
    if (result.code !== 0) return undefined;
    return await trueState(ListEntry.parse(JSON.parse(result.stdout)));
  }

  async list(): Promise<RunscState[]> {
    const text = await execOrThrow(this.#options.binary, [...this.#global(), "list", "--format=json"], { timeoutMs: QUICK_MS });
    return await Promise.all((RunscList.parse(JSON.parse(text)) ?? []).map(trueState));
  }

  /** Waits for the sandbox's end in a child process (25 MB, most of it shared with the other runsc processes). */
  watchExit(id: string): ExitWatch {
    const child = spawn(this.#options.binary, [...this.#global(), "wait", id], { stdio: ["ignore", "pipe", "ignore"], detached: true });
    let text = "";
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => void (text = (text + chunk).slice(0, 4096)));
    const exited = new Promise<number | null>((resolve) => {
      child.once("error", () => resolve(null));
      child.once("close", () => resolve(exitStatus(text)));
    });
    child.unref();
    return { exited, stop: () => void child.kill("SIGKILL") };
  }

  #global(): string[] {
    return ["--root", this.#options.stateRoot, ...this.#options.flags];
  }

  #call(args: readonly string[], timeoutMs: number, more: { outputFd?: number; signal?: AbortSignal } = {}): Promise<ExecResult> {
    return exec(this.#options.binary, [...this.#global(), ...args], { timeoutMs, ...more });
  }
}

/** runsc goes on saying "running" for a while, and "paused" for ever, of a sandbox whose process was killed. */
async function trueState(state: RunscState): Promise<RunscState> {
  if (state.status !== "running" && state.status !== "paused") return state;
  return (await isSandboxProcess(state.pid, state.id)) ? state : { ...state, status: "stopped" };
}

/** Whether this process is that sandbox's: process ids are used again. A zombie has no command line, and is none. */
async function isSandboxProcess(pid: number, id: string): Promise<boolean> {
  const commandLine = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
  return commandLine.includes("runsc") && commandLine.split("\0").includes(id);
}

/** Last resort when runsc itself hangs. */
export async function killSandboxProcess(pid: number, id: string): Promise<boolean> {
  return (await isSandboxProcess(pid, id)) && kill(pid, "SIGKILL");
}

function bundleArgs({ bundleDir, pidFile }: StartCall): string[] {
  return ["--pid-file", pidFile, "--bundle", bundleDir];
}

function exitStatus(text: string): number | null {
  try {
    return z.object({ exitStatus: z.number() }).parse(JSON.parse(text)).exitStatus;
  } catch {
    return null; // "exit status is unavailable": the sandbox was gone before we asked
  }
}

/** `runsc --version` without its label. Throws when it cannot be run. */
export async function runscVersion(binary: string): Promise<string> {
  const text = await execOrThrow(binary, ["--version"], { timeoutMs: QUICK_MS });
  return /^runsc version (\S+)/.exec(text)?.[1] ?? "unknown";
}
