// Calls of runsc that an earlier process of ours began and did not live to see the end of. They run in sessions of their own,
// so they are still at it: whoever looks at the sandboxes before they are done sees a state that will change.
import { readFile, readdir } from "node:fs/promises";
import { sleep, type Clock } from "@torpor/kernel";

/** Calls that change a sandbox; `wait` only watches, and the sandbox's own processes have other names. */
const CHANGING = new Set(["run", "restore", "pause", "resume", "checkpoint", "delete"]);
const POLL_MS = 50;

interface FoundCall {
  readonly pid: number;
  readonly verb: string;
}

/** Waits until no call of an earlier process changes the plane's sandboxes, at most `timeoutMs`, and ends those that only watch. */
export async function settleLeftovers(stateRoot: string, clock: Clock, timeoutMs: number): Promise<void> {
  const untilMs = clock.monotonicMs() + timeoutMs;
  for (;;) {
    const calls = await findCalls(stateRoot);
    for (const call of calls) if (call.verb === "wait" || clock.monotonicMs() >= untilMs) tryKill(call.pid);
    if (!calls.some((call) => CHANGING.has(call.verb)) || clock.monotonicMs() >= untilMs) return;
    await sleep(clock, POLL_MS);
  }
}

async function findCalls(stateRoot: string): Promise<FoundCall[]> {
  const found: FoundCall[] = [];
  for (const name of await readdir("/proc")) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue;
    const args = (await readFile(`/proc/${name}/cmdline`, "utf8").catch(() => "")).split("\0");
    const root = args.indexOf("--root");
    if (root === -1 || args[root + 1] !== stateRoot) continue;
    const verb = args.slice(root + 2).find((arg) => !arg.startsWith("-"));
    if (verb !== undefined && (verb === "wait" || CHANGING.has(verb))) found.push({ pid: Number(name), verb });
  }
  return found;
}

function tryKill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}
