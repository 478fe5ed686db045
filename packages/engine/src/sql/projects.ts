import type { EnvironmentRef, EnvironmentType } from "../api.ts";
import { sql, type Queryable } from "./database.ts";

interface EnvironmentRow {
  readonly id: string;
  readonly slug: string;
  readonly type: EnvironmentType;
  readonly project_id: string;
  readonly project_ref: string;
  readonly project_slug: string;
  readonly project_name: string;
  readonly org_id: string;
  readonly org_slug: string;
  readonly org_name: string;
  readonly api_key_cipher: Buffer;
}

const SELECT = `select e.id, e.slug, e.type, e.api_key_cipher, p.id as project_id, p.ref as project_ref, p.slug as project_slug, p.name as project_name,
    o.id as org_id, o.slug as org_slug, o.name as org_name
  from environments e join projects p on p.id = e.project_id join organizations o on o.id = p.organization_id`;

const BY_KEY = sql("environment_by_key", `${SELECT} where e.api_key_hash = $1`);
const BY_ID = sql("environment_by_id", `${SELECT} where e.id = $1`);
const OF_PROJECT = sql("environments_of_project", `${SELECT} where p.ref = $1 order by e.slug`);

export interface StoredEnvironment {
  readonly ref: EnvironmentRef;
  readonly apiKeyCipher: Buffer;
}

function toEnvironment(row: EnvironmentRow): StoredEnvironment {
  return {
    ref: {
      id: row.id,
      slug: row.slug,
      type: row.type,
      project: { id: row.project_id, ref: row.project_ref, slug: row.project_slug, name: row.project_name },
      organization: { id: row.org_id, slug: row.org_slug, name: row.org_name },
    },
    apiKeyCipher: row.api_key_cipher,
  };
}

export async function environmentByKeyHash(db: Queryable, hash: Buffer): Promise<StoredEnvironment | undefined> {
  return (await db.query<EnvironmentRow>(BY_KEY, [hash])).map(toEnvironment)[0];
}

export async function environmentById(db: Queryable, id: string): Promise<StoredEnvironment | undefined> {
  return (await db.query<EnvironmentRow>(BY_ID, [id])).map(toEnvironment)[0];
}

export async function environmentsOfProject(db: Queryable, ref: string): Promise<StoredEnvironment[]> {
  return (await db.query<EnvironmentRow>(OF_PROJECT, [ref])).map(toEnvironment);
}

const LOCK_REF = sql("project_lock_ref", "select pg_advisory_xact_lock(hashtextextended('project/' || $1, 0))");

/** One maker of a project at a time. */
export async function lockProjectRef(db: Queryable, ref: string): Promise<void> {
  await db.query(LOCK_REF, [ref]);
}

const INSERT_ORGANIZATION = sql(
  "organization_insert",
  "insert into organizations (id, slug, name) values ($1, $2, $3) on conflict (slug) do update set slug = excluded.slug returning id",
);
const INSERT_PROJECT = sql("project_insert", "insert into projects (id, organization_id, ref, slug, name) values ($1, $2, $3, $4, $5)");
const INSERT_ENVIRONMENT = sql(
  "environment_insert",
  "insert into environments (id, project_id, slug, type, api_key_hash, api_key_cipher) values ($1, $2, $3, $4, $5, $6)",
);
const INSERT_TURN = sql("environment_turn_insert", "insert into environment_turns (environment_id) values ($1) on conflict do nothing");

export async function insertOrganization(db: Queryable, organization: { id: string; slug: string; name: string }): Promise<string> {
  const row = (await db.query<{ id: string }>(INSERT_ORGANIZATION, [organization.id, organization.slug, organization.name]))[0];
  if (row === undefined) throw new Error(`Cannot store organization ${organization.slug}`);
  return row.id;
}

export async function insertProject(
  db: Queryable,
  project: { id: string; organizationId: string; ref: string; slug: string; name: string },
): Promise<void> {
  await db.query(INSERT_PROJECT, [project.id, project.organizationId, project.ref, project.slug, project.name]);
}

export async function insertEnvironment(
  db: Queryable,
  e: { id: string; projectId: string; slug: string; type: EnvironmentType; keyHash: Buffer; keyCipher: Buffer },
): Promise<void> {
  await db.query(INSERT_ENVIRONMENT, [e.id, e.projectId, e.slug, e.type, e.keyHash, e.keyCipher]);
  await db.query(INSERT_TURN, [e.id]);
}

const GROUP_UPSERT = sql(
  "worker_group_upsert",
  "insert into worker_groups (id, name, type, token_hash) values ($1, $2, 'MANAGED', $3) on conflict (name) do update set token_hash = excluded.token_hash returning id",
);
const GROUP_BY_TOKEN = sql("worker_group_by_token", "select id, name, type from worker_groups where token_hash = $1");
export async function upsertWorkerGroup(db: Queryable, group: { id: string; name: string; tokenHash: Buffer }): Promise<string> {
  const row = (await db.query<{ id: string }>(GROUP_UPSERT, [group.id, group.name, group.tokenHash]))[0];
  if (row === undefined) throw new Error(`Cannot store worker group ${group.name}`);
  return row.id;
}

export async function workerGroupByTokenHash(
  db: Queryable,
  hash: Buffer,
): Promise<{ readonly id: string; readonly name: string; readonly type: string } | undefined> {
  return (await db.query<{ id: string; name: string; type: string }>(GROUP_BY_TOKEN, [hash]))[0];
}

const SET_VARS = sql(
  "env_vars_set",
  `insert into env_vars (environment_id, name, value_cipher) select $1, v.name, v.value from unnest($2::text[], $3::bytea[]) as v (name, value)
   on conflict (environment_id, name) do update set value_cipher = excluded.value_cipher where $4`,
);
const GET_VARS = sql("env_vars_get", "select name, value_cipher from env_vars where environment_id = $1 order by name");
const DELETE_VAR = sql("env_var_delete", "delete from env_vars where environment_id = $1 and name = $2 returning 1 as hit");

export async function setEnvVars(
  db: Queryable,
  environmentId: string,
  variables: readonly (readonly [name: string, cipher: Buffer])[],
  override: boolean,
): Promise<void> {
  await db.query(SET_VARS, [environmentId, variables.map(([name]) => name), variables.map(([, cipher]) => cipher), override]);
}

export async function getEnvVars(
  db: Queryable,
  environmentId: string,
): Promise<{ readonly name: string; readonly value_cipher: Buffer }[]> {
  return db.query(GET_VARS, [environmentId]);
}

export async function deleteEnvVar(db: Queryable, environmentId: string, name: string): Promise<boolean> {
  return (await db.query(DELETE_VAR, [environmentId, name])).length === 1;
}
