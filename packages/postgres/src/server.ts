import type { ChildProcess } from "node:child_process";
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import { systemClock, sleep } from "@torpor/kernel";
import { findBinaries, type PostgresBinaries } from "./binaries.ts";
import { serverOwner, type ServerOwner } from "./owner.ts";
import { programsFor, type Programs } from "./spawn.ts";

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

/** On a socket the port is only part of the file's name. */
const SOCKET_PORT = 5432;
const START_LIMIT_MS = 60_000;
const STOP_LIMIT_MS = 15_000;

/** Starts PostgreSQL on `dataDir`; throws with the server's last words when it does not come up. */
export async function startPostgresServer(options: PostgresServerOptions): Promise<PostgresServer> {
  const [binaries, owner] = await Promise.all([findBinaries(), serverOwner()]);
  const home = dirname(options.dataDir);
  await mkdir(home, { recursive: true });
  if (options.scratchDir !== undefined) await owner.own(options.scratchDir);
  if (options.listen.kind === "socket") await ownedFolder(options.listen.dir, owner);
  const programs = await programsFor(owner, [
    dirname(dirname(binaries.postgres)),
    home,
    ...(options.listen.kind === "socket" ? [options.listen.dir] : []),
  ]);
  await initialise(binaries, owner, programs, options);
  await waitForOldServer(options.dataDir);
  const port = options.listen.kind === "socket" ? SOCKET_PORT : options.listen.port === 0 ? await freePort() : options.listen.port;
  const child = programs.serve(
    binaries.postgres,
    ["-D", programs.seen(options.dataDir), ...serverSettings(options, port, programs)],
    options.scratchDir ?? "",
  );
  const pid = await ready(child, options);
  return handle(child, pid, connectionString(options, port));
}

async function initialise(
  binaries: PostgresBinaries,
  owner: ServerOwner,
  programs: Programs,
  options: PostgresServerOptions,
): Promise<void> {
  if (existsSync(join(options.dataDir, "PG_VERSION"))) return;
  // Made beside it and renamed: a half-made folder is never taken for data.
  const draft = `${options.dataDir}.new`;
  await rm(draft, { recursive: true, force: true });
  await rm(options.dataDir, { recursive: true, force: true });
  await ownedFolder(draft, owner);
  const passwordFile = `${draft}.password`;
  await writeFile(passwordFile, `${options.password}\n`, { mode: 0o600 });
  try {
    await owner.own(passwordFile);
    const flags = [
      "--username=postgres",
      "--auth=scram-sha-256",
      `--pwfile=${programs.seen(passwordFile)}`,
      "--encoding=UTF8",
      "--locale=C",
      "--no-instructions",
    ];
    await programs.run(binaries.initdb, [`--pgdata=${programs.seen(draft)}`, ...flags, ...(options.fsync ? [] : ["--no-sync"])]);
  } finally {
    await rm(passwordFile, { force: true });
  }
  await rename(draft, options.dataDir);
}

function serverSettings(options: PostgresServerOptions, port: number, programs: Programs): string[] {
  const settings: Record<string, string> = {
    port: String(port),
    listen_addresses: options.listen.kind === "port" ? "127.0.0.1" : "",
    unix_socket_directories: options.listen.kind === "socket" ? programs.seen(options.listen.dir) : "",
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
 * A server that outlived a killed parent is on its way out, and so are the children of a server that was killed itself, which
 * hold its memory a moment longer: waits for them. A pid file that is left then belongs to nobody (pids are reused after a
 * reboot) and is removed; PostgreSQL would refuse to start beside it.
 */
async function waitForOldServer(dataDir: string): Promise<void> {
  const file = join(dataDir, "postmaster.pid");
  for (let tries = 0; tries < 200; tries++) {
    const running = await processesOf(dataDir, file);
    if (running.length === 0) return await rm(file, { force: true });
    await sleep(systemClock, 50);
  }
  throw new Error(`Cannot start PostgreSQL on ${dataDir}: another one is running on it (its process id is in ${file})`);
}

/** Every process of a server works in its data folder, and that is the same folder by whatever name it is seen. */
async function processesOf(dataDir: string, pidFile: string): Promise<number[]> {
  if (!existsSync("/proc/self")) {
    const pid = Number((await readFile(pidFile, "utf8").catch(() => "")).split("\n")[0]);
    return pid > 0 && signal(pid, 0) ? [pid] : []; // nowhere to look: the pid file is believed
  }
  const data = await stat(dataDir);
  const pids = (await readdir("/proc")).map(Number).filter((pid) => pid > 0);
  const isOurs = await Promise.all(
    pids
      .map(async (pid) => {
        const [place, name] = await Promise.all([stat(`/proc/${pid}/cwd`), readFile(`/proc/${pid}/comm`, "utf8")]);
        return place.ino === data.ino && place.dev === data.dev && name.trim() === "postgres";
      })
      .map((look) => look.catch(() => false)), // gone while we look, or another user's
  );
  return pids.filter((_pid, index) => isOurs[index]);
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
