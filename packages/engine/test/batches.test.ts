import { describe, expect, it } from "vitest";
import { addItem, batchOf, batchStatus, executingBatch } from "./batchScene.ts";
import { inMs, task, usePlane } from "./harness.ts";
import { must, userError, type HeldRun } from "./worker.ts";

const plane = usePlane();

const SEAL_LIMIT_MS = 30 * 60_000;

/** Half an hour in which the parent's runner is alive. */
async function passHalfAnHour(parent: HeldRun | undefined, totalMs = SEAL_LIMIT_MS): Promise<void> {
  for (let passedMs = 0; passedMs < totalMs; passedMs += 4 * 60_000) {
    await parent?.heartbeat();
    await plane.clock.advance(Math.min(4 * 60_000, totalMs - passedMs));
  }
}

describe("a batch", () => {
  it("is shared by its runs, and is COMPLETED within three seconds of its last run (behaviour 57)", async () => {
    const scene = await plane.scene();
    const { batchId, children } = await executingBatch(scene, 3);
    for (const child of children) expect(await scene.run(child.runId)).toMatchObject({ batchId, triggerFunction: "batchTrigger" });
    for (const child of children) await child.succeed();
    const endedAtMs = plane.clock.nowMs();
    await plane.until("the batch is complete", async () => (await batchStatus(scene, batchId)) === "COMPLETED");
    expect(plane.clock.nowMs() - endedAtMs).toBeLessThanOrEqual(3_000);
    expect(await scene.engine.getBatch(scene.env, batchId)).toMatchObject({
      runCount: 3,
      runIds: children.map((child) => child.runId),
      errors: [],
    });
  });

  it("counts an item that could not be triggered as finished: a failed run that never had an attempt (behaviour 58)", async () => {
    const scene = await plane.scene();
    const batchId = await batchOf(scene, 2);
    expect(await addItem(scene, batchId, 0)).toEqual({ kind: "accepted" });
    expect(await addItem(scene, batchId, 1, { options: { lockToVersion: "19700101.1" } })).toEqual({ kind: "accepted" });
    await scene.engine.sealBatch(scene.env, batchId);
    await (await scene.worker.takeAndStart()).succeed();
    await plane.until("the batch is over", async () => (await batchStatus(scene, batchId)) === "PARTIAL_FAILED");
    const batch = await scene.engine.getBatch(scene.env, batchId);
    expect(batch?.errors).toMatchObject([{ index: 1 }]);
    expect(batch?.errors[0]?.error).toContain("19700101.1");
    expect(batch?.runIds).toHaveLength(2);
    const failed = await scene.run(batch?.runIds[1] ?? "");
    expect(failed).toMatchObject({
      status: "SYSTEM_FAILURE",
      executionStatus: "FINISHED",
      attemptNumber: 0,
      durationMs: 0,
      error: { code: "BATCH_ITEM_COULD_NOT_TRIGGER" },
    });
  });

  it("takes an item that is sent twice once (behaviour 62)", async () => {
    const scene = await plane.scene();
    const batchId = await batchOf(scene, 3);
    for (const index of [0, 1, 2]) expect(await addItem(scene, batchId, index)).toEqual({ kind: "accepted" });
    for (const index of [0, 1, 2]) expect(await addItem(scene, batchId, index)).toEqual({ kind: "duplicate" });
    expect((await scene.engine.getBatch(scene.env, batchId))?.runIds).toHaveLength(3);
    expect((await scene.engine.counts()).queued).toBe(3);
  });

  it("takes each item once when whole streams are sent at the same time", async () => {
    const scene = await plane.scene();
    const parent = await scene.executing();
    const batchId = await batchOf(scene, 10, parent);
    const second = await plane.anotherEngine();
    const answers = await Promise.all(
      [scene.engine, second].flatMap((engine) =>
        Array.from({ length: 10 }, (_, index) =>
          engine.addBatchItem(scene.env, batchId, {
            index,
            task: "child",
            options: { payloadType: "application/json", parentRunId: parent.runId, resumeParentOnCompletion: true },
          }),
        ),
      ),
    );
    expect(answers.filter((answer) => answer.kind === "accepted")).toHaveLength(10);
    expect(answers.filter((answer) => answer.kind === "duplicate")).toHaveLength(10);
    expect((await scene.engine.counts()).queued).toBe(10);
    await second.close();
  });

  it("says how many items it has when it is sealed with too few, and can be completed then", async () => {
    const scene = await plane.scene();
    const batchId = await batchOf(scene, 2);
    await addItem(scene, batchId, 0);
    expect(await scene.engine.sealBatch(scene.env, batchId)).toEqual({ kind: "counted", sealed: false, itemCount: 1, expectedCount: 2 });
    await addItem(scene, batchId, 1);
    expect(await scene.engine.sealBatch(scene.env, batchId)).toMatchObject({ sealed: true, itemCount: 2 });
    expect(await scene.engine.sealBatch(scene.env, batchId)).toMatchObject({ sealed: true });
  });

  it("refuses items and seals when it is unknown, or of another environment (behaviour 63)", async () => {
    const scene = await plane.scene();
    const other = await plane.scene();
    const foreign = await batchOf(other, 1);
    for (const batchId of ["batch_unknown", foreign]) {
      expect(await addItem(scene, batchId, 0)).toMatchObject({ kind: "refused", code: "not_found" });
      expect(await scene.engine.sealBatch(scene.env, batchId)).toMatchObject({ kind: "refused", code: "not_found" });
      expect(await scene.engine.getBatch(scene.env, batchId)).toBeNull();
    }
  });

  it("refuses an item whose index is not among those announced", async () => {
    const scene = await plane.scene();
    const batchId = await batchOf(scene, 1);
    expect(await addItem(scene, batchId, 1)).toMatchObject({ kind: "refused" });
    expect(await addItem(scene, batchId, -1)).toMatchObject({ kind: "refused" });
  });

  it("with an idempotency key is made once", async () => {
    const scene = await plane.scene();
    const first = must(await scene.engine.createBatch(scene.env, { runCount: 1, idempotencyKey: "b" }), "created");
    const second = must(await scene.engine.createBatch(scene.env, { runCount: 1, idempotencyKey: "b" }), "created");
    expect(second).toMatchObject({ batchId: first.batchId, isCached: true });
  });

  it("of no runs is complete when it is sealed, or refused from the start", async () => {
    const scene = await plane.scene();
    const created = await scene.engine.createBatch(scene.env, { runCount: 0 });
    if (created.kind === "refused") return expect(created.message).toMatch(/runCount|0/);
    expect(await scene.engine.sealBatch(scene.env, created.batchId)).toMatchObject({ sealed: true });
    await plane.until("the batch is complete", async () => (await batchStatus(scene, created.batchId)) === "COMPLETED");
  });

  it("with runs that failed is COMPLETED all the same: the runs carry their errors", async () => {
    const scene = await plane.scene();
    const { batchId, children } = await executingBatch(scene, 2);
    await children[0]?.succeed();
    await children[1]?.fail(userError("broken"));
    await plane.until("the batch is complete", async () => (await batchStatus(scene, batchId)) === "COMPLETED");
  });

  it("is over when its runs were cancelled", async () => {
    const scene = await plane.scene();
    const batchId = await batchOf(scene, 2);
    for (const index of [0, 1]) await addItem(scene, batchId, index);
    await scene.engine.sealBatch(scene.env, batchId);
    for (const runId of (await scene.engine.getBatch(scene.env, batchId))?.runIds ?? []) await scene.cancel(runId);
    await plane.until("the batch is complete", async () => (await batchStatus(scene, batchId)) === "COMPLETED");
  });
});

describe("a batch that is never sealed", () => {
  it("is ABORTED after half an hour, and its parent resumes with an error (behaviour 64)", async () => {
    const scene = await plane.scene();
    const parent = await scene.executing();
    const batchId = await batchOf(scene, 2, parent);
    await parent.catchUp();
    await passHalfAnHour(parent, SEAL_LIMIT_MS - 10_000);
    await plane.timersHandled();
    expect(await batchStatus(scene, batchId)).not.toBe("ABORTED");
    expect(await scene.state(parent.runId)).toBe("EXECUTING_WITH_WAITPOINTS/EXECUTING");
    await plane.clock.advance(11_000);
    await plane.until("the batch is aborted", async () => (await batchStatus(scene, batchId)) === "ABORTED");
    await scene.untilState(parent.runId, "EXECUTING/EXECUTING");
    expect((await parent.catchUp()).completedWaitpoints).toMatchObject([{ type: "BATCH", outputIsError: true }]);
  });

  it("is just ABORTED when nobody waits for it, and takes no more items", async () => {
    const scene = await plane.scene();
    const batchId = await batchOf(scene, 2);
    await plane.clock.advance(SEAL_LIMIT_MS + 1_000);
    await plane.until("the batch is aborted", async () => (await batchStatus(scene, batchId)) === "ABORTED");
    expect(await addItem(scene, batchId, 0)).toMatchObject({ kind: "refused" });
    expect(await scene.engine.sealBatch(scene.env, batchId)).toMatchObject({ kind: "refused" });
  });

  it("is left alone when it is sealed in time", async () => {
    const scene = await plane.scene({ tasks: [task("work"), task("child")] });
    const batchId = await batchOf(scene, 1);
    await addItem(scene, batchId, 0, { options: { delayUntil: inMs(plane, 3 * SEAL_LIMIT_MS) } });
    await scene.engine.sealBatch(scene.env, batchId);
    await plane.clock.advance(SEAL_LIMIT_MS + 10_000);
    await plane.timersHandled();
    expect(await batchStatus(scene, batchId)).not.toBe("ABORTED");
  });
});
