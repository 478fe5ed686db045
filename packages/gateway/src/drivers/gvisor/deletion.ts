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

/** Where what runsc prints is long, the cause stands at its beginning (before a trace of the stack) or at its end. */
const SHOWN_CHARS = 500;

export function textOf({ end, code, stderr }: ExecResult): string {
  const text = stderr.trim();
  const shown = text.length <= 2 * SHOWN_CHARS ? text : `${text.slice(0, SHOWN_CHARS)} … ${text.slice(-SHOWN_CHARS)}`;
  return `${end}, status ${code}: ${shown}`;
}

export async function attempt(work: () => Promise<void>): Promise<{ kind: "done" } | { kind: "threw"; message: string }> {
  try {
    await work();
    return { kind: "done" };
  } catch (error) {
    return { kind: "threw", message: error instanceof Error ? error.message : String(error) };
  }
}
