import type { Transaction } from "../sql/database.ts";
import type { RunRow } from "../sql/runs.ts";
import { markCompleted, markCompletedOfRun, runsWaitingFor, type WaitpointResult } from "../sql/waitpoints.ts";
import { resumeSoon } from "./blocking.ts";
import type { Core } from "./core.ts";

/** Completes a waitpoint once and wakes whoever waits for it; false when it was complete before. */
export async function completeWaitpoint(core: Core, tx: Transaction, id: string, at: Date, result: WaitpointResult): Promise<boolean> {
  if (!(await markCompleted(tx, id, at, result))) return false;
  await resumeSoon(core, tx, await runsWaitingFor(tx, id), at);
  return true;
}

/** The same for the waitpoint of a run that ends, if anybody ever waited for it. */
export async function completeRunWaitpoint(core: Core, tx: Transaction, run: RunRow, at: Date, isError: boolean): Promise<void> {
  if (!run.has_waitpoint) return;
  const id = await markCompletedOfRun(tx, run.id, at, isError);
  if (id !== undefined) await resumeSoon(core, tx, await runsWaitingFor(tx, id), at);
}
