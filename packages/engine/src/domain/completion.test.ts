import type { TaskRunError, TaskRunExecutionResult } from "@torpor/contracts";
import { describe, expect, it } from "vitest";
import { decideCompletion, storedRetryDelayMs, systemFailure, type AttemptFacts } from "./completion.ts";
import { DEFAULT_SETTINGS } from "./settings.ts";

const SETTINGS = DEFAULT_SETTINGS.completion;
const FACTS: AttemptFacts = {
  attemptNumber: 1,
  maxAttempts: 3,
  machine: "small-1x",
  retryConfig: {},
  isCanceling: false,
  forceRequeue: false,
};
const USER_ERROR: TaskRunError = { type: "BUILT_IN_ERROR", name: "Error", message: "no", stackTrace: "" };

function internal(code: string, message?: string): TaskRunError {
  return { type: "INTERNAL_ERROR", code, ...(message === undefined ? {} : { message }) };
}

function failed(error: TaskRunError, delayMs?: number): TaskRunExecutionResult {
  return { ok: false, id: "run_1", error, ...(delayMs === undefined ? {} : { retry: { timestamp: 0, delay: delayMs } }) };
}

function decide(result: TaskRunExecutionResult, facts: Partial<AttemptFacts> = {}) {
  return decideCompletion(result, { ...FACTS, ...facts }, SETTINGS, () => 0.5);
}

describe("what becomes of an attempt that ended", () => {
  it("a run that is being cancelled ends cancelled, whatever its runner reports", () => {
    const results = [
      failed(USER_ERROR, 0),
      failed(internal("TASK_PROCESS_OOM_KILLED")),
      { ok: true as const, id: "run_1", outputType: "text/plain" },
    ];
    expect(results.map((result) => decide(result, { isCanceling: true }).kind)).toEqual(["cancel", "cancel", "cancel"]);
  });

  it("a runner that says so itself cancels", () => {
    expect(decide(failed(internal("TASK_RUN_CANCELLED"), 0))).toEqual({ kind: "cancel" });
  });

  it("out of memory goes to the larger machine that the task names, even without attempts left", () => {
    const retryConfig = { outOfMemory: { machine: "medium-1x" as const } };
    expect(decide(failed(internal("TASK_PROCESS_OOM_KILLED")), { retryConfig, attemptNumber: 3 })).toMatchObject({
      kind: "retryLater",
      machine: "medium-1x",
    });
  });

  it("out of memory on the larger machine fails, even with attempts left", () => {
    const retryConfig = { outOfMemory: { machine: "medium-1x" as const } };
    expect(decide(failed(internal("TASK_PROCESS_OOM_KILLED"), 0), { retryConfig, machine: "medium-1x" }).kind).toBe("fail");
  });

  it("out of memory without a larger machine fails, even if the runner asks for a retry", () => {
    expect(decide(failed(internal("TASK_PROCESS_OOM_KILLED"), 0)).kind).toBe("fail");
    expect(decide(failed(internal("TASK_PROCESS_OOM_KILLED"), 0), { retryConfig: { outOfMemory: { machine: "micro" } } }).kind).toBe(
      "fail",
    );
  });

  it("an error that no attempt can mend fails at once", () => {
    expect(decide(failed(internal("DISK_SPACE_EXCEEDED"), 0)).kind).toBe("fail");
  });

  it("the last attempt fails, and so does one of a run that was never given a number of attempts", () => {
    expect(decide(failed(USER_ERROR, 0), { attemptNumber: 3 }).kind).toBe("fail");
    expect(decide(failed(USER_ERROR, 0), { maxAttempts: null }).kind).toBe("fail");
    expect(decide(failed(USER_ERROR, 0), { attemptNumber: 250, maxAttempts: 1000 }).kind).toBe("fail");
  });

  it("a user's error without a wish to retry fails", () => {
    expect(decide(failed(USER_ERROR)).kind).toBe("fail");
  });

  it("a process that died before it could compute a retry gets one from the task's settings, through the queue", () => {
    const retryConfig = { minTimeoutInMs: 2000, factor: 3 };
    expect(decide(failed(internal("TASK_PROCESS_SIGSEGV")), { retryConfig, attemptNumber: 2 })).toMatchObject({
      kind: "retryLater",
      delayMs: 6000,
    });
  });

  it("a short retry stays on its runner, one of 30 s or more goes through the queue", () => {
    expect(decide(failed(USER_ERROR, 29_999)).kind).toBe("retryNow");
    expect(decide(failed(USER_ERROR, 30_000))).toMatchObject({ kind: "retryLater", delayMs: 30_000 });
    expect(decide(failed(USER_ERROR, 0), { forceRequeue: true })).toMatchObject({ kind: "retryLater", delayMs: 0 });
  });

  it("an attempt that fell silent is retried through the queue while attempts are left", () => {
    const silent = systemFailure("run_1", "TASK_RUN_STALLED_EXECUTING", "silent", 250, 0);
    expect(decide(silent, { forceRequeue: true })).toMatchObject({ kind: "retryLater", delayMs: 250 });
    expect(decide(silent, { forceRequeue: true, attemptNumber: 3 }).kind).toBe("fail");
  });
});

describe("the stored back-off", () => {
  it("grows by its factor up to its limit, and is spread when asked", () => {
    const config = { minTimeoutInMs: 100, factor: 2, maxTimeoutInMs: 350 };
    expect([1, 2, 3, 4].map((attempt) => storedRetryDelayMs(attempt, config, () => 0.5))).toEqual([100, 200, 350, 350]);
    expect(storedRetryDelayMs(1, { ...config, randomize: true }, () => 0.5)).toBe(150);
  });
});
