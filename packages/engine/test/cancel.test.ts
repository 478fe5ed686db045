import { describe, expect, it } from "vitest";
import { inMs, usePlane } from "./harness.ts";
import { canceled, failure, success, systemError, userError } from "./worker.ts";

const plane = usePlane();

describe("cancelling an executing run", () => {
  it("shows it as cancelled at once, tells its runner once, and ends it when the runner confirms (behaviour 15)", async () => {
    const scene = await plane.scene();
    const held = await scene.executing();
    const told = scene.listen(held.runId);
    expect(await scene.cancel(held.runId)).toEqual({ kind: "canceled", alreadyFinished: false });
    expect(await scene.state(held.runId)).toBe("PENDING_CANCEL/CANCELED");
    await plane.timersHandled();
    expect(told.count()).toBe(1);
    await held.catchUp();
    expect(await held.complete(canceled(held.runId))).toMatchObject({
      attemptStatus: "RUN_FINISHED",
      snapshot: { executionStatus: "FINISHED" },
      run: { status: "CANCELED" },
    });
    expect(await scene.state(held.runId)).toBe("FINISHED/CANCELED");
    expect(await scene.queue()).toEqual({ running: 0, queued: 0 });
  });

  it("sets the time of its end only at the end", async () => {
    const scene = await plane.scene();
    const held = await scene.executing();
    await scene.cancel(held.runId);
    expect((await scene.run(held.runId)).completedAt).toBeNull();
    await held.catchUp();
    await held.complete(canceled(held.runId));
    expect((await scene.run(held.runId)).completedAt).toEqual(new Date(plane.clock.nowMs()));
  });

  it("cancels its children only after it has ended, an executing child with a notification of its own (behaviour 16)", async () => {
    const scene = await plane.scene();
    const parent = await scene.executing();
    await scene.trigger("child", { parentRunId: parent.runId });
    const child = await scene.worker.takeAndStart();
    const queuedChild = await scene.trigger("child", { parentRunId: parent.runId });
    const told = scene.listen(child.runId);
    await scene.cancel(parent.runId);
    await plane.timersHandled();
    expect(await scene.state(child.runId)).toBe("EXECUTING/EXECUTING");
    expect(await scene.state(queuedChild)).toBe("QUEUED/PENDING");
    await parent.catchUp();
    await parent.complete(canceled(parent.runId));
    await scene.untilState(child.runId, "PENDING_CANCEL/CANCELED");
    await scene.untilState(queuedChild, "FINISHED/CANCELED");
    await plane.until("the child's runner is told", () => told.count() === 1);
    await child.catchUp();
    await child.complete(canceled(child.runId));
    expect(await scene.state(child.runId)).toBe("FINISHED/CANCELED");
    expect(await scene.queue("child")).toEqual({ running: 0, queued: 0 });
  });

  it("reaches grandchildren", async () => {
    const scene = await plane.scene();
    const parent = await scene.executing();
    await scene.trigger("child", { parentRunId: parent.runId });
    const child = await scene.worker.takeAndStart();
    const grandchild = await scene.trigger("child", { parentRunId: child.runId });
    await scene.cancel(parent.runId);
    await parent.catchUp();
    await parent.complete(canceled(parent.runId));
    await scene.untilState(child.runId, "PENDING_CANCEL/CANCELED");
    await child.catchUp();
    await child.complete(canceled(child.runId));
    await scene.untilState(grandchild, "FINISHED/CANCELED");
  });

  it("twice tells the runner again and changes nothing", async () => {
    const scene = await plane.scene();
    const held = await scene.executing();
    const told = scene.listen(held.runId);
    await scene.cancel(held.runId);
    const { snapshot } = await scene.snapshot(held.runId);
    await scene.cancel(held.runId);
    expect((await scene.snapshot(held.runId)).snapshot.friendlyId).toBe(snapshot.friendlyId);
    await plane.until("the runner is told again", () => told.count() === 2);
  });

  const confirmations = [
    ["a success", (id: string) => success(id, "too late")],
    ["an error that wants a retry at once", (id: string) => failure(id, userError("killed"), 0)],
    ["an error that wants a retry later", (id: string) => failure(id, userError("killed"), 60_000)],
    [
      "a process that died",
      (id: string) => failure(id, systemError("TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE", "Process exited with code 1.")),
    ],
    ["a process that ran out of memory", (id: string) => failure(id, systemError("TASK_PROCESS_OOM_KILLED"))],
  ] as const;
  it.each(confirmations)("ends it as cancelled even if the runner reports %s", async (_what, completion) => {
    const scene = await plane.scene();
    const held = await scene.executing("hungry");
    await scene.cancel(held.runId);
    await held.catchUp();
    expect(await held.complete(completion(held.runId))).toMatchObject({
      attemptStatus: "RUN_FINISHED",
      snapshot: { executionStatus: "FINISHED" },
      run: { status: "CANCELED" },
    });
    expect(await scene.state(held.runId)).toBe("FINISHED/CANCELED");
    await plane.clock.advance(61_000);
    await plane.timersHandled();
    expect(await scene.worker.tryTake()).toBeUndefined();
  });

  it("while it waits ends the wait: what it waited for does not bring it back", async () => {
    const scene = await plane.scene();
    const { held, tokenId } = await scene.waiting();
    await scene.cancel(held.runId);
    await scene.completeToken(tokenId);
    await plane.timersHandled();
    expect(await scene.state(held.runId)).toBe("PENDING_CANCEL/CANCELED");
    await held.catchUp();
    await held.complete(canceled(held.runId));
    expect(await scene.history(held.runId)).toEqual([
      "QUEUED",
      "PENDING_EXECUTING",
      "EXECUTING",
      "EXECUTING_WITH_WAITPOINTS",
      "PENDING_CANCEL",
      "FINISHED",
    ]);
  });

  it("cancels the children that it waits for once it has ended", async () => {
    const scene = await plane.scene();
    const parent = await scene.executing();
    const childId = await scene.triggerAndWait(parent);
    await scene.cancel(parent.runId);
    await parent.catchUp();
    await parent.complete(canceled(parent.runId));
    await scene.untilState(childId, "FINISHED/CANCELED");
    expect(await scene.state(parent.runId)).toBe("FINISHED/CANCELED");
  });

  it("refuses the completion of a runner that does not know yet, without effect", async () => {
    const scene = await plane.scene();
    const held = await scene.executing();
    await scene.cancel(held.runId);
    expect(await held.tryComplete(success(held.runId, "done"))).toMatchObject({ kind: "refused", code: "snapshot_mismatch" });
    expect(await scene.state(held.runId)).toBe("PENDING_CANCEL/CANCELED");
  });
});

describe("whatever the run did when it was cancelled", () => {
  it("its concurrency is free afterwards (behaviour 19)", async () => {
    const scene = await plane.scene();
    const executing = await scene.executing("solo");
    await scene.cancel(executing.runId);
    // the slot is given back at once, not only when the runner confirms
    const next = await scene.executing("solo");
    await scene.waitForNewToken(next);
    await scene.cancel(next.runId);
    const third = await scene.trigger("solo");
    await scene.worker.take();
    await scene.cancel(third);
    const fourth = await scene.executing("solo");
    await scene.waitForNewToken(fourth);
    await fourth.suspend();
    await scene.cancel(fourth.runId);
    const delayed = await scene.trigger("solo", { delayUntil: inMs(plane, 1_000) });
    await scene.cancel(delayed);
    expect((await scene.engine.counts()).executing).toBe(0);
    await scene.executing("solo");
  });

  it("the parent that waits for it is woken with an error", async () => {
    const scene = await plane.scene();
    const parent = await scene.executing();
    const childId = await scene.triggerAndWait(parent);
    await scene.cancel(childId, "not wanted");
    await scene.untilState(parent.runId, "EXECUTING/EXECUTING");
    const { completedWaitpoints } = await parent.catchUp();
    expect(completedWaitpoints).toMatchObject([{ type: "RUN", outputIsError: true, completedByTaskRun: { friendlyId: childId } }]);
    expect(completedWaitpoints[0]?.output).toContain("not wanted");
  });

  it("the parent of an executing child is woken only when the child has ended", async () => {
    const scene = await plane.scene();
    const parent = await scene.executing();
    const childId = await scene.triggerAndWait(parent);
    const child = await scene.worker.takeAndStart();
    await scene.cancel(childId);
    await plane.timersHandled();
    expect(await scene.state(parent.runId)).toBe("EXECUTING_WITH_WAITPOINTS/EXECUTING");
    await child.catchUp();
    await child.complete(canceled(childId));
    await scene.untilState(parent.runId, "EXECUTING/EXECUTING");
  });
});
