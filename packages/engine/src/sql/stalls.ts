import { sql, type Queryable } from "./database.ts";

const SET = sql("stall_set", "update runs set stall_due_at = $2 where id = $1");

/** Remembers on the run for when its stall timer is set. */
export async function setStallDue(db: Queryable, runId: string, dueAt: Date | null): Promise<void> {
  await db.query(SET, [runId, dueAt]);
}
