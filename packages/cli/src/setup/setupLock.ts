// One set-up at a time. It saves work and nothing hangs on it: what set-up makes is renamed into place when it is whole,
// so two that hold the lock after an owner's death do no harm.
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const POLL_MS = 250;

export interface SetupLockOptions {
  /** Called once when another process has the lock. */
  onWait: (ownerPid: number) => void;
  signal?: AbortSignal | undefined;
}

/** Runs `work` while no other process does so under the same `path`. The lock of a dead process is taken over. */
export async function withSetupLock<T>(path: string, options: SetupLockOptions, work: () => Promise<T>): Promise<T> {
  await mkdir(dirname(path), { recursive: true });
  let hasToldWait = false;
  for (let owner = await tryLock(path); owner !== undefined; owner = await tryLock(path)) {
    if (!hasToldWait) options.onWait(owner);
    hasToldWait = true;
    await sleep(POLL_MS, undefined, { signal: options.signal });
  }
  try {
    return await work();
  } finally {
    await rm(path, { force: true });
  }
}

/** Undefined: it is ours. Otherwise the process that has it; 0 while it is just being taken or was just given back. */
async function tryLock(path: string): Promise<number | undefined> {
  try {
    await writeFile(path, String(process.pid), { flag: "wx" });
    return undefined;
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
  }
  const owner = Number(await readFile(path, "utf8").catch(() => ""));
  if (owner !== 0 && !isAlive(owner)) await rm(path, { force: true });
  return owner;
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}
