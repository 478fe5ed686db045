import { sql, type Queryable } from "./database.ts";

const RELEASABLE = sql(
  "parked_releasable",
  `select p.run_id from parked p join runs r on r.id = p.run_id join environments e on e.id = p.environment_id
   join tasks t on t.deployment_id = coalesce(r.deployment_id, e.current_deployment_id) and t.slug = r.task
   join queues q on q.environment_id = p.environment_id and q.name = r.queue_name
   where p.environment_id = $1 order by p.run_id limit $2`,
);

/** Runs that waited for a version and are known to the current one, oldest first. */
export async function releasable(db: Queryable, environmentId: string, limit: number): Promise<string[]> {
  return (await db.query<{ run_id: string }>(RELEASABLE, [environmentId, limit])).map((row) => row.run_id);
}
