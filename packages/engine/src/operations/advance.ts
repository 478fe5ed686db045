import type { RunStatus } from "@torpor/contracts";
import type { WorkerRef } from "../api.ts";
import { consequences } from "../domain/consequences.ts";
import { snapshotIdBody } from "../domain/ids.ts";
import { stallAfterMs } from "../domain/stalls.ts";
import { transition, type RunEvent } from "../domain/transitions.ts";
import type { Transaction } from "../sql/database.ts";
import type { RunRow } from "../sql/runs.ts";
import { appendSnapshot, type RunPatch } from "../sql/snapshots.ts";
import { holdEdges } from "../sql/waitpoints.ts";
import type { Core } from "./core.ts";

export interface AdvanceOptions {
  readonly at: Date;
  /** One line for the run's timeline. */
  readonly description: string;
  /** Needed for an event that ends the run. */
  readonly finalStatus?: RunStatus;
  readonly attemptNumber?: number;
  /** undefined: as the event has it (dropped, or kept while the run is on its way back). */
  readonly checkpointId?: string | null;
  readonly batchOfWait?: string | null;
  readonly worker?: WorkerRef;
  /** Place in the queue, when it returns there; the run's own by default. */
  readonly score?: Date;
  readonly patch?: RunPatch;
}

/** Events after which the memory image, the waitpoints it wakes up with and their batch are still needed. */
const KEEPS_SLEEP: ReadonlySet<RunEvent> = new Set<RunEvent>(["dequeue", "giveBack"]);

/**
 * Moves a locked run along the table and does everything that follows from it. Answers the run as it will be: the write is
 * on its way, and the transaction fails if it does.
 */
export function advance(core: Core, tx: Transaction, run: RunRow, event: RunEvent, options: AdvanceOptions): RunRow {
  const step = transition(run.execution_status, event);
  // Clocks of two processes may disagree; a history does not run backwards.
  const at = options.at > run.snapshot_at ? options.at : run.snapshot_at;
  const seq = run.snapshot_seq + 1;
  const id = snapshotIdBody(seq, core.random);
  const status = step.run === "final" ? finalStatusOf(event, options) : step.run;
  const effects = consequences(run.execution_status, step.to);
  const stallDueAt = nextStall(core, run, step.to, at);
  const carried = carry(run, event, seq, options);
  const attemptNumber = options.attemptNumber ?? run.attempt_number;
  const shown = step.shown ?? status;
  const worker = options.worker;
  // An item of a batch may be adding its edge just now. When a run resumes, its batches are over and get none any more.
  if (effects.endsWaits && event !== "resume") holdEdges(tx, run.id);
  appendSnapshot(tx, {
    runId: run.id,
    expected: run.snapshot_id,
    id,
    seq,
    at,
    executionStatus: step.to,
    runStatus: status,
    shownStatus: shown,
    description: options.description,
    attemptNumber,
    ...carried,
    worker:
      worker === undefined ? null : { groupId: worker.workerGroupId, instance: worker.instanceName, runnerId: worker.runnerId ?? null },
    patch: options.patch ?? {},
    consequences: effects,
    bringsWaitpoints: event === "resume",
    stallDueAt,
    score: options.score ?? run.score,
    notify: step.notify === true,
  });
  if (effects.ready === "enter") tx.afterCommit(() => core.wakes.ready());
  if (effects.slot === "free") tx.afterCommit(() => core.wakes.room());
  if (stallDueAt instanceof Date) tx.afterCommit(() => core.wakes.timer(stallDueAt));
  return {
    ...run,
    ...changed(options.patch),
    status,
    execution_status: step.to,
    snapshot_id: id,
    snapshot_seq: seq,
    snapshot_at: at,
    snapshot_description: options.description,
    snapshot_run_status: shown,
    attempt_number: attemptNumber,
    checkpoint_id: carried.checkpointId,
    completed_seq: carried.completedSeq,
    batch_of_wait: carried.batchOfWait,
    stall_due_at: stallDueAt === undefined ? run.stall_due_at : stallDueAt,
  };
}

function finalStatusOf(event: RunEvent, options: AdvanceOptions): RunStatus {
  if (options.finalStatus === undefined) throw new Error(`Cannot ${event} a run without its final status`);
  return options.finalStatus;
}

/** What of a sleep stays with the run. */
function carry(
  run: RunRow,
  event: RunEvent,
  seq: number,
  options: AdvanceOptions,
): { checkpointId: string | null; completedSeq: number | null; batchOfWait: string | null } {
  if (KEEPS_SLEEP.has(event)) return { checkpointId: run.checkpoint_id, completedSeq: run.completed_seq, batchOfWait: run.batch_of_wait };
  switch (event) {
    case "resume":
      return { checkpointId: run.checkpoint_id, completedSeq: seq, batchOfWait: run.batch_of_wait };
    case "continue":
      return { checkpointId: null, completedSeq: run.completed_seq, batchOfWait: run.batch_of_wait };
    case "suspend":
      return { checkpointId: options.checkpointId ?? null, completedSeq: null, batchOfWait: run.batch_of_wait };
    default:
      return { checkpointId: null, completedSeq: null, batchOfWait: options.batchOfWait ?? null };
  }
}

/** undefined: a timer that fires earlier stands, and will find out. */
function nextStall(core: Core, run: RunRow, to: RunRow["execution_status"], at: Date): Date | null | undefined {
  const afterMs = stallAfterMs(to, core.settings.stalls);
  if (afterMs === undefined) return run.stall_due_at === null ? undefined : null;
  const dueAt = new Date(at.getTime() + afterMs);
  const standsEarlier = run.stall_due_at !== null && run.stall_due_at <= dueAt;
  return standsEarlier && to !== "SUSPENDED" ? undefined : dueAt;
}

/** The patched columns that decisions read again. */
function changed(patch: RunPatch | undefined): Partial<RunRow> {
  if (patch === undefined) return {};
  const { nack_count, deployment_id, score, retry_ready } = patch;
  return {
    ...(nack_count === undefined ? {} : { nack_count }),
    ...(deployment_id === undefined ? {} : { deployment_id }),
    ...(score === undefined ? {} : { score }),
    ...(retry_ready === undefined ? {} : { retry_ready }),
  };
}
