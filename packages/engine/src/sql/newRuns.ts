import type { ExecutionStatus, MachineName, RunStatus, TaskRunError } from "@torpor/contracts";
import { sql, type Queryable } from "./database.ts";

// How a run comes to be: its row, its first snapshot, its place in the queue and its timers in one statement. With
// snapshots.ts the only place that writes an execution status.

export interface NewRun {
  readonly id: string;
  readonly environmentId: string;
  readonly task: string;
  /** undefined: the queue that the deployed task names, else `defaultQueue`. */
  readonly queueName: string | undefined;
  readonly defaultQueue: string;
  readonly concurrencyKey: string;
  readonly executionStatus: ExecutionStatus;
  readonly status: RunStatus;
  readonly snapshotId: string;
  readonly description: string;
  readonly deployment: { readonly id: string; readonly version: string } | undefined;
  readonly machine: MachineName | undefined;
  readonly maxAttempts: number | undefined;
  readonly maxDurationSeconds: number | undefined;
  readonly priority: number;
  readonly score: Date;
  readonly ttlSeconds: number | undefined;
  /** For tasks that name none. */
  readonly defaultTtlSeconds: number | undefined;
  readonly at: Date;
  readonly delayUntil: Date | undefined;
  readonly payload: string | undefined;
  readonly payloadType: string;
  readonly metadata: string | undefined;
  readonly metadataType: string;
  readonly tags: readonly string[];
  readonly isTest: boolean;
  readonly traceContext: Readonly<Record<string, unknown>>;
  readonly annotations: Readonly<Record<string, unknown>>;
  readonly parentRunId: string | undefined;
  readonly rootRunId: string | undefined;
  readonly depth: number;
  readonly resumesParent: boolean;
  readonly batch: { readonly id: string; readonly index: number } | undefined;
  readonly idempotencyKey: string | undefined;
  readonly requestKey: string | undefined;
  /** A waitpoint that the run's end completes is made with it. */
  readonly hasWaitpoint: boolean;
  /** Set when it has failed before it began. */
  readonly error: TaskRunError | undefined;
}

const INSERT = sql(
  "run_insert",
  `with known as (
     select t.queue_name, t.ttl_seconds from tasks t
      where t.slug = $3 and t.deployment_id = coalesce($11::text, (select e.current_deployment_id from environments e where e.id = $2))
   ), run as (
     insert into runs (id, environment_id, task, queue_name, queue_is_named, concurrency_key, execution_status, status, snapshot_run_status, snapshot_id, snapshot_description, snapshot_seq, snapshot_at,
       deployment_id, version, locked_to_version, machine, max_attempts, max_duration_seconds, priority, score, ttl_seconds, created_at, updated_at, queued_at, delay_until,
       payload, payload_type, metadata, metadata_type, tags, is_test, trace_context, annotations, parent_run_id, root_run_id, depth, resumes_parent, batch_id, batch_index,
       idempotency_key, request_key, has_waitpoint, error, completed_at)
     values ($1, $2, $3, coalesce($4, (select k.queue_name from known k), $5), $4::text is not null, $6, $7, $8, $8, $9, $10, 0, $19,
       $11, $12, $11 is not null, $13, $14, $15, $16, $17, coalesce($18, (select k.ttl_seconds from known k), $20), $19, $19, case when $7 = 'QUEUED' then $19::timestamptz end, $21,
       $22, $23, $24, $25, $26, $27, $28, $29, $30, coalesce($31, $30), $32, $33, $34, $35, $36, $37, $38, $39, case when $7 = 'FINISHED' then $19::timestamptz end)
     on conflict (environment_id, request_key) where request_key is not null do nothing
     returning id, environment_id, queue_name, concurrency_key, ttl_seconds
   ), appended as (
     insert into snapshots (run_id, seq, id, execution_status, run_status, description, attempt_number, created_at) select id, 0, $9, $7, $8, $10, 0, $19 from run
   ), entered as (
     insert into ready (run_id, environment_id, queue_name, concurrency_key, score) select id, environment_id, queue_name, concurrency_key, $17 from run where $7 = 'QUEUED'
   ), armed as (
     insert into timers (kind, subject, due_at)
     select 'ttl', id, $19::timestamptz + ttl_seconds * interval '1 second' from run where $7 = 'QUEUED' and ttl_seconds is not null
     union all select 'delay', id, $21 from run where $7 = 'DELAYED'
   )
   select id, ttl_seconds from run`,
);

/** Makes the run; undefined when the same request made one before. */
export async function insertRun(
  db: Queryable,
  run: NewRun,
): Promise<{ readonly id: string; readonly ttl_seconds: number | null } | undefined> {
  const rows = await db.query<{ id: string; ttl_seconds: number | null }>(INSERT, [
    run.id,
    run.environmentId,
    run.task,
    run.queueName ?? null,
    run.defaultQueue,
    run.concurrencyKey,
    run.executionStatus,
    run.status,
    run.snapshotId,
    run.description,
    run.deployment?.id ?? null,
    run.deployment?.version ?? null,
    run.machine ?? null,
    run.maxAttempts ?? null,
    run.maxDurationSeconds ?? null,
    run.priority,
    run.score,
    run.ttlSeconds ?? null,
    run.at,
    run.defaultTtlSeconds ?? null,
    run.delayUntil ?? null,
    run.payload ?? null,
    run.payloadType,
    run.metadata ?? null,
    run.metadataType,
    run.tags,
    run.isTest,
    JSON.stringify(run.traceContext),
    JSON.stringify(run.annotations),
    run.parentRunId ?? null,
    run.rootRunId ?? null,
    run.depth,
    run.resumesParent,
    run.batch?.id ?? null,
    run.batch?.index ?? null,
    run.idempotencyKey ?? null,
    run.requestKey ?? null,
    run.hasWaitpoint,
    run.error === undefined ? null : JSON.stringify(run.error),
  ]);
  return rows[0];
}

const BY_REQUEST = sql("run_by_request", "select id from runs where environment_id = $1 and request_key = $2");

export async function runOfRequest(db: Queryable, environmentId: string, requestKey: string): Promise<string | undefined> {
  return (await db.query<{ id: string }>(BY_REQUEST, [environmentId, requestKey]))[0]?.id;
}
