import type { TimelineEvent } from "@torpor/contracts";
import { sql, type Queryable } from "./database.ts";

const ADD = sql(
  "timeline_add",
  `insert into run_events (run_id, at, name, duration_ms, reason, runner_id, snapshot_id, properties)
   select $1, e.at, e.name, e.duration_ms, e.reason, e.runner_id, e.snapshot_id, e.properties
   from json_to_recordset($2::json) as e (at timestamptz, name text, duration_ms double precision, reason text, runner_id text, snapshot_id text, properties json)
   limit greatest(0, $3 - (select count(*) from run_events o where o.run_id = $1))`,
);

/** Adds what nodes tell about a run; beyond `limit` lines a run's events are dropped. */
export async function addRunEvents(db: Queryable, runId: string, events: readonly TimelineEvent[], limit: number): Promise<void> {
  const rows = events.map((e) => ({
    at: e.at,
    name: e.name,
    duration_ms: e.durationMs ?? null,
    reason: e.reason ?? null,
    runner_id: e.runnerId ?? null,
    snapshot_id: e.snapshotId ?? null,
    properties: e.properties ?? null,
  }));
  await db.query(ADD, [runId, JSON.stringify(rows, withoutNul), limit]);
}

/** PostgreSQL's texts hold every character but this one. */
function withoutNul(_key: string, value: unknown): unknown {
  return typeof value === "string" ? value.replaceAll("\0", "\uFFFD") : value;
}

export interface TimelineRow {
  readonly source: "engine" | "node";
  readonly at: Date;
  readonly name: string;
  readonly duration_ms: number | null;
  readonly reason: string | null;
  readonly runner_id: string | null;
  readonly snapshot_id: string | null;
  readonly properties: TimelineEvent["properties"] | null;
}

const READ = sql(
  "timeline_read",
  `select * from (
     select 'engine' as source, s.created_at as at, s.execution_status as name, null::double precision as duration_ms, s.description as reason, s.runner_id, 'snapshot_' || s.id as snapshot_id,
       json_strip_nulls(json_build_object('runStatus', s.run_status, 'attempt', s.attempt_number, 'node', s.instance_name, 'checkpoint', 'checkpoint_' || s.checkpoint_id, 'batch', 'batch_' || s.batch_id)) as properties,
       s.seq as place
     from snapshots s where s.run_id = $1
     union all
     select 'node', e.at, e.name, e.duration_ms, e.reason, e.runner_id, e.snapshot_id, e.properties, e.seq from run_events e where e.run_id = $1
   ) l order by at, source, place limit 10000`,
);

/** Snapshots and node events of a run in the order of time. */
export async function readTimeline(db: Queryable, runId: string): Promise<TimelineRow[]> {
  return db.query<TimelineRow>(READ, [runId]);
}
