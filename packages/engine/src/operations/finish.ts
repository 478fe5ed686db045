import type { RunStatus, TaskRunError, TaskRunExecutionResult } from "@torpor/contracts";
import type { WorkerRef } from "../api.ts";
import type { RunEvent } from "../domain/transitions.ts";
import type { Transaction } from "../sql/database.ts";
import { openChildren, type RunRow } from "../sql/runs.ts";
import { armTimers } from "../sql/timers.ts";
import { advance } from "./advance.ts";
import type { Core } from "./core.ts";
import { completeRunWaitpoint } from "./waitpoints.ts";

export interface Ending {
  readonly at: Date;
  readonly description: string;
  readonly status: RunStatus;
  /** "finish" unless something else brought the end. */
  readonly event?: Extract<RunEvent, "finish" | "expire" | "cancel">;
  readonly output?: { readonly value: string | undefined; readonly type: string };
  readonly error?: TaskRunError;
  readonly usageMs?: number;
  readonly worker?: WorkerRef;
  readonly attemptNumber?: number;
}

/** The one way in which a run ends: its row, its waitpoint, its batch and, when it was cancelled, its children. */
export async function finishRun(core: Core, tx: Transaction, run: RunRow, ending: Ending): Promise<RunRow> {
  const finished = advance(core, tx, run, ending.event ?? "finish", {
    at: ending.at,
    description: ending.description,
    finalStatus: ending.status,
    ...(ending.worker === undefined ? {} : { worker: ending.worker }),
    patch: {
      completed_at: ending.at,
      ...(ending.output === undefined ? {} : { output: ending.output.value ?? null, output_type: ending.output.type }),
      ...(ending.error === undefined ? {} : { error: ending.error }),
      ...(ending.usageMs === undefined ? {} : { duration_ms: run.duration_ms + ending.usageMs }),
      ...(ending.status === "EXPIRED" ? { expired_at: ending.at } : {}),
    },
  });
  await completeRunWaitpoint(core, tx, run, ending.at, ending.error !== undefined);
  if (run.batch_id !== null) await lookAtBatchSoon(core, tx, run.batch_id, ending.at);
  if (ending.status === "CANCELED") await cancelChildrenSoon(core, tx, run.id, ending.at);
  return finished;
}

/** Many runs of a batch end together: they make one look. */
export async function lookAtBatchSoon(core: Core, tx: Transaction, batchId: string, at: Date): Promise<void> {
  const dueAt = new Date(at.getTime() + core.settings.batchCheckDelayMs);
  await armTimers(tx, "batchCheck", [batchId], dueAt);
  tx.afterCommit(() => core.wakes.timer(dueAt));
}

async function cancelChildrenSoon(core: Core, tx: Transaction, runId: string, at: Date): Promise<void> {
  const children = await openChildren(tx, runId);
  if (children.length === 0) return;
  await armTimers(tx, "cancel", children, at);
  tx.afterCommit(() => core.wakes.timer(at));
}

export const CANCEL_REASON = "The run was canceled";

export function canceledError(reason: string): TaskRunError {
  return { type: "STRING_ERROR", raw: reason };
}

export function usageOf(completion: TaskRunExecutionResult): number | undefined {
  return completion.usage?.durationMs;
}
