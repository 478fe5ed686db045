// Runs a program of the host, always with an end: each call has a timeout, and what it prints is bounded.
import { spawn } from "node:child_process";

export interface ExecOptions {
  readonly timeoutMs: number;
  readonly input?: string;
  /** File descriptor that gets standard output and error; without it they are collected and returned. */
  readonly outputFd?: number;
  readonly signal?: AbortSignal;
}

export interface ExecResult {
  /** Null when the program was killed. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly end: "exited" | "timed_out" | "aborted" | "not_started";
}

/** More than this is not read: what our tools print is short, and what hostile ones print must not fill our memory. */
const MAX_OUTPUT_CHARS = 4 * 1024 * 1024;

/** Tools that we call need no more; nothing of our own environment, which holds secrets, reaches them. */
const CHILD_ENV = { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C" };

/**
 * Runs `file` in a session of its own, so that Ctrl-C at a terminal does not cut a call in half. Never throws for what the
 * program does; a program that cannot be started is `not_started` with the reason in `stderr`.
 */
export function exec(file: string, args: readonly string[], options: ExecOptions): Promise<ExecResult> {
  return new Promise((resolve) => {
    const output = options.outputFd ?? "pipe";
    const child = spawn(file, args, {
      stdio: [options.input === undefined ? "ignore" : "pipe", output, output],
      env: CHILD_ENV,
      detached: true,
    });
    let stdout = "";
    let stderr = "";
    let end: ExecResult["end"] = "exited";
    const kill = (why: ExecResult["end"]): void => {
      end = why;
      child.kill("SIGKILL");
    };
    const onAbort = (): void => kill("aborted");
    const timer = setTimeout(() => kill("timed_out"), options.timeoutMs);
    options.signal?.addEventListener("abort", onAbort, { once: true });
    const finish = (code: number | null): void => {
      clearTimeout(timer);
      options.signal?.removeEventListener("abort", onAbort);
      resolve({ code, stdout, stderr, end });
    };
    child.stdout?.setEncoding("utf8").on("data", (text: string) => void (stdout = (stdout + text).slice(0, MAX_OUTPUT_CHARS)));
    child.stderr?.setEncoding("utf8").on("data", (text: string) => void (stderr = (stderr + text).slice(0, MAX_OUTPUT_CHARS)));
    child.stdin?.on("error", () => undefined); // a program that ends without reading its input says why by its exit code
    child.stdin?.end(options.input);
    child.once("error", (error) => {
      end = "not_started";
      stderr = error.message;
      finish(null);
    });
    // "close" would wait for whoever inherited the output; with a file there is nothing to wait for
    child.once(options.outputFd === undefined ? "close" : "exit", (code) => finish(code));
    if (options.signal?.aborted === true) onAbort();
  });
}

/** Runs a program that must succeed; throws with what it printed. */
export async function execOrThrow(file: string, args: readonly string[], options: ExecOptions): Promise<string> {
  const result = await exec(file, args, options);
  if (result.end === "exited" && result.code === 0) return result.stdout;
  throw new Error(`Cannot run ${file} ${args.join(" ")}: ${result.end}, status ${result.code}: ${result.stderr.trim().slice(-2000)}`);
}
