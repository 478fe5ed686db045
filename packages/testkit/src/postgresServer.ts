import { spawn, type ChildProcess } from "node:child_process";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import { systemClock, sleep } from "@torpor/kernel";
import { findBinaries, type PostgresBinaries } from "./postgresBinaries.ts";
import { serverOwner, type ServerOwner } from "./postgresOwner.ts";

// A real PostgreSQL as a child process.
//
//   P1  Data survive restarts, ours and the server's, however they ended.
//   P2  The server dies with this process, even when that is killed: a watcher reads a pipe that only we hold open.
//   P3  It never runs as root: as root it is handed to an unprivileged user, together with its folder.

export interface PostgresServerOptions {
  /** Made when it is not there; kept when the server stops. */
  readonly dataDir: string;
  /** Listen on this port of 127.0.0.1 (0: a free one), or on a socket in this folder. */
  readonly listen: { readonly kind: "port"; readonly port: number } | { readonly kind: "socket"; readonly dir: string };
  /** Of the user `postgres`. Set when the data are made; give the same one ever after. */
  readonly password: string;
  /** Off only for data that nobody will miss: a crash of the machine may lose it all. */
  readonly fsync: boolean;
  /** A folder of scratch data around `dataDir`: deleted once the server has ended, even if we were killed. */
  readonly scratchDir?: string;
  /** Receives the server's own log, line by line. */
  readonly log?: (line: string) => void;
}

export interface PostgresServer {
  /** Of the database `postgres`. */
  readonly connectionString: string;
  /** Of the server itself, not of its watcher. */
  readonly pid: number;
  /** Resolves when the server has ended, for whatever reason. */
  readonly exited: Promise<void>;
  /** Ends sessions, writes everything, stops. Repeatable. */
  close(): Promise<void>;
}

const START_LIMIT_MS = 60_000;
const STOP_LIMIT_MS = 15_000;

/** Starts PostgreSQL on `dataDir`; throws with the server's last words when it does not come up. */
export async function startPostgresServer(options: PostgresServerOptions): Promise<PostgresServer> {
  const binaries = await findBinaries();
  const owner = await serverOwner();
  if (options.scratchDir !== undefined) await owner.own(options.scratchDir);
  await initialise(binaries, owner, options);
  await waitForOldServer(options.dataDir);
  const port = options.listen.kind === "port" && options.listen.port === 0 ? await freePort() : options.listen.kind === "port" ? options.listen.port : 5432;
  if (options.listen.kind === "socket") await ownedFolder(options.listen.dir, owner);
  const child = spawnWatched(binaries.postgres, ["-D", options.dataDir, ...serverSettings(options, port)], owner, options.scratchDir ?? "");
  const pid = await ready(child, options);
  return handle(child, pid, connectionString(options, port));
}

async function initialise(binaries: PostgresBinaries, owner: ServerOwner, options: PostgresServerOptions): Promise<void> {
  if (existsSync(join(options.dataDir, "PG_VERSION"))) return;
  // Made beside it and renamed: a half-made folder is never taken for data.
  const draft = `${options.dataDir}.new`;
  await rm(draft, { recursive: true, force: true });
  await rm(options.dataDir, { recursive: true, force: true });
  await mkdir(dirname(options.dataDir), { recursive: true });
  await ownedFolder(draft, owner);
  const passwordFile = `${draft}.password`;
  await writeFile(passwordFile, `${options.password}\n`, { mode: 0o600 });
  try {
    await owner.own(passwordFile);
    const flags = ["--username=postgres", "--auth=scram-sha-256", `--pwfile=${passwordFile}`, "--encoding=UTF8", "--locale=C", "--no-instructions"];
    await runOnce(binaries.initdb, [`--pgdata=${draft}`, ...flags, ...(options.fsync ? [] : ["--no-sync"])], owner);
  } finally {
    await rm(passwordFile, { force: true });
  }
  await rename(draft, options.dataDir);
}

function serverSettings(options: PostgresServerOptions, port: number): string[] {
  const settings: Record<string, string> = {
    port: String(port),
    listen_addresses: options.listen.kind === "port" ? "127.0.0.1" : "",
    unix_socket_directories: options.listen.kind === "socket" ? options.listen.dir : "",
    unix_socket_permissions: "0777",
    fsync: options.fsync ? "on" : "off",
    full_page_writes: options.fsync ? "on" : "off",
    max_connections: "200",
    shared_buffers: "64MB",
    wal_level: "minimal",
    max_wal_senders: "0",
    max_wal_size: "1GB",
    jit: "off",
    log_checkpoints: "off",
    log_timezone: "UTC",
    timezone: "UTC",
    autovacuum_vacuum_scale_factor: "0.1",
  };
  return Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
}

const WATCHER = [
  'scratch="$1"; shift; exec 3<&0 0</dev/null; "$@" 3<&- & pid=$!; echo "pid $pid"',
  "{ cat <&3 >/dev/null; kill -INT $pid 2>/dev/null; } & exec 3<&-; wait $pid; code=$?",
  'if [ -n "$scratch" ]; then cd /; rm -rf "$scratch"; fi; exit $code',
].join("\n");

/** Starts `command` under a watcher that interrupts it (a fast shutdown) as soon as our end of the pipe is closed. */
function spawnWatched(command: string, args: readonly string[], owner: ServerOwner, scratchDir: string): ChildProcess {
  return spawn("/bin/sh", ["-c", WATCHER, "postgres", scratchDir, command, ...args], {
    ...owner.ids,
    cwd: "/",
    detached: true, // Ctrl-C at a terminal is for us: we close the server when nobody needs it any more.
    stdio: ["pipe", "pipe", "pipe"],
    env: { PATH: process.env["PATH"] ?? "/usr/bin:/bin", LC_ALL: "C", TZ: "UTC" },
  });
}

async function ready(child: ChildProcess, options: PostgresServerOptions): Promise<number> {
  const words: string[] = [];
  let pid = 0;
  return new Promise<number>((resolve, reject) => {
    const fail = (why: string): void => {
      child.stdin?.end();
      reject(new Error(`Cannot start PostgreSQL on ${options.dataDir}: ${why}\n${words.slice(-15).join("\n")}`));
    };
    const limit = systemClock.after(START_LIMIT_MS, () => fail(`not ready after ${START_LIMIT_MS / 1000} s`));
    onLines(child.stdout, (line) => {
      if (line.startsWith("pid ")) pid = Number(line.slice(4));
    });
    onLines(child.stderr, (line) => {
      options.log?.(line);
      if (words.length < 200) words.push(line);
      if (!line.includes("ready to accept connections")) return;
      limit.cancel();
      resolve(pid);
    });
    child.once("error", (error) => fail(error.message));
    child.once("exit", (code) => {
      limit.cancel();
      fail(`it ended with code ${code}`);
    });
  });
}

function handle(child: ChildProcess, pid: number, url: string): PostgresServer {
  const exited = new Promise<void>((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) resolve();
    child.once("exit", () => resolve());
  });
  let closing: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    const limit = systemClock.after(STOP_LIMIT_MS, () => signal(pid, "SIGQUIT"));
    child.stdin?.end();
    await exited;
    limit.cancel();
  };
  return { connectionString: url, pid, exited, close: () => (closing ??= close()) };
}

function connectionString(options: PostgresServerOptions, port: number): string {
  const password = encodeURIComponent(options.password);
  if (options.listen.kind === "port") return `postgresql://postgres:${password}@127.0.0.1:${port}/postgres`;
  return `postgresql://postgres:${password}@localhost/postgres?host=${encodeURIComponent(options.listen.dir)}`;
}

/**
 * A server that outlived a killed parent is on its way out: waits for it. A pid file whose process is gone, or is
 * somebody else's by now (pids are reused after a reboot), is removed; PostgreSQL would refuse to start beside it.
 */
async function waitForOldServer(dataDir: string): Promise<void> {
  const file = join(dataDir, "postmaster.pid");
  for (let tries = 0; tries < 200; tries++) {
    const text = await readFile(file, "utf8").catch(() => "");
    const pid = Number(text.split("\n")[0]);
    if (text === "" || !Number.isInteger(pid) || pid <= 0) return;
    if (!(await isServerOf(pid, dataDir))) {
      await rm(file, { force: true });
      return;
    }
    await sleep(systemClock, 50);
  }
  throw new Error(`Cannot start PostgreSQL on ${dataDir}: another one is running on it (its process id is in ${file})`);
}

async function isServerOf(pid: number, dataDir: string): Promise<boolean> {
  if (!signal(pid, 0)) return false;
  const command = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => null);
  if (command === null) return !existsSync("/proc/self"); // no /proc here: believe the pid file
  return command.includes("postgres") && command.includes(dataDir);
}

function signal(pid: number, name: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(pid, name);
  } catch {
    return false; // gone: that is the answer
  }
}

async function ownedFolder(path: string, owner: ServerOwner): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 });
  await owner.own(path);
}

async function runOnce(command: string, args: readonly string[], owner: ServerOwner): Promise<void> {
  const child = spawn(command, args, { ...owner.ids, cwd: "/", stdio: ["ignore", "pipe", "pipe"], env: { PATH: process.env["PATH"] ?? "/usr/bin:/bin", LC_ALL: "C", TZ: "UTC" } });
  let said = "";
  child.stdout.on("data", (chunk: Buffer) => (said += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()));
  await new Promise<void>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => (code === 0 ? resolve() : reject(new Error(`Cannot run ${command}: it ended with code ${code}\n${said.slice(-2000)}`))));
  });
}

function onLines(stream: NodeJS.ReadableStream | null, take: (line: string) => void): void {
  let rest = "";
  stream?.on("data", (chunk: Buffer) => {
    const lines = (rest + chunk.toString()).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) take(line);
  });
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise<void>((resolve) => server.close(() => resolve()));
  if (address === null || typeof address === "string") throw new Error("Cannot find a free port");
  return address.port;
}

