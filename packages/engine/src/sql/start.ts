import { sql, type Queryable } from "./database.ts";

/** What an attempt is told when it starts, beside the run itself. */
export interface StartFacts {
  readonly payload: string | null;
  readonly payload_type: string;
  readonly metadata: string | null;
  readonly metadata_type: string;
  readonly tags: string[];
  readonly is_test: boolean;
  readonly idempotency_key: string | null;
  readonly max_duration_seconds: number | null;
  readonly trace_context: Record<string, unknown>;
  readonly started_at: Date | null;
  readonly version: string | null;
  readonly env_slug: string;
  readonly project_id: string;
  readonly project_ref: string;
  readonly project_slug: string;
  readonly project_name: string;
  readonly org_id: string;
  readonly org_slug: string;
  readonly org_name: string;
  readonly file_path: string | null;
  readonly export_name: string | null;
  readonly queue_id: string | null;
  readonly short_code: string | null;
  readonly runtime: string | null;
}

const FACTS = sql(
  "start_facts",
  `select r.payload, r.payload_type, r.metadata, r.metadata_type, r.tags, r.is_test, r.idempotency_key, r.max_duration_seconds, r.trace_context, r.started_at, r.version,
     e.slug as env_slug, p.id as project_id, p.ref as project_ref, p.slug as project_slug, p.name as project_name, o.id as org_id, o.slug as org_slug, o.name as org_name,
     t.file_path, t.export_name, q.id as queue_id, d.short_code, d.runtime
   from runs r join environments e on e.id = r.environment_id join projects p on p.id = e.project_id join organizations o on o.id = p.organization_id
   left join deployments d on d.id = r.deployment_id
   left join tasks t on t.deployment_id = r.deployment_id and t.slug = r.task
   left join queues q on q.environment_id = r.environment_id and q.name = r.queue_name
   where r.id = $1`,
);

export async function startFacts(db: Queryable, runId: string): Promise<StartFacts | undefined> {
  return (await db.query<StartFacts>(FACTS, [runId]))[0];
}

const VARS = sql(
  "start_env_vars",
  "select v.name, v.value_cipher from runs r join env_vars v on v.environment_id = r.environment_id where r.id = $1 order by v.name",
);

export async function envVarsOfRun(db: Queryable, runId: string): Promise<{ readonly name: string; readonly value_cipher: Buffer }[]> {
  return db.query(VARS, [runId]);
}
