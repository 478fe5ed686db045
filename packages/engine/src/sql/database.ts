import type { Duplex } from "node:stream";
import { TorporError } from "@torpor/contracts";
import { Pool, type ClientConfig, type PoolClient, type PoolConfig } from "pg";
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
  /** Sends a statement whose rows nobody needs; its failure is the transaction's. */
  send(statement: Statement, params: readonly unknown[]): void;
  /** Runs once the transaction is on disk; never if it was not. */
  afterCommit(work: () => void): void;
}

export interface DatabaseOptions {
  readonly connectionString: string;
  /** Connections at most; a hand-out, the due-time loop and each call in flight use one. */
  readonly poolSize: number;
  readonly log: Log;
}

/**
 * Sent when a connection opens. Every statement is prepared and its generic plan made once, perhaps while the tables are
 * still empty: plans must not depend on statistics that do not exist yet, so they walk indexes and nest.
 */
const SESSION_OPTIONS = [
  "plan_cache_mode=force_generic_plan",
  "enable_seqscan=off",
  "enable_hashjoin=off",
  "enable_mergejoin=off",
  "enable_bitmapscan=off",
  "jit=off",
  "lock_timeout=30s",
  "idle_in_transaction_session_timeout=60s",
]
  .map((setting) => `-c ${setting}`)
  .join(" ");

/** Deadlock, serialization failure: certainly undone. */
const RETRYABLE = new Set(["40P01", "40001"]);
const MAX_TRIES = 5;

export class Database implements Queryable {
  readonly #pool: Pool;
  readonly #begun = new Set<Promise<unknown>>();
  #isClosed = false;

  constructor(options: DatabaseOptions) {
    const config = connectionConfig(options.connectionString);
    // `pipeline` is an option of the client that the pool passes on.
    const poolConfig: PoolConfig & { pipeline: boolean } = {
      ...config,
      max: options.poolSize,
      idleTimeoutMillis: 30_000,
      allowExitOnIdle: false,
      pipeline: true,
    };
    this.#pool = new Pool(poolConfig);
    this.#pool.on("error", (error) => options.log.warn({ err: error }, "an idle database connection was lost"));
  }

  query<Row>(statement: Statement, params: readonly unknown[]): Promise<Row[]> {
    return this.#track(async () => {
      const result = await this.#pool.query({ name: statement.name, text: statement.text, values: params.map(storable) });
      return result.rows as Row[];
    });
  }

  /** Runs `work` in one transaction (read committed). A thrown error undoes it and is thrown on. */
  transaction<T>(work: (tx: Transaction) => Promise<T>): Promise<T> {
    return this.#track(() => this.#tries(work));
  }

  async #tries<T>(work: (tx: Transaction) => Promise<T>): Promise<T> {
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
    // A lost connection fails its statements, which is how we hear of it; unheard, the event would end the process.
    client.on("error", ignore);
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
      client.off("error", ignore);
      client.release(broken);
    }
  }

  /** Lets what was begun end, refuses what comes after, and closes every connection. Call it once. */
  async close(): Promise<void> {
    this.#isClosed = true;
    // A pool that ends serves nobody who still waits in its line, so the line is let out first.
    while (this.#begun.size > 0) await Promise.allSettled(this.#begun);
    await this.#pool.end();
  }

  async #track<T>(work: () => Promise<T>): Promise<T> {
    if (this.#isClosed) throw new TorporError("upstream_unreachable", "Cannot use the database: the engine is closed");
    const running = work();
    this.#begun.add(running);
    try {
      return await running;
    } finally {
      this.#begun.delete(running);
    }
  }
}

class PipelinedTransaction implements Transaction {
  readonly #client: PoolClient;
  readonly #sent: Promise<unknown>[] = [];
  #isGathering = false;
  readonly #afterCommit: (() => void)[] = [];

  constructor(client: PoolClient) {
    this.#client = client;
  }

  begin(): void {
    this.#gather();
    this.#track(this.#client.query("begin"));
  }

  query<Row>(statement: Statement, params: readonly unknown[]): Promise<Row[]> {
    this.#gather();
    const rows = this.#client
      .query({ name: statement.name, text: statement.text, values: params.map(storable) })
      .then((result) => result.rows as Row[]);
    this.#track(rows);
    return rows;
  }

  send(statement: Statement, params: readonly unknown[]): void {
    this.#gather();
    this.#track(this.#client.query({ name: statement.name, text: statement.text, values: params.map(storable) }));
  }

  afterCommit(work: () => void): void {
    this.#afterCommit.push(work);
  }

  async commit(): Promise<void> {
    this.#gather();
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

  /** What is sent in one go of the caller leaves in one packet: a system call costs more than most statements. */
  #gather(): void {
    if (this.#isGathering) return;
    this.#isGathering = true;
    const { stream } = (this.#client as unknown as { readonly connection: { readonly stream: Duplex } }).connection;
    stream.cork();
    process.nextTick(() => {
      this.#isGathering = false;
      stream.uncork();
    });
  }

  #track(promise: Promise<unknown>): void {
    this.#sent.push(promise);
    // Awaited together at the commit; without this an early failure would count as unhandled.
    promise.catch(() => {});
  }
}

function ignore(): void {}

/** PostgreSQL's texts hold every character but NUL, which stands in no JSON text and in hardly any other. */
function storable(value: unknown): unknown {
  return typeof value === "string" && value.includes("\0") ? value.replaceAll("\0", "\uFFFD") : value;
}

export function connectionConfig(connectionString: string): ClientConfig {
  return { connectionString, options: SESSION_OPTIONS, application_name: "torpor", keepAlive: true, connectionTimeoutMillis: 10_000 };
}

function isRetryable(error: unknown): boolean {
  return error instanceof Error && "code" in error && typeof error.code === "string" && RETRYABLE.has(error.code);
}
