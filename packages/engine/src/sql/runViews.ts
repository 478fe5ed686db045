import type { RunView } from "../api.ts";
import { sql, type Queryable } from "./database.ts";

type ViewRow = Omit<RunView, "triggerFunction" | "id" | "batchId" | "parentRunId" | "rootRunId" | "concurrencyKey" | "machine"> & {
  readonly id: string;
  readonly concurrencyKey: string;
  readonly machine: string | null;
  readonly batchId: string | null;
  readonly parentRunId: string | null;
  readonly rootRunId: string | null;
  readonly resumesParent: boolean;
  readonly environmentId: string;
};

const COLUMNS = `r.id, r.environment_id as "environmentId", r.status, r.execution_status as "executionStatus", r.task as "taskIdentifier", r.queue_name as "queueName",
  r.concurrency_key as "concurrencyKey", r.version, r.idempotency_key as "idempotencyKey", r.is_test as "isTest", r.created_at as "createdAt", r.updated_at as "updatedAt",
  r.queued_at as "queuedAt", r.started_at as "startedAt", r.completed_at as "completedAt", r.delay_until as "delayUntil", r.expired_at as "expiredAt", r.ttl_seconds as "ttlSeconds",
  r.tags, r.attempt_number as "attemptNumber", r.max_attempts as "maxAttempts", r.machine, r.priority, r.duration_ms as "durationMs", r.payload, r.payload_type as "payloadType",
  r.output, r.output_type as "outputType", r.error, r.metadata, r.metadata_type as "metadataType", r.batch_id as "batchId", r.parent_run_id as "parentRunId",
  r.root_run_id as "rootRunId", r.depth, r.resumes_parent as "resumesParent"`;

function toView(row: ViewRow): RunView {
  const { resumesParent, environmentId: _environment, ...rest } = row;
  return {
    ...rest,
    id: `run_${row.id}`,
    concurrencyKey: row.concurrencyKey === "" ? null : row.concurrencyKey,
    machine: row.machine ?? "small-1x",
    batchId: row.batchId === null ? null : `batch_${row.batchId}`,
    parentRunId: row.parentRunId === null ? null : `run_${row.parentRunId}`,
    rootRunId: row.rootRunId === null ? null : `run_${row.rootRunId}`,
    triggerFunction:
      row.batchId === null ? (resumesParent ? "triggerAndWait" : "trigger") : resumesParent ? "batchTriggerAndWait" : "batchTrigger",
  };
}

const READ = sql("run_view", `select ${COLUMNS} from runs r where r.environment_id = $1 and r.id = $2`);

export async function readRunView(db: Queryable, environmentId: string, runId: string): Promise<RunView | null> {
  const row = (await db.query<ViewRow>(READ, [environmentId, runId]))[0];
  return row === undefined ? null : toView(row);
}

const CHILDREN = sql(
  "run_view_children",
  `select ${COLUMNS} from runs r where r.environment_id = $1 and r.parent_run_id = $2 order by r.id limit 1000`,
);

export async function readChildren(db: Queryable, environmentId: string, runId: string): Promise<RunView[]> {
  return (await db.query<ViewRow>(CHILDREN, [environmentId, runId])).map(toView);
}

export interface RunQuery {
  readonly statuses: readonly string[] | null;
  readonly tasks: readonly string[] | null;
  readonly tags: readonly string[] | null;
  readonly batchId: string | null;
  readonly createdAfter: Date | null;
  readonly createdBefore: Date | null;
  readonly after: string | null;
  readonly before: string | null;
  readonly limit: number;
}

// Two statements and not one with a switch: each walks its index and stops at the limit.
const FILTERED = `select ${COLUMNS} from runs r where r.environment_id = $1
     and ($2::text[] is null or r.status = any ($2)) and ($3::text[] is null or r.task = any ($3)) and ($4::text[] is null or r.tags && $4)
     and ($5::text is null or r.batch_id = $5) and ($6::timestamptz is null or r.created_at >= $6) and ($7::timestamptz is null or r.created_at <= $7)
     `;
const LIST_NEWER_FIRST = sql("run_view_list", `${FILTERED} and ($8::text is null or r.id < $8) order by r.id desc limit $9`);
const LIST_BACKWARDS = sql("run_view_list_back", `${FILTERED} and r.id > $8 order by r.id limit $9`);

/** Runs, newest first; with `before` those after it in time, oldest first. */
export async function listRunViews(db: Queryable, environmentId: string, q: RunQuery): Promise<RunView[]> {
  const statement = q.before === null ? LIST_NEWER_FIRST : LIST_BACKWARDS;
  const rows = await db.query<ViewRow>(statement, [
    environmentId,
    q.statuses,
    q.tasks,
    q.tags,
    q.batchId,
    q.createdAfter,
    q.createdBefore,
    q.before ?? q.after,
    q.limit,
  ]);
  return rows.map(toView);
}

const COUNTS = sql("run_counts", "select status, count(*)::int as runs from runs group by status");
const NUMBERS = sql(
  "run_numbers",
  `select (select count(*)::int from slots) as executing, (select count(*)::int from ready) as queued,
     (select count(*)::int from runs where execution_status = 'SUSPENDED') as suspended`,
);

export async function countRuns(db: Queryable): Promise<{
  readonly byStatus: readonly { readonly status: string; readonly runs: number }[];
  readonly executing: number;
  readonly queued: number;
  readonly suspended: number;
}> {
  const [byStatus, numbers] = await Promise.all([
    db.query<{ status: string; runs: number }>(COUNTS, []),
    db.query<{ executing: number; queued: number; suspended: number }>(NUMBERS, []),
  ]);
  return { byStatus, executing: numbers[0]?.executing ?? 0, queued: numbers[0]?.queued ?? 0, suspended: numbers[0]?.suspended ?? 0 };
}

const ADD_TAGS = sql(
  "run_add_tags",
  `update runs set tags = (select array_agg(distinct t) from unnest(tags || $3::text[]) t), updated_at = $4
   where environment_id = $1 and id = $2 and (select count(distinct t) from unnest(tags || $3::text[]) t) <= $5 returning 1 as hit`,
);

export async function addTags(
  db: Queryable,
  environmentId: string,
  runId: string,
  tags: readonly string[],
  at: Date,
  maxTags: number,
): Promise<boolean> {
  return (await db.query(ADD_TAGS, [environmentId, runId, tags, at, maxTags])).length === 1;
}

const RESCHEDULE = sql("run_reschedule", "update runs set delay_until = $2, updated_at = $3 where id = $1");

export async function setDelay(db: Queryable, runId: string, delayUntil: Date, at: Date): Promise<void> {
  await db.query(RESCHEDULE, [runId, delayUntil, at]);
}

const ENVIRONMENT = sql("run_environment", "select environment_id from runs where id = $1");

export async function environmentOfRun(db: Queryable, runId: string): Promise<string | undefined> {
  return (await db.query<{ environment_id: string }>(ENVIRONMENT, [runId]))[0]?.environment_id;
}
