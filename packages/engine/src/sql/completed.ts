import type { WaitpointType } from "@torpor/contracts";
import { sql, type Queryable } from "./database.ts";

/** A waitpoint that a snapshot brings to the runner. It may be over in a moment only: see `handOutAhead`. */
export interface CompletedRow {
  readonly run_id: string;
  readonly id: string;
  readonly type: WaitpointType;
  readonly completed_at: Date;
  readonly completes_after: Date | null;
  readonly idempotency_key: string | null;
  readonly by_run_id: string | null;
  readonly by_batch_id: string | null;
  readonly batch_id: string | null;
  readonly batch_index: number | null;
  readonly output: string | null;
  readonly output_type: string | null;
  readonly output_is_error: boolean;
}

const COMPLETED = sql(
  "completed_of_snapshot",
  `select s.run_id, w.id, w.type, coalesce(w.completed_at, w.completes_after) as completed_at, w.completes_after, w.idempotency_key, w.by_run_id, w.by_batch_id, s.batch_id, s.batch_index,
     case when w.type <> 'RUN' then w.output when w.output_is_error then r.error::text else r.output end as output,
     case when w.type <> 'RUN' then w.output_type when w.output_is_error then 'application/json' else r.output_type end as output_type,
     w.output_is_error
   from unnest($1::text[], $2::integer[]) as k (run_id, seq)
   join snapshot_waitpoints s on s.run_id = k.run_id and s.seq = k.seq
   join waitpoints w on w.id = s.waitpoint_id left join runs r on r.id = w.by_run_id
   order by s.run_id, s.position`,
);

/** The waitpoints filed under these (run, snapshot) pairs, in the order of their batches' indexes. */
export async function completedWaitpoints(
  db: Queryable,
  keys: readonly { readonly runId: string; readonly seq: number }[],
): Promise<CompletedRow[]> {
  if (keys.length === 0) return [];
  return db.query<CompletedRow>(COMPLETED, [keys.map((key) => key.runId), keys.map((key) => key.seq)]);
}

const END_OF_WAIT = sql(
  "completed_end_of_wait",
  `select max(w.completes_after) as at from runs r
   join snapshot_waitpoints s on s.run_id = r.id and s.seq = r.completed_seq join waitpoints w on w.id = s.waitpoint_id
   where r.id = $1 and w.type = 'DATETIME'`,
);

/** When the last of the times is reached that a run which is handed out has waited for; null when it waited for none. */
export async function endOfWait(db: Queryable, runId: string): Promise<Date | null> {
  return (await db.query<{ at: Date | null }>(END_OF_WAIT, [runId]))[0]?.at ?? null;
}
