import { sql, type Queryable } from "./database.ts";
import { RUN_COLUMNS, type RunRow } from "./runs.ts";

const PICK = sql(
  "dequeue_pick",
  "select run_id, node, blocked, look_at from pick_ready($1, $2, $3, $4, $5, $6, $7 * interval '1 millisecond')",
);

interface PickRow {
  readonly run_id: string | null;
  readonly node: string | null;
  readonly blocked: boolean;
  readonly look_at: Date | null;
}

export interface Pick {
  readonly runs: readonly { readonly runId: string; /** The one node that must have it. */ readonly node: string | null }[];
  /** Somebody else is ready, but under a limit that is reached: worth another look when room is made. */
  readonly isBlocked: boolean;
  /** When the next node counts as lost for which a run waits. */
  readonly nextLostAt: Date | null;
}

/** What a look into the queues may give. */
export interface PickOptions {
  readonly now: Date;
  /** How many runs each node asks for. */
  readonly asking: ReadonlyMap<string, number>;
  readonly limit: number;
  readonly burst: number;
  /** A node of which nothing was heard for so long leaves its runs to others. */
  readonly nodeLostAfterMs: number;
}

/** Chooses runs whose time has come and that the asking nodes may have, within every limit. Holds their environments' turns until the commit. */
export async function pickReady(db: Queryable, options: PickOptions): Promise<Pick> {
  const { now, asking, limit, burst, nodeLostAfterMs } = options;
  const counts = [...asking.values()];
  const wanted = counts.reduce((sum, count) => sum + count, 0);
  const rows = await db.query<PickRow>(PICK, [now, wanted, limit, burst, [...asking.keys()], counts, nodeLostAfterMs]);
  return {
    runs: rows.flatMap(({ run_id, node }) => (run_id === null ? [] : [{ runId: run_id, node }])),
    isBlocked: rows.some((row) => row.blocked),
    nextLostAt: rows[0]?.look_at ?? null,
  };
}

const NEXT_READY = sql("dequeue_next", "select min(score) as at from ready where score > $1");

/** When the next run becomes due that is in a queue already (put back by its priority, or waiting to be retried). */
export async function nextReadyAt(db: Queryable, now: Date): Promise<Date | null> {
  return (await db.query<{ at: Date | null }>(NEXT_READY, [now]))[0]?.at ?? null;
}

/** A queued run with what its hand-out is decided from. */
export interface QueuedRun extends RunRow {
  readonly is_test: boolean;
  readonly trace_context: Record<string, unknown>;
  readonly annotations: Record<string, unknown>;
  readonly max_duration_seconds: number | null;
  readonly locked_to_version: boolean;
  readonly organization_id: string;
  readonly project_id: string;
  readonly d_id: string | null;
  readonly d_worker_id: string | null;
  readonly d_version: string | null;
  readonly d_runtime: string | null;
  readonly d_image: string | null;
  readonly t_slug: string | null;
  readonly t_machine: string | null;
  readonly t_retry: unknown;
  readonly t_max_duration_seconds: number | null;
  readonly q_id: string | null;
}

// Runs that somebody holds are left: they are cancelled, expired or changed at this moment, and stay ready if not.
const LOCK_QUEUED = sql(
  "dequeue_lock",
  `select ${RUN_COLUMNS}, r.is_test, r.trace_context, r.annotations, r.max_duration_seconds, r.locked_to_version, p.id as project_id, p.organization_id,
     d.id as d_id, d.worker_id as d_worker_id, d.version as d_version, d.runtime as d_runtime, d.image_reference as d_image,
     t.slug as t_slug, t.machine as t_machine, t.retry as t_retry, t.max_duration_seconds as t_max_duration_seconds, q.id as q_id
   from unnest($1::text[]) with ordinality as o (id, place)
   join runs r on r.id = o.id
   join environments e on e.id = r.environment_id
   join projects p on p.id = e.project_id
   left join deployments d on d.id = coalesce(r.deployment_id, e.current_deployment_id)
   left join tasks t on t.deployment_id = d.id and t.slug = r.task
   left join queues q on q.environment_id = r.environment_id and q.name = r.queue_name
   where r.execution_status = 'QUEUED'
   order by o.place for no key update of r skip locked`,
);

export async function lockQueued(db: Queryable, runIds: readonly string[]): Promise<QueuedRun[]> {
  return db.query<QueuedRun>(LOCK_QUEUED, [runIds]);
}
