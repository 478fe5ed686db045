import type { CheckpointInput, CheckpointType } from "@torpor/contracts";
import { sql, type Queryable } from "./database.ts";

export interface CheckpointRow {
  readonly id: string;
  readonly type: CheckpointType;
  readonly location: string;
  readonly image_ref: string | null;
  readonly reason: string | null;
  /** The node that has it; null where that is not known or does not matter. */
  readonly node: string | null;
}

const INSERT = sql(
  "checkpoint_insert",
  "insert into checkpoints (id, run_id, type, location, image_ref, reason, created_at, node) values ($1, $2, $3, $4, $5, $6, $7, $8)",
);

export async function insertCheckpoint(
  db: Queryable,
  checkpoint: { readonly id: string; readonly runId: string; readonly node: string | null; readonly at: Date } & CheckpointInput,
): Promise<void> {
  const { id, runId, type, location, imageRef, reason, at, node } = checkpoint;
  await db.query(INSERT, [id, runId, type, location, imageRef ?? null, reason ?? null, at, node]);
}

const READ = sql("checkpoints_read", "select id, type, location, image_ref, reason, node from checkpoints where id = any ($1)");

export async function readCheckpoints(db: Queryable, ids: readonly string[]): Promise<Map<string, CheckpointRow>> {
  if (ids.length === 0) return new Map();
  return new Map((await db.query<CheckpointRow>(READ, [ids])).map((row) => [row.id, row]));
}

const LIVE = sql(
  "checkpoints_live",
  `select distinct c.location from checkpoints c join runs r on r.id = c.run_id
   where c.location = any ($1) and r.checkpoint_id = c.id and r.execution_status in ('SUSPENDED', 'QUEUED', 'PENDING_EXECUTING')`,
);

/** Of these locations, those that a run may still be restored from. */
export async function liveLocations(db: Queryable, locations: readonly string[]): Promise<string[]> {
  return (await db.query<{ location: string }>(LIVE, [locations])).map((row) => row.location);
}
