import { sql, type Queryable } from "./database.ts";

const FREE_LOST = sql(
  "slots_free_lost",
  `delete from slots s using runs r where r.id = s.run_id
     and r.execution_status not in ('PENDING_EXECUTING', 'EXECUTING', 'EXECUTING_WITH_WAITPOINTS', 'QUEUED_EXECUTING') returning s.run_id`,
);

/** Frees slots of runs that do not execute; answers whose they were. */
export async function freeLostSlots(db: Queryable): Promise<string[]> {
  return (await db.query<{ run_id: string }>(FREE_LOST, [])).map((row) => row.run_id);
}
