import type { ExecutionStatus, RunStatus, TaskRunError } from "@torpor/contracts";
import type { Consequences } from "../domain/consequences.ts";
import { sql, type Statement, type Transaction } from "./database.ts";

// The one place that writes an execution status: the run's row and its history change together, and with them
// everything that follows from the status (slot, place in the queue, timers, waits), in one statement.
//
//   S1  The write names the snapshot that it believes to be the latest. If that is not so the statement fails, and the
//       transaction with it: nobody has to wait for its answer before the commit is sent.
//   S2  A resume's snapshot and its completed waitpoints are one statement (L9).

/** Other columns of the run that a move may set. */
export interface RunPatch {
  retry_ready?: boolean;
  nack_count?: number;
  deployment_id?: string;
  version?: string;
  machine?: string;
  max_attempts?: number | null;
  max_duration_seconds?: number | null;
  retry_config?: unknown;
  first_dequeued_at?: Date;
  queued_at?: Date;
  started_at?: Date;
  completed_at?: Date;
  expired_at?: Date;
  score?: Date;
  output?: string | null;
  output_type?: string | null;
  error?: TaskRunError | null;
  duration_ms?: number;
}

export interface Append {
  readonly runId: string;
  /** The snapshot that must still be the latest. */
  readonly expected: string;
  readonly id: string;
  readonly seq: number;
  readonly at: Date;
  readonly executionStatus: ExecutionStatus;
  readonly runStatus: RunStatus;
  readonly shownStatus: RunStatus;
  readonly description: string;
  readonly attemptNumber: number;
  readonly checkpointId: string | null;
  readonly completedSeq: number | null;
  readonly batchOfWait: string | null;
  readonly worker: { readonly groupId: string; readonly instance: string; readonly runnerId: string | null } | null;
  readonly patch: RunPatch;
  readonly consequences: Consequences;
  /** The waits that end are filed under this snapshot, for the runner. */
  readonly bringsWaitpoints: boolean;
  /** When the run counts as stalled; null: never. undefined: an earlier timer stands and will look. */
  readonly stallDueAt: Date | null | undefined;
  /** Place in the queue, when it enters it. */
  readonly score: Date;
  readonly notify: boolean;
}

/** Name of the channel on which runs are named that have something new for their runner. */
export const RUN_CHANNEL = "torpor_run";

/** Appends a snapshot to a locked run; fails the transaction when `expected` is not the latest (S1). */
export function appendSnapshot(tx: Transaction, append: Append): void {
  const { statement, params } = build(append);
  tx.send(statement, params);
}

const FIXED = 17;

function build(a: Append): { statement: Statement; params: unknown[] } {
  const worker = a.worker;
  const params: unknown[] = [
    a.runId,
    a.expected,
    a.id,
    a.seq,
    a.at,
    a.executionStatus,
    a.runStatus,
    a.shownStatus,
    a.description,
    a.attemptNumber,
    a.checkpointId,
    a.completedSeq,
    a.batchOfWait,
    worker?.groupId ?? null,
    worker?.instance ?? null,
    worker?.runnerId ?? null,
    a.score,
  ];
  const columns = Object.keys(a.patch).sort() as (keyof RunPatch)[];
  for (const column of columns) params.push(columnValue(column, a.patch[column]));
  if (a.stallDueAt !== undefined) params.push(a.stallDueAt);
  const key = statementKey(a, columns);
  return { statement: cached(key, () => text(a, columns)), params };
}

function columnValue(column: keyof RunPatch, value: unknown): unknown {
  const isJson = column === "error" || column === "retry_config";
  return isJson && value !== null && value !== undefined ? JSON.stringify(value) : (value ?? null);
}

function statementKey(a: Append, columns: readonly string[]): string {
  const c = a.consequences;
  const stall = a.stallDueAt === undefined ? "leave" : a.stallDueAt === null ? "never" : "arm";
  return [c.slot, c.ready, c.parked, c.endsWaits, c.endsDelay, a.bringsWaitpoints, stall, a.notify, ...columns].join(",");
}

const STATEMENTS = new Map<string, Statement>();

/** Each combination of consequences is a statement of its own, so that none does work that another needs. */
function cached(key: string, make: () => string): Statement {
  let statement = STATEMENTS.get(key);
  if (statement === undefined) {
    statement = sql(`snapshot_append_${STATEMENTS.size}`, make());
    STATEMENTS.set(key, statement);
  }
  return statement;
}

function text(a: Append, columns: readonly string[]): string {
  const stallParam = a.stallDueAt === undefined ? "" : `, stall_due_at = $${FIXED + columns.length + 1}`;
  const patch = columns.map((column, at) => `, ${column} = $${FIXED + 1 + at}`).join("");
  const parts = [
    `moved as (
      update runs set snapshot_id = $3, snapshot_seq = $4, snapshot_at = $5, updated_at = $5, execution_status = $6, status = $7, snapshot_run_status = $8, snapshot_description = $9,
        attempt_number = $10, checkpoint_id = $11, completed_seq = $12, batch_of_wait = $13, heartbeat_at = null${patch}${stallParam}
      where id = $1 and snapshot_id = $2 returning id, environment_id, queue_name, concurrency_key)`,
    `appended as (
      insert into snapshots (run_id, seq, id, execution_status, run_status, description, attempt_number, checkpoint_id, completed_seq, batch_id, previous_id, worker_group_id, instance_name, runner_id, created_at)
      select id, $4, $3, $6, $8, $9, $10, $11, $12, $13, $2, $14, $15, $16, $5 from moved)`,
    ...consequenceParts(a.consequences, a.bringsWaitpoints),
    ...stallParts(a, FIXED + columns.length + 1),
  ];
  const told = a.notify ? `, pg_notify('${RUN_CHANNEL}', $1)` : "";
  // Dividing by the number of rows that were moved is the shortest way to fail when there are none.
  return `with ${parts.join(",\n")}\nselect 1 / (select count(*) from moved) as moved, $17::timestamptz as score${told}`;
}

function consequenceParts(c: Consequences, bringsWaitpoints: boolean): string[] {
  const parts: string[] = [];
  if (c.slot === "take")
    parts.push(
      "slot_taken as (insert into slots (run_id, environment_id, queue_name, concurrency_key) select id, environment_id, queue_name, concurrency_key from moved)",
    );
  if (c.slot === "free") parts.push("slot_freed as (delete from slots s using moved m where s.run_id = m.id)");
  if (c.ready === "enter")
    parts.push(
      "entered as (insert into ready (run_id, environment_id, queue_name, concurrency_key, score, node) select id, environment_id, queue_name, concurrency_key, $17, coalesce((select c.node from checkpoints c where c.id = $11), '') from moved)",
    );
  if (c.ready === "leave") parts.push("left_queue as (delete from ready q using moved m where q.run_id = m.id)");
  if (c.ready === "leave") parts.push("ttl_over as (delete from timers t using moved m where t.kind = 'ttl' and t.subject = m.id)");
  if (c.parked === "enter")
    parts.push("parked_now as (insert into parked (run_id, environment_id, parked_at) select id, environment_id, $5 from moved)");
  if (c.parked === "leave") parts.push("unparked as (delete from parked p using moved m where p.run_id = m.id)");
  if (c.endsDelay) parts.push("delay_over as (delete from timers t using moved m where t.kind = 'delay' and t.subject = m.id)");
  if (c.endsWaits || bringsWaitpoints)
    parts.push(
      "waits_over as (delete from edges w using moved m where w.run_id = m.id returning w.run_id, w.waitpoint_id, w.batch_id, w.batch_index, w.created_at)",
    );
  if (bringsWaitpoints) {
    parts.push(`brought as (
      insert into snapshot_waitpoints (run_id, seq, position, waitpoint_id, batch_id, batch_index)
      select run_id, $4, row_number() over (order by batch_index = -1, batch_index, created_at, waitpoint_id), waitpoint_id, batch_id, nullif(batch_index, -1) from waits_over)`);
  }
  return parts;
}

function stallParts(a: Append, param: number): string[] {
  if (a.stallDueAt === undefined) return [];
  if (a.stallDueAt === null) return ["stall_over as (delete from timers t using moved m where t.kind = 'stall' and t.subject = m.id)"];
  return [
    `stall_armed as (insert into timers (kind, subject, due_at) select 'stall', id, $${param} from moved on conflict (kind, subject) do update set due_at = excluded.due_at, tries = 0)`,
  ];
}
