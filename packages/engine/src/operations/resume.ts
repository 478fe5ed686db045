import type { Transaction } from "../sql/database.ts";
import { lockRun, type RunRow } from "../sql/runs.ts";
import { dropTimer } from "../sql/timers.ts";
import { blockersOf } from "../sql/waitpoints.ts";
import { nextStep } from "../domain/transitions.ts";
import { advance } from "./advance.ts";
import { now, type Core } from "./core.ts";

/** Lets a run go on if nothing holds it any more. Safe to do at any time, any number of times. */
export async function resumeIfFree(core: Core, runId: string): Promise<void> {
  await core.db.transaction(async (tx) => {
    const run = await lockRun(tx, runId);
    // Deleted before the waits are looked at: a completion that this misses sets it again.
    await dropTimer(tx, "resume", runId);
    if (run !== undefined) await resumeLocked(core, tx, run);
  });
}

export type Resumption = "resumed" | "blocked" | "not_waiting";

/** The resume of a locked run: alive it goes on with its waitpoints, asleep it is queued with its memory image and them. */
export async function resumeLocked(core: Core, tx: Transaction, run: RunRow): Promise<Resumption> {
  if (nextStep(run.execution_status, "resume") === undefined) return "not_waiting";
  const blockers = await blockersOf(tx, run.id);
  if (blockers.some((blocker) => blocker.status === "PENDING")) return "blocked";
  if (run.execution_status === "SUSPENDED") {
    if (run.checkpoint_id === null) throw new Error(`Cannot resume run ${run.id}: it sleeps without a checkpoint`);
    advance(core, tx, run, "resume", { at: now(core), description: "The wait is over: queued, to be restored" });
    return "resumed";
  }
  // A runner ignores a resume that brings nothing, for ever: an empty one is never made.
  if (blockers.length === 0) return "not_waiting";
  advance(core, tx, run, "resume", { at: now(core), description: "The wait is over" });
  return "resumed";
}
