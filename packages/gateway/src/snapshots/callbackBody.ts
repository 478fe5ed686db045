import type { SnapshotCallback } from "@torpor/contracts";
import type { PendingSnapshot } from "../sandboxes/record.ts";
import type { SnapshotEnd, SnapshotJob } from "./snapshotJob.ts";

/** What the caller is told of a snapshot's end. */
export function callbackBody(job: SnapshotJob, pending: PendingSnapshot, end: SnapshotEnd, durationMs: number): SnapshotCallback {
  const common = { instance_id: job.sandbox.record.id, metadata: pending.callback.metadata, duration_ms: durationMs };
  if (end.kind === "failed") return { status: "failed", ...common, error: end.message, reason: end.reason };
  return {
    status: "completed",
    snapshot_id: job.imageId,
    ...common,
    frozen_ms: Math.round(end.frozenMs),
    size_bytes: end.sizeBytes,
    held: end.kind === "held",
  };
}
