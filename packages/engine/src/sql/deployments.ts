import { sql, type Queryable } from "./database.ts";

export interface DeploymentRow {
  readonly id: string;
  readonly worker_id: string;
  readonly short_code: string;
  readonly version: string;
  readonly status: "PENDING" | "DEPLOYED" | "FAILED";
  readonly image_reference: string | null;
  readonly content_hash: string;
  readonly runtime: string;
  readonly created_at: Date;
  readonly error: string | null;
  readonly is_current: boolean;
}

const COLUMNS = `d.id, d.worker_id, d.short_code, d.version, d.status, d.image_reference, d.content_hash, d.runtime, d.created_at, d.error,
  coalesce(d.id = e.current_deployment_id, false) as is_current`;

const LOCK_ENVIRONMENT = sql("deploy_lock", "select current_deployment_id from environments where id = $1 for no key update");

/** One deployment of an environment at a time: versions are counted under this lock. */
export async function lockEnvironment(db: Queryable, environmentId: string): Promise<void> {
  await db.query(LOCK_ENVIRONMENT, [environmentId]);
}

const LOCK_TURN = sql("deploy_lock_turn", "select 1 as hit from environment_turns where environment_id = $1 for update");

/** Waits for hand-outs in flight: each has either set its run aside by now, or will see the version that is made current. */
export async function lockTurn(db: Queryable, environmentId: string): Promise<void> {
  await db.query(LOCK_TURN, [environmentId]);
}

const CURRENT = sql(
  "deployment_current",
  `select ${COLUMNS} from environments e join deployments d on d.id = e.current_deployment_id where e.id = $1`,
);

export async function currentDeployment(db: Queryable, environmentId: string): Promise<DeploymentRow | undefined> {
  return (await db.query<DeploymentRow>(CURRENT, [environmentId]))[0];
}

const BY_VERSION = sql(
  "deployment_by_version",
  `select ${COLUMNS} from deployments d join environments e on e.id = d.environment_id where d.environment_id = $1 and d.version = $2`,
);

export async function deploymentByVersion(db: Queryable, environmentId: string, version: string): Promise<DeploymentRow | undefined> {
  return (await db.query<DeploymentRow>(BY_VERSION, [environmentId, version]))[0];
}

const OF_ENVIRONMENT = `select ${COLUMNS} from deployments d join environments e on e.id = d.environment_id where d.environment_id = $1`;
const LIST_NEWER_FIRST = sql("deployments_list", `${OF_ENVIRONMENT} and ($2::text is null or d.id < $2) order by d.id desc limit $3`);
const LIST_BACKWARDS = sql("deployments_list_back", `${OF_ENVIRONMENT} and d.id > $2 order by d.id limit $3`);

export async function listDeployments(
  db: Queryable,
  environmentId: string,
  page: { after?: string | undefined; before?: string | undefined; limit: number },
): Promise<DeploymentRow[]> {
  return db.query<DeploymentRow>(page.before === undefined ? LIST_NEWER_FIRST : LIST_BACKWARDS, [
    environmentId,
    page.before ?? page.after ?? null,
    page.limit,
  ]);
}

const VERSIONS_OF_DAY = sql("deployments_of_day", "select version from deployments where environment_id = $1 and version like $2 || '.%'");

export async function versionsOfDay(db: Queryable, environmentId: string, day: string): Promise<string[]> {
  return (await db.query<{ version: string }>(VERSIONS_OF_DAY, [environmentId, day])).map((row) => row.version);
}

export interface NewDeployment {
  readonly id: string;
  readonly environmentId: string;
  readonly workerId: string;
  readonly shortCode: string;
  readonly version: string;
  readonly imageReference: string;
  readonly contentHash: string;
  readonly runtime: string;
  readonly sdkVersion: string;
  readonly cliVersion: string;
  readonly at: Date;
}

const INSERT = sql(
  "deployment_insert",
  `insert into deployments (id, environment_id, worker_id, short_code, version, status, image_reference, content_hash, runtime, sdk_version, cli_version, created_at)
   values ($1, $2, $3, $4, $5, 'DEPLOYED', $6, $7, $8, $9, $10, $11)`,
);

export async function insertDeployment(db: Queryable, d: NewDeployment): Promise<void> {
  await db.query(INSERT, [
    d.id,
    d.environmentId,
    d.workerId,
    d.shortCode,
    d.version,
    d.imageReference,
    d.contentHash,
    d.runtime,
    d.sdkVersion,
    d.cliVersion,
    d.at,
  ]);
}

export interface TaskRow {
  readonly slug: string;
  readonly file_path: string;
  readonly export_name: string | null;
  readonly queue_name: string;
  readonly machine: string | null;
  readonly max_duration_seconds: number | null;
  readonly retry: unknown;
  readonly ttl_seconds: number | null;
  readonly trigger_source: string | null;
}

const INSERT_TASKS = sql(
  "tasks_insert",
  `insert into tasks (deployment_id, slug, file_path, export_name, queue_name, machine, max_duration_seconds, retry, ttl_seconds, trigger_source)
   select $1, t.slug, t.file_path, t.export_name, t.queue_name, t.machine, t.max_duration_seconds, t.retry, t.ttl_seconds, t.trigger_source
   from json_to_recordset($2::json) as t (slug text, file_path text, export_name text, queue_name text, machine text, max_duration_seconds integer, retry json, ttl_seconds integer, trigger_source text)`,
);

export async function insertTasks(db: Queryable, deploymentId: string, tasks: readonly TaskRow[]): Promise<void> {
  await db.query(INSERT_TASKS, [deploymentId, JSON.stringify(tasks)]);
}

const CURRENT_TASKS = sql(
  "tasks_current",
  `select t.slug, t.file_path, t.export_name, t.queue_name, t.machine, t.max_duration_seconds, t.retry, t.ttl_seconds, t.trigger_source
   from environments e join tasks t on t.deployment_id = e.current_deployment_id where e.id = $1 order by t.slug`,
);

export async function currentTasks(db: Queryable, environmentId: string): Promise<TaskRow[]> {
  return db.query<TaskRow>(CURRENT_TASKS, [environmentId]);
}

const PROMOTE = sql("deployment_promote", "update environments set current_deployment_id = $2 where id = $1");

export async function promote(db: Queryable, environmentId: string, deploymentId: string): Promise<void> {
  await db.query(PROMOTE, [environmentId, deploymentId]);
}

const HAS_TASK = sql("deployment_has_task", "select t.queue_name from tasks t where t.deployment_id = $1 and t.slug = $2");

/** The queue that a deployed task names; undefined when the deployment has no such task. */
export async function queueOfTask(db: Queryable, deploymentId: string, task: string): Promise<string | undefined> {
  return (await db.query<{ queue_name: string }>(HAS_TASK, [deploymentId, task]))[0]?.queue_name;
}
