// How a sandbox is deleted even when runsc hangs, and how what went wrong is put into words.
import type { SandboxId } from "../driver.ts";
import type { ExecResult } from "./exec.ts";
import type { GvisorParts } from "./parts.ts";
import { killSandboxProcess } from "./runsc.ts";
import type { SandboxFolder } from "./sandboxFolder.ts";

/** Forced deletion works on running, paused and half-made sandboxes; if it hangs, the sandbox's process is killed first. Idempotent. */
export async function deleteContainer(
  { runsc, log }: Pick<GvisorParts, "runsc" | "log">,
  folder: SandboxFolder,
  id: SandboxId,
): Promise<void> {
  const first = await runsc.deleteForce(id);
  if (first.code === 0) return;
  const pid = (await folder.pid()) ?? (await runsc.state(id))?.pid;
  log.warn({ sandbox: id, end: first.end, text: textOf(first) }, "cannot delete a sandbox by runsc: killing its process");
  if (pid !== undefined) await killSandboxProcess(pid, id).catch(() => false); // it may have ended just now
  const second = await runsc.deleteForce(id);
  if (second.code !== 0) throw new Error(`Cannot destroy sandbox ${id}: ${textOf(second)}`);
}

export function textOf(result: ExecResult): string {
  return `${result.end}, status ${result.code}: ${result.stderr.trim().slice(-1_000)}`;
}

export async function attempt(work: () => Promise<void>): Promise<{ kind: "done" } | { kind: "threw"; message: string }> {
  try {
    await work();
    return { kind: "done" };
  } catch (error) {
    return { kind: "threw", message: error instanceof Error ? error.message : String(error) };
  }
}
