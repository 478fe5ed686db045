import type { TaskRunError } from "@torpor/contracts";
import { describe, expect, it } from "vitest";
import { finalStatus, isOutOfMemory } from "./runErrors.ts";

const EXITED = "TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE";

describe("out of memory", () => {
  const signs: readonly (readonly [string, TaskRunError])[] = [
    ["the runner's code", { type: "INTERNAL_ERROR", code: "TASK_PROCESS_OOM_KILLED" }],
    ["the runner's guess", { type: "INTERNAL_ERROR", code: "TASK_PROCESS_MAYBE_OOM_KILLED" }],
    ["the SDK's own error", { type: "BUILT_IN_ERROR", name: "OutOfMemoryError", message: "MANUAL_OOM_KILL_ERROR", stackTrace: "" }],
    ["a killed ffmpeg", { type: "BUILT_IN_ERROR", name: "Error", message: "ffmpeg was killed with signal SIGKILL", stackTrace: "" }],
    ["a killed process", { type: "INTERNAL_ERROR", code: EXITED, message: "Process exited with code -1 after signal SIGKILL." }],
    [
      "a full heap",
      {
        type: "INTERNAL_ERROR",
        code: EXITED,
        message: "Process exited with code -1 after signal SIGABRT.",
        stackTrace: "FATAL ERROR: Reached heap limit Allocation failed",
      },
    ],
  ];
  for (const [name, error] of signs) {
    it(`is known by ${name}, and ends a run as CRASHED`, () => {
      expect(isOutOfMemory(error)).toBe(true);
      expect(finalStatus(error, "PRODUCTION")).toBe("CRASHED");
    });
  }

  it("is not seen in other deaths", () => {
    expect(isOutOfMemory({ type: "INTERNAL_ERROR", code: EXITED, message: "Process exited with code 1." })).toBe(false);
    expect(
      isOutOfMemory({
        type: "INTERNAL_ERROR",
        code: EXITED,
        message: "Process exited with code -1 after signal SIGABRT.",
        stackTrace: "assert",
      }),
    ).toBe(false);
    expect(isOutOfMemory({ type: "STRING_ERROR", raw: "MANUAL_OOM_KILL_ERROR" })).toBe(false);
  });
});

describe("the last status of a run by its error", () => {
  const cases: readonly (readonly [string, string])[] = [
    ["TASK_INPUT_ERROR", "COMPLETED_WITH_ERRORS"],
    ["TASK_RUN_CANCELLED", "CANCELED"],
    ["MAX_DURATION_EXCEEDED", "TIMED_OUT"],
    ["DISK_SPACE_EXCEEDED", "CRASHED"],
    ["TASK_PROCESS_SIGTERM", "SYSTEM_FAILURE"],
    ["A_CODE_OF_TOMORROW", "SYSTEM_FAILURE"],
    ["TASK_RUN_STALLED_EXECUTING", "SYSTEM_FAILURE"],
  ];
  for (const [code, status] of cases) {
    it(`is ${status} for ${code}`, () => {
      expect(finalStatus({ type: "INTERNAL_ERROR", code }, "PRODUCTION")).toBe(status);
    });
  }

  it("is COMPLETED_WITH_ERRORS for whatever the task threw", () => {
    expect(finalStatus({ type: "CUSTOM_ERROR", raw: "{}" }, "PRODUCTION")).toBe("COMPLETED_WITH_ERRORS");
  });

  it("is CANCELED for a run that a developer walked away from", () => {
    expect(finalStatus({ type: "INTERNAL_ERROR", code: "TASK_RUN_STALLED_EXECUTING" }, "DEVELOPMENT")).toBe("CANCELED");
  });
});
