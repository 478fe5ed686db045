import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sleep, systemClock } from "@torpor/kernel";
import { Client } from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startPostgresServer, type PostgresServer, type PostgresServerOptions } from "./server.ts";

async function ask(server: PostgresServer, text: string): Promise<unknown[]> {
  const client = new Client({ connectionString: server.connectionString });
  client.on("error", () => undefined);
  await client.connect();
  try {
    return (await client.query(text)).rows;
  } finally {
    await client.end();
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

async function until(condition: () => boolean): Promise<void> {
  for (let tries = 0; tries < 400 && !condition(); tries++) await sleep(systemClock, 25);
  expect(condition()).toBe(true);
}

describe("a PostgreSQL server", () => {
  let folder: string;
  let options: PostgresServerOptions;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "torpor-server-"));
    await chmod(folder, 0o755);
    options = { dataDir: join(folder, "data"), listen: { kind: "socket", dir: join(folder, "socket") }, password: "a b/c?d", fsync: true };
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it("that was killed comes up again with everything that it had said was written", async () => {
    const first = await startPostgresServer(options);
    await ask(first, "create table t as select 1 as n");
    process.kill(first.pid, "SIGKILL");
    await first.exited;
    await first.close();
    const second = await startPostgresServer(options);
    expect(await ask(second, "select n from t")).toEqual([{ n: 1 }]);
    await second.close();
    await second.close();
    expect(isAlive(second.pid)).toBe(false);
  });

  it("starts beside a pid file whose number belongs to another process by now", async () => {
    await writeFile(join(options.dataDir, "postmaster.pid"), `${process.pid}\n${options.dataDir}\n`);
    const server = await startPostgresServer(options);
    expect(await ask(server, "select 1 as n")).toEqual([{ n: 1 }]);
    await server.close();
  });

  it("says why it cannot start, in its own words", async () => {
    await writeFile(join(folder, "occupied"), "");
    const start = startPostgresServer({ ...options, listen: { kind: "socket", dir: join(folder, "x".repeat(120)) } });
    await expect(start).rejects.toThrow(/Cannot start PostgreSQL on .*\n.*too long/s);
  });

  it("listens on a loopback port of its own when asked to", async () => {
    const server = await startPostgresServer({ ...options, listen: { kind: "port", port: 0 } });
    expect(new URL(server.connectionString).hostname).toBe("127.0.0.1");
    expect(await ask(server, "show fsync")).toEqual([{ fsync: "on" }]);
    await server.close();
  });

  it("lives in folders that only root gets to, such as root's home", async (context) => {
    context.skip(process.getuid?.() !== 0, "only root hands the server to another user");
    const home = join(folder, "home");
    await mkdir(home, { mode: 0o700 });
    const hidden: PostgresServerOptions = {
      ...options,
      dataDir: join(home, "deep", "data"),
      listen: { kind: "socket", dir: join(home, "socket") },
    };
    for (let round = 1; round <= 2; round++) {
      const server = await startPostgresServer(hidden);
      await ask(server, "create table if not exists t (n integer)");
      await ask(server, "insert into t values (1)");
      expect(await ask(server, "select count(*)::int as n from t")).toEqual([{ n: round }]);
      await server.close();
    }
  });

  it("dies with its parent, even one that is killed, and takes its scratch data along", async () => {
    const scratch = await mkdtemp(join(tmpdir(), "torpor-scratch-"));
    const script = `
      import { startPostgresServer } from ${JSON.stringify(import.meta.resolve("./server.ts"))};
      const server = await startPostgresServer({ dataDir: ${JSON.stringify(join(scratch, "data"))}, listen: { kind: "socket", dir: ${JSON.stringify(join(scratch, "s"))} }, password: "x", fsync: false, scratchDir: ${JSON.stringify(scratch)} });
      console.log(server.pid);`;
    const parent = spawn(process.execPath, ["--input-type=module", "-e", script], { stdio: ["ignore", "pipe", "inherit"] });
    const [line] = (await once(parent.stdout, "data")) as [Buffer];
    const pid = Number(line.toString());
    expect(isAlive(pid)).toBe(true);
    parent.kill("SIGKILL");
    await until(() => !isAlive(pid) && !existsSync(scratch));
  });
});
