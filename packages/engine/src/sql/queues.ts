import { sql, type Queryable } from "./database.ts";

export interface QueueRow {
  readonly id: string;
  readonly name: string;
  readonly type: "task" | "custom";
  readonly concurrency_limit: number | null;
  readonly paused: boolean;
  readonly running: number;
  readonly queued: number;
}

const COLUMNS = `q.id, q.name, q.type, coalesce(q.concurrency_override, q.concurrency_limit) as concurrency_limit, q.paused,
  (select count(*)::int from slots s where s.environment_id = q.environment_id and s.queue_name = q.name) as running,
  (select count(*)::int from ready r where r.environment_id = q.environment_id and r.queue_name = q.name) as queued`;

const LIST_FORWARD = sql(
  "queues_list",
  `select ${COLUMNS} from queues q where q.environment_id = $1 and ($2::text is null or q.name > $2) order by q.name limit $3`,
);
const LIST_BACKWARDS = sql(
  "queues_list_back",
  `select ${COLUMNS} from queues q where q.environment_id = $1 and q.name < $2 order by q.name desc limit $3`,
);

export async function listQueues(
  db: Queryable,
  environmentId: string,
  page: { after?: string | undefined; before?: string | undefined; limit: number },
): Promise<QueueRow[]> {
  return db.query<QueueRow>(page.before === undefined ? LIST_FORWARD : LIST_BACKWARDS, [
    environmentId,
    page.before ?? page.after ?? null,
    page.limit,
  ]);
}

const READ = sql(
  "queue_read",
  `select ${COLUMNS} from queues q where q.environment_id = $1 and (q.id = $2 or (q.name = $3 and ($4::text is null or q.type = $4)))`,
);

export async function readQueue(
  db: Queryable,
  environmentId: string,
  by: { id?: string; name?: string; type?: "task" | "custom" },
): Promise<QueueRow | undefined> {
  return (await db.query<QueueRow>(READ, [environmentId, by.id ?? null, by.name ?? null, by.type ?? null]))[0];
}

const EXISTS = sql("queue_exists", "select 1 as hit from queues where environment_id = $1 and name = $2");

export async function queueExists(db: Queryable, environmentId: string, name: string): Promise<boolean> {
  return (await db.query(EXISTS, [environmentId, name])).length === 1;
}

export interface DeclaredQueue {
  readonly id: string;
  readonly name: string;
  readonly type: "task" | "custom";
  readonly concurrency_limit: number | null;
}

const DECLARE = sql(
  "queues_declare",
  `insert into queues (id, environment_id, name, type, concurrency_limit)
   select q.id, $1, q.name, q.type, q.concurrency_limit from json_to_recordset($2::json) as q (id text, name text, type text, concurrency_limit integer) order by q.name
   on conflict (environment_id, name) do update set type = excluded.type, concurrency_limit = excluded.concurrency_limit`,
);

/** Makes or updates the queues of a deployment; what was set by hand stays. */
export async function declareQueues(db: Queryable, environmentId: string, queues: readonly DeclaredQueue[]): Promise<void> {
  await db.query(DECLARE, [environmentId, JSON.stringify(queues)]);
}

const UPDATE = sql(
  "queue_update",
  `update queues set paused = coalesce($3, paused), concurrency_override = case when $4 then $5::integer else concurrency_override end where environment_id = $1 and id = $2 returning id`,
);

export async function updateQueue(
  db: Queryable,
  environmentId: string,
  id: string,
  change: { paused?: boolean | undefined; concurrencyLimit?: number | "default" | undefined },
): Promise<boolean> {
  const limit = change.concurrencyLimit;
  return (
    (await db.query(UPDATE, [environmentId, id, change.paused ?? null, limit !== undefined, typeof limit === "number" ? limit : null]))
      .length === 1
  );
}
