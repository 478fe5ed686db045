import { sql, type Queryable } from "./database.ts";

// Idempotency keys of runs (one scope per task) and of batches.

export interface KeyRow {
  readonly subject_id: string;
  readonly expires_at: Date | null;
}

const CLAIM = sql(
  "idempotency_claim",
  `insert into idempotency_keys (environment_id, scope, key, subject_id, expires_at) values ($1, $2, $3, $4, $5) on conflict do nothing returning 1 as hit`,
);

/** Takes a free key; false when it is taken. Waits for whoever is taking it at this moment. */
export async function claimKey(
  db: Queryable,
  environmentId: string,
  scope: string,
  key: string,
  subjectId: string,
  expiresAt: Date | null,
): Promise<boolean> {
  return (await db.query(CLAIM, [environmentId, scope, key, subjectId, expiresAt])).length === 1;
}

const LOCK = sql(
  "idempotency_lock",
  "select subject_id, expires_at from idempotency_keys where environment_id = $1 and scope = $2 and key = $3 for update",
);

export async function lockKey(db: Queryable, environmentId: string, scope: string, key: string): Promise<KeyRow | undefined> {
  return (await db.query<KeyRow>(LOCK, [environmentId, scope, key]))[0];
}

const MOVE = sql(
  "idempotency_move",
  "update idempotency_keys set subject_id = $4, expires_at = $5 where environment_id = $1 and scope = $2 and key = $3",
);

/** Hands a key that no longer counts to a new subject. */
export async function moveKey(
  db: Queryable,
  environmentId: string,
  scope: string,
  key: string,
  subjectId: string,
  expiresAt: Date | null,
): Promise<void> {
  await db.query(MOVE, [environmentId, scope, key, subjectId, expiresAt]);
}

const DROP = sql(
  "idempotency_drop",
  "delete from idempotency_keys where environment_id = $1 and scope = $2 and key = $3 returning 1 as hit",
);

export async function dropKey(db: Queryable, environmentId: string, scope: string, key: string): Promise<boolean> {
  return (await db.query(DROP, [environmentId, scope, key])).length === 1;
}
