import { batchProgress, lockBatch, setBatchStatus, type BatchRow } from "../sql/batches.ts";
import type { Transaction } from "../sql/database.ts";
import { takeClaimed, type DueTimer } from "../sql/timers.ts";
import { now, type Core } from "./core.ts";
import { completeWaitpoint } from "./waitpoints.ts";

/** Ends a sealed batch whose runs have all ended. Every further end of a run asks for another look. */
export async function lookAtBatch(core: Core, tx: Transaction, timer: DueTimer): Promise<void> {
  const batch = await lockBatch(tx, timer.subject);
  // Deleted before the runs are counted: an end that this look misses sets it again.
  await takeClaimed(tx, timer);
  if (batch === undefined || batch.status !== "PROCESSING") return;
  const progress = await batchProgress(tx, batch.id);
  if (progress.has_open) return;
  const at = now(core);
  await setBatchStatus(tx, batch.id, progress.has_errors ? "PARTIAL_FAILED" : "COMPLETED", at, { completedAt: at });
  await wakeParent(core, tx, batch, at, null);
}

/** A batch whose client died before it was sealed must not hold its parent for ever. */
export async function abortUnsealed(core: Core, tx: Transaction, timer: DueTimer): Promise<void> {
  const batch = await lockBatch(tx, timer.subject);
  if (!(await takeClaimed(tx, timer)) || batch === undefined || batch.status !== "PENDING") return;
  const at = now(core);
  await setBatchStatus(tx, batch.id, "ABORTED", at, { completedAt: at });
  await wakeParent(core, tx, batch, at, JSON.stringify({ code: "TRIGGER_BATCH_ABORTED", message: "The batch was not sealed in time" }));
}

async function wakeParent(core: Core, tx: Transaction, batch: BatchRow, at: Date, error: string | null): Promise<void> {
  if (batch.waitpoint_id === null) return;
  const result = { output: error, outputType: error === null ? null : "application/json", isError: error !== null, timedOut: false };
  await completeWaitpoint(core, tx, batch.waitpoint_id, at, result);
}
