import { connect, type Socket } from "node:net";
import { admin, deployments, sdkEnvVars, sdkPackets, sdkQueues, sdkRuns, triggerCli } from "@torpor/contracts";
import { freshDatabase } from "@torpor/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { NAP, deployNap, dequeueAndStart, ok, startTestPlatform, trigger, type TestPlatform } from "./harness.ts";

let platform: TestPlatform;

beforeAll(async () => {
  platform = await startTestPlatform({
    env: { TORPOR_MAX_CONNECTIONS: "40", TORPOR_REQUEST_TIMEOUT_MS: "1000", TORPOR_MAX_PACKET_BYTES: "100000" },
  });
  await deployNap(platform);
});
afterAll(() => platform.close());

describe("queues", () => {
  it("lists them with their counts, and finds them by task, by name and by id", async () => {
    await trigger(platform, {}, "group/other task");
    const { data, pagination } = ok(await platform.sdk.call(sdkQueues.list, { query: { page: 1, perPage: 10 } }));
    expect(data.map(({ name }) => name)).toEqual(expect.arrayContaining(["nap", "shared"]));
    expect(pagination).toEqual({ currentPage: 1, totalPages: 1, count: data.length });
    const shared = ok(await platform.sdk.call(sdkQueues.retrieve, { params: { queue: "shared" }, query: { type: "custom" } }));
    expect(shared).toMatchObject({ type: "custom", queued: 1, running: 0, paused: false, concurrencyLimit: 3 });
    expect(ok(await platform.sdk.call(sdkQueues.retrieve, { params: { queue: shared.id }, query: { type: "id" } }))).toEqual(shared);
    expect(ok(await platform.sdk.call(sdkQueues.retrieve, { params: { queue: "nap" }, query: { type: "task" } }))).toMatchObject({
      name: "nap",
      type: "task",
    });
  });

  it("pauses and resumes, and overrides a limit until it is reset", async () => {
    const params = { queue: "shared" };
    expect(ok(await platform.sdk.call(sdkQueues.pause, { params, body: { type: "custom", action: "pause" } })).paused).toBe(true);
    expect(ok(await platform.sdk.call(sdkQueues.pause, { params, body: { type: "custom", action: "resume" } })).paused).toBe(false);
    expect(
      ok(await platform.sdk.call(sdkQueues.overrideConcurrency, { params, body: { type: "custom", concurrencyLimit: 9 } }))
        .concurrencyLimit,
    ).toBe(9);
    expect(ok(await platform.sdk.call(sdkQueues.resetConcurrency, { params, body: { type: "custom" } })).concurrencyLimit).toBe(3);
  });

  it("answers 404 to a queue that is not there, and names it", async () => {
    expect(await platform.request("GET", "/api/v1/queues/nowhere?type=custom")).toMatchObject({
      status: 404,
      json: { error: expect.stringContaining("nowhere") },
    });
    expect(
      (await platform.request("POST", "/api/v1/queues/shared/pause", { body: { type: "custom", action: "explode" } })).json,
    ).toMatchObject({ param: "action" });
  });
});

describe("environment variables", () => {
  it("keeps them, hands them to attempts, and lets nobody set what the platform sets", async () => {
    const params = { projectRef: platform.projectRef, slug: "prod" };
    ok(await platform.sdk.call(sdkEnvVars.import, { params, body: { variables: { MINE: "1", TRIGGER_SECRET_KEY: "stolen" } } }));
    ok(await platform.sdk.call(sdkEnvVars.import, { params, body: { variables: { MINE: "2" } } }));
    expect(ok(await platform.sdk.call(sdkEnvVars.get, { params: { ...params, name: "MINE" } })).value).toBe("1");
    ok(await platform.sdk.call(sdkEnvVars.update, { params: { ...params, name: "MINE" }, body: { value: "3" } }));
    await trigger(platform);
    const { start } = await dequeueAndStart(platform);
    expect(start.envVars).toMatchObject({ MINE: "3", TRIGGER_SECRET_KEY: platform.apiKey });
    ok(await platform.sdk.call(sdkEnvVars.delete, { params: { ...params, name: "MINE" } }));
    expect(await platform.request("GET", `/api/v1/projects/${platform.projectRef}/envvars/prod/MINE`)).toMatchObject({
      status: 404,
      json: { error: expect.stringContaining("MINE") },
    });
  });

  it("opens no other environment or project, and refuses names that are none", async () => {
    expect((await platform.request("GET", `/api/v1/projects/${platform.projectRef}/envvars/dev`)).status).toBe(404);
    expect((await platform.request("GET", "/api/v1/projects/proj_other/envvars/prod")).status).toBe(404);
    expect(
      await platform.request("POST", `/api/v1/projects/${platform.projectRef}/envvars/prod`, { body: { name: "1=2", value: "" } }),
    ).toMatchObject({ status: 400, json: { param: "name" } });
  });
});

describe("deployments", () => {
  it("makes the newest the current one, and finds each by id", async () => {
    const first = ok(await platform.sdk.call(deployments.current));
    const second = ok(await platform.sdk.call(deployments.create, { body: { ...NAP, contentHash: "other" } }));
    expect(second).toMatchObject({ status: "DEPLOYED", isCurrent: true, contentHash: "other" });
    expect(ok(await platform.sdk.call(deployments.current)).id).toBe(second.id);
    expect(ok(await platform.sdk.call(deployments.get, { params: { deploymentId: first.id } }))).toMatchObject({ isCurrent: false });
    expect(ok(await platform.sdk.call(deployments.list, { query: { "page[size]": 1 } })).data).toMatchObject([{ id: second.id }]);
  });

  it("answers 404 to a deployment that is not there, and 400 to a manifest whose field is wrong", async () => {
    expect(await platform.request("GET", "/torpor/v1/deployments/deployment_nowhere")).toMatchObject({
      status: 404,
      json: { error: expect.stringContaining("deployment_nowhere") },
    });
    const manifest = { tasks: [{ id: "nap", filePath: "a.ts", machine: "enormous" }] };
    expect(await platform.request("POST", "/torpor/v1/deployments", { body: { ...NAP, manifest } })).toMatchObject({
      status: 400,
      json: { param: expect.stringContaining("manifest.tasks[0].machine") },
    });
  });

  it("lists the tasks of the current one, and answers 404 to another with what there is", async () => {
    expect(ok(await platform.sdk.call(deployments.listTasks)).tasks.map(({ id }) => id)).toEqual(["group/other task", "nap"]);
    expect(ok(await platform.sdk.call(deployments.getTask, { params: { taskId: "group/other task" } }))).toMatchObject({
      filePath: "src/other.ts",
      queueName: "shared",
    });
    expect(await platform.request("GET", "/torpor/v1/tasks/nowhere")).toMatchObject({
      status: 404,
      json: { error: expect.stringMatching(/"nowhere".*nap/) },
    });
  });

  it("answers what the Trigger.dev CLI asks before a build", async () => {
    const params = { projectRef: platform.projectRef, env: "prod" };
    expect(ok(await platform.sdk.call(triggerCli.projectEnvironment, { params }))).toEqual({
      apiKey: platform.apiKey,
      name: "Test",
      apiUrl: platform.url,
      projectId: expect.any(String),
    });
    expect(ok(await platform.sdk.call(triggerCli.variables, { params })).variables).toEqual(expect.any(Object));
    expect(ok(await platform.sdk.call(triggerCli.deploySettings, { params }))).toHaveProperty("build_path");
    expect(ok(await platform.sdk.call(triggerCli.whoami)).email).toMatch(/@/);
    expect((await platform.request("GET", `/api/v1/projects/${platform.projectRef}/dev`)).status).toBe(404);
  });
});

describe("values that are stored apart", () => {
  it("are written and read by signed addresses, of this environment only", async () => {
    const { presignedUrl, storagePath } = await presign("PUT", "/api/v2/packets/payloads/1.json");
    expect(
      (await fetch(presignedUrl, { method: "PUT", body: '{"json":"large"}', headers: { "content-type": "application/super+json" } }))
        .status,
    ).toBe(200);
    const id = await trigger(platform, { payload: storagePath, options: { payloadType: "application/store" } });
    const { payloadPresignedUrl } = ok(await platform.sdk.call(sdkRuns.retrieve, { params: { runId: id } }));
    const read = await fetch(payloadPresignedUrl ?? "");
    expect([read.status, read.headers.get("content-type"), await read.text()]).toEqual([200, "application/super+json", '{"json":"large"}']);
    const { presignedUrl: download } = await presign("GET", "/api/v1/packets/payloads/1.json");
    expect((await fetch(download.replace("1.json", "2.json"))).status).toBe(403);
    expect((await fetch(download, { method: "PUT", body: "x" })).status).toBe(403);
    expect((await fetch(presignedUrl, { method: "PUT", body: "x".repeat(100_001) })).status).toBe(413);
    const { presignedUrl: absent } = await presign("GET", "/api/v1/packets/nowhere.json");
    expect((await fetch(absent)).status).toBe(404);
  });

  async function presign(method: "GET" | "PUT", path: string): Promise<{ presignedUrl: string; storagePath: string }> {
    expect([sdkPackets.presignUpload.method, sdkPackets.presignDownload.method]).toContain(method);
    return (await platform.request(method, path)).json as { presignedUrl: string; storagePath: string };
  }
});

describe("the operator's routes", () => {
  it("are closed to everybody else", async () => {
    for (const key of [null, platform.apiKey, "wrong"])
      expect((await platform.request("GET", "/admin/api/v1/status", { key })).status).toBe(401);
  });

  it("make projects and worker groups once, and count runs", async () => {
    const one = ok(await platform.operator.call(admin.ensureProject, { body: { ref: "proj_new" } }));
    expect(ok(await platform.operator.call(admin.ensureProject, { body: { ref: "proj_new" } }))).toEqual(one);
    const made = ok(await platform.operator.call(admin.ensureWorkerGroup, { body: { name: "second" } }));
    expect(made.token?.plaintext).toMatch(/^tr_wgt_\w{40}$/);
    expect(ok(await platform.operator.call(admin.status))).toMatchObject({
      databaseReachable: true,
      byStatus: expect.any(Object),
      executing: expect.any(Number),
    });
    expect(
      await platform.request("POST", "/admin/api/v1/projects", { body: { ref: "../etc" }, key: "admin-token-of-the-tests" }),
    ).toMatchObject({ status: 400, json: { param: "ref" } });
  });
});

describe("the server as a whole", () => {
  it("says that it is not ready when its database is gone, and goes on", async () => {
    const own = await freshDatabase();
    const lonely = await startTestPlatform({ databaseUrl: own.connectionString });
    try {
      await own.close();
      expect(await lonely.request("GET", "/readyz", { key: null })).toMatchObject({ status: 503, json: { ok: false, database: false } });
      expect((await lonely.request("GET", "/healthz", { key: null })).status).toBe(200);
      const refused = await lonely.request("GET", "/api/v3/runs/run_x");
      expect([refused.status, refused.headers.get("x-should-retry")]).toEqual([500, null]);
    } finally {
      await lonely.close();
    }
  });

  it("says that it is up and ready", async () => {
    expect((await platform.request("GET", "/healthz", { key: null })).json).toEqual({ ok: true });
    expect((await platform.request("GET", "/readyz", { key: null })).json).toEqual({ ok: true, database: true });
  });

  it("answers 404 as JSON to an address that it does not know", async () => {
    expect(await platform.request("GET", "/realtime/v1/runs")).toMatchObject({ status: 404, json: { code: "not_found" } });
  });

  it("cuts off a body that never ends, also where bodies are streamed", async () => {
    for (const path of ["/api/v1/tasks/nap/trigger", "/api/v3/batches/batch_x/items"]) {
      const { socket, text } = open(
        `POST ${path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${platform.apiKey}\r\ntransfer-encoding: chunked\r\n\r\n`,
      );
      socket.write("1\r\n{\r\n");
      expect(await text).toMatch(/408|404/);
    }
  });

  it("refuses sockets beyond its limit, and closes those that say nothing, so that there is room again", async () => {
    const idle = Array.from({ length: 200 }, () => open(""));
    await Promise.all(idle.map(({ text }) => text));
    expect((await platform.request("GET", "/healthz", { key: null })).status).toBe(200);
  });

  function open(head: string): { socket: Socket; text: Promise<string> } {
    const { hostname, port } = new URL(platform.url);
    const socket = connect(Number(port), hostname);
    if (head !== "") socket.write(head);
    const text = new Promise<string>((resolve) => {
      let answer = "";
      socket.on("data", (chunk) => (answer += chunk.toString()));
      socket.on("close", () => resolve(answer));
      socket.on("error", () => {}); // a refused socket may be reset; its close is what counts
    });
    return { socket, text };
  }
});
