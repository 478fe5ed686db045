import { WORKER_SOCKET, sdkRuns, sdkWaits, workerActions, type DequeuedMessage } from "@torpor/contracts";
import { RouteClient } from "@torpor/http";
import { io, type Socket } from "socket.io-client";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { completeOk, deployNap, dequeue, dequeueAndStart, eventually, ok, pathOf, startTestPlatform, trigger, workerHeaders, type Started, type TestPlatform } from "./harness.ts";

let platform: TestPlatform;

beforeAll(async () => {
  platform = await startTestPlatform();
  await deployNap(platform);
});
afterAll(() => platform.close());

beforeEach(async () => {
  const { data } = ok(await platform.sdk.call(sdkRuns.list, { query: { "page[size]": 100 } }));
  for (const run of data) if (!run.isCompleted) ok(await platform.sdk.call(sdkRuns.cancel, { params: { runId: run.id } }));
});

const post = (path: string, body: unknown, headers: Record<string, string> = workerHeaders()) => platform.request("POST", path, { body, headers, key: null });
const get = (path: string, headers: Record<string, string> = workerHeaders()) => platform.request("GET", path, { headers, key: null });
const params = (at: { runId: string; snapshotId: string }) => ({ runId: at.runId, snapshotId: at.snapshotId });

describe("who may act as a worker", () => {
  it.each(["authorization", "x-trigger-worker-managed-secret", "x-trigger-worker-instance-name"])("answers 401 without %s", async (missing) => {
    const { [missing]: _, ...headers } = workerHeaders();
    expect(await post(workerActions.connect.path, { metadata: {} }, headers)).toMatchObject({ status: 401, json: { error: expect.any(String) } });
  });

  it("answers 401 to another secret, another token, and the key of an environment", async () => {
    expect((await post(workerActions.dequeue.path, {}, { ...workerHeaders(), "x-trigger-worker-managed-secret": "wrong" })).status).toBe(401);
    expect((await post(workerActions.dequeue.path, {}, { ...workerHeaders(), authorization: "Bearer tr_wgt_wrong" })).status).toBe(401);
    expect((await post(workerActions.dequeue.path, {}, { ...workerHeaders(), authorization: `Bearer ${platform.apiKey}` })).status).toBe(401);
  });

  it("greets a supervisor with its group", async () => {
    expect(ok(await platform.worker.call(workerActions.connect, { body: { metadata: { workerVersion: "4.8.3" } } }))).toEqual({ ok: true, workerGroup: { type: expect.any(String), name: "default" } });
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
      expect(ok(await waiting)).toMatchObject([{ version: "1", run: { friendlyId: id, attemptNumber: 1 }, image: "torpor/proj_test@sha256:0" }]);
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
    expect(JSON.parse(start.envVars["TRIGGER_OTEL_RESOURCE_ATTRIBUTES"] ?? "")).toMatchObject({ "ctx.environment.id": platform.environmentId });
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
    expect(await post(path, completion)).toMatchObject({ status: 200, json: { result: { attemptStatus: "RUN_FINISHED", snapshot: { executionStatus: "FINISHED" } } } });
    const again = await post(path, completion);
    expect(again.status).toBe(400);
    expect(again.headers.get("x-should-retry")).toBe("false");
  });

  it("names the field of a completion that is not one", async () => {
    await trigger(platform);
    const started = await dequeueAndStart(platform);
    const reply = await post(pathOf(workerActions.completeAttempt, params(started)), { completion: { ok: false, id: started.runId, error: { type: "NO_SUCH_ERROR" } } });
    expect(reply).toMatchObject({ status: 400, json: { param: "completion.error.type" } });
  });

  it("reads a completion that is labelled as plain text, as runners send it", async () => {
    await trigger(platform);
    const started = await dequeueAndStart(platform);
    const body = JSON.stringify({ completion: { ok: true, id: started.runId, outputType: "text/plain", output: "x" } });
    expect((await post(pathOf(workerActions.completeAttempt, params(started)), body, { ...workerHeaders(), "content-type": "text/plain;charset=UTF-8" })).status).toBe(200);
  });

  it("gives back a run that was not started", async () => {
    const id = await trigger(platform);
    const message = await dequeue(platform);
    const at = { runId: id, snapshotId: message.snapshot.friendlyId };
    expect(ok(await platform.worker.call(workerActions.release, { params: at, body: { reason: "no capacity" } }))).toEqual({ ok: true, requeued: true });
    expect((await post(pathOf(workerActions.release, at), { reason: "" })).status).toBe(400);
  });
});

describe("snapshots", () => {
  it("shows the latest, and what came since, oldest first", async () => {
    const id = await trigger(platform);
    const { message, snapshotId } = await dequeueAndStart(platform);
    expect(ok(await platform.worker.call(workerActions.latestSnapshot, { params: { runId: id } })).execution).toMatchObject({ version: "1", snapshot: { friendlyId: snapshotId, executionStatus: "EXECUTING" }, run: { attemptNumber: 1 } });
    const since = ok(await platform.worker.call(workerActions.snapshotsSince, { params: { runId: id, snapshotId: message.snapshot.friendlyId } }));
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
    expect((await post(pathOf(workerActions.runHeartbeat, { runId, snapshotId: message.snapshot.friendlyId }), {})).json).toEqual({ ok: true });
  });
});

describe("sleeping and waking", () => {
  it("accepts a suspension of a run that waits, and hands it out again with its checkpoint when the token is completed", async () => {
    const { started, tokenId } = await runWaitingForToken();
    const waiting = await latest(started.runId);
    const suspended = await suspend(started.runId, waiting.snapshot.friendlyId, "mem_0123456789");
    expect(suspended).toMatchObject({ ok: true, accepted: true, checkpointId: expect.any(String) });
    expect(ok(await platform.worker.call(workerActions.liveCheckpoints, { body: { locations: ["mem_0123456789", "mem_9999999999"] } })).live).toEqual(["mem_0123456789"]);
    ok(await platform.sdk.call(sdkWaits.completeToken, { params: { tokenId }, body: { data: { answer: 42 } } }));
    const message = await dequeueSoon();
    expect(message).toMatchObject({ run: { friendlyId: started.runId }, checkpoint: { type: "COMPUTE", location: "mem_0123456789" } });
    expect(message.completedWaitpoints).toMatchObject([{ type: "MANUAL", output: '{"json":{"answer":42}}', outputIsError: false }]);

    const at = { runId: started.runId, snapshotId: message.snapshot.friendlyId };
    const continued = ok(await platform.worker.call(workerActions.continueRun, { params: at }));
    expect(continued.snapshot.executionStatus).toBe("EXECUTING");
    const again = await get(pathOf(workerActions.continueRun, at));
    expect(again.status).toBe(422);
    expect(again.headers.get("x-should-retry")).toBe("false");
    await completeOk(platform, { runId: started.runId, snapshotId: continued.snapshot.friendlyId });
  });

  it("says that a suspension came too late when the run has moved on, and leaves the run alone", async () => {
    const { started, tokenId } = await runWaitingForToken();
    const waiting = await latest(started.runId);
    ok(await platform.sdk.call(sdkWaits.completeToken, { params: { tokenId }, body: {} }));
    await eventually("the run to go on", async () => ((await latest(started.runId)).snapshot.executionStatus === "EXECUTING" ? true : undefined));
    expect(await suspend(started.runId, waiting.snapshot.friendlyId, "mem_1123456789")).toEqual({ ok: true, accepted: false });
    expect((await latest(started.runId)).snapshot.executionStatus).toBe("EXECUTING");
  });

  it("notes a suspension that failed, and the run stays where it is", async () => {
    const { started } = await runWaitingForToken();
    const waiting = await latest(started.runId);
    const reply = await post(pathOf(workerActions.completeSuspension, { runId: started.runId, snapshotId: waiting.snapshot.friendlyId }), { success: false, error: "disk full" });
    expect(reply).toMatchObject({ status: 200, json: { ok: true, accepted: false } });
    expect((await latest(started.runId)).snapshot.friendlyId).toBe(waiting.snapshot.friendlyId);
  });

  it("takes the news of a failed restore, and shows its reason in the run's timeline", async () => {
    const { started, tokenId } = await runWaitingForToken();
    const waiting = await latest(started.runId);
    await suspend(started.runId, waiting.snapshot.friendlyId, "mem_2123456789");
    ok(await platform.sdk.call(sdkWaits.completeToken, { params: { tokenId }, body: {} }));
    const message = await dequeueSoon();
    const at = { runId: started.runId, snapshotId: message.snapshot.friendlyId };
    ok(await platform.worker.call(workerActions.restoreOutcome, { params: at, body: { outcome: "requeue", reason: "memory_image_refused", message: "a byte was flipped" } }));
    const { events } = ok(await platform.sdk.call(sdkRuns.timeline, { params: { runId: started.runId } }));
    expect(JSON.stringify(events)).toContain("memory_image_refused");
  });

  it("adds to a run's timeline what a node tells", async () => {
    const id = await trigger(platform);
    const events = [{ name: "snapshot.frozen", at: new Date(), durationMs: 12.5, properties: { bytes: 5 } }];
    expect(ok(await platform.worker.call(workerActions.timeline, { params: { runId: id }, body: { events } }))).toEqual({ ok: true });
    const timeline = ok(await platform.sdk.call(sdkRuns.timeline, { params: { runId: id } }));
    expect(timeline.events).toContainEqual(expect.objectContaining({ source: "node", name: "snapshot.frozen", durationMs: 12.5, properties: { bytes: 5 } }));
    expect((await post(pathOf(workerActions.timeline, { runId: id }), { events: Array.from({ length: 101 }, () => events[0]) })).status).toBe(400);
  });
});

describe("the socket of a node", () => {
  it("is refused with a wrong secret", async () => {
    const socket = connect({ ...workerHeaders(), "x-trigger-worker-managed-secret": "wrong" });
    try {
      const error = await new Promise<Error>((resolve) => socket.once("connect_error", resolve));
      expect(error.message).toContain("Cannot authenticate");
      expect(socket.connected).toBe(false);
    } finally {
      socket.disconnect();
    }
  });

  it("hears of the runs that it watches, whichever process changed them, and of no others", async () => {
    const other = await startTestPlatform({ databaseUrl: platform.databaseUrl });
    const socket = connect(workerHeaders(), other.url);
    const heard: string[] = [];
    socket.on(WORKER_SOCKET.notify, (message: { version: string; run: { friendlyId: string } }) => heard.push(`${message.version} ${message.run.friendlyId}`));
    try {
      await new Promise<void>((resolve) => socket.once("connect", resolve));
      const [watched, unwatched] = [await runWaitingForToken(), await runWaitingForToken()];
      socket.emit(WORKER_SOCKET.subscribe, { version: "1", runFriendlyIds: [watched.started.runId] });
      socket.emit(WORKER_SOCKET.subscribe, { version: "1", runFriendlyIds: "not a list" });
      await roundTrip(socket);
      for (const { tokenId } of [unwatched, watched]) ok(await platform.sdk.call(sdkWaits.completeToken, { params: { tokenId }, body: {} }));
      await eventually("a notification", async () => (heard.includes(`1 ${watched.started.runId}`) ? true : undefined));
      expect(heard).not.toContain(`1 ${unwatched.started.runId}`);
    } finally {
      socket.disconnect();
      await other.close();
    }
  });

  it("hears nothing more of a run that it has unsubscribed from", async () => {
    const socket = connect(workerHeaders());
    const heard: string[] = [];
    socket.on(WORKER_SOCKET.notify, (message: { run: { friendlyId: string } }) => heard.push(message.run.friendlyId));
    try {
      await new Promise<void>((resolve) => socket.once("connect", resolve));
      const [left, kept] = [await runWaitingForToken(), await runWaitingForToken()];
      socket.emit(WORKER_SOCKET.subscribe, { version: "1", runFriendlyIds: [left.started.runId, kept.started.runId] });
      socket.emit(WORKER_SOCKET.unsubscribe, { version: "1", runFriendlyIds: [left.started.runId] });
      await roundTrip(socket);
      for (const { tokenId } of [left, kept]) ok(await platform.sdk.call(sdkWaits.completeToken, { params: { tokenId }, body: {} }));
      await eventually("a notification", async () => (heard.includes(kept.started.runId) ? true : undefined));
      expect(heard).not.toContain(left.started.runId);
    } finally {
      socket.disconnect();
    }
  });

  function connect(headers: Record<string, string>, url = platform.url): Socket {
    return io(`${url}${WORKER_SOCKET.namespace}`, { transports: ["websocket"], extraHeaders: headers, reconnection: false });
  }

  /** The messages of a socket are handled in order: once a later one of the same connection has an effect, the earlier have theirs. */
  async function roundTrip(socket: Socket): Promise<void> {
    const probe = await runWaitingForToken();
    const heard = new Promise<void>((resolve) => {
      const onNotify = (message: { run: { friendlyId: string } }): void => {
        if (message.run.friendlyId !== probe.started.runId) return;
        socket.off(WORKER_SOCKET.notify, onNotify);
        resolve();
      };
      socket.on(WORKER_SOCKET.notify, onNotify);
    });
    socket.emit(WORKER_SOCKET.subscribe, { version: "1", runFriendlyIds: [probe.started.runId] });
    await eventually("the subscription", async () => {
      ok(await platform.sdk.call(sdkRuns.cancel, { params: { runId: probe.started.runId } }));
      return Promise.race([heard.then(() => true as const), new Promise<undefined>((resolve) => setTimeout(() => resolve(undefined), 50))]);
    });
  }
});

async function runWaitingForToken(): Promise<{ started: Started; tokenId: string }> {
  await trigger(platform);
  const started = await dequeueAndStart(platform);
  const token = ok(await platform.sdk.call(sdkWaits.createToken, { body: { timeout: "1h" } }));
  expect(ok(await platform.sdk.call(sdkWaits.waitForToken, { params: { runId: started.runId, tokenId: token.id } }))).toEqual({ success: true });
  return { started, tokenId: token.id };
}

async function latest(runId: string) {
  return ok(await platform.worker.call(workerActions.latestSnapshot, { params: { runId } })).execution;
}

async function suspend(runId: string, snapshotId: string, location: string) {
  const checkpoint = { type: "COMPUTE" as const, location, reason: "WAIT" };
  return ok(await platform.worker.call(workerActions.completeSuspension, { params: { runId, snapshotId }, body: { success: true, checkpoint } }));
}

async function dequeueSoon(): Promise<DequeuedMessage> {
  return eventually("a run to be handed out", async () => ok(await platform.worker.call(workerActions.dequeue, { body: {} }))[0]);
}
