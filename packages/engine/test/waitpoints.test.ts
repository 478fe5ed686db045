import { describe, expect, it } from "vitest";
import { inMs, usePlane } from "./harness.ts";
import { must, userError, type HeldRun } from "./worker.ts";

const plane = usePlane();

describe("waiting for another run", () => {
  it("blocks the parent while the child is queued, and resumes it with the child's raw output (behaviour 54)", async () => {
    const scene = await plane.scene();
    const parent = await scene.executing();
    const told = scene.listen(parent.runId);
    const childId = await scene.triggerAndWait(parent);
    expect(await scene.state(parent.runId)).toBe("EXECUTING_WITH_WAITPOINTS/EXECUTING");
    expect(await scene.state(childId)).toBe("QUEUED/PENDING");
    await plane.until("the parent's runner is told", () => told.count() === 1);
    const child = await scene.worker.takeAndStart();
    expect(child.runId).toBe(childId);
    await child.succeed('{"json":{"a":1}}', "application/super+json");
    const waitpoints = await scene.untilResumed(parent);
    expect(waitpoints).toHaveLength(1);
    expect(waitpoints[0]).toMatchObject({
      type: "RUN",
      completedByTaskRun: { friendlyId: childId },
      output: '{"json":{"a":1}}',
      outputType: "application/super+json",
      outputIsError: false,
    });
    expect(waitpoints[0]?.index).toBeUndefined();
    expect(waitpoints[0]?.completedByTaskRun?.batch).toBeUndefined();
    await plane.until("the parent's runner is told again", () => told.count() === 2);
    await parent.succeed();
    expect((await scene.run(childId)).triggerFunction).toBe("triggerAndWait");
  });

  it("gives the parent the child's error as JSON when it fails", async () => {
    const scene = await plane.scene();
    const parent = await scene.executing();
    await scene.triggerAndWait(parent);
    const error = userError("broken");
    await (await scene.worker.takeAndStart()).fail(error);
    const [waitpoint] = await scene.untilResumed(parent);
    expect(waitpoint?.outputIsError).toBe(true);
    expect(JSON.parse(waitpoint?.output ?? "null")).toEqual(error);
  });

  it("lasts over the child's retries", async () => {
    const scene = await plane.scene();
    const parent = await scene.executing();
    await scene.triggerAndWait(parent, "flaky");
    const child = await scene.worker.takeAndStart();
    await child.fail(userError("once"), 0);
    await child.start();
    await plane.timersHandled();
    expect(await scene.state(parent.runId)).toBe("EXECUTING_WITH_WAITPOINTS/EXECUTING");
    await child.succeed("second time");
    expect(await scene.untilResumed(parent)).toMatchObject([{ output: "second time", outputIsError: false }]);
  });

  it("is begun once, however often the same call is repeated", async () => {
    const scene = await plane.scene();
    const parent = await scene.executing();
    const before = parent.snapshotId;
    const childId = await scene.triggerAndWait(parent, "child", { requestKey: "wait-1" });
    expect(await scene.triggerAndWait(parent, "child", { requestKey: "wait-1" })).toBe(childId);
    await (await scene.worker.takeAndStart()).succeed("once");
    expect(await scene.untilResumed(parent)).toMatchObject([{ output: "once" }]);
    expect((await parent.since(before)).map((data) => data.snapshot.executionStatus)).toEqual(["EXECUTING_WITH_WAITPOINTS", "EXECUTING"]);
  });

  it("is refused to a parent that does not execute, and triggers nothing", async () => {
    const scene = await plane.scene();
    const queued = await scene.trigger();
    expect(await scene.tryTrigger("child", { parentRunId: queued, resumeParentOnCompletion: true })).toMatchObject({ kind: "refused" });
    const held = await scene.worker.takeAndStart();
    await held.succeed();
    expect(await scene.tryTrigger("child", { parentRunId: queued, resumeParentOnCompletion: true })).toMatchObject({ kind: "refused" });
    expect(await scene.engine.childrenOf(scene.env, queued)).toEqual([]);
  });

  it("lets two parents wait for one child: both resume with the same output (behaviour 55)", async () => {
    const scene = await plane.scene();
    const parents = [await scene.executing(), await scene.executing()];
    const childIds = [];
    for (const parent of parents) childIds.push(await scene.triggerAndWait(parent, "child", { idempotencyKey: "one" }));
    expect(childIds[0]).toBe(childIds[1]);
    await (await scene.worker.takeAndStart()).succeed("shared");
    for (const parent of parents)
      expect(await scene.untilResumed(parent)).toMatchObject([{ output: "shared", completedByTaskRun: { friendlyId: childIds[0] } }]);
  });

  it("is over at once when the child has ended already: blocked, then resumed with its output (behaviour 74)", async () => {
    const scene = await plane.scene();
    const childId = await scene.trigger("child", { idempotencyKey: "done" });
    await (await scene.worker.takeAndStart()).succeed("kept");
    const parent = await scene.executing();
    const first = parent.snapshotId;
    expect(await scene.triggerAndWait(parent, "child", { idempotencyKey: "done" })).toBe(childId);
    expect(await scene.untilResumed(parent)).toMatchObject([{ type: "RUN", output: "kept", completedByTaskRun: { friendlyId: childId } }]);
    expect((await parent.since(first)).map((data) => data.snapshot.executionStatus)).toEqual(["EXECUTING_WITH_WAITPOINTS", "EXECUTING"]);
  });

  it("serves many parents that come at the same time through one waitpoint (behaviour 75)", async () => {
    const scene = await plane.scene();
    const childId = await scene.trigger("child", { idempotencyKey: "shared" });
    const parents: HeldRun[] = [];
    for (let index = 0; index < 20; index++) await scene.trigger();
    for (const held of await scene.worker.takeAll()) {
      await held.start();
      parents.push(held);
    }
    const child = parents.splice(
      parents.findIndex((held) => held.runId === childId),
      1,
    )[0];
    const halves = [parents.slice(0, 10), parents.slice(10)];
    for (const half of halves) {
      await Promise.all([
        ...half.map((parent) => scene.triggerAndWait(parent, "child", { idempotencyKey: "shared" })),
        ...(half === halves[1] ? [child?.succeed("for all")] : []),
      ]);
    }
    const waitpointIds = new Set<string>();
    for (const parent of parents) {
      const [waitpoint] = await scene.untilResumed(parent);
      expect(waitpoint).toMatchObject({ output: "for all", completedByTaskRun: { friendlyId: childId } });
      waitpointIds.add(waitpoint?.friendlyId ?? "");
    }
    expect(waitpointIds.size).toBe(1);
  });

  it("is not needed for a run to complete, be cancelled or expire (behaviour 76)", async () => {
    const scene = await plane.scene();
    const completed = await scene.executing();
    await completed.succeed();
    const cancelled = await scene.trigger();
    await scene.cancel(cancelled);
    const expired = await scene.trigger("work", { ttlSeconds: 1 });
    await plane.clock.advance(2_000);
    await scene.untilState(expired, "FINISHED/EXPIRED");
    expect(await scene.state(completed.runId)).toBe("FINISHED/COMPLETED_SUCCESSFULLY");
    expect(await scene.state(cancelled)).toBe("FINISHED/CANCELED");
    const { rows } = await plane.sql.query("select 1 from waitpoints where environment_id = $1", [scene.env.id]);
    expect(rows).toEqual([]);
  });
});

describe("waiting for a time", () => {
  it("blocks until the date and then resumes with a waitpoint that has no output", async () => {
    const scene = await plane.scene();
    const held = await scene.executing();
    const date = inMs(plane, 60_000);
    const wait = must(await scene.engine.waitUntil(scene.env, held.runId, { date }), "waiting");
    expect(wait.waitUntil).toEqual(date);
    expect(await scene.state(held.runId)).toBe("EXECUTING_WITH_WAITPOINTS/EXECUTING");
    await plane.clock.advance(59_000);
    await plane.timersHandled();
    expect(await scene.state(held.runId)).toBe("EXECUTING_WITH_WAITPOINTS/EXECUTING");
    await plane.clock.advance(1_000);
    const waitpoints = await scene.untilResumed(held);
    expect(waitpoints).toMatchObject([{ friendlyId: wait.waitpointId, type: "DATETIME", completedAfter: date, outputIsError: false }]);
    expect(waitpoints[0]?.output).toBeUndefined();
  });

  it("until a date that has passed blocks and resumes at once", async () => {
    const scene = await plane.scene();
    const held = await scene.executing();
    const first = held.snapshotId;
    const wait = must(await scene.engine.waitUntil(scene.env, held.runId, { date: inMs(plane, -1_000) }), "waiting");
    expect(await scene.untilResumed(held)).toMatchObject([{ friendlyId: wait.waitpointId, type: "DATETIME" }]);
    expect((await held.since(first)).map((data) => data.snapshot.executionStatus)).toEqual(["EXECUTING_WITH_WAITPOINTS", "EXECUTING"]);
  });

  it("with an idempotency key waits for the same end when it is asked again", async () => {
    const scene = await plane.scene();
    const held = await scene.executing();
    const first = must(await scene.engine.waitUntil(scene.env, held.runId, { date: inMs(plane, 10_000), idempotencyKey: "w" }), "waiting");
    const second = must(await scene.engine.waitUntil(scene.env, held.runId, { date: inMs(plane, 90_000), idempotencyKey: "w" }), "waiting");
    expect(second.waitpointId).toBe(first.waitpointId);
    await plane.clock.advance(11_000);
    expect(await scene.untilResumed(held)).toMatchObject([{ friendlyId: first.waitpointId }]);
  });
});
