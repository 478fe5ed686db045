import { readFile, readdir } from "node:fs/promises";
import type { Closable, Secret } from "@torpor/kernel";
import type { Log } from "@torpor/observe";
import pg from "pg";

const FOLDER = new URL("./migrations/", import.meta.url);
/** Any number, but the same in every process: whoever holds it migrates, the others wait. */
const LOCK = 7_217_405_014;

export interface PlatformDatabaseOptions {
  readonly url: Secret;
  /** Few: only telemetry, stored payloads and one-time tokens pass here. */
  readonly poolSize: number;
  readonly log: Log;
}

/** The platform's own tables, in the engine's database. */
export class PlatformDatabase implements Closable {
  readonly #pool: pg.Pool;

  constructor(options: PlatformDatabaseOptions) {
    this.#pool = new pg.Pool({
      connectionString: options.url.reveal(),
      application_name: "torpor-platform",
      keepAlive: true,
      connectionTimeoutMillis: 10_000,
      statement_timeout: 30_000,
      idleTimeoutMillis: 30_000,
      max: options.poolSize,
    });
    this.#pool.on("error", (error) => options.log.warn({ err: error }, "an idle database connection was lost"));
  }

  /** Brings the tables to the newest version. Several processes may do it at once. */
  async migrate(): Promise<void> {
    const client = await this.#pool.connect();
    try {
      await client.query("select pg_advisory_lock($1)", [LOCK]);
      await client.query(
        "create table if not exists platform_migrations (name text primary key, applied_at timestamptz not null default now())",
      );
      const { rows } = await client.query<{ name: string }>("select name from platform_migrations");
      const applied = new Set(rows.map((row) => row.name));
      for (const name of (await readdir(FOLDER)).filter((file) => file.endsWith(".sql")).sort()) {
        if (!applied.has(name)) await apply(client, name);
      }
      await client.query("select pg_advisory_unlock($1)", [LOCK]);
    } finally {
      client.release();
    }
  }

  async query<Row>(text: string, params: readonly unknown[]): Promise<Row[]> {
    const result = await this.#pool.query({ text, values: params as unknown[] });
    return result.rows as Row[];
  }

  /** Several statements, all or nothing. */
  async transaction(work: (query: (text: string, params: readonly unknown[]) => Promise<unknown[]>) => Promise<void>): Promise<void> {
    const client = await this.#pool.connect();
    let broken: Error | undefined;
    try {
      await client.query("begin");
      await work(async (text, params) => (await client.query({ text, values: params as unknown[] })).rows as unknown[]);
      await client.query("commit");
    } catch (error) {
      broken = error instanceof Error ? error : new Error(String(error));
      throw error;
    } finally {
      // A connection whose transaction failed is not used again: closing it is the rollback that cannot fail.
      client.release(broken);
    }
  }

  async close(): Promise<void> {
    if (!this.#pool.ended && !this.#pool.ending) await this.#pool.end();
  }
}

async function apply(client: pg.PoolClient, name: string): Promise<void> {
  const text = await readFile(new URL(name, FOLDER), "utf8");
  await client.query("begin");
  try {
    await client.query(text);
    await client.query("insert into platform_migrations (name) values ($1)", [name]);
    await client.query("commit");
  } catch (error) {
    await client.query("rollback");
    throw new Error(`Cannot apply migration ${name}`, { cause: error });
  }
}
