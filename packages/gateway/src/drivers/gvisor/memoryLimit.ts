// A sandbox's memory limit while its memory is being written. Its own kernel writes the files, and in a file system in memory they
// count as the sandbox's memory: with the limit on, the host would kill the guest for being saved.
import { writeFile } from "node:fs/promises";
import { sleep } from "@torpor/kernel";
import { codeOf } from "../../fileWrites.ts";
import { cgroupUsage, memoryLimitFile } from "./cgroups.ts";
import type { GvisorParts } from "./parts.ts";

const TRIES = 50;
const WAIT_MS = 20;

/** Takes the limit off a frozen sandbox. */
export async function liftMemoryLimit({ cgroups }: Pick<GvisorParts, "cgroups">, id: string): Promise<void> {
  const file = memoryLimitFile(cgroups, id);
  if (file !== undefined) await writeLimit(file.path, file.none);
}

/**
 * Sets the limit again, as soon as what was written is freed: before that the host refuses it, or kills for it. `limitBytes`
 * undefined: it never had one. Never throws: a sandbox without a limit is better than one that stands still.
 */
export async function setMemoryLimitAgain(
  { cgroups, clock, log }: Pick<GvisorParts, "cgroups" | "clock" | "log">,
  id: string,
  limitBytes: number | undefined,
): Promise<void> {
  const file = memoryLimitFile(cgroups, id);
  if (file === undefined || limitBytes === undefined) return;
  for (let tries = 1; tries <= TRIES; tries++) {
    const { memoryBytes } = await cgroupUsage(cgroups, id);
    if ((memoryBytes ?? 0) < limitBytes && (await writeLimit(file.path, String(limitBytes)))) return;
    await sleep(clock, WAIT_MS);
  }
  log.error({ sandbox: id, limitBytes }, "a sandbox goes on without its memory limit: what was written of it is not freed");
}

/** False when the host refuses it now. */
async function writeLimit(path: string, text: string): Promise<boolean> {
  try {
    await writeFile(path, text, { flag: "r+" });
    return true;
  } catch (error) {
    if (codeOf(error) === "ENOENT") return true; // the sandbox has just gone
    if (codeOf(error) === "EBUSY") return false;
    throw error;
  }
}
