import { sql, type Queryable } from "./database.ts";

const RELEASABLE = sql(
  "parked_releasable",
  `select p.run_id, case when r.queue_is_named then r.queue_name else t.queue_name end as queue_name
   from parked p join runs r on r.id = p.run_id join environments e on e.id = p.environment_id
   join tasks t on t.deployment_id = coalesce(r.deployment_id, e.current_deployment_id) and t.slug = r.task
   join queues q on q.environment_id = p.environment_id and q.name = case when r.queue_is_named then r.queue_name else t.queue_name end
   where p.environment_id = $1 order by p.run_id limit $2`,
);

/** Runs that waited for a version and are known to the current one, oldest first. */
export async function releasable(
  db: Queryable,
  environmentId: string,
  limit: number,
): Promise<{ readonly run_id: string; readonly queue_name: string }[]> {
  return db.query(RELEASABLE, [environmentId, limit]);
}

const SET_QUEUE = sql("parked_set_queue", "update runs set queue_name = $2 where id = $1 and queue_name <> $2");

/** The version that was waited for names the task's queue. */
export async function setQueue(db: Queryable, runId: string, queueName: string): Promise<void> {
  await db.query(SET_QUEUE, [runId, queueName]);
}
