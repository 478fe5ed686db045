import type { TaskRunError } from "@torpor/contracts";
import { describe, expect, it } from "vitest";
import { usePlane } from "./harness.ts";
import { systemError } from "./worker.ts";

const plane = usePlane();

describe("running out of memory", () => {
  const signs: readonly (readonly [string, TaskRunError])[] = [
    ["the kernel's kill", systemError("TASK_PROCESS_OOM_KILLED")],
    ["what may be the kernel's kill", systemError("TASK_PROCESS_MAYBE_OOM_KILLED")],
    ["the SDK's own error", { type: "BUILT_IN_ERROR", name: "OutOfMemoryError", message: "MANUAL_OOM_KILL_ERROR", stackTrace: "" }],
    [
      "a killed ffmpeg",
      { type: "BUILT_IN_ERROR", name: "Error", message: "Command failed: ffmpeg was killed with signal SIGKILL", stackTrace: "" },
    ],
    ["exit -1 with SIGKILL", systemError("TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE", "Process exited with code -1 after signal SIGKILL.")],
    [
      "exit -1 with SIGABRT at the heap's limit",
      systemError(
        "TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE",
        "Process exited with code -1 after signal SIGABRT.",
        "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory",
      ),
    ],
  ];

  it.each(signs)("crashes after one attempt when there is no larger machine: %s (behaviour 12)", async (_sign, error) => {
    const scene = await plane.scene();
    const held = await scene.executing("flaky");
    expect(await held.fail(error, 0)).toMatchObject({ attemptStatus: "RUN_FINISHED", run: { status: "CRASHED", attemptNumber: 1 } });
  });

  it.each(signs)("goes through the queue to the larger machine: %s (behaviour 13)", async (_sign, error) => {
    const scene = await plane.scene();
    const held = await scene.executing("hungry");
    expect(held.message.run.machine.name).toBe("small-1x");
    expect(await held.fail(error)).toMatchObject({
      attemptStatus: "RETRY_QUEUED",
      snapshot: { executionStatus: "QUEUED" },
      run: { status: "PENDING", attemptNumber: 1 },
    });
    const again = await plane.until("it is handed out again", async () => {
      await plane.clock.advance(1_000);
      return scene.worker.tryTake();
    });
    expect(again.message.run).toMatchObject({
      friendlyId: held.runId,
      attemptNumber: 2,
      machine: { name: "medium-1x", cpu: 1, memory: 2 },
    });
    expect((await again.start()).execution).toMatchObject({ attempt: { number: 2 }, machine: { name: "medium-1x" } });
  });

  it("crashes when it happens again on the larger machine, with attempts left (behaviour 14)", async () => {
    const scene = await plane.scene();
    const held = await scene.executing("hungry");
    await held.fail(systemError("TASK_PROCESS_OOM_KILLED"), 0);
    const again = await plane.until("it is handed out again", async () => {
      await plane.clock.advance(1_000);
      return scene.worker.tryTake();
    });
    await again.start();
    expect(await again.fail(systemError("TASK_PROCESS_OOM_KILLED"), 0)).toMatchObject({
      attemptStatus: "RUN_FINISHED",
      run: { status: "CRASHED", attemptNumber: 2 },
    });
  });

  it("is not what a heap trace without SIGABRT, or another exit code with SIGKILL, means", async () => {
    const scene = await plane.scene();
    for (const error of [
      systemError("TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE", "Process exited with code 1.", "JavaScript heap out of memory"),
      systemError("TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE", "Process exited with code 137 after signal SIGKILL."),
    ]) {
      const held = await scene.executing("hungry", { maxAttempts: 1 });
      expect((await held.fail(error)).run.status).toBe("CRASHED");
      expect((await scene.run(held.runId)).machine).toBe("small-1x");
    }
  });
});
