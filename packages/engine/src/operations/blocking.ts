import type { Refusal } from "../api.ts";
import { isBlocked } from "../domain/consequences.ts";
import { isFinal } from "../domain/idempotency.ts";
import { newId, friendly } from "../domain/ids.ts";
import { nextStep } from "../domain/transitions.ts";
import type { Transaction } from "../sql/database.ts";
import { lockRun, markWaitpoint, type RunRow } from "../sql/runs.ts";
import { armTimers } from "../sql/timers.ts";
import { insertEdge, insertWaitpoint, pendingAmong, waitpointOfRun, type Edge, type WaitpointRow } from "../sql/waitpoints.ts";
import { advance } from "./advance.ts";
import { refuse, type Core } from "./core.ts";

// How a run begins to wait.
//
//   B1  The run is locked, the edge is added, and only then the waitpoint is looked at, under a share lock: a completion
//       in flight is waited for, a later one sees the edge (L9).
//   B2  A run that waits already gets edges only; its snapshot stays, so that its runner's intent to sleep stays too.
//   B3  What is complete before the wait is made still passes through EXECUTING_WITH_WAITPOINTS, and is resumed at once.

/** A refusal when the run cannot wait: it is not executing. */
export function cannotWait(run: RunRow): Refusal | undefined {
  if (isBlocked(run.execution_status) || nextStep(run.execution_status, "block") !== undefined) return undefined;
  const id = friendly("run", run.id);
  if (isFinal(run.status))
    return refuse("request_unprocessable", `Cannot make run ${id} wait: it has already ended with status ${run.status}`);
  return refuse("request_unprocessable", `Cannot make run ${id} wait: it is not executing, its status is ${run.status}`);
}

export interface Wait {
  readonly at: Date;
  readonly waitpointId: string;
  readonly description: string;
  readonly batchId?: string;
  readonly batchIndex?: number;
  /** The waitpoint was made in this transaction and is pending: nobody can have completed it. */
  readonly isNew: boolean;
}

/** Makes a locked run, which `cannotWait` has passed, wait for a waitpoint. */
export async function block(core: Core, tx: Transaction, run: RunRow, wait: Wait): Promise<RunRow> {
  const edge: Edge = { runId: run.id, waitpointId: wait.waitpointId, batchId: wait.batchId, batchIndex: wait.batchIndex, at: wait.at };
  insertEdge(tx, edge);
  const pending = wait.isNew ? true : await pendingAmong(tx, [wait.waitpointId]);
  if (!pending) await resumeSoon(core, tx, [run.id], wait.at);
  if (isBlocked(run.execution_status)) return run;
  return advance(core, tx, run, "block", { at: wait.at, description: wait.description, batchOfWait: wait.batchId ?? null });
}

/** How long a resume may stay with the process that caused it before the due-time loop of any process takes it over (ms). */
const RESUME_GRACE_MS = 1000;

/** Leaves a durable note that these runs may go on, and has it looked at as soon as this transaction is on disk. */
export async function resumeSoon(core: Core, tx: Transaction, runIds: readonly string[], at: Date): Promise<void> {
  if (runIds.length === 0) return;
  await armTimers(tx, "resume", runIds, new Date(at.getTime() + RESUME_GRACE_MS));
  tx.afterCommit(() => {
    for (const runId of runIds) core.wakes.resume(runId);
  });
}

/** The waitpoint of a run that may exist without one (most are never waited for). Locks the run against ending meanwhile. */
export async function ensureRunWaitpoint(core: Core, tx: Transaction, runId: string, at: Date): Promise<WaitpointRow> {
  const run = await lockRun(tx, runId);
  if (run === undefined) throw new Error(`Cannot wait for run ${runId}: it is gone`);
  if (run.execution_status !== "FINISHED" && !run.has_waitpoint) await markWaitpoint(tx, runId);
  const id = newId(at.getTime(), core.random);
  const isCompleted = run.execution_status === "FINISHED";
  await insertWaitpoint(tx, {
    id,
    environmentId: run.environment_id,
    type: "RUN",
    at,
    isCompleted,
    isError: isCompleted && run.status !== "COMPLETED_SUCCESSFULLY",
    byRunId: runId,
  });
  const waitpoint = await waitpointOfRun(tx, runId);
  if (waitpoint === undefined) throw new Error(`Cannot find the waitpoint of run ${runId} right after making it`);
  return waitpoint;
}
