import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
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
  const child = spawn(process.execPath, [join(import.meta.dirname, "main.ts")], { env: { PATH: process.env["PATH"] ?? "", ...env }, stdio: ["ignore", "ignore", "pipe"] });
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

describe("the platform as a process", () => {
  it("ends with an error that names what is missing", async () => {
    const { child, said } = start({ DATABASE_URL: "postgres://x" });
    const [code] = (await once(child, "exit")) as [number];
    expect(code).not.toBe(0);
    expect(said()).toContain("MANAGED_WORKER_SECRET");
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
