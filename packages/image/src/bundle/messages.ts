// What the bundling child is told and what it answers.
import { z } from "zod";
import { BackgroundWorkerMetadata, WorkerManifest } from "../image.ts";
import { ProjectError } from "../projectError.ts";

export const BundleJob = z.object({
  projectDir: z.string(),
  configFile: z.string(),
  cliDir: z.string(),
  /** An empty folder below the project's: the CLI's modules look for packages upwards from it. */
  workDir: z.string(),
  /** What task modules see in `process.env` while they are imported for the index. */
  indexEnv: z.record(z.string(), z.string()),
});
export type BundleJob = z.infer<typeof BundleJob>;

export const Bundle = z.object({
  /** The finished app folder, below `workDir`. */
  appDir: z.string(),
  projectRef: z.string(),
  contentHash: z.string(),
  /** The runner's controller, as an absolute path inside the sandbox. */
  controller: z.string(),
  workerManifest: WorkerManifest,
  backgroundWorker: BackgroundWorkerMetadata,
});
export type Bundle = z.infer<typeof Bundle>;

export const BundleAnswer = z.discriminatedUnion("type", [
  z.object({ type: z.literal("progress"), line: z.string() }),
  z.object({ type: z.literal("bundled"), bundle: Bundle }),
  z.object({ type: z.literal("rejected"), error: ProjectError }),
  z.object({ type: z.literal("crashed"), stack: z.string() }),
]);
export type BundleAnswer = z.infer<typeof BundleAnswer>;
