import type { RunExecutionData, TaskRunError } from "@torpor/contracts";
import { isExecuting } from "../snapshot/verdict.ts";

// What a run needs when its runner is no more. Pure.

export interface RunnerEnd {
  readonly exitCode: number | null;
  /** As the gateway tells it. */
  readonly reason: string;
}

export interface LostRunFacts {
  readonly latest: RunExecutionData;
  /** Attempt that the runner executed or was made for; null when nobody told us. */
  readonly attemptNumber: number | null;
  /** Snapshot that it was handed out with. */
  readonly handedOutAt: string | null;
  readonly wasRestored: boolean;
  readonly end: RunnerEnd;
}

export type LostRunVerdict =
  /** The run has gone on without it. */
  | { readonly kind: "none" }
  | { readonly kind: "release"; readonly snapshotId: string }
  | { readonly kind: "restore_failed"; readonly snapshotId: string }
  | { readonly kind: "fail_attempt"; readonly snapshotId: string; readonly error: TaskRunError };

/**
 * The platform would notice by itself after 60 or 300 s; this says it now. A run that another runner executes by now has a
 * higher attempt number or another hand-out, and is left alone (L2).
 */
export function judgeLostRun(facts: LostRunFacts): LostRunVerdict {
  const { latest, attemptNumber } = facts;
  const snapshotId = latest.snapshot.friendlyId;
  if (latest.snapshot.executionStatus === "PENDING_EXECUTING") {
    if (snapshotId !== facts.handedOutAt) return { kind: "none" };
    return { kind: facts.wasRestored ? "restore_failed" : "release", snapshotId };
  }
  if (!isExecuting(latest)) return { kind: "none" };
  const isAnothers = attemptNumber !== null && latest.run.attemptNumber != null && latest.run.attemptNumber !== attemptNumber;
  if (isAnothers) return { kind: "none" };
  return { kind: "fail_attempt", snapshotId, error: errorOf(facts) };
}

const SIGSEGV_EXIT = 139;
const SIGSEGV_EXIT_NEGATIVE = -11;

/** Each of these codes lets the engine retry by the task's own policy; the one for memory first on a larger machine. */
function errorOf({ latest, end }: LostRunFacts): TaskRunError {
  if (latest.snapshot.executionStatus === "PENDING_CANCEL") {
    return { type: "INTERNAL_ERROR", code: "TASK_RUN_CANCELLED", message: "The run was cancelled and its runner ended" };
  }
  const how = end.exitCode === null ? end.reason : `${end.reason} (exit code ${end.exitCode})`;
  const message = `The runner ended without completing the run: ${how}`;
  if (/\boom|out.of.memory/i.test(end.reason)) return { type: "INTERNAL_ERROR", code: "TASK_PROCESS_OOM_KILLED", message };
  if (end.exitCode === SIGSEGV_EXIT || end.exitCode === SIGSEGV_EXIT_NEGATIVE)
    return { type: "INTERNAL_ERROR", code: "TASK_PROCESS_SIGSEGV", message };
  return { type: "INTERNAL_ERROR", code: "TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE", message };
}

const ANOTHERS: ReadonlySet<string> = new Set(["SUSPENDED", "QUEUED"]);

/** Whether a run has left its runner, by what became of it since: it slept or was queued, so whoever executes it now is another. */
export function hasLeft(statusesSince: readonly string[]): boolean {
  return statusesSince.some((status) => ANOTHERS.has(status));
}
