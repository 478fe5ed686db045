import { appendFileSync } from "node:fs";
import { join } from "node:path";
import { backoffMs, sleep, type Closable, type Clock, type Secret } from "@torpor/kernel";
import type { PostgresServer } from "@torpor/postgres";

export interface EmbeddedDatabaseOptions {
  readonly dataDir: string;
  readonly port: number;
  readonly password: Secret;
  readonly clock: Clock;
  readonly random: () => number;
  readonly onUnexpectedExit: (name: string, how: string) => void;
}

/** The embedded PostgreSQL of a plane: a real server in the data directory, started again when it dies. */
export class EmbeddedDatabase implements Closable {
  readonly #options: EmbeddedDatabaseOptions;
  readonly #stop = new AbortController();
  #server: PostgresServer | undefined;
  #watch: Promise<void> = Promise.resolve();

  constructor(options: EmbeddedDatabaseOptions) {
    this.#options = options;
  }

  /** Process id of the server, if it is there. */
  get pid(): number | undefined {
    return this.#server?.pid;
  }

  /** Starts the server; resolves with its address once it answers. */
  async start(): Promise<string> {
    const server = await this.#startServer();
    this.#watch = this.#keepRunning(server);
    return server.connectionString;
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#server?.close();
    await this.#watch;
  }

  async #startServer(): Promise<PostgresServer> {
    const { dataDir, port, password } = this.#options;
    const log = join(dataDir, "logs", "postgresql.log");
    const { startPostgresServer } = await import("@torpor/postgres");
    this.#server = await startPostgresServer({
      dataDir: join(dataDir, "postgresql"),
      listen: { kind: "port", port },
      password: password.reveal(),
      fsync: true,
      log: (line) => appendFileSync(log, `${line}\n`, { mode: 0o600 }),
    });
    return this.#server;
  }

  async #keepRunning(first: PostgresServer): Promise<void> {
    let server: PostgresServer | undefined = first;
    for (let attempt = 1; ; attempt++) {
      await server?.exited;
      if (this.#stop.signal.aborted) return;
      if (server !== undefined) this.#options.onUnexpectedExit("postgresql", "ended");
      const delayMs = backoffMs(Math.min(attempt, 6), { baseMs: 100, factor: 2, maxMs: 3_000, random: this.#options.random });
      if ((await sleep(this.#options.clock, delayMs, this.#stop.signal)) === "aborted") return;
      server = await this.#startAgain();
      if (this.#stop.signal.aborted) return await server?.close(); // asked to stop while it was being started
    }
  }

  /** Undefined when it could not be started now; without a database nothing goes on, so it is tried again for as long as the plane is up. */
  async #startAgain(): Promise<PostgresServer | undefined> {
    try {
      return await this.#startServer();
    } catch (error) {
      this.#options.onUnexpectedExit("postgresql", `could not be started again: ${error instanceof Error ? error.message : String(error)}`);
      return undefined;
    }
  }
}
