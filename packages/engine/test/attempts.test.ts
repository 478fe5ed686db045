import type { RunStatus } from "@torpor/contracts";
import { describe, expect, it } from "vitest";
import { task, usePlane } from "./harness.ts";
import { failure, systemError, userError } from "./worker.ts";

const plane = usePlane();

describe("retrying at once", () => {
  it("keeps the runner: a new EXECUTING snapshot, and still the old attempt number (behaviour 8)", async () => {
    const scene = await plane.scene();
    const held = await scene.executing("flaky");
    const before = held.snapshotId;
    const told = scene.listen(held.runId);
    const result = await held.fail(userError("once"), 0);
    expect(result).toMatchObject({
      attemptStatus: "RETRY_IMMEDIATELY",
      snapshot: { executionStatus: "EXECUTING" },
      run: { status: "EXECUTING", attemptNumber: 1 },
    });
    expect(result.snapshot.friendlyId > before).toBe(true);
    await plane.until("the runner is told", () => told.count() === 1);
    expect(await scene.queue("flaky")).toEqual({ running: 1, queued: 0 });
  });

  it("makes the next start attempt 2, which can end well (behaviour 9)", async () => {
    const scene = await plane.scene();
    const held = await scene.executing("flaky");
    await held.fail(userError("once"), 0);
    const started = await held.start();
    expect(started.run.attemptNumber).toBe(2);
    expect(started.execution.attempt.number).toBe(2);
    expect(await held.succeed()).toMatchObject({
      attemptStatus: "RUN_FINISHED",
      run: { status: "COMPLETED_SUCCESSFULLY", attemptNumber: 2 },
    });
  });

  it("is granted for a delay just below the limit", async () => {
    const scene = await plane.scene();
    const held = await scene.executing("flaky");
    expect((await held.fail(userError("once"), 29_999)).attemptStatus).toBe("RETRY_IMMEDIATELY");
  });

  it("lets an attempt be started once only", async () => {
    const scene = await plane.scene();
    const held = await scene.executing("flaky");
    await held.fail(userError("once"), 0);
    const rival = held.through(plane.worker("node-2"));
    const outcomes = await Promise.all([held.tryStart(), rival.tryStart()]);
    expect(outcomes.map((outcome) => outcome.kind).toSorted()).toEqual(["refused", "started"]);
    expect((await scene.run(held.runId)).attemptNumber).toBe(2);
  });

  it("is not granted to an attempt that is not begun: an executing snapshot cannot be started twice", async () => {
    const scene = await plane.scene();
    const held = await scene.executing("flaky");
    expect(await held.tryStart()).toMatchObject({ kind: "refused" });
    expect((await scene.run(held.runId)).attemptNumber).toBe(1);
  });
});

describe("retrying through the queue", () => {
  it("gives the runner up when the delay is long, and hands the run out again when it is over", async () => {
    const scene = await plane.scene();
    const held = await scene.executing("flaky");
    expect(await held.fail(userError("once"), 30_000)).toMatchObject({
      attemptStatus: "RETRY_QUEUED",
      snapshot: { executionStatus: "QUEUED" },
      run: { status: "PENDING", attemptNumber: 1 },
    });
    expect((await scene.queue("flaky")).running).toBe(0);
    await plane.clock.advance(29_000);
    await plane.timersHandled();
    expect(await scene.worker.tryTake()).toBeUndefined();
    await plane.clock.advance(1_000);
    const again = await scene.untilTaken(held.runId);
    expect(again.message.run.attemptNumber).toBe(2);
    expect((await again.start()).run.attemptNumber).toBe(2);
  });

  it("is what a node can force, however short the delay", async () => {
    const scene = await plane.scene();
    const held = await scene.executing("flaky");
    expect((await held.complete(failure(held.runId, userError("once"), 0), true)).attemptStatus).toBe("RETRY_QUEUED");
    expect((await scene.untilTaken(held.runId)).message.run.attemptNumber).toBe(2);
  });

  it("drops the memory image: the new attempt starts afresh", async () => {
    const scene = await plane.scene();
    const retrying = await scene.executing("flaky");
    const token2 = await scene.waitForNewToken(retrying);
    await retrying.suspend("mem_of_attempt_1");
    await scene.completeToken(token2);
    const restored = await scene.untilTaken(retrying.runId);
    await restored.continue();
    await restored.fail(userError("after the wait"), 60_000);
    await plane.clock.advance(60_000);
    const fresh = await scene.untilTaken(retrying.runId);
    expect(fresh.message.checkpoint).toBeUndefined();
    expect(fresh.message.completedWaitpoints).toEqual([]);
    expect((await fresh.start()).run.attemptNumber).toBe(2);
  });

  it("uses the task's own settings when the process died and could not say when", async () => {
    const scene = await plane.scene();
    const held = await scene.executing("flaky");
    const result = await held.fail(systemError("TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE", "Process exited with code 1."));
    expect(result.attemptStatus).toBe("RETRY_QUEUED");
    expect(await scene.worker.tryTake()).toBeUndefined();
    await plane.clock.advance(1_100);
    expect((await scene.untilTaken(held.runId)).message.run.attemptNumber).toBe(2);
  });
});

describe("an end without retry", () => {
  it("comes when the attempts are used up, whatever the completion asks for (behaviour 10)", async () => {
    const scene = await plane.scene();
    const held = await scene.executing("flaky", { maxAttempts: 1 });
    expect(await held.fail(userError("once"), 0)).toMatchObject({
      attemptStatus: "RUN_FINISHED",
      run: { status: "COMPLETED_WITH_ERRORS", attemptNumber: 1 },
    });
  });

  it("comes after the last of the task's own attempts", async () => {
    const scene = await plane.scene();
    const held = await scene.executing("flaky");
    for (const _ of [1, 2]) {
      await held.fail(userError("again"), 0);
      await held.start();
    }
    expect(await held.fail(userError("again"), 0)).toMatchObject({
      attemptStatus: "RUN_FINISHED",
      run: { status: "COMPLETED_WITH_ERRORS", attemptNumber: 3 },
    });
  });

  it("comes at once for an error of the system that no retry can mend (behaviour 11)", async () => {
    const scene = await plane.scene();
    const held = await scene.executing("flaky");
    expect(await held.fail(systemError("DISK_SPACE_EXCEEDED"), 0)).toMatchObject({
      attemptStatus: "RUN_FINISHED",
      run: { status: "CRASHED", attemptNumber: 1 },
    });
  });

  it("comes after 250 attempts, even if more are allowed", async () => {
    const scene = await plane.scene();
    const held = await scene.executing("flaky", { maxAttempts: 1_000 });
    // 248 attempts are of no interest here.
    await plane.sql.query("update runs set attempt_number = 249 where id = $1", [held.runId.slice(4)]);
    expect((await held.fail(userError("again"), 0)).attemptStatus).toBe("RETRY_IMMEDIATELY");
    await held.start();
    expect(await held.fail(userError("again"), 0)).toMatchObject({ attemptStatus: "RUN_FINISHED", run: { attemptNumber: 250 } });
  });

  const endings: readonly (readonly [string, RunStatus])[] = [
    ["TASK_INPUT_ERROR", "COMPLETED_WITH_ERRORS"],
    ["TASK_OUTPUT_ERROR", "COMPLETED_WITH_ERRORS"],
    ["TASK_MIDDLEWARE_ERROR", "COMPLETED_WITH_ERRORS"],
    ["TASK_RUN_UNCAUGHT_EXCEPTION", "COMPLETED_WITH_ERRORS"],
    ["RECURSIVE_WAIT_DEADLOCK", "COMPLETED_WITH_ERRORS"],
    ["MAX_DURATION_EXCEEDED", "TIMED_OUT"],
    ["TASK_PROCESS_SIGSEGV", "CRASHED"],
    ["TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE", "CRASHED"],
    ["OUTDATED_SDK_VERSION", "CRASHED"],
    ["HANDLE_ERROR_ERROR", "CRASHED"],
    ["TASK_RUN_CRASHED", "CRASHED"],
    ["TASK_EXECUTION_FAILED", "SYSTEM_FAILURE"],
    ["TASK_EXECUTION_ABORTED", "SYSTEM_FAILURE"],
    ["TASK_PROCESS_SIGTERM", "SYSTEM_FAILURE"],
    ["TASK_PROCESS_SIGKILL_TIMEOUT", "SYSTEM_FAILURE"],
    ["TASK_DID_CONCURRENT_WAIT", "SYSTEM_FAILURE"],
    ["A_CODE_OF_TOMORROW", "SYSTEM_FAILURE"],
    ["TASK_RUN_CANCELLED", "CANCELED"],
  ];
  it.each(endings)("by %s is %s", async (code, status) => {
    const scene = await plane.scene();
    const held = await scene.executing("work");
    expect(await held.fail(systemError(code))).toMatchObject({
      attemptStatus: "RUN_FINISHED",
      snapshot: { executionStatus: "FINISHED" },
      run: { status },
    });
    expect(await scene.queue()).toEqual({ running: 0, queued: 0 });
  });
});

describe("a task's retry settings", () => {
  it("count for runs that name no number of attempts", async () => {
    const scene = await plane.scene({ tasks: [task("work", { retry: { maxAttempts: 2 } })] });
    const held = await scene.executing();
    expect((await held.fail(userError("once"), 0)).attemptStatus).toBe("RETRY_IMMEDIATELY");
    await held.start();
    expect((await held.fail(userError("twice"), 0)).attemptStatus).toBe("RUN_FINISHED");
  });
});
