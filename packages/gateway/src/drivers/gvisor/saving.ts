// Freezing a sandbox, writing its memory, and letting it go on.
import type { FreezeOutcome, SandboxId, SaveOutcome, ThawOutcome } from "../driver.ts";
import { complaintOf } from "./complaint.ts";
import { liftMemoryLimit, setMemoryLimitAgain } from "./memoryLimit.ts";
import type { GvisorParts } from "./parts.ts";

export async function freezeSandbox({ runsc }: GvisorParts, id: SandboxId): Promise<FreezeOutcome> {
  const result = await runsc.pause(id);
  if (result.code === 0) return { kind: "frozen" };
  const state = await runsc.state(id);
  if (state?.status === "paused") return { kind: "frozen" };
  if (state === undefined || state.status === "stopped") return { kind: "gone" };
  return { kind: "failed", message: complaintOf(result) };
}

export async function saveSandbox(parts: GvisorParts, id: SandboxId, dir: string, signal: AbortSignal): Promise<SaveOutcome> {
  // Its kernel writes the files, so in memory they count as the sandbox's: with its limit on, the guest would be killed for them
  await liftMemoryLimit(parts, id);
  const result = await parts.runsc.checkpoint(id, dir, signal);
  if (result.end === "aborted") return { kind: "canceled" };
  if (result.code === 0) return { kind: "saved" };
  const message = complaintOf(result);
  if (/no space left|disk quota/i.test(result.stderr)) return { kind: "failed", reason: "no_room", message };
  const state = await parts.runsc.state(id);
  if (state === undefined || state.status === "stopped") return { kind: "failed", reason: "sandbox_gone", message };
  return { kind: "failed", reason: result.end === "timed_out" ? "timed_out" : "checkpoint_failed", message };
}

export async function thawSandbox(parts: GvisorParts, id: SandboxId, memoryLimit: () => Promise<number | undefined>): Promise<ThawOutcome> {
  const result = await parts.runsc.resume(id);
  const state = result.code === 0 ? undefined : await parts.runsc.state(id);
  if (result.code === 0 || state?.status === "running") {
    // Not before: a save that was cut off goes on until the sandbox's kernel has answered
    await setMemoryLimitAgain(parts, id, await memoryLimit());
    return { kind: "thawed" };
  }
  if (state === undefined || state.status === "stopped") return { kind: "gone" };
  return { kind: "failed", message: complaintOf(result) };
}
