import { z } from "zod";

// Ids on the wire are "friendly": a prefix, exactly one underscore, a body that sorts by creation time.
// They are branded, so that a run's id cannot go where a sandbox's name is meant.

function friendlyId<const Prefix extends string>(prefix: Prefix) {
  return z
    .string()
    .max(128)
    .regex(new RegExp(`^${prefix}_[0-9A-Za-z]+$`), `must look like ${prefix}_…`)
    .brand<`${Prefix}Id`>();
}

export const RunId = friendlyId("run");
export type RunId = z.infer<typeof RunId>;

/** An execution snapshot of the engine: one entry of a run's history. Per run they sort as strings in the order they were made. */
export const SnapshotId = friendlyId("snapshot");
export type SnapshotId = z.infer<typeof SnapshotId>;

export const WaitpointId = friendlyId("waitpoint");
export type WaitpointId = z.infer<typeof WaitpointId>;

export const BatchId = friendlyId("batch");
export type BatchId = z.infer<typeof BatchId>;

/** What the engine remembers of an accepted memory image: where it is, and for which run. */
export const CheckpointId = friendlyId("checkpoint");
export type CheckpointId = z.infer<typeof CheckpointId>;

export const DeploymentId = friendlyId("deployment");
export type DeploymentId = z.infer<typeof DeploymentId>;

/** Name of a runner, and of the sandbox it lives in. Foreign supervisors choose it, so it is only bounded. */
export const RunnerId = z
  .string()
  .min(1)
  .max(200)
  .regex(/^[0-9A-Za-z][0-9A-Za-z._-]*$/, "must be letters, digits, '.', '_' or '-'")
  .brand<"RunnerId">();
export type RunnerId = z.infer<typeof RunnerId>;

/** A memory image at a gateway: the folder of files that a sandbox is restored from. */
export const MemoryImageId = z
  .string()
  .regex(/^mem_[0-9a-z]{10,64}$/, "must look like mem_…")
  .brand<"MemoryImageId">();
export type MemoryImageId = z.infer<typeof MemoryImageId>;
