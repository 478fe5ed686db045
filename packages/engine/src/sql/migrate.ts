import { readdir, readFile } from "node:fs/promises";
import { Client } from "pg";
import { connectionConfig } from "./database.ts";

const FOLDER = new URL("../migrations/", import.meta.url);
/** Any number, but the same in every process: whoever holds it migrates, the others wait. */
const LOCK = 7_217_405_013;

/** Brings the database to the newest version. Several processes may do it at once; each file runs once, in the order of names, all or nothing. */
export async function migrate(connectionString: string): Promise<void> {
  const client = new Client(connectionConfig(connectionString));
  await client.connect();
  try {
    await client.query("select pg_advisory_lock($1)", [LOCK]);
    await client.query("create table if not exists migrations (name text primary key, applied_at timestamptz not null default now())");
    const applied = new Set((await client.query<{ name: string }>("select name from migrations")).rows.map((row) => row.name));
    for (const name of await migrationNames()) {
      if (!applied.has(name)) await apply(client, name);
    }
  } finally {
    await client.end();
  }
}

/** Names of the migration files in the order in which they are applied. */
export async function migrationNames(): Promise<string[]> {
  return (await readdir(FOLDER)).filter((name) => name.endsWith(".sql")).sort();
}

async function apply(client: Client, name: string): Promise<void> {
  const text = await readFile(new URL(name, FOLDER), "utf8");
  await client.query("begin");
  try {
    await client.query(text);
    await client.query("insert into migrations (name) values ($1)", [name]);
    await client.query("commit");
  } catch (error) {
    await client.query("rollback");
    throw new Error(`Cannot apply migration ${name}`, { cause: error });
  }
}
