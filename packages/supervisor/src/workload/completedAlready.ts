import type { RunExecutionData } from "@torpor/contracts";

/** What a completion led to, read from the run's latest snapshot; null when it tells of something else. */
export function completedAlready(
  at: { readonly snapshotId: string },
  body: unknown,
  latest: RunExecutionData,
): { attemptStatus: string; snapshot: unknown; run: unknown } | null {
  const { snapshot, run } = latest;
  if (snapshot.friendlyId <= at.snapshotId) return null;
  const wantsRetry = (body as { completion?: { retry?: unknown } }).completion?.retry !== undefined;
  if (snapshot.executionStatus === "FINISHED") return { attemptStatus: "RUN_FINISHED", snapshot, run };
  if (snapshot.executionStatus === "QUEUED" && latest.checkpoint === undefined) return { attemptStatus: "RETRY_QUEUED", snapshot, run };
  if (snapshot.executionStatus === "EXECUTING" && wantsRetry && latest.completedWaitpoints.length === 0)
    return { attemptStatus: "RETRY_IMMEDIATELY", snapshot, run };
  return null;
}
