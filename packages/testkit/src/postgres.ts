import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { migrate } from "@torpor/engine";
import { Client } from "pg";
import { startPostgresServer, type PostgresServer } from "@torpor/postgres";

/** Names the socket on which the server of a test run is asked for (vitestPostgres.ts); it starts when the first one asks. */
export const TEST_POSTGRES_SOCKET = "TORPOR_TEST_POSTGRES_SOCKET";
const TEMPLATE = "torpor_template";

export interface TestPostgres {
  /** Of the server; give it to `freshDatabase`. */
  readonly connectionString: string;
  readonly server: PostgresServer;
  /** Stops the server and deletes its files. Repeatable. */
  close(): Promise<void>;
}

export interface TestPostgresOptions {
  /** On by default, as in life. Off is faster, and enough where no test kills the machine. */
  readonly fsync?: boolean;
}

/** Starts a real PostgreSQL in a scratch folder, with a migrated template database in it. */
export async function startTestPostgres(options: TestPostgresOptions = {}): Promise<TestPostgres> {
  const folder = await mkdtemp(join(tmpdir(), "torpor-pg-"));
  const removeFiles = (): Promise<void> => rm(folder, { recursive: true, force: true });
  try {
    const server = await startPostgresServer({
      dataDir: join(folder, "data"),
      listen: { kind: "socket", dir: join(folder, "socket") },
      password: randomBytes(16).toString("hex"),
      fsync: options.fsync ?? true,
      scratchDir: folder,
    });
    await makeTemplate(server.connectionString);
    const close = async (): Promise<void> => {
      await server.close();
      await removeFiles();
    };
    return { connectionString: server.connectionString, server, close };
  } catch (error) {
    await removeFiles();
    throw error;
  }
}

export interface FreshDatabase {
  readonly connectionString: string;
  /** Ends every session in it and drops it. Repeatable. */
  close(): Promise<void>;
}

/** A database of its own, cloned from the migrated template. Without a server of the test run, one is started and stopped with it. */
export async function freshDatabase(serverUrl?: string): Promise<FreshDatabase> {
  const shared = serverUrl ?? (await askForServer(process.env[TEST_POSTGRES_SOCKET]));
  const own = shared === undefined ? await startTestPostgres({ fsync: false }) : undefined;
  const admin = shared ?? own?.connectionString ?? "";
  const name = `t_${randomBytes(8).toString("hex")}`;
  await execute(admin, `create database ${name} template ${TEMPLATE} strategy file_copy`);
  let closing: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    await execute(admin, `drop database if exists ${name} with (force)`);
    await own?.close();
  };
  return { connectionString: withDatabase(admin, name), close: () => (closing ??= close()) };
}

/** The address of the test run's server; undefined outside a test run that offers one. */
async function askForServer(socketPath: string | undefined): Promise<string | undefined> {
  if (socketPath === undefined) return undefined;
  let answer = "";
  for await (const chunk of connect(socketPath).setEncoding("utf8")) answer += chunk;
  if (!answer.startsWith("postgresql:")) throw new Error(`Cannot start PostgreSQL for the tests: ${answer}`);
  return answer;
}

async function makeTemplate(adminUrl: string): Promise<void> {
  await execute(adminUrl, `create database ${TEMPLATE}`);
  await migrate(withDatabase(adminUrl, TEMPLATE));
}

/** The same server, another database. */
export function withDatabase(connectionString: string, name: string): string {
  const url = new URL(connectionString);
  url.pathname = `/${name}`;
  return url.toString();
}

async function execute(connectionString: string, statement: string): Promise<void> {
  const client = new Client({ connectionString });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}
