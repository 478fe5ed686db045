// What the machine itself says, asked without the gateway: the tests believe no part about its own leftovers.
import { readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { join } from "node:path";

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

/** Processes of a plane's own parts: they work in its data folder. */
export function processesIn(dataDir: string): HostProcess[] {
  return hostProcesses(({ place }) => place === dataDir || place.startsWith(`${dataDir}/`));
}

interface Seen {
  readonly command: string;
  readonly groups: string;
  readonly place: string;
}

function hostProcesses(belongs: (seen: Seen) => boolean): HostProcess[] {
  const found: HostProcess[] = [];
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const command = readOrEmpty(`/proc/${name}/cmdline`).replaceAll("\0", " ");
    if (belongs({ command, groups: readOrEmpty(`/proc/${name}/cgroup`), place: linkOrEmpty(`/proc/${name}/cwd`) }))
      found.push({ pid: Number(name), command });
  }
  return found;
}

function readOrEmpty(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return ""; // processes end while we look
  }
}

function linkOrEmpty(link: string): string {
  try {
    return readlinkSync(link);
  } catch {
    return "";
  }
}

/** Bytes of all files below a folder; 0 for one that is not there. Files may go while we look. */
export function bytesBelow(dir: string): number {
  try {
    return readdirSync(dir, { withFileTypes: true }).reduce((sum, entry) => {
      const path = join(dir, entry.name);
      return sum + (entry.isDirectory() ? bytesBelow(path) : (statSync(path, { throwIfNoEntry: false })?.size ?? 0));
    }, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return 0;
    throw error;
  }
}
