import type { Transaction } from "../sql/database.ts";
import { lockRun, type RunRow } from "../sql/runs.ts";
import { armTimers, dropTimer } from "../sql/timers.ts";
import { blockersOf } from "../sql/waitpoints.ts";
import { queueAtMs, type Blocker } from "../domain/handOutAhead.ts";
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

/** The resume of a locked run: alive it goes on with its waitpoints, asleep it is queued with its memory image and them, a moment ahead. */
export async function resumeLocked(core: Core, tx: Transaction, run: RunRow): Promise<Resumption> {
  if (nextStep(run.execution_status, "resume") === undefined) return "not_waiting";
  const blockers = await blockersOf(tx, run.id);
  if (run.execution_status === "SUSPENDED") return await wake(core, tx, run, blockers);
  if (blockers.some((blocker) => blocker.status === "PENDING")) return "blocked";
  // A runner ignores a resume that brings nothing, for ever: an empty one is never made.
  if (blockers.length === 0) return "not_waiting";
  advance(core, tx, run, "resume", { at: now(core), description: "The wait is over" });
  return "resumed";
}

async function wake(core: Core, tx: Transaction, run: RunRow, blockers: readonly Blocker[]): Promise<Resumption> {
  if (run.checkpoint_id === null) throw new Error(`Cannot resume run ${run.id}: it sleeps without a checkpoint`);
  const at = now(core);
  const atMs = queueAtMs(blockers, core.settings.handOutAheadMs);
  if (atMs === null) return "blocked";
  if (atMs > at.getTime()) {
    await armWake(core, tx, run.id, new Date(atMs));
    return "blocked";
  }
  const isOver = blockers.every((blocker) => blocker.status === "COMPLETED");
  advance(core, tx, run, "resume", { at, description: `The wait is ${isOver ? "over" : "nearly over"}: queued, to be restored` });
  return "resumed";
}

/** A run has fallen asleep: when its end is known it is queued in time. The end of each of its waits is the net under this. */
export async function wakeInTime(core: Core, tx: Transaction, runId: string): Promise<void> {
  const atMs = queueAtMs(await blockersOf(tx, runId), core.settings.handOutAheadMs);
  if (atMs !== null && Number.isFinite(atMs)) await armWake(core, tx, runId, new Date(Math.max(atMs, now(core).getTime())));
}

async function armWake(core: Core, tx: Transaction, runId: string, at: Date): Promise<void> {
  await armTimers(tx, "resume", [runId], at);
  tx.afterCommit(() => core.wakes.timer(at));
}
