// The description of a task image, as it stands in its `image.json`.
import { z } from "zod";
import { treeDigest, type TreeEntry } from "./tree.ts";

/** The parts of a task's manifest that are read here; the rest is the runner's and is passed on as it is. */
const TaskManifest = z.looseObject({ id: z.string(), filePath: z.string(), exportName: z.string().optional() });

/** What the project's own CLI found in it (its `index.json`), without timings. */
export const WorkerManifest = z.looseObject({
  tasks: z.array(TaskManifest),
  queues: z.array(z.looseObject({ name: z.string() })).optional(),
});
export type WorkerManifest = z.infer<typeof WorkerManifest>;

/** The `metadata` that a platform is given when this image becomes a deployment's background worker. */
export const BackgroundWorkerMetadata = z.looseObject({
  contentHash: z.string(),
  packageVersion: z.string(),
  cliPackageVersion: z.string(),
  tasks: z.array(TaskManifest),
  sourceFiles: z.array(
    z.looseObject({ filePath: z.string(), contentHash: z.string(), contents: z.string(), taskIds: z.array(z.string()) }),
  ),
});

const Digest = z.string().regex(/^[0-9a-f]{64}$/);

export const Image = z.object({
  /** The version of this description. */
  schema: z.literal(1),
  /** sha256 (hex) over every path, kind, mode and content of `rootfs`, and over `run`. */
  digest: Digest,
  projectRef: z.string().min(1),
  /** The project's CLI's own hash over the bundle. */
  contentHash: z.string(),
  base: z.object({ digest: Digest, nodeVersion: z.string(), arch: z.string() }),
  cliVersion: z.string(),
  sdkVersion: z.string(),
  /** How to start the runner in this image. */
  run: z.object({
    args: z.array(z.string()).min(1),
    workingDir: z.string(),
    user: z.object({ uid: z.number().int(), gid: z.number().int() }),
    env: z.record(z.string(), z.string()),
  }),
  workerManifest: WorkerManifest,
  backgroundWorker: BackgroundWorkerMetadata,
});
export type Image = z.infer<typeof Image>;

/** An image in a store: its description and where its files are. */
export interface StoredImage {
  image: Image;
  dir: string;
  rootfs: string;
}

/** The digest of an image with these files that is started in this way. */
export function imageDigest(entries: readonly TreeEntry[], run: Image["run"]): string {
  const { args, workingDir, user, env } = run;
  const sortedEnv = Object.entries(env).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return treeDigest(entries, JSON.stringify([args, workingDir, user.uid, user.gid, sortedEnv]));
}

/** The name by which deployments speak of an image. */
export function imageReference(image: Pick<Image, "projectRef" | "digest">): string {
  return `torpor/${image.projectRef}@sha256:${image.digest}`;
}

/** The digest that `torpor/<project>@sha256:<digest>` or `sha256-<digest>` names; undefined when it is neither. */
export function parseImageReference(reference: string): string | undefined {
  return /^(?:torpor\/[\w.-]+@sha256:|sha256-)([0-9a-f]{64})$/.exec(reference)?.[1];
}
