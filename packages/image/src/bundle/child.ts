// The bundling child: the CLI's modules change globals, print and leave handles open, so they get a process of their own.
// It lives no longer than its parent, and leads a process group, which ends with it.
import { bundleProject } from "./bundleProject.ts";
import { loadCliModules } from "./cliModules.ts";
import { BundleJob, type BundleAnswer } from "./messages.ts";

async function answer(message: unknown): Promise<BundleAnswer> {
  try {
    const job = BundleJob.parse(message);
    const outcome = await bundleProject(job, await loadCliModules(job.cliDir), (line) => tell({ type: "progress", line }));
    if (outcome.kind === "rejected") return { type: "rejected", error: outcome.error };
    return { type: "bundled", bundle: outcome.bundle };
  } catch (error) {
    return { type: "crashed", stack: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
}

function tell(message: BundleAnswer, done?: () => void): void {
  process.send?.(message, undefined, undefined, done);
}

process.once("disconnect", () => process.kill(-process.pid, "SIGKILL"));
process.once("message", (message) => void answer(message).then((last) => tell(last, () => process.exit(0))));
