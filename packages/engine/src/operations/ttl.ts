import type { Transaction } from "../sql/database.ts";
import type { RunRow } from "../sql/runs.ts";
import { moveTimer } from "../sql/timers.ts";
import type { Core } from "./core.ts";

/** The time to live counts from the moment in which the run may be handed out for the first time. */
export async function armTtl(core: Core, tx: Transaction, run: RunRow, at: Date): Promise<void> {
  if (run.ttl_seconds === null || run.first_dequeued_at !== null) return;
  const dueAt = new Date(at.getTime() + run.ttl_seconds * 1000);
  await moveTimer(tx, "ttl", run.id, dueAt);
  tx.afterCommit(() => core.wakes.timer(dueAt));
}
