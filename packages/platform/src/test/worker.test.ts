import { workerActions } from "@torpor/contracts";
import { RouteClient } from "@torpor/http";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import {
  cancelAll,
  deployNap,
  dequeue,
  dequeueAndStart,
  ok,
  pathOf,
  startTestPlatform,
  trigger,
  workerHeaders,
  type TestPlatform,
} from "./harness.ts";

let platform: TestPlatform;

beforeAll(async () => {
  platform = await startTestPlatform();
  await deployNap(platform);
});
afterAll(() => platform.close());

beforeEach(() => cancelAll(platform));

const post = (path: string, body: unknown, headers: Record<string, string> = workerHeaders()) =>
  platform.request("POST", path, { body, headers, key: null });
const get = (path: string, headers: Record<string, string> = workerHeaders()) => platform.request("GET", path, { headers, key: null });
const params = (at: { runId: string; snapshotId: string }) => ({ runId: at.runId, snapshotId: at.snapshotId });

describe("who may act as a worker", () => {
  it.each(["authorization", "x-trigger-worker-managed-secret", "x-trigger-worker-instance-name"])(
    "answers 401 without %s",
    async (missing) => {
      const { [missing]: _, ...headers } = workerHeaders();
      expect(await post(workerActions.connect.path, { metadata: {} }, headers)).toMatchObject({
        status: 401,
        json: { error: expect.any(String) },
      });
    },
  );

  it("answers 401 to another secret, another token, and the key of an environment", async () => {
    expect((await post(workerActions.dequeue.path, {}, { ...workerHeaders(), "x-trigger-worker-managed-secret": "wrong" })).status).toBe(
      401,
    );
    expect((await post(workerActions.dequeue.path, {}, { ...workerHeaders(), authorization: "Bearer tr_wgt_wrong" })).status).toBe(401);
    expect((await post(workerActions.dequeue.path, {}, { ...workerHeaders(), authorization: `Bearer ${platform.apiKey}` })).status).toBe(
      401,
    );
  });

  it("greets a supervisor with its group", async () => {
    expect(ok(await platform.worker.call(workerActions.connect, { body: { metadata: { workerVersion: "4.8.3" } } }))).toEqual({
      ok: true,
      workerGroup: { type: expect.any(String), name: "default" },
    });
    expect(ok(await platform.worker.call(workerActions.heartbeat, { body: {} }))).toEqual({ ok: true });
  });
});

describe("handing out runs", () => {
  it("answers with nothing when there is nothing, and tolerates what old supervisors send", async () => {
    expect((await post(workerActions.dequeue.path, { maxRunCount: 1, queueClass: "default" })).json).toEqual([]);
    expect((await get("/engine/v1/worker-actions/deployments/deployment_x/dequeue?maxRunCount=1")).json).toEqual([]);
  });

  it("gives a run to the one who was waiting for it, as soon as it is there", async () => {
    const patient = await startTestPlatform({ databaseUrl: platform.databaseUrl, env: { TORPOR_DEQUEUE_WAIT_MS: "10000" } });
    try {
      const waiting = patient.worker.call(workerActions.dequeue, { body: {} });
      const id = await trigger(platform);
      expect(ok(await waiting)).toMatchObject([
        { version: "1", run: { friendlyId: id, attemptNumber: 1 }, image: "torpor/proj_test@sha256:0" },
      ]);
    } finally {
      await patient.close();
    }
  });

  it("takes back a run that was handed to a connection that had ended", async () => {
    const patient = await startTestPlatform({ databaseUrl: platform.databaseUrl, env: { TORPOR_DEQUEUE_WAIT_MS: "10000" } });
    const client = new RouteClient({ baseUrl: patient.url, timeoutMs: 20_000, headers: () => workerHeaders("node-gone") });
    try {
      const gone = new AbortController();
      const asking = client.call(workerActions.dequeue, { body: {}, signal: gone.signal });
      gone.abort();
      await asking;
      const id = await trigger(platform);
      expect((await dequeue(platform)).run.friendlyId).toBe(id);
    } finally {
      await client.close();
      await patient.close();
    }
  });
});

describe("attempts", () => {
  it("starts with everything that a task needs to call back", async () => {
    await trigger(platform, { payload: '{"json":1}', options: { payloadType: "application/super+json" } });
    const { start, message } = await dequeueAndStart(platform);
    expect(start.execution).toMatchObject({ attempt: { number: 1 }, run: { payload: '{"json":1}' }, task: { id: "nap" } });
    expect(start.envVars).toMatchObject({
      TRIGGER_SECRET_KEY: platform.apiKey,
      TRIGGER_API_URL: platform.url,
      TRIGGER_OTEL_EXPORTER_OTLP_ENDPOINT: `${platform.url}/otel`,
      OTEL_EXPORTER_OTLP_HEADERS: expect.stringMatching(/^x-torpor-telemetry=\S+$/),
    });
    expect(JSON.parse(start.envVars["TRIGGER_OTEL_RESOURCE_ATTRIBUTES"] ?? "")).toMatchObject({
      "ctx.environment.id": platform.environmentId,
    });
    expect(message.environment.id).toBe(platform.environmentId);
  });

  it("refuses a start that comes second with 409, and says that repeating is of no use", async () => {
    await trigger(platform);
    const { message } = await dequeueAndStart(platform);
    const path = pathOf(workerActions.startAttempt, params({ runId: message.run.friendlyId, snapshotId: message.snapshot.friendlyId }));
    const reply = await post(path, {});
    expect(reply).toMatchObject({ status: 409, json: { code: "snapshot_stale" } });
    expect(reply.headers.get("x-should-retry")).toBe("false");
  });

  it("answers 404 to a start of a run that is not there, and names it", async () => {
    const reply = await post(pathOf(workerActions.startAttempt, { runId: "run_nowhere", snapshotId: "snapshot_nowhere" }), {});
    expect(reply).toMatchObject({ status: 404, json: { error: expect.stringContaining("run_nowhere") } });
  });

  it("refuses a second completion, and one under another snapshot, with 400", async () => {
    await trigger(platform);
    const started = await dequeueAndStart(platform);
    const completion = { completion: { ok: true, id: started.runId, outputType: "application/json", output: "1" } };
    const stale = pathOf(workerActions.completeAttempt, { runId: started.runId, snapshotId: started.message.snapshot.friendlyId });
    expect((await post(stale, completion)).status).toBe(400);
    const path = pathOf(workerActions.completeAttempt, params(started));
    expect(await post(path, completion)).toMatchObject({
      status: 200,
      json: { result: { attemptStatus: "RUN_FINISHED", snapshot: { executionStatus: "FINISHED" } } },
    });
    const again = await post(path, completion);
    expect(again.status).toBe(400);
    expect(again.headers.get("x-should-retry")).toBe("false");
  });

  it("names the field of a completion that is not one", async () => {
    await trigger(platform);
    const started = await dequeueAndStart(platform);
    const reply = await post(pathOf(workerActions.completeAttempt, params(started)), {
      completion: { ok: false, id: started.runId, error: { type: "NO_SUCH_ERROR" } },
    });
    expect(reply).toMatchObject({ status: 400, json: { param: "completion.error.type" } });
  });

  it("reads a completion that is labelled as plain text, as runners send it", async () => {
    await trigger(platform);
    const started = await dequeueAndStart(platform);
    const body = JSON.stringify({ completion: { ok: true, id: started.runId, outputType: "text/plain", output: "x" } });
    expect(
      (
        await post(pathOf(workerActions.completeAttempt, params(started)), body, {
          ...workerHeaders(),
          "content-type": "text/plain;charset=UTF-8",
        })
      ).status,
    ).toBe(200);
  });

  it("gives back a run that was not started", async () => {
    const id = await trigger(platform);
    const message = await dequeue(platform);
    const at = { runId: id, snapshotId: message.snapshot.friendlyId };
    expect(ok(await platform.worker.call(workerActions.release, { params: at, body: { reason: "no capacity" } }))).toEqual({
      ok: true,
      requeued: true,
    });
    expect((await post(pathOf(workerActions.release, at), { reason: "" })).status).toBe(400);
  });
});

describe("snapshots", () => {
  it("shows the latest, and what came since, oldest first", async () => {
    const id = await trigger(platform);
    const { message, snapshotId } = await dequeueAndStart(platform);
    expect(ok(await platform.worker.call(workerActions.latestSnapshot, { params: { runId: id } })).execution).toMatchObject({
      version: "1",
      snapshot: { friendlyId: snapshotId, executionStatus: "EXECUTING" },
      run: { attemptNumber: 1 },
    });
    const since = ok(
      await platform.worker.call(workerActions.snapshotsSince, { params: { runId: id, snapshotId: message.snapshot.friendlyId } }),
    );
    expect(since.snapshots.map(({ snapshot }) => snapshot.friendlyId)).toEqual([snapshotId]);
    expect(ok(await platform.worker.call(workerActions.snapshotsSince, { params: { runId: id, snapshotId } })).snapshots).toEqual([]);
  });

  it("answers an error to an unknown snapshot and to one of another run, and never other data", async () => {
    await trigger(platform);
    const first = await dequeueAndStart(platform);
    await trigger(platform);
    const second = await dequeueAndStart(platform);
    for (const snapshotId of ["snapshot_nowhere", second.snapshotId]) {
      const reply = await get(pathOf(workerActions.snapshotsSince, { runId: first.runId, snapshotId }));
      expect(reply.status).toBeGreaterThanOrEqual(400);
      expect(reply.json).not.toHaveProperty("snapshots");
    }
  });

  it("shows nothing of a run outside the environment that the node has proof of", async () => {
    const id = await trigger(platform);
    const path = pathOf(workerActions.latestSnapshot, { runId: id });
    expect((await get(path, { ...workerHeaders(), "x-trigger-worker-environment-id": platform.environmentId })).status).toBe(200);
    expect((await get(path, { ...workerHeaders(), "x-trigger-worker-environment-id": "another" })).status).toBe(404);
  });

  it("acknowledges a heartbeat of a snapshot that is over", async () => {
    await trigger(platform);
    const { runId, message } = await dequeueAndStart(platform);
    expect((await post(pathOf(workerActions.runHeartbeat, { runId, snapshotId: message.snapshot.friendlyId }), {})).json).toEqual({
      ok: true,
    });
  });
});
