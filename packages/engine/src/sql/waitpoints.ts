import type { WaitpointType } from "@torpor/contracts";
import type { Blocker } from "../domain/handOutAhead.ts";
import { sql, type Queryable, type Transaction } from "./database.ts";

// What runs wait for. Lock order: runs, then waitpoints, then timers.

export interface WaitpointRow {
  readonly id: string;
  readonly environment_id: string;
  readonly type: WaitpointType;
  readonly status: "PENDING" | "COMPLETED";
  readonly created_at: Date;
  readonly completed_at: Date | null;
  readonly completes_after: Date | null;
  readonly by_run_id: string | null;
  readonly by_batch_id: string | null;
  readonly idempotency_key: string | null;
  readonly idempotency_key_expires_at: Date | null;
  readonly output: string | null;
  readonly output_type: string | null;
  readonly output_is_error: boolean;
  readonly timed_out: boolean;
  readonly tags: string[];
}

export const WAITPOINT_COLUMNS = `w.id, w.environment_id, w.type, w.status, w.created_at, w.completed_at, w.completes_after, w.by_run_id, w.by_batch_id, w.idempotency_key,
  w.idempotency_key_expires_at, w.output, w.output_type, w.output_is_error, w.timed_out, w.tags`;

export interface NewWaitpoint {
  readonly id: string;
  readonly environmentId: string;
  readonly type: WaitpointType;
  readonly at: Date;
  /** Its subject has ended already. */
  readonly isCompleted?: boolean;
  readonly isError?: boolean;
  readonly completesAfter?: Date;
  readonly byRunId?: string;
  readonly byBatchId?: string;
  readonly idempotencyKey?: string;
  readonly idempotencyKeyExpiresAt?: Date;
  readonly tags?: readonly string[];
}

const INSERT = sql(
  "waitpoint_insert",
  `insert into waitpoints (id, environment_id, type, status, created_at, completed_at, completes_after, by_run_id, by_batch_id, idempotency_key, idempotency_key_expires_at, tags, output_is_error)
   values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) on conflict do nothing returning id`,
);

/** Makes a waitpoint; false when its run, its batch or its idempotency key has one already. */
export async function insertWaitpoint(db: Queryable, w: NewWaitpoint): Promise<boolean> {
  const done = w.isCompleted === true;
  const rows = await db.query(INSERT, [
    w.id,
    w.environmentId,
    w.type,
    done ? "COMPLETED" : "PENDING",
    w.at,
    done ? w.at : null,
    w.completesAfter ?? null,
    w.byRunId ?? null,
    w.byBatchId ?? null,
    w.idempotencyKey ?? null,
    w.idempotencyKeyExpiresAt ?? null,
    w.tags ?? [],
    w.isError === true,
  ]);
  return rows.length === 1;
}

const OF_RUN = sql("waitpoint_of_run", `select ${WAITPOINT_COLUMNS} from waitpoints w where w.by_run_id = $1`);

export async function waitpointOfRun(db: Queryable, runId: string): Promise<WaitpointRow | undefined> {
  return (await db.query<WaitpointRow>(OF_RUN, [runId]))[0];
}

const READ = sql("waitpoint_read", `select ${WAITPOINT_COLUMNS} from waitpoints w where w.id = $1`);

export async function readWaitpoint(db: Queryable, id: string): Promise<WaitpointRow | undefined> {
  return (await db.query<WaitpointRow>(READ, [id]))[0];
}

const BY_KEY = sql(
  "waitpoint_by_key",
  `select ${WAITPOINT_COLUMNS} from waitpoints w where w.environment_id = $1 and w.idempotency_key = $2 for update`,
);

export async function lockWaitpointByKey(db: Queryable, environmentId: string, key: string): Promise<WaitpointRow | undefined> {
  return (await db.query<WaitpointRow>(BY_KEY, [environmentId, key]))[0];
}

const RETIRE_KEY = sql(
  "waitpoint_retire_key",
  "update waitpoints set inactive_idempotency_key = idempotency_key, idempotency_key = null where id = $1",
);

/** Moves an expired idempotency key aside, so that it can be used again. */
export async function retireKey(db: Queryable, id: string): Promise<void> {
  await db.query(RETIRE_KEY, [id]);
}

export interface WaitpointResult {
  readonly output: string | null;
  readonly outputType: string | null;
  readonly isError: boolean;
  readonly timedOut: boolean;
}

const COMPLETE = sql(
  "waitpoint_complete",
  `update waitpoints set status = 'COMPLETED', completed_at = $2, output = $3, output_type = $4, output_is_error = $5, timed_out = $6
   where id = $1 and status = 'PENDING' returning id`,
);

/** Completes it once; false when it was complete. It stays locked, so that no run can begin to wait for it unseen. */
export async function markCompleted(db: Queryable, id: string, at: Date, result: WaitpointResult): Promise<boolean> {
  return (await db.query(COMPLETE, [id, at, result.output, result.outputType, result.isError, result.timedOut])).length === 1;
}

const COMPLETE_OF_RUN = sql(
  "waitpoint_complete_of_run",
  "update waitpoints set status = 'COMPLETED', completed_at = $2, output_is_error = $3 where by_run_id = $1 and status = 'PENDING' returning id",
);

/** Completes the waitpoint of a run that has ended; its output is the run's and is not copied. */
export async function markCompletedOfRun(db: Queryable, runId: string, at: Date, isError: boolean): Promise<string | undefined> {
  return (await db.query<{ id: string }>(COMPLETE_OF_RUN, [runId, at, isError]))[0]?.id;
}

const WAITING = sql("edges_waiting", "select distinct run_id from edges where waitpoint_id = $1 order by run_id");

/** Runs that wait for it. Ask after completing it, in a later statement: then no run is missed (the share lock of `pendingAmong`). */
export async function runsWaitingFor(db: Queryable, waitpointId: string): Promise<string[]> {
  return (await db.query<{ run_id: string }>(WAITING, [waitpointId])).map((row) => row.run_id);
}

export interface Edge {
  readonly runId: string;
  readonly waitpointId: string;
  readonly batchId?: string | undefined;
  readonly batchIndex?: number | undefined;
  readonly at: Date;
}

const INSERT_EDGE = sql(
  "edge_insert",
  "insert into edges (run_id, waitpoint_id, batch_id, batch_index, created_at) values ($1, $2, $3, $4, $5) on conflict do nothing",
);

export function insertEdge(tx: Transaction, edge: Edge): void {
  tx.send(INSERT_EDGE, [edge.runId, edge.waitpointId, edge.batchId ?? null, edge.batchIndex ?? -1, edge.at]);
}

// The edge of the batch itself is held, so that it cannot end while the item's edge is added.
const INSERT_ITEM_EDGE = sql(
  "edge_insert_item",
  `insert into edges (run_id, waitpoint_id, batch_id, batch_index, created_at)
   select b.run_id, $3, $4, $5, $6 from (select run_id from edges where run_id = $1 and waitpoint_id = $2 for key share) b on conflict do nothing`,
);

/** Adds the wait for a batch's item, if the run still waits for the batch. */
export async function insertItemEdge(db: Queryable, batchWaitpointId: string, edge: Edge): Promise<void> {
  await db.query(INSERT_ITEM_EDGE, [edge.runId, batchWaitpointId, edge.waitpointId, edge.batchId ?? null, edge.batchIndex ?? -1, edge.at]);
}

const HOLD_EDGES = sql("edges_hold", "select 1 from edges where run_id = $1 for update");

/**
 * Waits for items that are adding their edges to the run's, and lets no further one do so: then the next statement, and none before
 * it, sees them all.
 */
export function holdEdges(tx: Transaction, runId: string): void {
  tx.send(HOLD_EDGES, [runId]);
}

const PENDING_AMONG = sql("waitpoints_pending", "select status from waitpoints where id = any ($1) order by id for share");

/**
 * Whether any of these is pending. Waits for completions in flight: ask after adding the edges, and either this sees the
 * completion or the completion sees the edge (L9).
 */
export async function pendingAmong(db: Queryable, waitpointIds: readonly string[]): Promise<boolean> {
  return (await db.query<{ status: string }>(PENDING_AMONG, [waitpointIds])).some((row) => row.status === "PENDING");
}

const BLOCKERS = sql(
  "edges_blockers",
  "select w.type, w.status, w.completes_after from edges e join waitpoints w on w.id = e.waitpoint_id where e.run_id = $1",
);

/** What a run waits for. */
export async function blockersOf(db: Queryable, runId: string): Promise<Blocker[]> {
  return db.query<Blocker>(BLOCKERS, [runId]);
}
