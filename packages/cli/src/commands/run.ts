import { spawn } from "node:child_process";

export interface ChildResult {
  readonly code: number;
  readonly output: string;
}

export interface ChildOptions {
  readonly cwd: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly signal?: AbortSignal;
  /** `inherit` shows the child's output as it comes; `collect` keeps it. */
  readonly output: "inherit" | "collect";
}

/** Runs a program to its end. An abort asks it to stop. A program that is not there ends with code 127. */
export function runChild(program: string, args: readonly string[], options: ChildOptions): Promise<ChildResult> {
  return new Promise((resolve) => {
    const stdio = options.output === "inherit" ? "inherit" : (["ignore", "pipe", "pipe"] as const);
    const child = spawn(program, [...args], { cwd: options.cwd, env: options.env ?? process.env, stdio: stdio as "inherit" });
    const chunks: Buffer[] = [];
    child.stdout?.on("data", (chunk: Buffer) => void chunks.push(chunk));
    child.stderr?.on("data", (chunk: Buffer) => void chunks.push(chunk));
    const stop = (): void => void child.kill("SIGTERM");
    options.signal?.addEventListener("abort", stop, { once: true });
    const end = (code: number, extra = ""): void => {
      options.signal?.removeEventListener("abort", stop);
      resolve({ code, output: Buffer.concat(chunks).toString("utf8") + extra });
    };
    child.once("error", (error) => end(127, error.message));
    child.once("close", (code, signal) => end(code ?? (signal === null ? 1 : 130)));
  });
}
