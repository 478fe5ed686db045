// Processes of the host, by session: a sandbox of this driver is a session, whose id is that of its first process.
import { execFile } from "node:child_process";
import { readFile, readdir } from "node:fs/promises";
import { promisify } from "node:util";
import { sleep, type Clock } from "@torpor/kernel";

const POLL_MS = 20;
const KILL_MS = 5_000;

/** When a process began, in whatever unit the system has: a process id alone is used again. Undefined when it does not exist. */
export async function startMark(pid: number): Promise<string | undefined> {
  if (process.platform === "linux") return (await statOf(pid))?.startTime;
  const listed = await promisify(execFile)("ps", ["-o", "lstart=", "-p", String(pid)]).catch(() => undefined);
  return listed?.stdout.trim() || undefined;
}

/** Kills everything of a session and returns when nothing of it is left. Throws when something stays. */
export async function killSession(pid: number, clock: Clock): Promise<void> {
  const untilMs = clock.monotonicMs() + KILL_MS;
  while (await sendToGroup(pid, "SIGKILL")) {
    if (clock.monotonicMs() > untilMs) throw new Error(`Cannot kill process group ${pid}: it is still there after ${KILL_MS} ms`);
    await sleep(clock, POLL_MS);
  }
}

/** False when the group does not exist any more. Zombies that nobody has reaped yet count as gone. */
async function sendToGroup(pid: number, signal: NodeJS.Signals): Promise<boolean> {
  try {
    process.kill(-pid, signal);
    return process.platform !== "linux" || (await membersOf(pid)).length > 0;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return false;
    if ((error as NodeJS.ErrnoException).code === "EPERM") return false; // on macOS: only zombies are left
    throw error;
  }
}

interface ProcessStat {
  readonly pid: number;
  readonly state: string;
  readonly session: number;
  readonly startTime: string;
  readonly residentPages: number;
}

/** Living processes of a session. Linux only; elsewhere empty. */
export async function membersOf(session: number): Promise<ProcessStat[]> {
  const names = await readdir("/proc").catch(() => [] as string[]);
  const stats = await Promise.all(names.filter((name) => /^\d+$/.test(name)).map((name) => statOf(Number(name))));
  return stats.filter((stat) => stat !== undefined).filter((stat) => stat.session === session && stat.state !== "Z");
}

async function statOf(pid: number): Promise<ProcessStat | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
  if (text === undefined) return undefined;
  // The name in parentheses may hold anything: fields are counted from behind it
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const [state = "", session = "0", startTime = "", resident = "0"] = [fields[0], fields[3], fields[19], fields[21]];
  return { pid, state, session: Number(session), startTime, residentPages: Number(resident) };
}
