// What a template is of. A clone fits only where everything that its template was made with is the same: a memory that is
// restored by another runsc, or over other files, starts and dies a moment later.
import { createHash } from "node:crypto";
import { HOOK_OPTIONS } from "@torpor/image";
import type { SandboxImage } from "../drivers/driver.ts";

/** The size of a sandbox. */
export interface Machine {
  /** vCPUs. */
  readonly cpu: number;
  readonly memoryGb: number;
}

/** Names a template: equal for what can be cloned from the same files, different for everything else. */
export function templateKey(image: SandboxImage, machine: Machine, fingerprint: Readonly<Record<string, string>>): string {
  const parts = [Object.entries(fingerprint).toSorted(([a], [b]) => (a < b ? -1 : 1)), image.digest, machine.cpu, machine.memoryGb];
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}

/** Whether a sandbox of this image knows how to become a template: other programs would simply run. */
export function hasHook(image: SandboxImage): boolean {
  const at = image.args.indexOf(HOOK_OPTIONS[0]);
  return at !== -1 && image.args[at + 1] === HOOK_OPTIONS[1];
}
