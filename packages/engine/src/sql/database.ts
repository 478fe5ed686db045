import pg from "pg";
import type { Log } from "@torpor/observe";

// The way to PostgreSQL.
//
//   Q1  A statement is a constant text with parameters; it is prepared once per connection under its name.
//   Q2  A transaction's statements are sent without waiting for one another (pipelined): `begin` travels with the first
//       read, `commit` with the last writes. What a caller does not await still fails the transaction.
//   Q3  A deadlock or serialization failure is tried again from the start: nothing of it has happened.
//   Q4  What must happen only if the transaction was committed is said with `afterCommit`.

/** One SQL text. The name is its identity on the server. */
export interface Statement {
  readonly name: string;
  readonly text: string;
}

export function sql(name: string, text: string): Statement {
  return { name, text };
}

/** Where statements are run: a transaction, or each by itself. */
export interface Queryable {
  /** Sends the statement at once and answers its rows. */
  query<Row>(statement: Statement, params: readonly unknown[]): Promise<Row[]>;
}

export interface Transaction extends Queryable {
  /** Runs once the transaction is on disk; never if it was not. */
  afterCommit(work: () => void): void;
}

export interface DatabaseOptions {
  readonly connectionString: string;
  /** Connections at most; a hand-out, the due-time loop and each call in flight use one. */
  readonly poolSize: number;
  readonly log: Log;
}

/** Sent when a connection opens: every statement is prepared, so its generic plan is made once; compiling plans never pays here. */
const SESSION_OPTIONS = "-c plan_cache_mode=force_generic_plan -c jit=off -c lock_timeout=30s -c idle_in_transaction_session_timeout=60s";

/** Deadlock, serialization failure: certainly undone. */
const RETRYABLE = new Set(["40P01", "40001"]);
const MAX_TRIES = 5;

export class Database implements Queryable {
  readonly #pool: pg.Pool;

  constructor(options: DatabaseOptions) {
    const config = connectionConfig(options.connectionString);
    // `pipeline` is an option of the client that the pool passes on.
    const poolConfig: pg.PoolConfig & { pipeline: boolean } = { ...config, max: options.poolSize, idleTimeoutMillis: 30_000, allowExitOnIdle: false, pipeline: true };
    this.#pool = new pg.Pool(poolConfig);
    this.#pool.on("error", (error) => options.log.warn({ err: error }, "an idle database connection was lost"));
  }

  async query<Row>(statement: Statement, params: readonly unknown[]): Promise<Row[]> {
    const result = await this.#pool.query({ name: statement.name, text: statement.text, values: params as unknown[] });
    return result.rows as Row[];
  }

  /** Runs `work` in one transaction (read committed). A thrown error undoes it and is thrown on. */
  async transaction<T>(work: (tx: Transaction) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#once(work);
      } catch (error) {
        if (attempt >= MAX_TRIES || !isRetryable(error)) throw error;
      }
    }
  }

  async #once<T>(work: (tx: Transaction) => Promise<T>): Promise<T> {
    const client = await this.#pool.connect();
    const tx = new PipelinedTransaction(client);
    let broken: Error | undefined;
    try {
      tx.begin();
      const value = await work(tx);
      await tx.commit();
      return value;
    } catch (error) {
      broken = await tx.rollback();
      throw error;
    } finally {
      client.release(broken);
    }
  }

  async close(): Promise<void> {
    await this.#pool.end();
  }
}

class PipelinedTransaction implements Transaction {
  readonly #client: pg.PoolClient;
  readonly #sent: Promise<unknown>[] = [];
  readonly #afterCommit: (() => void)[] = [];

  constructor(client: pg.PoolClient) {
    this.#client = client;
  }

  begin(): void {
    this.#track(this.#client.query("begin"));
  }

  query<Row>(statement: Statement, params: readonly unknown[]): Promise<Row[]> {
    const rows = this.#client.query({ name: statement.name, text: statement.text, values: params as unknown[] }).then((result) => result.rows as Row[]);
    this.#track(rows);
    return rows;
  }

  afterCommit(work: () => void): void {
    this.#afterCommit.push(work);
  }

  async commit(): Promise<void> {
    const committed = this.#client.query("commit");
    this.#track(committed);
    await Promise.all(this.#sent);
    // A transaction that failed answers `commit` with a rollback and no error.
    if ((await committed).command !== "COMMIT") throw new Error("Cannot commit: the transaction was rolled back");
    for (const work of this.#afterCommit) work();
  }

  /** Answers an error when the connection cannot be used again. */
  async rollback(): Promise<Error | undefined> {
    try {
      await Promise.allSettled(this.#sent);
      await this.#client.query("rollback");
      return undefined;
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error));
    }
  }

  #track(promise: Promise<unknown>): void {
    this.#sent.push(promise);
    // Awaited together at the commit; without this an early failure would count as unhandled.
    promise.catch(() => {});
  }
}

export function connectionConfig(connectionString: string): pg.ClientConfig {
  return { connectionString, options: SESSION_OPTIONS, application_name: "torpor", keepAlive: true, connectionTimeoutMillis: 10_000 };
}

function isRetryable(error: unknown): boolean {
  return error instanceof Error && "code" in error && typeof error.code === "string" && RETRYABLE.has(error.code);
}
