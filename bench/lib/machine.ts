import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { arch, cpus, release, totalmem } from "node:os";

/** The machine in one line: every figure is its machine's. */
export function machineLine(): string {
  const [cpu] = cpus();
  return `${cpus().length} × ${cpu?.model.trim() ?? arch()}, ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()}, Node ${process.version}, load ${readFileSync("/proc/loadavg", "utf8").split(" ")[0]}`;
}

const TICK_MS = 1000 / Number(execFileSync("getconf", ["CLK_TCK"], { encoding: "utf8" }));

/** CPU time in ms that a process and the children it has waited for have used. */
export function cpuMsOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return [11, 12, 13, 14].reduce((sum, index) => sum + Number(fields[index]) * TICK_MS, 0);
}

/** Process ids of all that descend from `pid`, with `pid` itself. */
export function processTree(pid: number): number[] {
  let children: number[];
  try {
    children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8")
      .trim()
      .split(" ")
      .filter((text) => text !== "")
      .map(Number);
  } catch {
    return []; // it ended while we looked
  }
  return [pid, ...children.flatMap(processTree)];
}

/** CPU time in ms of a whole tree. */
export function treeCpuMs(pid: number): number {
  return processTree(pid).reduce((sum, one) => sum + cpuMsOrZero(one), 0);
}

function cpuMsOrZero(pid: number): number {
  try {
    return cpuMsOf(pid);
  } catch {
    return 0; // it ended while we looked
  }
}

/** Proportional set size in bytes: shared pages are split among those who share them. */
export function memoryBytesOf(pid: number): number {
  const match = /^Pss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"));
  return Number(match?.[1] ?? 0) * 1024;
}

const IDLE_MS = 20_000;

/** What a process tree costs while nothing happens: its memory, and CPU seconds per hour over 20 s. */
export async function measureIdle(pid: number): Promise<{ readonly bytes: number; readonly cpuSecondsPerHour: number }> {
  const beforeMs = treeCpuMs(pid);
  await new Promise((resolve) => setTimeout(resolve, IDLE_MS));
  const usedMs = treeCpuMs(pid) - beforeMs;
  return { bytes: processTree(pid).reduce((sum, one) => sum + memoryBytesOf(one), 0), cpuSecondsPerHour: (usedMs / IDLE_MS) * 3600 };
}
