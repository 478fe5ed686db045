import { describe, expect, it } from "vitest";
import { addItem, batchOf, executingBatch } from "./batchScene.ts";
import { task, usePlane } from "./harness.ts";
import { canceled, must, success, systemError, userError } from "./worker.ts";

const plane = usePlane();

describe("waiting for a batch", () => {
  it("blocks the parent from the creation on, until all children and the batch are done (behaviour 59)", async () => {
    const scene = await plane.scene();
    const parent = await scene.executing();
    const batchId = await batchOf(scene, 2, parent);
    expect(await scene.state(parent.runId)).toBe("EXECUTING_WITH_WAITPOINTS/EXECUTING");
    for (const index of [0, 1]) await addItem(scene, batchId, index, { parent });
    await scene.engine.sealBatch(scene.env, batchId);
    const children = [await scene.worker.takeAndStart(), await scene.worker.takeAndStart()];
    await children[0]?.succeed("1");
    await plane.clock.advance(1_000);
    await plane.timersHandled();
    expect(await scene.state(parent.runId)).toBe("EXECUTING_WITH_WAITPOINTS/EXECUTING");
    await children[1]?.succeed("2");
    await scene.untilState(parent.runId, "EXECUTING/EXECUTING");
    const { completedWaitpoints, batch } = await parent.catchUp();
    expect(completedWaitpoints.map((waitpoint) => waitpoint.type).toSorted()).toEqual(["BATCH", "RUN", "RUN"]);
    expect(batch?.friendlyId).toBe(batchId);
    expect(await scene.run(children[0]?.runId ?? "")).toMatchObject({ triggerFunction: "batchTriggerAndWait", parentRunId: parent.runId });
    await parent.succeed();
  });

  it("does not resume a parent whose children are done before the batch is sealed", async () => {
    const scene = await plane.scene();
    const parent = await scene.executing();
    const batchId = await batchOf(scene, 2, parent);
    await addItem(scene, batchId, 0, { parent });
    await (await scene.worker.takeAndStart()).succeed();
    await plane.clock.advance(5_000);
    await plane.timersHandled();
    expect(await scene.state(parent.runId)).toBe("EXECUTING_WITH_WAITPOINTS/EXECUTING");
    await addItem(scene, batchId, 1, { parent });
    await (await scene.worker.takeAndStart()).succeed();
    await scene.engine.sealBatch(scene.env, batchId);
    await scene.untilState(parent.runId, "EXECUTING/EXECUTING");
    expect((await parent.catchUp()).completedWaitpoints).toHaveLength(3);
  });

  it("resumes the parent once when all children end at the same moment", async () => {
    const scene = await plane.scene();
    const parent = await scene.executing();
    const before = parent.snapshotId;
    const { children } = await executingBatch(scene, 12, parent);
    await Promise.all(children.map((child, index) => child.succeed(String(index))));
    await scene.untilState(parent.runId, "EXECUTING/EXECUTING");
    await plane.clock.advance(5_000);
    await plane.timersHandled();
    const seen = await parent.since(before);
    expect(seen.map((data) => data.snapshot.executionStatus)).toEqual(["EXECUTING_WITH_WAITPOINTS", "EXECUTING"]);
    const runs = (seen.at(-1)?.completedWaitpoints ?? []).filter((waitpoint) => waitpoint.type === "RUN");
    expect(runs.map((waitpoint) => [waitpoint.index, waitpoint.output])).toEqual(children.map((_, index) => [index, String(index)]));
  });

  it("leaves no trace in a later wait for a single run (behaviour 60)", async () => {
    const scene = await plane.scene();
    const parent = await scene.executing();
    const { children } = await executingBatch(scene, 1, parent);
    await children[0]?.succeed();
    await scene.untilState(parent.runId, "EXECUTING/EXECUTING");
    const childId = await scene.triggerAndWait(parent);
    expect((await parent.catchUp()).batch).toBeUndefined();
    await (await scene.worker.takeAndStart()).succeed("single");
    await scene.untilState(parent.runId, "EXECUTING/EXECUTING");
    const { completedWaitpoints, batch } = await parent.catchUp();
    expect(batch).toBeUndefined();
    expect(completedWaitpoints).toHaveLength(1);
    expect(completedWaitpoints[0]?.completedByTaskRun).toMatchObject({ friendlyId: childId });
    expect(completedWaitpoints[0]?.completedByTaskRun?.batch).toBeUndefined();
    expect(completedWaitpoints[0]?.index).toBeUndefined();
  });

  it("ends although items could not be triggered: their places bring errors (behaviour 61)", async () => {
    const scene = await plane.scene();
    const parent = await scene.executing();
    const batchId = await batchOf(scene, 2, parent);
    await addItem(scene, batchId, 0, { parent, options: { lockToVersion: "19700101.1" } });
    await addItem(scene, batchId, 1, { parent });
    await scene.engine.sealBatch(scene.env, batchId);
    await (await scene.worker.takeAndStart()).succeed("good");
    await scene.untilState(parent.runId, "EXECUTING/EXECUTING");
    const runs = (await parent.catchUp()).completedWaitpoints.filter((waitpoint) => waitpoint.type === "RUN");
    expect(runs).toMatchObject([
      { index: 0, outputIsError: true },
      { index: 1, outputIsError: false, output: "good" },
    ]);
    expect(JSON.parse(runs[0]?.output ?? "null")).toMatchObject({ type: "INTERNAL_ERROR", code: "BATCH_ITEM_COULD_NOT_TRIGGER" });
    expect(await scene.engine.getBatch(scene.env, batchId)).toMatchObject({ status: "PARTIAL_FAILED", errors: [{ index: 0 }] });
  });

  it("brings one child's error in its place, and the others' outputs in theirs", async () => {
    const scene = await plane.scene();
    const parent = await scene.executing();
    const { children } = await executingBatch(scene, 3, parent);
    await children[2]?.succeed("2");
    await children[1]?.fail(systemError("TASK_RUN_CRASHED", "broken"));
    await children[0]?.succeed("0");
    await scene.untilState(parent.runId, "EXECUTING/EXECUTING");
    const runs = (await parent.catchUp()).completedWaitpoints.filter((waitpoint) => waitpoint.type === "RUN");
    expect(runs).toMatchObject([
      { index: 0, output: "0" },
      { index: 1, outputIsError: true },
      { index: 2, output: "2" },
    ]);
  });

  it("is refused to a parent that does not execute", async () => {
    const scene = await plane.scene();
    const queued = await scene.trigger();
    expect(await scene.engine.createBatch(scene.env, { runCount: 1, parentRunId: queued, resumeParentOnCompletion: true })).toMatchObject({
      kind: "refused",
    });
  });

  it("that was cancelled meanwhile takes items or refuses them, and never brings the parent back", async () => {
    const scene = await plane.scene();
    const parent = await scene.executing();
    const batchId = await batchOf(scene, 2, parent);
    must(await addItem(scene, batchId, 0, { parent }), "accepted");
    await scene.cancel(parent.runId);
    await parent.catchUp();
    await parent.complete(canceled(parent.runId));
    expect(["accepted", "refused"]).toContain((await addItem(scene, batchId, 1, { parent })).kind);
    await scene.engine.sealBatch(scene.env, batchId);
    for (const child of await scene.worker.takeAll()) {
      const started = await child.tryStart(); // its parent's cancellation may reach it at any moment
      if (started.kind === "started") await child.tryComplete(success(child.runId));
    }
    await plane.timersHandled();
    expect(await scene.state(parent.runId)).toBe("FINISHED/CANCELED");
  });

  it("of a failed attempt does not wake the next one", async () => {
    const scene = await plane.scene({ tasks: [task("work", { retry: { maxAttempts: 2 } }), task("child")] });
    const parent = await scene.executing();
    const { children } = await executingBatch(scene, 2, parent);
    await parent.catchUp();
    await parent.fail(userError("gave up"), 0);
    await parent.start();
    for (const child of children) await child.succeed();
    await plane.clock.advance(1_000);
    await plane.timersHandled();
    expect((await parent.latest()).snapshot.friendlyId).toBe(parent.snapshotId);
    expect((await parent.latest()).batch).toBeUndefined();
  });

  it("fills two places with one run when both items have the same idempotency key", async () => {
    const scene = await plane.scene();
    const parent = await scene.executing();
    const batchId = await batchOf(scene, 2, parent);
    for (const index of [0, 1]) await addItem(scene, batchId, index, { parent, options: { idempotencyKey: "same" } });
    await scene.engine.sealBatch(scene.env, batchId);
    await (await scene.worker.takeAndStart()).succeed("both");
    expect(await scene.worker.tryTake()).toBeUndefined();
    await scene.untilState(parent.runId, "EXECUTING/EXECUTING");
    const runs = (await parent.catchUp()).completedWaitpoints.filter((waitpoint) => waitpoint.type === "RUN");
    expect(runs).toMatchObject([0, 1].map((index) => ({ index, output: "both", completedByTaskRun: { batch: { friendlyId: batchId } } })));
  });

  it("fills the place of a run that had ended before the batch began", async () => {
    const scene = await plane.scene();
    await scene.trigger("child", { idempotencyKey: "old" });
    await (await scene.worker.takeAndStart()).succeed("earlier");
    const parent = await scene.executing();
    const batchId = await batchOf(scene, 1, parent);
    await addItem(scene, batchId, 0, { parent, options: { idempotencyKey: "old" } });
    await scene.engine.sealBatch(scene.env, batchId);
    await scene.untilState(parent.runId, "EXECUTING/EXECUTING");
    const runs = (await parent.catchUp()).completedWaitpoints.filter((waitpoint) => waitpoint.type === "RUN");
    expect(runs).toMatchObject([{ index: 0, output: "earlier", completedByTaskRun: { batch: { friendlyId: batchId } } }]);
  });
});
