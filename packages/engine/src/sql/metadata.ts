import { sql, type Queryable } from "./database.ts";

export interface MetadataRow {
  readonly environment_id: string;
  readonly metadata: string | null;
  readonly metadata_type: string;
  readonly parent_run_id: string | null;
  readonly root_run_id: string | null;
}

const LOCK = sql(
  "metadata_lock",
  "select environment_id, metadata, metadata_type, parent_run_id, root_run_id from runs where id = $1 for no key update",
);

export async function lockMetadata(db: Queryable, runId: string): Promise<MetadataRow | undefined> {
  return (await db.query<MetadataRow>(LOCK, [runId]))[0];
}

const WRITE = sql("metadata_write", "update runs set metadata = $2, metadata_type = 'application/json', updated_at = $3 where id = $1");

export async function writeMetadata(db: Queryable, runId: string, metadata: string, at: Date): Promise<void> {
  await db.query(WRITE, [runId, metadata, at]);
}

const FAMILY = sql("metadata_family", "select environment_id, metadata, metadata_type, parent_run_id, root_run_id from runs where id = $1");

export async function readMetadata(db: Queryable, runId: string): Promise<MetadataRow | undefined> {
  return (await db.query<MetadataRow>(FAMILY, [runId]))[0];
}
