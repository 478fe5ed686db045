import { sql, type Queryable } from "./database.ts";

export interface BatchRow {
  readonly id: string;
  readonly environment_id: string;
  readonly status: "PENDING" | "PROCESSING" | "COMPLETED" | "PARTIAL_FAILED" | "ABORTED";
  readonly run_count: number;
  readonly parent_run_id: string | null;
  readonly resumes_parent: boolean;
  readonly waitpoint_id: string | null;
  readonly idempotency_key: string | null;
  readonly created_at: Date;
  readonly updated_at: Date;
  readonly completed_at: Date | null;
}

const COLUMNS =
  "b.id, b.environment_id, b.status, b.run_count, b.parent_run_id, b.resumes_parent, b.waitpoint_id, b.idempotency_key, b.created_at, b.updated_at, b.completed_at";

const READ = sql("batch_read", `select ${COLUMNS} from batches b where b.id = $1`);
const LOCK = sql("batch_lock", `select ${COLUMNS} from batches b where b.id = $1 for update`);
const SHARE = sql("batch_share", `select ${COLUMNS} from batches b where b.id = $1 for share`);

export async function readBatch(db: Queryable, id: string): Promise<BatchRow | undefined> {
  return (await db.query<BatchRow>(READ, [id]))[0];
}

/** For changes of the batch itself: its seal and its end. */
export async function lockBatch(db: Queryable, id: string): Promise<BatchRow | undefined> {
  return (await db.query<BatchRow>(LOCK, [id]))[0];
}

/** For adding items: many at once, but not while it ends. */
export async function shareBatch(db: Queryable, id: string): Promise<BatchRow | undefined> {
  return (await db.query<BatchRow>(SHARE, [id]))[0];
}

export interface NewBatch {
  readonly id: string;
  readonly environmentId: string;
  readonly runCount: number;
  readonly parentRunId: string | undefined;
  readonly resumesParent: boolean;
  readonly waitpointId: string | undefined;
  readonly idempotencyKey: string | undefined;
  readonly at: Date;
}

const INSERT = sql(
  "batch_insert",
  `insert into batches (id, environment_id, status, run_count, parent_run_id, resumes_parent, waitpoint_id, idempotency_key, created_at, updated_at)
   values ($1, $2, 'PENDING', $3, $4, $5, $6, $7, $8, $8)`,
);

export async function insertBatch(db: Queryable, b: NewBatch): Promise<void> {
  await db.query(INSERT, [
    b.id,
    b.environmentId,
    b.runCount,
    b.parentRunId ?? null,
    b.resumesParent,
    b.waitpointId ?? null,
    b.idempotencyKey ?? null,
    b.at,
  ]);
}

const TAKE_INDEX = sql(
  "batch_take_index",
  "insert into batch_items (batch_id, index, run_id) values ($1, $2, '') on conflict do nothing returning 1 as hit",
);

/** Takes an index of the batch; false when it was taken. */
export async function takeIndex(db: Queryable, batchId: string, index: number): Promise<boolean> {
  return (await db.query(TAKE_INDEX, [batchId, index])).length === 1;
}

const SET_ITEM = sql(
  "batch_set_item",
  "update batch_items set run_id = $3, error = $4, error_code = $5 where batch_id = $1 and index = $2",
);

export async function setItem(
  db: Queryable,
  batchId: string,
  index: number,
  item: { readonly runId: string; readonly error?: string; readonly errorCode?: string },
): Promise<void> {
  await db.query(SET_ITEM, [batchId, index, item.runId, item.error ?? null, item.errorCode ?? null]);
}

const COUNT_ITEMS = sql("batch_count_items", "select count(*)::int as items from batch_items where batch_id = $1");

export async function countItems(db: Queryable, batchId: string): Promise<number> {
  return (await db.query<{ items: number }>(COUNT_ITEMS, [batchId]))[0]?.items ?? 0;
}

const SET_STATUS = sql(
  "batch_set_status",
  "update batches set status = $2, updated_at = $3, sealed_at = coalesce(sealed_at, $4), completed_at = $5 where id = $1",
);

export async function setBatchStatus(
  db: Queryable,
  id: string,
  status: BatchRow["status"],
  at: Date,
  marks: { readonly sealedAt?: Date; readonly completedAt?: Date },
): Promise<void> {
  await db.query(SET_STATUS, [id, status, at, marks.sealedAt ?? null, marks.completedAt ?? null]);
}

const PROGRESS = sql(
  "batch_progress",
  `select exists (select 1 from batch_items i join runs r on r.id = i.run_id where i.batch_id = $1 and r.execution_status <> 'FINISHED') as has_open,
     exists (select 1 from batch_items i where i.batch_id = $1 and i.error is not null) as has_errors`,
);

export async function batchProgress(db: Queryable, id: string): Promise<{ readonly has_open: boolean; readonly has_errors: boolean }> {
  return (await db.query<{ has_open: boolean; has_errors: boolean }>(PROGRESS, [id]))[0] ?? { has_open: false, has_errors: false };
}

export interface BatchItemRow {
  readonly index: number;
  readonly run_id: string;
  readonly error: string | null;
  readonly error_code: string | null;
}

const ITEMS = sql("batch_items", "select index, run_id, error, error_code from batch_items where batch_id = $1 order by index");

export async function batchItems(db: Queryable, id: string): Promise<BatchItemRow[]> {
  return db.query<BatchItemRow>(ITEMS, [id]);
}
