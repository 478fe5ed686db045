import { sql, type Queryable } from "./database.ts";

const TOUCH = sql(
  "node_touch",
  `insert into worker_instances (worker_group_id, name, facts, seen_at) values ($1, $2, $3, $4)
   on conflict (worker_group_id, name) do update set facts = worker_instances.facts || excluded.facts, seen_at = excluded.seen_at`,
);

/** Notes that the node is there, and what it told of itself. */
export async function touchNode(
  db: Queryable,
  node: { readonly workerGroupId: string; readonly instanceName: string },
  facts: Readonly<Record<string, unknown>>,
  at: Date,
): Promise<void> {
  await db.query(TOUCH, [node.workerGroupId, node.instanceName, JSON.stringify(facts), at]);
}

const SEEN = sql("node_seen", "select seen_at from worker_instances where node = $1");

/** When the node was last heard of; null: never. */
export async function nodeSeenAt(db: Queryable, node: string): Promise<Date | null> {
  return (await db.query<{ seen_at: Date }>(SEEN, [node]))[0]?.seen_at ?? null;
}
