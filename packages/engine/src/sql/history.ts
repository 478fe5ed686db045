import type { ExecutionStatus, RunStatus, WaitFacts, WaitpointType } from "@torpor/contracts";
import { sql, type Queryable } from "./database.ts";

export interface HistoryRow {
  readonly run_id: string;
  readonly environment_id: string;
  readonly seq: number;
  readonly id: string;
  readonly execution_status: ExecutionStatus;
  readonly run_status: RunStatus;
  readonly description: string;
  readonly attempt_number: number;
  readonly checkpoint_id: string | null;
  readonly completed_seq: number | null;
  readonly batch_id: string | null;
  readonly created_at: Date;
}

const COLUMNS =
  "s.run_id, r.environment_id, s.seq, s.id, s.execution_status, s.run_status, s.description, s.attempt_number, s.checkpoint_id, s.completed_seq, s.batch_id, s.created_at";

const LATEST = sql(
  "history_latest",
  `select ${COLUMNS} from runs r join snapshots s on s.run_id = r.id and s.seq = r.snapshot_seq where r.id = $1`,
);

export async function latestOf(db: Queryable, runId: string): Promise<HistoryRow | undefined> {
  return (await db.query<HistoryRow>(LATEST, [runId]))[0];
}

// The asked-for one itself comes along, so that an unknown id is told from an empty answer; beyond the limit the newest count.
const AFTER = sql(
  "history_after",
  `select * from (
     (select ${COLUMNS} from runs r join snapshots s on s.run_id = r.id where r.id = $1 and s.seq = $2)
     union all
     (select ${COLUMNS} from runs r join snapshots s on s.run_id = r.id where r.id = $1 and s.seq > $2 and s.is_valid order by s.seq desc limit $3)
   ) l order by seq`,
);

/** The snapshot `seq` of the run, if there is one, and at most `limit` of those after it, oldest first. */
export async function snapshotsAfter(db: Queryable, runId: string, seq: number, limit: number): Promise<HistoryRow[]> {
  return db.query<HistoryRow>(AFTER, [runId, seq, limit]);
}

const FACTS = sql(
  "history_wait_facts",
  `select array_agg(distinct w.type) as types, case when bool_and(w.completes_after is not null) then max(w.completes_after) end as known_end
   from edges e join waitpoints w on w.id = e.waitpoint_id where e.run_id = $1 and w.status = 'PENDING'`,
);

/** What a run waits for at this moment, and by when that is over at the latest, if every wait has such a time. */
export async function waitFacts(db: Queryable, runId: string): Promise<WaitFacts> {
  const row = (await db.query<{ types: WaitpointType[] | null; known_end: Date | null }>(FACTS, [runId]))[0];
  const knownEnd = row?.known_end ?? null;
  return { types: row?.types ?? [], ...(knownEnd === null ? {} : { knownEndAt: knownEnd }) };
}
