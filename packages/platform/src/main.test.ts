import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { join } from "node:path";
import { workerActions } from "@torpor/contracts";
import { freshDatabase, type FreshDatabase } from "@torpor/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { MANAGED_SECRET, WORKER_TOKEN, workerHeaders } from "./test/harness.ts";

let database: FreshDatabase;
const children: ChildProcess[] = [];

beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(async () => {
  for (const child of children) child.kill("SIGKILL");
  await database.close();
});

function start(env: Record<string, string>): { child: ChildProcess; url: Promise<string>; said: () => string } {
  const child = spawn(process.execPath, [join(import.meta.dirname, "main.ts")], {
    env: { PATH: process.env["PATH"] ?? "", ...env },
    stdio: ["ignore", "ignore", "pipe"],
  });
  children.push(child);
  let said = "";
  const url = new Promise<string>((resolve) => {
    child.stderr?.on("data", (chunk: Buffer) => {
      said += chunk.toString();
      const match = /"url":"(http:[^"]+)"/.exec(said);
      if (match?.[1] !== undefined) resolve(match[1]);
    });
  });
  return { child, url, said: () => said };
}

const env = (): Record<string, string> => ({
  DATABASE_URL: database.connectionString,
  PORT: "0",
  MANAGED_WORKER_SECRET: MANAGED_SECRET,
  TRIGGER_WORKER_TOKEN: WORKER_TOKEN,
  TORPOR_ENCRYPTION_KEY: "0123456789abcdef".repeat(4),
});

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("Cannot find a free port");
  return address.port;
}

describe("the platform as a process", () => {
  it("ends with an error that names what is missing", async () => {
    const { child, said } = start({ DATABASE_URL: "postgres://x" });
    const [code] = (await once(child, "exit")) as [number];
    expect(code).not.toBe(0);
    expect(said()).toContain("MANAGED_WORKER_SECRET");
  });

  it("shows metrics on a port of their own, and there only", async () => {
    const port = await freePort();
    const { child, url } = start({ ...env(), TORPOR_METRICS_PORT: String(port) });
    const origin = await url;
    await fetch(`${origin}/healthz`);
    const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    expect(metrics).toContain('torpor_platform_request_seconds_count{method="GET",path="/healthz",status="200"} 1');
    expect((await fetch(`${origin}/metrics`)).status).toBe(404);
    expect((await fetch(`http://127.0.0.1:${port}/healthz`)).status).toBe(404);
    const exited = once(child, "exit");
    child.kill("SIGTERM");
    expect((await exited)[0]).toBe(0);
  });

  it("answers a waiting supervisor with nothing at SIGTERM, takes no new connection, and ends with 0", async () => {
    const { child, url } = start(env());
    const origin = await url;
    const waiting = fetch(`${origin}${workerActions.dequeue.path}`, { method: "POST", headers: workerHeaders(), body: "{}" });
    // Once a later request is answered, the earlier one of the same client has arrived too.
    expect((await fetch(`${origin}/readyz`)).status).toBe(200);
    const exited = once(child, "exit");
    child.kill("SIGTERM");
    const answer = await waiting;
    expect([answer.status, await answer.json(), answer.headers.get("connection")]).toEqual([200, [], "close"]);
    expect((await exited)[0]).toBe(0);
    await expect(fetch(`${origin}/healthz`)).rejects.toThrow("fetch failed");
  });
});
