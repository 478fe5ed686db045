import { describe, expect, it } from "vitest";
import { usePlane } from "./harness.ts";
import { must, success, userError } from "./worker.ts";

const plane = usePlane();

describe("a run from trigger to end", () => {
  it("counts as queued until it is handed out, as running until it ends, and as nothing afterwards (behaviour 1)", async () => {
    const scene = await plane.scene();
    const runId = await scene.trigger();
    expect((await scene.snapshot(runId)).snapshot.executionStatus).toBe("QUEUED");
    expect(await scene.queue()).toEqual({ running: 0, queued: 1 });
    const held = await scene.worker.take();
    expect(await scene.queue()).toEqual({ running: 1, queued: 0 });
    await held.start();
    expect(await scene.queue()).toEqual({ running: 1, queued: 0 });
    await held.succeed();
    expect(await scene.queue()).toEqual({ running: 0, queued: 0 });
  });

  it("is handed out for attempt 1 and executes attempt 1 once started (behaviour 2)", async () => {
    const scene = await plane.scene();
    const runId = await scene.trigger();
    const held = await scene.worker.take();
    expect(held.message).toMatchObject({
      version: "1",
      run: { friendlyId: runId, attemptNumber: 1 },
      snapshot: { executionStatus: "PENDING_EXECUTING" },
      completedWaitpoints: [],
    });
    const started = await held.start();
    expect(started.snapshot.executionStatus).toBe("EXECUTING");
    expect(started.run).toMatchObject({ friendlyId: runId, status: "EXECUTING", attemptNumber: 1 });
    expect(started.execution.attempt.number).toBe(1);
    expect(await scene.state(runId)).toBe("EXECUTING/EXECUTING");
  });

  it("ends well with its output stored byte for byte (behaviour 3)", async () => {
    const scene = await plane.scene();
    const held = await scene.executing();
    const output = ' {"json":{"b":1,"a":"é 🦥 \\u0000 \\ud800","n":1e400},  "meta":{}}\n';
    const result = await held.complete(success(held.runId, output, "application/super+json"));
    expect(result).toMatchObject({
      attemptStatus: "RUN_FINISHED",
      snapshot: { executionStatus: "FINISHED" },
      run: { status: "COMPLETED_SUCCESSFULLY" },
    });
    expect(await scene.run(held.runId)).toMatchObject({
      status: "COMPLETED_SUCCESSFULLY",
      output,
      outputType: "application/super+json",
      error: null,
    });
  });

  it("ends well without any output", async () => {
    const scene = await plane.scene();
    const held = await scene.executing();
    await held.complete(success(held.runId, undefined, "application/json"));
    expect(await scene.run(held.runId)).toMatchObject({ status: "COMPLETED_SUCCESSFULLY", output: null });
  });

  it("fails on a user's error that asks for no retry, and gives its concurrency back (behaviour 4)", async () => {
    const scene = await plane.scene();
    const held = await scene.executing("flaky");
    const result = await held.fail(userError("broken"));
    expect(result).toMatchObject({ attemptStatus: "RUN_FINISHED", run: { status: "COMPLETED_WITH_ERRORS" } });
    expect(await scene.run(held.runId)).toMatchObject({ status: "COMPLETED_WITH_ERRORS", attemptNumber: 1, error: userError("broken") });
    expect(await scene.queue("flaky")).toEqual({ running: 0, queued: 0 });
  });

  it("does not lose a run whose output holds a character that the database cannot store", async () => {
    const scene = await plane.scene();
    const held = await scene.executing();
    await held.complete(success(held.runId, "a\u0000b"));
    expect((await scene.run(held.runId)).status).toBe("COMPLETED_SUCCESSFULLY");
  });

  it("does not lose a run whose error holds a character that the database cannot store", async () => {
    const scene = await plane.scene();
    const held = await scene.executing();
    await held.fail(userError("a\u0000b"));
    expect((await scene.run(held.runId)).status).toBe("COMPLETED_WITH_ERRORS");
  });
});

describe("what a trigger carries", () => {
  it("hands on the source of a trigger, and gives a child the source and the schedule of its root (behaviour 5)", async () => {
    const scene = await plane.scene();
    const root = await scene.executing("work", {
      annotations: { triggerSource: "schedule", triggerAction: "trigger", rootTriggerSource: "schedule", rootScheduleId: "sched_1" },
    });
    expect(root.message.run.annotations).toMatchObject({
      triggerSource: "schedule",
      rootTriggerSource: "schedule",
      rootScheduleId: "sched_1",
    });
    await scene.trigger("child", { parentRunId: root.runId, annotations: { triggerSource: "sdk", triggerAction: "trigger" } });
    const child = await scene.worker.takeAndStart();
    expect(child.message.run.annotations).toMatchObject({ triggerSource: "sdk", rootTriggerSource: "schedule", rootScheduleId: "sched_1" });
    await scene.trigger("child", { parentRunId: child.runId, annotations: { triggerSource: "sdk", triggerAction: "trigger" } });
    expect((await scene.worker.take()).message.run.annotations).toMatchObject({ rootTriggerSource: "schedule", rootScheduleId: "sched_1" });
  });

  it("reaches the attempt as it was given", async () => {
    const scene = await plane.scene();
    const traceContext = { traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" };
    const payload = '{"json":{"a":"é"}}';
    const runId = await scene.trigger("work", {
      payload,
      payloadType: "application/super+json",
      tags: ["a", "b"],
      isTest: true,
      traceContext,
      metadata: '{"k":[1]}',
      metadataType: "application/json",
      maxDurationSeconds: 60,
      machine: "small-2x",
      maxAttempts: 2,
    });
    const held = await scene.worker.take();
    expect(held.message.run).toMatchObject({ isTest: true, traceContext, machine: { name: "small-2x", cpu: 1, memory: 1 } });
    const { execution } = await held.start();
    expect(execution.run).toMatchObject({
      id: runId,
      payload,
      payloadType: "application/super+json",
      tags: ["a", "b"],
      isTest: true,
      maxAttempts: 2,
      maxDuration: 60,
      metadata: { k: [1] },
    });
    expect(execution.task).toMatchObject({ id: "work", filePath: "src/work.ts" });
    expect(execution.queue.name).toBe("task/work");
    expect(execution.environment).toMatchObject({ slug: scene.env.slug, type: "PRODUCTION" });
    expect(execution.project.ref).toBe(scene.env.project.ref);
    expect(execution.machine).toMatchObject({ name: "small-2x", cpu: 1, memory: 1 });
  });

  it("names the parent, the root and the depth of a run", async () => {
    const scene = await plane.scene();
    const root = await scene.executing();
    await scene.trigger("child", { parentRunId: root.runId });
    const child = await scene.worker.takeAndStart();
    const grandchild = await scene.trigger("child", { parentRunId: child.runId });
    expect(await scene.run(grandchild)).toMatchObject({ parentRunId: child.runId, rootRunId: root.runId, depth: 2 });
    expect((await scene.engine.childrenOf(scene.env, root.runId)).map((run) => run.id)).toEqual([child.runId]);
  });

  it("is refused when the parent is unknown, or belongs to another environment", async () => {
    const scene = await plane.scene();
    const other = await plane.scene();
    const foreign = await other.trigger();
    expect(await scene.tryTrigger("work", { parentRunId: "run_unknown" })).toMatchObject({ kind: "refused" });
    expect(await scene.tryTrigger("work", { parentRunId: foreign, resumeParentOnCompletion: true })).toMatchObject({ kind: "refused" });
  });

  it("is refused when the version it is locked to is unknown, or does not have the task", async () => {
    const scene = await plane.scene();
    const { version } = await scene.deploy();
    must(await scene.tryTrigger("work", { lockToVersion: version }), "triggered");
    expect(await scene.tryTrigger("work", { lockToVersion: "19700101.1" })).toMatchObject({ kind: "refused" });
    expect(await scene.tryTrigger("unheard", { lockToVersion: version })).toMatchObject({ kind: "refused" });
  });

  it("never fails on a payload that the database cannot store: it is kept or refused with a reason", async () => {
    const scene = await plane.scene();
    const outcome = await scene.tryTrigger("work", { payload: "a\u0000b", payloadType: "text/plain" });
    if (outcome.kind === "refused") expect(outcome.message).toMatch(/payload/);
    else expect((await scene.run(outcome.runId)).status).toBe("PENDING");
  });

  it("is answered with the same run when the same call is repeated", async () => {
    const scene = await plane.scene();
    const first = await scene.trigger("work", { requestKey: "call-1" });
    expect(await scene.trigger("work", { requestKey: "call-1" })).toBe(first);
    expect(await scene.trigger("work", { requestKey: "call-2" })).not.toBe(first);
    const both = await Promise.all(Array.from({ length: 8 }, () => scene.trigger("work", { requestKey: "call-3" })));
    expect(new Set(both).size).toBe(1);
  });

  it("of one environment is not seen by another", async () => {
    const scene = await plane.scene();
    const other = await plane.scene();
    const runId = await scene.trigger();
    expect(await other.engine.getRun(other.env, runId)).toBeNull();
    expect(await other.engine.cancelRun(other.env, runId, "mine")).toMatchObject({ kind: "refused", code: "not_found" });
    expect(await other.engine.timeline(other.env, runId)).toBeNull();
    expect(await scene.state(runId)).toBe("QUEUED/PENDING");
  });
});
