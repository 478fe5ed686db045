// What the machine itself says, asked without the gateway: the tests believe no part about its own leftovers.
import { readdirSync, readFileSync } from "node:fs";

export interface HostProcess {
  readonly pid: number;
  readonly command: string;
}

/** Processes on this machine that belong to a sandbox: its id stands in their command line or in their control group. */
export function processesOfSandbox(sandboxId: string): HostProcess[] {
  return hostProcesses(({ command, groups }) => command.includes(sandboxId) || groups.includes(sandboxId));
}

/** Ends a sandbox as a fault of the machine would: its kernel is killed, and with it every process of the task. */
export function killSandbox(sandboxId: string): void {
  const kernels = processesOfSandbox(sandboxId).filter(({ command }) => command.startsWith("runsc-sandbox"));
  if (kernels.length === 0) throw new Error(`there is no process of sandbox ${sandboxId} to kill`);
  for (const { pid } of kernels) process.kill(pid, "SIGKILL");
}

/** All processes whose command line holds a text. */
export function processesWith(text: string): HostProcess[] {
  return hostProcesses(({ command }) => command.includes(text));
}

function hostProcesses(belongs: (one: { readonly command: string; readonly groups: string }) => boolean): HostProcess[] {
  const found: HostProcess[] = [];
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const command = readOrEmpty(`/proc/${name}/cmdline`).replaceAll("\0", " ");
    if (belongs({ command, groups: readOrEmpty(`/proc/${name}/cgroup`) })) found.push({ pid: Number(name), command });
  }
  return found;
}

/** Whether a process is there and not a zombie. */
export function isRunning(pid: number): boolean {
  const state = /^State:\s+(\w)/m.exec(readOrEmpty(`/proc/${pid}/status`))?.[1];
  return state !== undefined && state !== "Z" && state !== "X";
}

function readOrEmpty(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return ""; // processes end while we look
  }
}
