// The gateway as an operator starts it.
import { spawn, type ChildProcess } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

const MAIN = new URL("./main.ts", import.meta.url).pathname;
const token = "a-token-for-tests-0123456789";

describe("the gateway's process", () => {
  let dir: string;
  let child: ChildProcess;
  let text: string;

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "torpor-main-"));
  });
  afterEach(async () => {
    child.kill("SIGKILL");
    await rm(dir, { recursive: true, force: true });
  });

  function start(env: Record<string, string>): Promise<number | null> {
    text = "";
    const given = { PATH: process.env["PATH"], TORPOR_STATE_DIR: dir, TORPOR_GATEWAY_DRIVER: "process", TORPOR_GATEWAY_PORT: "0", ...env };
    child = spawn(process.execPath, [MAIN], { env: given, stdio: ["ignore", "ignore", "pipe"] });
    child.stderr?.on("data", (chunk: Buffer) => void (text += chunk.toString()));
    return new Promise((resolve) => child.once("exit", resolve));
  }

  it("says which setting is missing, and ends with 1", async () => {
    expect(await start({})).toBe(1);
    expect(text).toContain("COMPUTE_GATEWAY_AUTH_TOKEN: must be set");
  });

  it("warns that the process driver isolates nothing, serves, and ends with 0 at SIGTERM", async () => {
    const ended = start({ COMPUTE_GATEWAY_AUTH_TOKEN: token });
    await expect.poll(() => text, { timeout: 20_000 }).toContain("the gateway listens");
    const url = /"url":"([^"]+)"/.exec(text)?.[1] ?? "";
    expect(text).toContain("not isolated");
    const node = await fetch(`${url}/api/node`, { headers: { authorization: `Bearer ${token}` } });
    expect(await node.json()).toMatchObject({ driver: "process", canSnapshot: false });
    expect(await (await fetch(`${url}/healthz`)).json()).toEqual({ status: "ok" });
    expect(text).not.toContain(token);
    child.kill("SIGTERM");
    expect(await ended).toBe(0);
  });

  it("refuses snapshots where the driver cannot make them, with a type", async () => {
    const ended = start({ COMPUTE_GATEWAY_AUTH_TOKEN: token });
    await expect.poll(() => text, { timeout: 20_000 }).toContain("the gateway listens");
    const url = /"url":"([^"]+)"/.exec(text)?.[1] ?? "";
    const body = JSON.stringify({ callback: { url: "http://127.0.0.1:1/", metadata: {} } });
    const answer = await fetch(`${url}/api/instances/runner-1/snapshot`, {
      method: "POST",
      body,
      headers: { authorization: `Bearer ${token}` },
    });
    expect(answer.status).toBe(501);
    expect(await answer.json()).toMatchObject({ code: "not_supported" });
    child.kill("SIGINT");
    expect(await ended).toBe(0);
  });
});
