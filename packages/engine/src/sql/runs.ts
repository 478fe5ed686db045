import type { ExecutionStatus, MachineName, RunStatus } from "@torpor/contracts";
import { sql, type Queryable } from "./database.ts";

/** What every decision about a run is made from. Names are those of the columns. */
export interface RunRow {
  readonly id: string;
  readonly environment_id: string;
  readonly task: string;
  readonly queue_name: string;
  readonly concurrency_key: string;
  readonly status: RunStatus;
  readonly execution_status: ExecutionStatus;
  readonly snapshot_id: string;
  readonly snapshot_seq: number;
  readonly snapshot_at: Date;
  readonly snapshot_description: string;
  readonly snapshot_run_status: RunStatus;
  readonly heartbeat_at: Date | null;
  readonly stall_due_at: Date | null;
  readonly completed_seq: number | null;
  readonly batch_of_wait: string | null;
  readonly checkpoint_id: string | null;
  readonly attempt_number: number;
  readonly retry_ready: boolean;
  readonly max_attempts: number | null;
  readonly machine: MachineName | null;
  readonly retry_config: unknown;
  readonly nack_count: number;
  readonly deployment_id: string | null;
  readonly first_dequeued_at: Date | null;
  readonly score: Date;
  readonly priority: number;
  readonly ttl_seconds: number | null;
  readonly has_waitpoint: boolean;
  readonly delay_until: Date | null;
  readonly created_at: Date;
  readonly duration_ms: number;
  readonly parent_run_id: string | null;
  readonly root_run_id: string | null;
  readonly depth: number;
  readonly batch_id: string | null;
  readonly batch_index: number | null;
  readonly environment_type: "PRODUCTION" | "STAGING" | "DEVELOPMENT" | "PREVIEW";
}

export const RUN_COLUMNS = `r.id, r.environment_id, r.task, r.queue_name, r.concurrency_key, r.status, r.execution_status, r.snapshot_id, r.snapshot_seq, r.snapshot_at,
  r.snapshot_description, r.snapshot_run_status, r.heartbeat_at, r.stall_due_at, r.completed_seq, r.batch_of_wait, r.checkpoint_id, r.attempt_number, r.retry_ready, r.max_attempts,
  r.machine, r.retry_config, r.nack_count, r.deployment_id, r.first_dequeued_at, r.score, r.priority, r.ttl_seconds, r.has_waitpoint, r.delay_until, r.created_at, r.duration_ms,
  r.parent_run_id, r.root_run_id, r.depth, r.batch_id, r.batch_index, e.type as environment_type`;

const LOCK = sql(
  "run_lock",
  `select ${RUN_COLUMNS} from runs r join environments e on e.id = r.environment_id where r.id = $1 for no key update of r`,
);
const READ = sql("run_read", `select ${RUN_COLUMNS} from runs r join environments e on e.id = r.environment_id where r.id = $1`);

/** Takes the run's lock: every operation on a run begins with it, so operations on one run follow one another. */
export async function lockRun(db: Queryable, runId: string): Promise<RunRow | undefined> {
  return (await db.query<RunRow>(LOCK, [runId]))[0];
}

export async function readRun(db: Queryable, runId: string): Promise<RunRow | undefined> {
  return (await db.query<RunRow>(READ, [runId]))[0];
}

const BEAT = sql("run_heartbeat", "update runs set heartbeat_at = $3 where id = $1 and snapshot_id = $2 returning 1 as hit");
const EXISTS = sql("run_exists", "select 1 as hit from runs where id = $1");

/** Notes a sign of life for the snapshot, if it is still the latest. */
export async function beat(db: Queryable, runId: string, snapshotId: string, at: Date): Promise<boolean> {
  return (await db.query(BEAT, [runId, snapshotId, at])).length === 1;
}

export async function runExists(db: Queryable, runId: string): Promise<boolean> {
  return (await db.query(EXISTS, [runId])).length === 1;
}

const MARK_WAITPOINT = sql("run_mark_waitpoint", "update runs set has_waitpoint = true where id = $1");

export async function markWaitpoint(db: Queryable, runId: string): Promise<void> {
  await db.query(MARK_WAITPOINT, [runId]);
}

const CHILDREN = sql("run_children_to_cancel", "select id from runs where parent_run_id = $1 and completed_at is null order by id");

/** Ids of the children that have not ended. */
export async function openChildren(db: Queryable, runId: string): Promise<string[]> {
  return (await db.query<{ id: string }>(CHILDREN, [runId])).map((row) => row.id);
}

const ANNOTATIONS = sql("run_annotations", "select annotations from runs where id = $1");

export async function annotationsOfRun(db: Queryable, runId: string): Promise<Readonly<Record<string, unknown>> | undefined> {
  return (await db.query<{ annotations: Record<string, unknown> }>(ANNOTATIONS, [runId]))[0]?.annotations;
}
