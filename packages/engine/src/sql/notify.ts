import { sql, type Queryable } from "./database.ts";
import { RUN_CHANNEL } from "./snapshots.ts";

const TELL = sql("notify_run", `select pg_notify('${RUN_CHANNEL}', $1)`);

/** Tells the run's runner, wherever it is, that there is something new; sent when the transaction commits. */
export async function tellRunner(db: Queryable, runId: string): Promise<void> {
  await db.query(TELL, [runId]);
}

export const PROMOTED_CHANNEL = "torpor_promoted";

const PROMOTED = sql("notify_promoted", `select pg_notify('${PROMOTED_CHANNEL}', $1)`);

/** Tells everybody that an environment has another current version; sent when the transaction commits. */
export async function tellPromoted(db: Queryable, environmentId: string): Promise<void> {
  await db.query(PROMOTED, [environmentId]);
}

export const WAKE_CHANNEL = "torpor_wake";

const WAKE = sql("notify_wake", `select pg_notify('${WAKE_CHANNEL}', $1)`);

/** Wakes the other processes. */
export async function wakeOthers(db: Queryable, message: string): Promise<void> {
  await db.query(WAKE, [message]);
}
