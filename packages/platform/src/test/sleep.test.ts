import { sdkRuns, sdkWaits, workerActions, type DequeuedMessage } from "@torpor/contracts";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import {
  cancelAll,
  completeOk,
  deployNap,
  eventually,
  ok,
  pathOf,
  runWaitingForToken,
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

const post = (path: string, body: unknown) => platform.request("POST", path, { body, headers: workerHeaders(), key: null });
const get = (path: string) => platform.request("GET", path, { headers: workerHeaders(), key: null });

describe("sleeping and waking", () => {
  it("accepts a suspension of a run that waits, and hands it out again with its checkpoint when the token is completed", async () => {
    const { started, tokenId } = await runWaitingForToken(platform);
    const waiting = await latest(started.runId);
    const suspended = await suspend(started.runId, waiting.snapshot.friendlyId, "mem_0123456789");
    expect(suspended).toMatchObject({ ok: true, accepted: true, checkpointId: expect.any(String) });
    expect(
      ok(await platform.worker.call(workerActions.liveCheckpoints, { body: { locations: ["mem_0123456789", "mem_9999999999"] } })).live,
    ).toEqual(["mem_0123456789"]);
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
    const { started, tokenId } = await runWaitingForToken(platform);
    const waiting = await latest(started.runId);
    ok(await platform.sdk.call(sdkWaits.completeToken, { params: { tokenId }, body: {} }));
    await eventually("the run to go on", async () =>
      (await latest(started.runId)).snapshot.executionStatus === "EXECUTING" ? true : undefined,
    );
    expect(await suspend(started.runId, waiting.snapshot.friendlyId, "mem_1123456789")).toEqual({ ok: true, accepted: false });
    expect((await latest(started.runId)).snapshot.executionStatus).toBe("EXECUTING");
  });

  it("notes a suspension that failed, and the run stays where it is", async () => {
    const { started } = await runWaitingForToken(platform);
    const waiting = await latest(started.runId);
    const reply = await post(pathOf(workerActions.completeSuspension, { runId: started.runId, snapshotId: waiting.snapshot.friendlyId }), {
      success: false,
      error: "disk full",
    });
    expect(reply).toMatchObject({ status: 200, json: { ok: true, accepted: false } });
    expect((await latest(started.runId)).snapshot.friendlyId).toBe(waiting.snapshot.friendlyId);
  });

  it("takes the news of a failed restore, and shows its reason in the run's timeline", async () => {
    const { started, tokenId } = await runWaitingForToken(platform);
    const waiting = await latest(started.runId);
    await suspend(started.runId, waiting.snapshot.friendlyId, "mem_2123456789");
    ok(await platform.sdk.call(sdkWaits.completeToken, { params: { tokenId }, body: {} }));
    const message = await dequeueSoon();
    const at = { runId: started.runId, snapshotId: message.snapshot.friendlyId };
    ok(
      await platform.worker.call(workerActions.restoreOutcome, {
        params: at,
        body: { outcome: "requeue", reason: "memory_image_refused", message: "a byte was flipped" },
      }),
    );
    const { events } = ok(await platform.sdk.call(sdkRuns.timeline, { params: { runId: started.runId } }));
    expect(JSON.stringify(events)).toContain("memory_image_refused");
  });

  it("adds to a run's timeline what a node tells", async () => {
    const id = await trigger(platform);
    const events = [{ name: "snapshot.frozen", at: new Date(), durationMs: 12.5, properties: { bytes: 5 } }];
    expect(ok(await platform.worker.call(workerActions.timeline, { params: { runId: id }, body: { events } }))).toEqual({ ok: true });
    const timeline = ok(await platform.sdk.call(sdkRuns.timeline, { params: { runId: id } }));
    expect(timeline.events).toContainEqual(
      expect.objectContaining({ source: "node", name: "snapshot.frozen", durationMs: 12.5, properties: { bytes: 5 } }),
    );
    expect(
      (await post(pathOf(workerActions.timeline, { runId: id }), { events: Array.from({ length: 101 }, () => events[0]) })).status,
    ).toBe(400);
  });
});

async function latest(runId: string) {
  return ok(await platform.worker.call(workerActions.latestSnapshot, { params: { runId } })).execution;
}

async function suspend(runId: string, snapshotId: string, location: string) {
  const checkpoint = { type: "COMPUTE" as const, location, reason: "WAIT" };
  return ok(
    await platform.worker.call(workerActions.completeSuspension, { params: { runId, snapshotId }, body: { success: true, checkpoint } }),
  );
}

async function dequeueSoon(): Promise<DequeuedMessage> {
  return eventually("a run to be handed out", async () => ok(await platform.worker.call(workerActions.dequeue, { body: {} }))[0]);
}
