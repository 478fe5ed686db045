import type { ExecutionMemory, Seen } from "./runnerMemory.ts";
import type { WireSnapshot } from "./runnerShell.ts";

export type News =
  | { readonly kind: "nothing" }
  | { readonly kind: "another_attempt" }
  /** The latest alone; `mayBeLost`: in between the run was nobody's. */
  | { readonly kind: "latest"; readonly seen: Seen; readonly mayBeLost: boolean };

/** What a runner makes of its run's history. */
export function newsOf({ runId, snapshotId, stage, attempt }: ExecutionMemory, snapshots: readonly WireSnapshot[]): News {
  const news = snapshots.filter(({ run, snapshot }) => run.friendlyId === runId && snapshot.friendlyId > snapshotId);
  const latest = news.at(-1);
  if (latest === undefined || stage === "between_attempts") return { kind: "nothing" };
  if (attempt !== null && news.some(({ run }) => run.attemptNumber !== attempt)) return { kind: "another_attempt" };
  const waitpointIds = latest.completedWaitpoints.map(({ friendlyId }) => friendlyId);
  const seen = { snapshotId: latest.snapshot.friendlyId, status: latest.snapshot.executionStatus, waitpointIds };
  const before = news.slice(0, -1).map(({ snapshot }) => snapshot.executionStatus);
  return { kind: "latest", seen, mayBeLost: before.some((status) => status === "QUEUED" || status === "SUSPENDED") };
}
