import { SupervisorHttpClient, SupervisorSession } from "@trigger.dev/core/v3/workers";
import { sdkWaits } from "@torpor/contracts";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { MANAGED_SECRET, WORKER_TOKEN, deployNap, eventually, ok, startTestPlatform, trigger, type TestPlatform } from "./harness.ts";

// The session and the client of Trigger.dev's own supervisor against the platform's worker actions.

type QueueMessage = { message: { run: { friendlyId: string }; snapshot: { friendlyId: string } } };

let platform: TestPlatform;
let session: SupervisorSession;
let client: SupervisorHttpClient;
const messages: QueueMessage[] = [];
const notified: string[] = [];

beforeAll(async () => {
  platform = await startTestPlatform();
  await deployNap(platform);
  const common = {
    apiUrl: platform.url,
    workerToken: WORKER_TOKEN,
    instanceName: "foreign-supervisor",
    managedWorkerSecret: MANAGED_SECRET,
  };
  session = new SupervisorSession({
    ...common,
    dequeueIntervalMs: 50,
    dequeueIdleIntervalMs: 50,
    heartbeatIntervalSeconds: 1,
    queueClass: "default",
    scaling: { strategy: "none", minConsumerCount: 1, maxConsumerCount: 1 },
  } as ConstructorParameters<typeof SupervisorSession>[0]);
  session.on("runQueueMessage", (message: QueueMessage) => messages.push(message));
  session.on("runNotification", ({ run }: { run: { friendlyId: string } }) => notified.push(run.friendlyId));
  client = new SupervisorHttpClient(common);
  await session.start();
});
afterAll(async () => {
  await session.stop();
  await platform.close();
});

describe("a supervisor of Trigger.dev", () => {
  it("gets runs, starts them, lets them sleep and wake, and completes them", async () => {
    const runId = await trigger(platform, { payload: '{"json":1}', options: { payloadType: "application/super+json" } });
    const { message } = await eventually("the run", async () => messages.find((one) => one.message.run.friendlyId === runId));
    session.subscribeToRunNotifications([runId]);
    const start = data(await client.startRunAttempt(runId, message.snapshot.friendlyId, { isWarmStart: false }, "runner-1"));
    expect(start).toMatchObject({
      run: { status: "EXECUTING" },
      execution: { run: { payload: '{"json":1}' } },
      envVars: { TRIGGER_SECRET_KEY: platform.apiKey },
    });
    expect(await client.heartbeatRun(runId, start.snapshot.friendlyId, {}, "runner-1")).toMatchObject({ success: true });

    const token = ok(await platform.sdk.call(sdkWaits.createToken, { body: {} }));
    ok(await platform.sdk.call(sdkWaits.waitForToken, { params: { runId, tokenId: token.id } }));
    await eventually("a notification", async () => (notified.includes(runId) ? true : undefined));
    const waiting = data(await client.getLatestSnapshot(runId, "runner-1")).execution;
    expect(waiting.snapshot.executionStatus).toBe("EXECUTING_WITH_WAITPOINTS");
    const checkpoint = { type: "KUBERNETES" as const, location: "registry/checkpoint:1", reason: "WAIT" };
    expect(
      await client.submitSuspendCompletion({
        runId,
        snapshotId: waiting.snapshot.friendlyId,
        runnerId: "runner-1",
        body: { success: true, checkpoint },
      }),
    ).toMatchObject({ success: true, data: { ok: true } });

    ok(await platform.sdk.call(sdkWaits.completeToken, { params: { tokenId: token.id }, body: { data: "woken" } }));
    const resumed = await eventually("the run, again", async () => messages.filter((one) => one.message.run.friendlyId === runId)[1]);
    expect(resumed.message).toMatchObject({
      checkpoint: { location: "registry/checkpoint:1" },
      completedWaitpoints: [{ output: "woken" }],
    });
    const continued = data(await client.continueRunExecution(runId, resumed.message.snapshot.friendlyId, "runner-2"));
    const since = data(await client.getSnapshotsSince(runId, waiting.snapshot.friendlyId, "runner-2"));
    expect(since.snapshots.map(({ snapshot }) => snapshot.executionStatus)).toEqual([
      "SUSPENDED",
      "QUEUED",
      "PENDING_EXECUTING",
      "EXECUTING",
    ]);
    const completed = data(
      await client.completeRunAttempt(
        runId,
        continued.snapshot.friendlyId,
        { completion: { ok: true, id: runId, output: "1", outputType: "application/json" } },
        "runner-2",
      ),
    );
    expect(completed.result).toMatchObject({ attemptStatus: "RUN_FINISHED", run: { status: "COMPLETED_SUCCESSFULLY" } });
  });

  it("is not made to repeat a start that another has won", async () => {
    const runId = await trigger(platform);
    const { message } = await eventually("the run", async () => messages.find((one) => one.message.run.friendlyId === runId));
    data(await client.startRunAttempt(runId, message.snapshot.friendlyId, {}, "runner-1"));
    const begun = performance.now();
    expect(await client.startRunAttempt(runId, message.snapshot.friendlyId, {}, "runner-2")).toMatchObject({
      success: false,
      statusCode: 409,
    });
    expect(performance.now() - begun).toBeLessThan(450);
  });

  it("gives back a run that it could not start, and tells of a restore that failed", async () => {
    const runId = await trigger(platform);
    const { message } = await eventually("the run", async () => messages.find((one) => one.message.run.friendlyId === runId));
    expect(data(await client.releaseRun(runId, message.snapshot.friendlyId, { reason: "create_failed" }, "runner-1"))).toEqual({
      ok: true,
      requeued: true,
    });
    expect(await client.reportRestoreOutcome("run_nowhere", "snapshot_nowhere", { outcome: "requeue", reason: "gone" })).toMatchObject({
      success: false,
      statusCode: 404,
    });
  });
});

function data<T>(result: { success: true; data: T } | { success: false; error: string }): T {
  if (!result.success) throw new Error(`expected success, got ${result.error}`);
  return result.data;
}
