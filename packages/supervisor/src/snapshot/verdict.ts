import type { RunExecutionData } from "@torpor/contracts";

// What the platform's latest snapshot of a run says about an intent or a memory image. Pure.

/** Whether the run still waits at the snapshot that its runner wanted to sleep at. */
export type WaitVerdict = { readonly kind: "waits" } | { readonly kind: "moved_on"; readonly reason: "resumed" | "superseded" };

export function judgeWait(latest: RunExecutionData, snapshotId: string): WaitVerdict {
  const { friendlyId, executionStatus } = latest.snapshot;
  if (friendlyId === snapshotId && executionStatus === "EXECUTING_WITH_WAITPOINTS") return { kind: "waits" };
  return { kind: "moved_on", reason: executionStatus === "EXECUTING" ? "resumed" : "superseded" };
}

/** A run whose memory is on disk is in one of these while it waits to be restored. */
const ASLEEP: ReadonlySet<string> = new Set(["SUSPENDED", "QUEUED", "PENDING_EXECUTING"]);

/**
 * Whether the engine has accepted a suspension into this memory image. `no` is final only when no report is on its way.
 * An image that the run was restored from already is `no` too: nobody may wait for it any more.
 */
export function judgeAcceptance(latest: RunExecutionData, imageId: string): "yes" | "no" {
  return latest.checkpoint?.location === imageId && ASLEEP.has(latest.snapshot.executionStatus) ? "yes" : "no";
}

const EXECUTING: ReadonlySet<string> = new Set(["EXECUTING", "EXECUTING_WITH_WAITPOINTS", "QUEUED_EXECUTING", "PENDING_CANCEL"]);

/** Whether some runner is executing the run, or about to confirm its cancellation. */
export function isExecuting(latest: RunExecutionData): boolean {
  return EXECUTING.has(latest.snapshot.executionStatus);
}
